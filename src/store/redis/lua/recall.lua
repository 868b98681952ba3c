#!lua flags=allow-oom
-- Leases that still run of earlier lease calls with a name, of which is noted when another process has found them.
-- KEYS  1 the shard's base key
-- ARGV  per call: queue, name
-- Returns per call the views
local QUEUE_FIELDS = { 'maxAttempts' }
-- @include clock defaults core queue body task request
local results = {}
for index = 1, #ARGV, 2 do
  local queue = open_queue(ARGV[index])
  results[#results + 1] = queue.exists and recall(queue, ARGV[index + 1]) or {}
end
return reply(results)
