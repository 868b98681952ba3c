-- What has become of the batch of an operation that was on its way: those that were stored are deleted, the others are dead again.
-- KEYS  1 the shard's base key
-- ARGV  1 id, 2 number of the batch, 3 as receive.lua answers
-- Returns as step-operation.lua for one operation, or '' when there is none
operation('take_receipt', { '#dead' }, ALLOW_OOM, function()
  local job = jobs.load(ARGV[1])
  if not job then return reply('') end
  local full = false
  local outcomes = ARGV[3]
  if filled(job.claims) and job.batch == tonumber(ARGV[2]) and outcomes ~= 'stale' then
    local queue = open_queue(job.queue)
    local gone = {}
    for index, claim in ipairs(moving.claims(job)) do
      local outcome = string.sub(outcomes, index, index)
      if outcome == 's' then gone[#gone + 1] = claim else moving.restore(queue, claim) end
      full = full or outcome == 'f'
      if not full then
        job.at, job.id, job.seen = digits(claim.died), claim.id, claim.seen
        job.matched = job.matched + 1
      end
    end
    moving.discard(queue, gone)
    if not full then
      job.at, job.id, job.seen, job.walked = job.endAt, job.endId, job.endSeen, job.endLast
    end
    job.claims = ''
    job.moved = job.moved + #gone
    job.total = math.max(job.total, job.seen)
    job.next = jobs.next_after(job, #gone, full)
    jobs.save(job)
  end
  return reply(moving.stepped(job, job.next, full))
end)
