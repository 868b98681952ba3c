-- Whether scripts can write here.
-- KEYS  1 the base key of the first shard
-- Returns nothing of interest
-- @include clock core
call('HSET', BASE .. 'meta', 'checkedAt', NOW)
return { NOW, '', '' }
