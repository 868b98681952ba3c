-- Ends an operation that has nothing more to do, once its receipt lasts no longer than is needed.
-- KEYS  1 the shard's base key
-- ARGV  1 id
-- Returns as step-operation.lua for one operation, or '' when there is none
operation('end_operation', {}, ALLOW_OOM, function()
  local job = jobs.load(ARGV[1])
  if not job then return reply('') end
  if moving.awaits(job) == 'close' then
    job.open = ''
    jobs.finish(job, job.state == 'running' and 'completed' or job.state)
  end
  return reply(moving.stepped(job, job.next, false))
end)
