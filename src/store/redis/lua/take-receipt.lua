-- What has become of the batch of an operation that was on its way: those that were stored are deleted, the others are dead again.
-- KEYS  1 the shard's base key
-- ARGV  1 id, 2 number of the batch, 3 its mark, 4 as receive.lua answers
-- Returns as step-operation.lua for one operation, or '' when there is none
operation('take_receipt', { '#dead' }, ALLOW_OOM, function()
  local job = jobs.load(ARGV[1])
  if not job then return reply('') end
  local full = false

  -- They are dead again, and leave once more with the next batch, which comes after what the other shard has seen.
  local function call_back(last)
    local queue = open_queue(job.queue)
    local lost = {}
    for _, claim in ipairs(moving.claims(job)) do
      if not moving.restore(queue, claim) then lost[#lost + 1] = claim end
    end
    moving.discard(queue, lost)
    job.claims, job.batch = '', last
  end

  local function take(outcomes)
    local queue = open_queue(job.queue)
    local gone, lost = {}, {}
    for index, claim in ipairs(moving.claims(job)) do
      local outcome = string.sub(outcomes, index, index)
      if outcome == 's' then
        gone[#gone + 1] = claim
      elseif not moving.restore(queue, claim) then
        lost[#lost + 1] = claim
      end
      full = full or outcome == 'f'
      if not full then
        job.at, job.id, job.seen = digits(claim.died), claim.id, claim.seen
        job.matched = job.matched + 1
      end
    end
    moving.discard(queue, gone)
    moving.discard(queue, lost)
    if not full then
      job.at, job.id, job.seen, job.walked = job.endAt, job.endId, job.endSeen, job.endLast
    end
    job.claims = ''
    job.moved = job.moved + #gone
    job.total = math.max(job.total, job.seen)
    job.next = jobs.next_after(job, #gone, full)
  end

  if filled(job.claims) and job.batch == tonumber(ARGV[2]) and moving.mark(job) == ARGV[3] then
    local behind = tonumber(string.match(ARGV[4], '^behind:(%d+)$'))
    if behind then
      call_back(behind)
    elseif ARGV[4] ~= 'stale' then
      take(ARGV[4])
    end
    -- What could not be stored as it was is not tried at full pace.
    if behind or ARGV[4] == 'stale' then job.next = NOW + OPERATION.fullPauseMs end
    jobs.save(job)
  end
  return reply(moving.stepped(job, job.next, full))
end)
