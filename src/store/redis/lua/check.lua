-- Whether scripts can write here. A full Redis refuses new tasks only, which is told otherwise.
-- KEYS  1 the base key of the first shard
-- Returns nothing of interest
operation('check', {}, ALLOW_OOM, function()
  call('HSET', BASE .. 'meta', 'checkedAt', NOW)
  return { NOW, '', '' }
end)
