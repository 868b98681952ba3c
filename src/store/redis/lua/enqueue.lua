-- Stores tasks.
-- KEYS  1 the shard's base key
-- ARGV  1 how many calls, 2 how long an idempotency key is kept (ms); then per call: queue, how many tasks, and per
--       task: id, 'type|length of attributes|queue|' as in the body, priority, and the rest of the body from before leaseMs.
--       What not every task has comes with the priority: 'priority,delayMs,runAt,ttlMs,key,fingerprint' (each may be empty)
-- Returns per call {'reused', index} or {'stored', the queue's maxAttempts, task, …}, a task being its runAt when it was
--       stored now, otherwise {'replayed' | 'known', view} or {'pruned', record}. No task: all were stored now, to run now
local STRIDE = 4
local EXTRAS = '^(%d),(%d*),(%d*),(%d*),([^,]*),(.*)$'
local BAR = ('|'):byte()
-- What this call has to do with: how long keys are kept, whether none of its tasks is known, bodies to be written in the form of
-- an MSET, how the body of a task that may run at once begins, and what is put into each queue.
local window, new, bodies, start_now, intakes

-- Index of the first task that reuses a key with another fingerprint. Nothing has been written yet.
local function first_reuse(name, at, count)
  local seen = {}
  for index = 0, count - 1 do
    local extras = ARGV[at + index * STRIDE + 2]
    if #extras > 1 then
      local _, _, _, _, key, fingerprint = string.match(extras, EXTRAS)
      if key ~= '' then
        local record = seen[key] or key_record(open_queue(name), key, window)
        if record and record.fingerprint ~= fingerprint then return index end
        seen[key] = { fingerprint = fingerprint }
      end
    end
  end
  return nil
end

-- For answers about tasks that were stored before.
local function view_of(id)
  local task = load_task(id)
  return task and view(task)
end

-- Tasks minted with one id are one task: usually none of them is known yet, which one call tells.
local function none_known()
  local keys, seen = {}, {}
  local at = 3
  for _ = 1, tonumber(ARGV[1]) do
    for _ = 1, tonumber(ARGV[at + 1]) do
      local id = ARGV[at + 2]
      if seen[id] then return false end
      seen[id] = true
      keys[#keys + 1] = BASE .. 'b:' .. id
      at = at + STRIDE
    end
    at = at + 2
  end
  return call('EXISTS', unpack(keys)) == 0
end

local function open_intake(name)
  local intake = intakes[name]
  if not intake then
    local queue = open_queue(name)
    if not queue.exists then make_queue(queue) end
    intake = { queue = queue, n = queue_number(queue, 'n'), stored = 0, scheduled = 0, ready = {}, lines = {}, buckets = {} }
    intakes[name] = intake
  end
  return intake
end

-- Whatever is not to run at once, or may be known.
local function store_special(intake, base)
  local id, extras = ARGV[base], ARGV[base + 2]
  local queue, name = intake.queue, intake.queue.name
  local body_key = BASE .. 'b:' .. id
  if not new and call('EXISTS', body_key) == 1 then return { 'known', view_of(id) } end
  local priority, due, expires, key, fingerprint = extras, NOW, '', '', nil
  if #extras > 1 then
    local delay, run_at, ttl
    priority, delay, run_at, ttl, key, fingerprint = string.match(extras, EXTRAS)
    if key ~= '' then
      local record = key_record(queue, key, window)
      if record then
        local view = view_of(record.id)
        if not view then return { 'pruned', record.id .. record.rest } end
        return { 'replayed', view }
      end
    end
    if delay ~= '' then due = NOW + delay elseif run_at ~= '' then due = math.max(NOW, tonumber(run_at)) end
    if ttl ~= '' then expires = digits(NOW + ttl) end
  end
  local n = intake.n + 1
  intake.n = n
  intake.stored = intake.stored + 1
  local later = due > NOW
  local start = later and '1|scheduled|' .. NOW_TEXT .. '|' .. digits(due) .. '|' or start_now
  local rest = ARGV[base + 3]
  -- At once: a repetition in the same call must find it.
  call('SET', body_key, start .. ARGV[base + 1] .. digits(n) .. '|' .. priority .. '|' .. expires .. rest)
  local bucket = math.floor(n / BUCKET)
  push(BASE .. 'i:' .. bucket .. ':' .. name, id)
  intake.buckets[bucket] = true
  if later then
    intake.scheduled = intake.scheduled + 1
    zput(BASE .. 'd:' .. name, id, due)
    expect(queue, due)
  else
    intake.ready[priority] = (intake.ready[priority] or 0) + 1
    -- A bare id says that there is nothing to look at before it is granted.
    push(line_key(priority, name), expires == '' and string.byte(rest, 2) == BAR and id or id .. ':' .. digits(n))
  end
  if expires ~= '' then
    zput(BASE .. 'e:' .. name, id, expires)
    expect(queue, tonumber(expires))
  end
  if key ~= '' then write_key(queue, key, id, fingerprint, window) end
  return due
end

-- Stores new tasks from `first` on, as long as they are of the most usual kind. Answers how many.
local function store_plain(intake, first, count)
  local name, n = intake.queue.name, intake.n
  local written, stored = #bodies, 0
  local line_of, line, bucket_of, bucket
  for base = first, first + (count - 1) * STRIDE, STRIDE do
    local id, priority, rest = ARGV[base], ARGV[base + 2], ARGV[base + 3]
    -- One digit, and no leaseMs of its own.
    if #priority > 1 or string.byte(rest, 2) ~= BAR then break end
    n = n + 1
    bodies[written + 1] = BASE .. 'b:' .. id
    bodies[written + 2] = start_now .. ARGV[base + 1] .. digits(n) .. '|' .. priority .. '|' .. rest
    written = written + 2
    if priority ~= line_of then
      line_of = priority
      line = open_list(line_key(priority, name))
    end
    line[#line + 1] = id
    intake.ready[priority] = (intake.ready[priority] or 0) + 1
    if n % BUCKET == 0 or not bucket then
      bucket_of = math.floor(n / BUCKET)
      intake.buckets[bucket_of] = true
      bucket = open_list(BASE .. 'i:' .. bucket_of .. ':' .. name)
    end
    bucket[#bucket + 1] = id
    stored = stored + 1
  end
  intake.n = n
  intake.stored = intake.stored + stored
  return stored
end

local function store_call(name, at, count)
  local intake = open_intake(name)
  local results = { 'stored', setting(intake.queue, 'maxAttempts') }
  local index = 0
  while index < count do
    local plain = new and store_plain(intake, at + index * STRIDE, count - index) or 0
    if plain == count then return results end
    for place = index, index + plain - 1 do
      results[place + 3] = NOW
    end
    index = index + plain
    if index < count then
      results[index + 3] = store_special(intake, at + index * STRIDE)
      index = index + 1
    end
  end
  return results
end

local function close_intake(intake)
  local queue = intake.queue
  for bucket in pairs(intake.buckets) do
    if call('EXISTS', BASE .. 'i:' .. bucket .. ':' .. queue.name) == 0 then
      call('ZADD', BASE .. 'n:' .. queue.name, bucket, bucket)
    end
  end
  add(queue, 'n', intake.n - queue_number(queue, 'n'))
  add(queue, '+enqueued', intake.stored)
  if intake.scheduled > 0 then add(queue, '#scheduled', intake.scheduled) end
  for priority, some in pairs(intake.ready) do
    add_ready(queue, priority, some)
  end
end

operation('enqueue', { 'n', '+enqueued', 'maxAttempts', 'ready', 'ready4', 'generation' }, NO_FLAGS, function()
  window = tonumber(ARGV[2])
  new = none_known()
  bodies, intakes = {}, {}
  start_now = '1|ready|' .. NOW_TEXT .. '|' .. NOW_TEXT .. '|'
  local results = {}
  local at = 3
  for item = 1, tonumber(ARGV[1]) do
    local name, count = ARGV[at], tonumber(ARGV[at + 1])
    at = at + 2
    local reused = first_reuse(name, at, count)
    results[item] = reused and { 'reused', reused } or store_call(name, at, count)
    at = at + count * STRIDE
  end
  if #bodies > 0 then call('MSET', unpack(bodies)) end
  for _, intake in pairs(intakes) do
    close_intake(intake)
  end
  write_lists()
  return queue_reply(results)
end)
