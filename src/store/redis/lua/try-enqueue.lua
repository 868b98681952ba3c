-- Whether calls would be refused.
-- KEYS  1 the shard's base key
-- ARGV  as of enqueue.lua
-- Returns per call {refusal, index, …}, or '' when it would not be
operation('try_enqueue', { 'generation', 'maxBacklog', 'ready', '#scheduled', '#blocked', '#leased' }, READS_ONLY, function()
  local window = tonumber(ARGV[2])
  local results = {}
  local at = 3
  for item = 1, tonumber(ARGV[1]) do
    local queue, count = open_queue(ARGV[at]), tonumber(ARGV[at + 1])
    local _, refusal, refused = plan_call(queue, at + 2, count, backlog_of(queue), window)
    results[item] = refusal and { refusal, unpack(refused) } or ''
    at = at + 2 + count * STRIDE
  end
  return queue_reply(results)
end)
