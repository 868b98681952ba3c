-- Writes, and nothing else: what a connection waits for replicas to hold then covers all that its calls before have written or seen.
-- KEYS  1 the shard's base key
-- Returns nothing of interest
operation('confirm', {}, ALLOW_OOM, function()
  call('HSET', BASE .. 'meta', 'confirmedAt', NOW)
  return { NOW, '', '' }
end)
