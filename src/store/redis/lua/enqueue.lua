-- Stores tasks.
-- KEYS  1 the shard's base key
-- ARGV  1 how many calls, 2 how long an idempotency key is kept (ms); then per call: queue, how many tasks, and per
--       task: id, 'type|length of attributes|queue|' as in the body, priority, and the rest of the body from before leaseMs.
--       What not every task has comes with the priority: 'priority,delayMs,runAt,ttlMs,key,fingerprint,until,ttlMs of what is
--       unique,its key,onConflict,group,retentionMs' (each may be empty)
-- Returns per call {refusal, index, …} or {'stored', the queue's maxAttempts}: all were stored now, to run now, or {'stored', maxAttempts,
--       ids of tasks that ended so that a unique key came free, task, …}, a task being its runAt when it was stored now, or {runAt, state}, otherwise
--       {'replayed' | 'known' | 'deduplicated', view} or {'pruned', record}
-- What this call has to do with: how long keys are kept, whether none of its tasks is known, and bodies to be written in the form
-- of an MSET.
local window, new, bodies
local BAR = intake.BAR

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

-- The answer to a task that is there already.
local function answer_known(queue, base, plan)
  if plan == 'known' then return { 'known', view_of(ARGV[base]) } end
  if plan ~= 'replay' then return { 'deduplicated', view_of(plan[1]) } end
  local _, _, _, _, key = extras_at(base)
  local record = key_record(queue, key, window)
  local view = view_of(record.id)
  if not view then return { 'pruned', record.id .. record.rest } end
  return { record.id == ARGV[base] and 'known' or 'replayed', view }
end

-- Stores new tasks from `first` on, as long as they are of the most usual kind. Answers how many.
local function store_plain(opened, first, count)
  local queue = opened.queue
  local name, n = queue.name, queue_number(queue, 'n')
  local written, stored = #bodies, 0
  local start_now = intake.start_now
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
    opened.ready[priority] = (opened.ready[priority] or 0) + 1
    if n % BUCKET == 0 or not bucket then
      bucket_of = math.floor(n / BUCKET)
      opened.buckets[bucket_of] = true
      bucket = open_list(BASE .. 'i:' .. bucket_of .. ':' .. name)
    end
    bucket[#bucket + 1] = id
    stored = stored + 1
  end
  queue.values.n, queue.changed.n = n, true
  opened.stored = opened.stored + stored
  return stored
end

-- Whether every task of a call is new and has nothing to it that must be judged.
local function is_plain(at, count)
  if not new then return false end
  for base = at, at + (count - 1) * STRIDE, STRIDE do
    if #ARGV[base + 2] > 1 then return false end
  end
  return true
end

local function store_call(name, at, count)
  local queue = open_queue(name)
  local pending = intake.pending(name)
  local plain = is_plain(at, count)
  local most = plain and queue.exists and tonumber(filled(queue_text(queue, 'maxBacklog')))
  if most then
    local room = math.max(0, most - backlog_of(queue) - pending)
    if room < count then return { 'queue_full', room } end
  end
  local plans, refusal, refused
  if not plain then
    plans, refusal, refused = plan_call(queue, at, count, backlog_of(queue) + pending, window)
    if refusal then return { refusal, unpack(refused) } end
  end
  local opened = intake.open(name)
  local results = { 'stored', setting(queue, 'maxAttempts'), {} }
  local index = plain and store_plain(opened, at, count) or 0
  if index == count then return { 'stored', results[2] } end
  for known = 0, index - 1 do
    results[known + 4] = NOW
  end
  for rest = index, count - 1 do
    local base = at + rest * STRIDE
    local plan = plans and plans[rest] or 'store'
    results[rest + 4] = plan == 'store' and intake.store(opened, base, results[3]) or answer_known(queue, base, plan)
  end
  return results
end

operation('enqueue', {
  'n', '+enqueued', 'maxAttempts', 'ready', 'ready4', 'generation', 'maxBacklog', '#scheduled', '#blocked', '#leased',
}, NO_FLAGS, function()
  window = tonumber(ARGV[2])
  new = none_known()
  bodies = {}
  intake.begin(window)
  local results = {}
  local at = 3
  for item = 1, tonumber(ARGV[1]) do
    local name, count = ARGV[at], tonumber(ARGV[at + 1])
    results[item] = store_call(name, at + 2, count)
    at = at + 2 + count * STRIDE
  end
  if #bodies > 0 then call('MSET', unpack(bodies)) end
  intake.close()
  return reply(results)
end)
