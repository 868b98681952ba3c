-- Reads tasks.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per id a view, or ''
operation('get', { 'maxAttempts' }, READS_ONLY, function()
  load_tasks(ARGV)
  local results = {}
  for index, id in ipairs(ARGV) do
    local task = load_task(id)
    results[index] = task and view(task) or ''
  end
  return reply(results)
end)
