-- Reads operations.
-- KEYS  1 the shard's base key
-- ARGV  the ids; none for those that run, up to 100
-- Returns per operation its view or ''
operation('operations', {}, READS_ONLY, function()
  local ids = #ARGV > 0 and ARGV or call('ZRANGE', BASE .. 'jobs', 0, OPERATION.running - 1)
  local results = {}
  for index, id in ipairs(ids) do
    local job = jobs.load(id)
    results[index] = job and jobs.view(job) or ''
  end
  return reply(results)
end)
