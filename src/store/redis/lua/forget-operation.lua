-- Forgets operations, which run no further.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per operation 1, or 0 when there was none
operation('forget_operation', {}, ALLOW_OOM, function()
  local results = {}
  for index, id in ipairs(ARGV) do
    results[index] = call('DEL', jobs.key(id))
    call('ZREM', BASE .. 'jobs', id)
    call('ZREM', BASE .. 'jobs-ended', id)
  end
  return reply(results)
end)
