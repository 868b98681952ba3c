-- One step of operations: redrives the next of their tasks, in the order in which they died. While one process takes the steps of an
-- operation, others do nothing.
-- KEYS  1 the shard's base key
-- ARGV  per operation: id, how many tasks to redrive at most
-- Returns per operation {view, when the next step can do something, or '' when it has ended} or ''
operation('step_operation', { 'n', '#dead', 'front', 'ready' }, NO_FLAGS, function()
  local function advance(job, limit)
    local queue = open_queue(job.queue)
    local ids, died = dead.after(job.queue, job.at, job.id, job['until'], OPERATION.step)
    load_tasks(ids)
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
    -- Another step of this call finds them gone from the dead.
    write_zsets()
    job.seen, job.moved = job.seen + looked, job.moved + moved
    job.total = math.max(job.total, job.seen)
    job.next = job.rate and NOW + math.ceil(moved * 1000 / job.rate) or NOW
    job.by, job.byUntil = ORIGIN, NOW + jobs.HELD
    if job.matched >= most or looked == #ids and #ids < OPERATION.step then jobs.finish(job, 'completed') else jobs.save(job) end
  end

  local results = {}
  for at = 1, #ARGV, 2 do
    local job = jobs.load(ARGV[at])
    local result = ''
    if job then
      local others = job.by ~= ORIGIN and job.byUntil > NOW
      if job.state == 'running' and not others and job.next <= NOW then advance(job, math.min(tonumber(ARGV[at + 1]), OPERATION.step)) end
      local next_at = others and math.max(job.next, job.byUntil) or job.next
      result = { jobs.view(job), job.state == 'running' and next_at or '' }
    end
    results[#results + 1] = result
  end
  return reply(results)
end)
