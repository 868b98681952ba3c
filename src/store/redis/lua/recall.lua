-- Leases that still run of earlier lease calls with a name, of which is noted when another process has found them.
-- KEYS  1 the shard's base key
-- ARGV  per call: queue, name
-- Returns per call the views
operation('recall', { 'maxAttempts' }, ALLOW_OOM, function()
  local results = {}
  for index = 1, #ARGV, 2 do
    local queue = open_queue(ARGV[index])
    results[#results + 1] = queue.exists and recall(queue, ARGV[index + 1]) or {}
  end
  return reply(results)
end)
