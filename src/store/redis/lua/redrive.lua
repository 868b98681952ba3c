-- Sends finished tasks back to the end of their line, attempts reset, every old token void.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per id {'redriven', view} or {'refused', problem code}
operation('redrive', { 'n' }, NO_FLAGS, function()
  local function redrive(id)
    local task = load_task(id)
    if not task then return { 'refused', 'task_not_found' } end
    local move = MOVES.redrive[task.s]
    if move.refused then return { 'refused', move.refused } end
    local queue = open_queue(task.q)
  if not take_key_back(queue, task) then return { 'refused', 'unique_conflict' } end
    leave(queue, task)
    for _, field in ipairs({ 'xa', 'fa', 'tk', 'sv', 'cr' }) do
      put(task, field, nil)
    end
    put(task, 'at', 0)
    put(task, 'ra', NOW)
    enter_ready(queue, task, 'back', false)
    return { 'redriven', view(task) }
  end

  local results = {}
  for index, id in ipairs(ARGV) do
    results[index] = redrive(id)
  end
  return reply(results)
end)
