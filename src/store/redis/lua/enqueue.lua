-- Stores tasks.
-- KEYS  1 the shard's base key
-- ARGV  1 how many calls, 2 how long an idempotency key is kept (ms); then per call: queue, how many tasks, and per
--       task: id, priority, 'leaseMs|maxAttempts|backoff', 'type|length of attributes', attributes and payload, and, or '':
--       'delayMs,runAt,ttlMs,key,fingerprint' (each may be empty)
-- Returns per call {'reused', index} or {'stored', the queue's maxAttempts, task, …}, a task being its runAt when it was
--       stored now, otherwise {'replayed' | 'known', view} or {'pruned', record}
local QUEUE_FIELDS = { 'n', '+enqueued', 'maxAttempts', 'ready', 'ready4', 'generation' }
-- @include clock defaults core queue key
local WINDOW = tonumber(ARGV[2])
local STRIDE = 6
local EXTRAS = '^(%d*),(%d*),(%d*),([^,]*),(.*)$'

-- Index of the first task that reuses a key with another fingerprint. Nothing has been written yet.
local function first_reuse(name, at, count)
  local seen = {}
  for index = 0, count - 1 do
    local extras = ARGV[at + index * STRIDE + 5]
    if extras ~= '' then
      local _, _, _, key, fingerprint = string.match(extras, EXTRAS)
      if key ~= '' then
        local record = seen[key] or key_record(open_queue(name), key, WINDOW)
        if record and record.fingerprint ~= fingerprint then return index end
        seen[key] = { fingerprint = fingerprint }
      end
    end
  end
  return nil
end

-- For answers about tasks that were stored before.
local function viewer()
-- @include body task
  return function(id)
    local task = load_task(id)
    return task and view(task)
  end
end
local known_view

local function view_of(id)
  known_view = known_view or viewer()
  return known_view(id)
end

local function store_call(name, at, count)
  local queue = open_queue(name)
  if not queue.exists then make_queue(queue) end
  local results = { 'stored', setting(queue, 'maxAttempts') }
  local n, ready, scheduled, stored = queue_number(queue, 'n'), {}, 0, 0
  local buckets = {}
  -- Tasks minted with one id are one task: usually none of them is known yet, which one call tells.
  local keys = {}
  local new, seen = true, {}
  for index = 0, count - 1 do
    local id = ARGV[at + index * STRIDE]
    keys[index + 1] = BASE .. 'b:' .. id
    if seen[id] then new = false end
    seen[id] = true
  end
  if new then new = call('EXISTS', unpack(keys)) == 0 end
  local bodies = {}

  local function store(base, place)
    local id, priority, extras = ARGV[base], ARGV[base + 1], ARGV[base + 5]
    if not new and call('EXISTS', keys[place]) == 1 then return { 'known', view_of(id) } end
    local due, expires, key, fingerprint = NOW, '', '', nil
    if extras ~= '' then
      local delay, run_at, ttl
      delay, run_at, ttl, key, fingerprint = string.match(extras, EXTRAS)
      if key ~= '' then
        local record = key_record(queue, key, WINDOW)
        if record then
          local view = view_of(record.id)
          if not view then return { 'pruned', record.id .. record.rest } end
          return { 'replayed', view }
        end
      end
      if delay ~= '' then due = NOW + delay elseif run_at ~= '' then due = math.max(NOW, tonumber(run_at)) end
      if ttl ~= '' then expires = string.format('%.0f', NOW + ttl) end
    end
    n = n + 1
    stored = stored + 1
    local later = due > NOW
    bodies[#bodies + 1] = keys[place]
    bodies[#bodies + 1] = '1|' .. (later and 'scheduled|' or 'ready|') .. NOW_TEXT .. '|' .. (later and string.format('%.0f', due) or NOW_TEXT)
      .. '|' .. ARGV[base + 3] .. '|' .. name .. '|' .. n .. '|' .. priority .. '|' .. expires .. '|' .. ARGV[base + 2] .. '|' .. key .. '|' .. ARGV[base + 4]
    if key ~= '' or not new then
      -- A repetition in the same call must find it.
      call('SET', bodies[#bodies - 1], bodies[#bodies])
      bodies[#bodies] = nil
      bodies[#bodies] = nil
    end
    local bucket = math.floor(n / BUCKET)
    local ids = buckets[bucket]
    if ids then ids[#ids + 1] = id else buckets[bucket] = { id } end
    if later then
      scheduled = scheduled + 1
      zput(BASE .. 'd:' .. name, id, due)
      expect(queue, due)
    else
      ready[priority] = (ready[priority] or 0) + 1
      push(line_key(priority, name), id)
    end
    if expires ~= '' then
      zput(BASE .. 'e:' .. name, id, expires)
      expect(queue, tonumber(expires))
    end
    if key ~= '' then write_key(queue, key, id, fingerprint, WINDOW) end
    return due
  end

  for index = 0, count - 1 do
    results[index + 3] = store(at + index * STRIDE, index + 1)
  end
  if #bodies > 0 then call('MSET', unpack(bodies)) end
  for bucket, ids in pairs(buckets) do
    if call('RPUSH', BASE .. 'i:' .. bucket .. ':' .. name, unpack(ids)) == #ids then
      call('ZADD', BASE .. 'n:' .. name, bucket, bucket)
    end
  end
  add(queue, 'n', n - queue_number(queue, 'n'))
  add(queue, '+enqueued', stored)
  if scheduled > 0 then add(queue, '#scheduled', scheduled) end
  for priority, some in pairs(ready) do
    add_ready(queue, priority, some)
  end
  return results
end

local results = {}
local at = 3
for item = 1, tonumber(ARGV[1]) do
  local name, count = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  local reused = first_reuse(name, at, count)
  results[item] = reused and { 'reused', reused } or store_call(name, at, count)
  at = at + count * STRIDE
end
write_lists()
return queue_reply(results)
