-- Deletes tasks of one state; finished ones oldest first, waiting ones in the order of their line.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 state, 3 how many at most (128)
-- Returns {how many, 1 when there may be more behind stale entries, else 0}
operation('purge', { 'front', 'watchedUntil' }, ALLOW_OOM, function()
  local queue = open_queue(ARGV[1])
  local state, limit = ARGV[2], tonumber(ARGV[3])
  local purged, tired = 0, 0

  if queue.exists then
    local doomed = {}
    if state == 'ready' then
      doomed = pop_ready(queue, limit)
      if skips <= 0 then tired = 1 end
    elseif state ~= 'blocked' then
      local key = BASE .. 'z:' .. state .. ':' .. queue.name
      if state == 'scheduled' then key = BASE .. 'd:' .. queue.name end
      if state == 'leased' then key = BASE .. 'x:' .. queue.name end
      doomed = load_tasks(call('ZRANGE', key, 0, limit - 1))
      for _, task in ipairs(doomed) do
        leave(queue, task)
      end
    end
    for _, task in ipairs(doomed) do
      announce_end(queue, task.id)
    end
    delete_tasks(queue, doomed, false)
    purged = #doomed
  end
  return reply({ purged, tired })
end)
