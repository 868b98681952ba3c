-- Whether idempotency keys would be refused.
-- KEYS  1 the shard's base key
-- ARGV  1 how many calls, 2 how long a key is kept (ms); then per call: queue, how many tasks, and per task key and fingerprint ('' for none)
-- Returns per call the index of the first task that reuses a key with another fingerprint, or -1
operation('check_keys', { 'generation' }, READS_ONLY, function()
  local WINDOW = tonumber(ARGV[2])
  local results = {}
  local at = 3
  for item = 1, tonumber(ARGV[1]) do
    local name, count = ARGV[at], tonumber(ARGV[at + 1])
    at = at + 2
    local seen = {}
    results[item] = -1
    for index = 0, count - 1 do
      local key, fingerprint = ARGV[at + 2 * index], ARGV[at + 2 * index + 1]
      if key ~= '' and results[item] == -1 then
        local record = key_record(open_queue(name), key, WINDOW)
        local known = seen[key] or record and record.fingerprint
        if known and known ~= fingerprint then results[item] = index end
        seen[key] = fingerprint
      end
    end
    at = at + 2 * count
  end
  return queue_reply(results)
end)
