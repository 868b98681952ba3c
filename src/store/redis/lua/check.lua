-- Whether scripts can write here.
-- KEYS  1 the base key of the first shard
-- Returns nothing of interest
operation('check', {}, NO_FLAGS, function()
  call('HSET', BASE .. 'meta', 'checkedAt', NOW)
  return { NOW, '', '' }
end)
