-- Ends operations that run.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per operation its view, or ''
operation('cancel_operation', {}, ALLOW_OOM, function()
  local results = {}
  for index, id in ipairs(ARGV) do
    local job = jobs.load(id)
    if job and job.state == 'running' then jobs.finish(job, 'cancelled') end
    results[index] = job and jobs.view(job) or ''
  end
  return reply(results)
end)
