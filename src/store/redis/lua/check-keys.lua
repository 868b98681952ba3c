-- Whether idempotency keys would be refused.
-- KEYS  1 the shard's base key
-- ARGV  1 how many calls, 2 how long a key is kept (ms); then per call: queue, how many tasks, and per task key and fingerprint ('' for none)
-- Returns per call the index of the first task that reuses a key with another fingerprint, or -1
local QUEUE_FIELDS = {}
-- @include clock core queue
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
      local known = seen[key]
      if not known then
        local record = call('GET', BASE .. 'k:' .. name .. ':' .. key)
        if record then
          local _, first, used = string.match(record, '^([^|]*)|([^|]*)|(%d+)')
          if tonumber(used) + WINDOW > NOW then known = first end
        end
      end
      if known and known ~= fingerprint then results[item] = index end
      seen[key] = fingerprint
    end
  end
  at = at + 2 * count
end
return queue_reply(results)
