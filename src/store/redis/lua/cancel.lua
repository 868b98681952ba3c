-- Cancels tasks, or asks their workers to stop.
-- KEYS  1 the shard's base key
-- ARGV  1 how many items; then per item: id, reason ('+' and text, '' for none), '1' to force
-- Returns per item {'cancelled' | 'requested', view, readied} or {'refused', problem code, readied}, readied being the queue when the end
--       of a lease leaves room in it (or '')
operation('cancel', { 'front' }, ALLOW_OOM, function()
  local function cancel(id, reason, force)
    local task = load_task(id)
    if not task then return { 'refused', 'task_not_found' } end
    local queue = open_queue(task.q)
    local was_leased = task.s == 'leased'
    catch_up(queue, task)
    local move = MOVES[force == '1' and 'forceCancel' or 'cancel'][task.s]
    local result
    if move.refused then
      result = { 'refused', move.refused }
    elseif move.stays == 'unchanged' then
      result = { 'cancelled' }
    else
      if reason ~= '' then record_error(task, '+' .. CANCELLED_ERROR_CODE, reason, nil) end
      if move.stays == 'requested' then
        put(task, 'cr', '1')
        result = { 'requested' }
      else
        leave(queue, task)
        put(task, 'ex', nil)
        put(task, 'wk', nil)
        enter_finished(queue, task, move.to)
        result = { 'cancelled' }
      end
    end
    if not move.refused then result[2] = view(task) end
    result[3] = has_opened(queue, was_leased and task.s ~= 'leased') and queue.name or ''
    return result
  end

  local results = {}
  for item = 1, tonumber(ARGV[1]) do
    local at = 2 + (item - 1) * 3
    results[item] = cancel(ARGV[at], ARGV[at + 1], ARGV[at + 2])
  end
  return reply(results)
end)
