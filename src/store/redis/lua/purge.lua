-- Deletes tasks of one state; finished ones oldest first, waiting ones in the order of their line.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 state, 3 how many at most (128)
-- Returns {how many, 1 when there may be more behind stale entries, else 0}
operation('purge', { 'front', 'watchedUntil' }, ALLOW_OOM, function()
  local queue = open_queue(ARGV[1])
  local state, limit = ARGV[2], tonumber(ARGV[3])
  local tired = 0
  local found, doomed = {}, {}
  if queue.exists and state == 'ready' then
    found = pop_ready(queue, limit)
    if skips <= 0 then tired = 1 end
  elseif queue.exists then
    local key = BASE .. (STRUCTURES[state] or 'z:' .. state .. ':') .. queue.name
    found = load_tasks(call('ZRANGE', key, 0, limit - 1))
  end
  -- What is behind them in their groups comes to its turn in this order.
  if not TERMINAL[state] then table.sort(found, function(a, b) return a.n < b.n end) end
  for _, task in ipairs(found) do
    -- Another one of its group may have brought it to another state.
    if task.s == state then
      if state ~= 'ready' then
        leave(queue, task)
      elseif task.gk then
        leave_group(queue, task)
      end
      doomed[#doomed + 1] = task
      announce_end(queue, task.id)
      if task.gk and not TERMINAL[state] then regroup(queue, task.gk) end
    end
  end
  delete_tasks(queue, doomed, false)
  return reply({ #doomed, tired })
end)
