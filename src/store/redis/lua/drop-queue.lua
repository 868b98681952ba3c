-- Deletes a queue in which nothing waits, is leased or is dead, in bounded steps.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 how many finished tasks to delete at most
-- Returns 'deleted', 'more', 'not_empty' or 'not_found'
operation('drop_queue', { '#scheduled', '#blocked', '#leased', '#dead', 'ready' }, ALLOW_OOM, function()
  local queue = open_queue(ARGV[1])

  local function drop()
    if not queue.exists then return 'not_found' end
    for _, count in ipairs({ '#scheduled', '#blocked', '#leased', '#dead', 'ready' }) do
      if queue_number(queue, count) > 0 then return 'not_empty' end
    end
    local left = tonumber(ARGV[2])
    for _, state in ipairs({ 'completed', 'cancelled', 'expired' }) do
      local doomed = load_tasks(call('ZRANGE', BASE .. 'z:' .. state .. ':' .. queue.name, 0, left - 1))
      for _, task in ipairs(doomed) do
        leave(queue, task)
      end
      delete_tasks(queue, doomed, false)
      left = left - #doomed
      if left == 0 then return 'more' end
    end
    -- Stale entries may be left in the lines; lists of any length are freed in the background.
    for priority = 0, 9 do
      call('UNLINK', line_key(priority, queue.name))
    end
    call('ZREM', BASE .. 'due', queue.name)
    call('ZREM', BASE .. 'keep', queue.name)
    call('ZREM', BASE .. 'queues', queue.name)
    call('DEL', queue.key, rate_key(queue))
    queue.exists = false
    return 'deleted'
  end

  return reply(drop())
end)
