-- Stores tasks.
-- KEYS  1 the shard's base key
-- ARGV  1 how many calls, 2 how long an idempotency key is kept (ms); then per call: queue, how many tasks, and per
--       task: id, type, priority, delayMs, runAt, ttlMs, leaseMs, maxAttempts, backoff, key, fingerprint, attributes, payload
--       ('' for none)
-- Returns per call {'reused', index} or {'stored', the queue's maxAttempts, task, …}, a task being its runAt when it was stored now, otherwise
--       {'replayed' | 'known', view} or {'pruned', record}
local QUEUE_FIELDS = { 'n', '+enqueued', 'maxAttempts', 'ready4' }
-- @include defaults core queue body task
local WINDOW = tonumber(ARGV[2])
local STRIDE = 13

-- A key's record when it is still in force.
local function key_record(queue, key)
  local record = call('GET', BASE .. 'k:' .. queue .. ':' .. key)
  if not record then return nil end
  local id, fingerprint, used, rest = string.match(record, '^([^|]*)|([^|]*)|(%d+)(.*)$')
  if tonumber(used) + WINDOW <= NOW then return nil end
  return { id = id, fingerprint = fingerprint, rest = rest }
end

local function first_reuse(queue, at, count)
  local seen = {}
  for index = 0, count - 1 do
    local base = at + index * STRIDE
    local key, fingerprint = ARGV[base + 9], ARGV[base + 10]
    if key ~= '' then
      local record = seen[key] or key_record(queue, key)
      if record and record.fingerprint ~= fingerprint then return index end
      seen[key] = { fingerprint = fingerprint }
    end
  end
  return nil
end

local function replay(record)
  local task = load_task(record.id)
  if task then return { 'replayed', view(task) } end
  return { 'pruned', record.id .. record.rest }
end

-- Ids stored by this call, by the bucket of their number.
local buckets = {}

local function write_buckets(name)
  for bucket, ids in pairs(buckets) do
    if call('RPUSH', BASE .. 'i:' .. bucket .. ':' .. name, unpack(ids)) == #ids then
      call('ZADD', BASE .. 'n:' .. name, bucket, bucket)
    end
  end
  buckets = {}
end

local function store(name, at)
  local id, kind, priority, delay, run_at, ttl = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  local key, fingerprint, attributes = ARGV[at + 9], ARGV[at + 10], ARGV[at + 11]
  local queue = open_queue(name)
  local due = NOW
  if delay ~= '' then due = NOW + delay elseif run_at ~= '' then due = math.max(NOW, tonumber(run_at)) end
  local state = due > NOW and 'scheduled' or 'ready'
  local expires = ttl ~= '' and NOW + ttl or ''
  local n = queue_number(queue, 'n') + 1
  local body = table.concat({
    '1', name, n, priority, state, NOW, due, expires, ARGV[at + 6], ARGV[at + 7], ARGV[at + 8], key, kind, #attributes, attributes,
  }, '|') .. ARGV[at + 12]
  -- The id was minted before the call: a second call with it finds the task and changes nothing.
  if not call('SET', BASE .. 'b:' .. id, body, 'NX') then return { 'known', view(load_task(id)) } end
  if not queue.exists then make_queue(queue) end
  add(queue, 'n', 1)
  add(queue, '+enqueued', 1)
  local bucket = math.floor(n / BUCKET)
  local ids = buckets[bucket]
  if not ids then
    ids = {}
    buckets[bucket] = ids
  end
  ids[#ids + 1] = id
  if state == 'ready' then
    add(queue, 'ready' .. priority, 1)
    push(line_key(priority, name), id)
  else
    add(queue, '#scheduled', 1)
    zput(BASE .. 'd:' .. name, id, due)
    expect(queue, due)
  end
  if expires ~= '' then
    zput(BASE .. 'e:' .. name, id, expires)
    expect(queue, expires)
  end
  if key ~= '' then call('SET', BASE .. 'k:' .. name .. ':' .. key, id .. '|' .. fingerprint .. '|' .. NOW, 'PX', WINDOW) end
  return due
end

local function store_all(name, at, count)
  local results = { 'stored', setting(open_queue(name), 'maxAttempts') }
  for index = 0, count - 1 do
    local base = at + index * STRIDE
    local key = ARGV[base + 9]
    local record = key ~= '' and key_record(name, key)
    results[index + 3] = record and replay(record) or store(name, base)
  end
  write_buckets(name)
  return results
end

local results = {}
local at = 3
for item = 1, tonumber(ARGV[1]) do
  local name, count = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  local reused = first_reuse(name, at, count)
  results[item] = reused and { 'reused', reused } or store_all(name, at, count)
  at = at + count * STRIDE
end
return reply(results)
