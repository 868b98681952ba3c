-- One step of operations: redrives the next of their tasks, in the order in which they died, or has them leave for the queue that they go
-- to. While one process takes the steps of an operation, others do nothing.
-- KEYS  1 the shard's base key
-- ARGV  per operation: id, how many tasks to redrive at most
-- Returns per operation '' or {view, when the next step can do something, or '' when it has ended, '1' when the queue they go to was full,
--       what is to be done elsewhere, as moving.lua says it}
operation('step_operation', { 'n', '#dead', 'front', 'ready' }, NO_FLAGS, function()
  local function redrive(job, queue, ids, died, limit)
    local most = job.max or math.huge
    local moved, looked = 0, 0
    for _, id in ipairs(ids) do
      if moved >= limit or job.matched >= most then break end
      looked = looked + 1
      job.at, job.id = died[id], id
      local task = load_task(id)
      if dead.is_meant(task, job.type, job.code) then
        job.matched = job.matched + 1
        if not dead.redrive(queue, task) then moved = moved + 1 end
      end
    end
    job.seen, job.moved = job.seen + looked, job.moved + moved
    job.total = math.max(job.total, job.seen)
    job.next = jobs.next_after(job, moved, false)
    return job.matched >= most or looked == #ids and #ids < OPERATION.step
  end

  -- Parks the tasks of the next batch. Answers whether there are none and nothing is left to be looked at.
  local function claim(job, queue, ids, died, limit)
    local most = job.max or math.huge
    local claims, looked, bytes = {}, 0, 0
    job.endAt, job.endId = job.at, job.id
    for _, id in ipairs(ids) do
      if #claims >= limit or job.matched + #claims >= most then break end
      local task = load_task(id)
      local entire = task and call('EXISTS', BASE .. 'b:' .. id) == 1
      local meant = entire and dead.is_meant(task, job.type, job.code)
      if meant then
        bytes = bytes + moving.size(task)
        if #claims > 0 and bytes > OPERATION.bytes then break end
      end
      looked = looked + 1
      job.endAt, job.endId = died[id], id
      if meant then claims[#claims + 1] = moving.park(queue, task, job.seen + looked) end
    end
    local last = job.matched + #claims >= most or looked == #ids and #ids < OPERATION.step
    job.endSeen, job.endLast = job.seen + looked, last and '1' or ''
    if #claims == 0 then
      job.at, job.id, job.seen, job.walked = job.endAt, job.endId, job.endSeen, job.endLast
      job.total = math.max(job.total, job.seen)
      return last and not jobs.is_open(job)
    end
    job.batch, job.claims, job.claimed, job.open = (job.batch or 0) + 1, table.concat(claims, ';'), NOW, '1'
    return false
  end

  local function advance(job, limit)
    local queue = open_queue(job.queue)
    local ids, died = dead.after(job.queue, job.at, job.id, job['until'], OPERATION.step)
    load_tasks(ids)
    local work = filled(job.to) and claim or redrive
    local ended = work(job, queue, ids, died, limit)
    -- Another step of this call finds them gone from the dead.
    write_zsets()
    job.by, job.byUntil = ORIGIN, NOW + jobs.HELD
    if ended then jobs.finish(job, 'completed') else jobs.save(job) end
  end

  -- An operation of which something is open has an errand first, if it has one.
  local function step(job, limit)
    if moving.awaits(job) then
      job.by, job.byUntil, job.claimed = ORIGIN, NOW + jobs.HELD, NOW
      jobs.save(job)
    elseif job.state == 'running' and job.next <= NOW then
      advance(job, limit)
    end
  end

  local results = {}
  for at = 1, #ARGV, 2 do
    local job = jobs.load(ARGV[at])
    local result = ''
    if job then
      if job.by ~= ORIGIN and job.byUntil > NOW then
        local runs = job.state == 'running' or jobs.is_open(job)
        result = { jobs.view(job), runs and math.max(job.next, job.byUntil) or '', '', '' }
      else
        step(job, math.min(tonumber(ARGV[at + 1]), OPERATION.step))
        result = moving.stepped(job, job.next, false)
      end
    end
    results[#results + 1] = result
  end
  return reply(results)
end)
