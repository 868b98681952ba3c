-- Reads queues: what is configured and counted, and what stands at the head of their lines.
-- KEYS  1 the shard's base key
-- ARGV  the names
-- Returns per name '' or {fields and values of the hash, runAt of the longest ready head or '', next due time of a scheduled task or '',
--       when the rate limit allows the next grant or '', '1' when a blocked task waits for one that is leased}
operation('queues', { 'ready', '#blocked', '#leased', '#scheduled', 'ready0', 'ready1', 'ready2', 'ready3', 'ready4', 'ready5', 'ready6', 'ready7', 'ready8', 'ready9' }, ALLOW_OOM, function()
  -- Drops stale entries from the head of a line, so that looking at it stays cheap.
  local function head(queue, priority)
    local first = call('ZRANGE', front_key(priority, queue.name), 0, 0)[1]
    if first then return load_task(first) end
    while skips > 0 do
      local entry = call('LINDEX', line_key(priority, queue.name), 0)
      if not entry then return nil end
      local task = task_of_entry(entry)
      if task then return task end
      call('LPOP', line_key(priority, queue.name))
      skips = skips - 1
    end
  end

  -- Whether a blocked task is of a group of which another one is leased; looked at where the numbers alone do not tell.
  local function is_blocked_by_lease(queue)
    if queue_number(queue, 'ready') > 0 then return false end
    for _, count in ipairs({ '#blocked', '#leased', '#scheduled' }) do
      if queue_number(queue, count) == 0 then return false end
    end
    for _, task in ipairs(load_tasks(call('ZRANGE', BASE .. 'x:' .. queue.name, 0, LEASES_LOOKED_AT - 1))) do
      if task.gk and call('EXISTS', group_line(queue, task.gk)) == 1 then return true end
    end
    return false
  end

  local results = {}
  for index, name in ipairs(ARGV) do
    local queue = open_queue(name)
    results[index] = ''
    if queue.exists then
      local oldest = ''
      for priority = 9, 0, -1 do
        local task = queue_number(queue, READY_OF[priority]) > 0 and head(queue, priority)
        if task and (oldest == '' or task.ra < oldest) then oldest = task.ra end
      end
      local next_run = call('ZRANGE', BASE .. 'd:' .. name, 0, 0, 'WITHSCORES')[2] or ''
      local _, opens_at = rate_allowance(queue, 1)
      results[index] = { call('HGETALL', queue.key), oldest, next_run, opens_at or '', is_blocked_by_lease(queue) and '1' or '' }
    end
  end
  return reply(results)
end)
