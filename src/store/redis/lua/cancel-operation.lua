-- Ends operations that run. One that has tasks on their way, or a receipt elsewhere, is cancelled at once and ends when those are put
-- in order.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per operation as step-operation.lua
operation('cancel_operation', {}, ALLOW_OOM, function()
  local results = {}
  for index, id in ipairs(ARGV) do
    local job = jobs.load(id)
    if job and job.state == 'running' then
      if jobs.is_open(job) then
        job.state, job.finished, job.by, job.byUntil = 'cancelled', NOW, ORIGIN, NOW + jobs.HELD
        jobs.save(job)
      else
        jobs.finish(job, 'cancelled')
      end
    end
    results[index] = job and moving.stepped(job, job.next, false) or ''
  end
  return reply(results)
end)
