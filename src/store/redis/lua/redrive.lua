-- Sends finished tasks back to the end of their line, attempts reset, every old token void.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per id {'redriven', view} or {'refused', problem code}
operation('redrive', { 'n' }, NO_FLAGS, function()
  local function redrive(id)
    local task = load_task(id)
    if not task then return { 'refused', 'task_not_found' } end
    local refused = dead.redrive(open_queue(task.q), task)
    if refused then return { 'refused', refused } end
    return { 'redriven', view(task) }
  end

  local results = {}
  for index, id in ipairs(ARGV) do
    results[index] = redrive(id)
  end
  return reply(results)
end)
