-- Forgets operations, which run no further.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per operation 1, 0 when there was none, or 2, and nothing done, when it has something open elsewhere and must be cancelled first
operation('forget_operation', {}, ALLOW_OOM, function()
  local results = {}
  for index, id in ipairs(ARGV) do
    local job = jobs.load(id)
    if job and jobs.is_open(job) then
      results[index] = 2
    else
      results[index] = call('DEL', jobs.key(id))
      call('ZREM', BASE .. 'jobs', id)
      call('ZREM', BASE .. 'jobs-ended', id)
    end
  end
  return reply(results)
end)
