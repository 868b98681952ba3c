-- Deletes finished tasks.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per id '' or the problem code of the refusal
operation('remove', {}, ALLOW_OOM, function()
  local results = {}
  for index, id in ipairs(ARGV) do
    local task = load_task(id)
    if not task or task.deleted then
      results[index] = 'task_not_found'
    else
      results[index] = MOVES.remove[task.s].refused or ''
      if results[index] == '' then
        local queue = open_queue(task.q)
        leave(queue, task)
        delete_tasks(queue, { task }, false)
      end
    end
  end
  return reply(results)
end)
