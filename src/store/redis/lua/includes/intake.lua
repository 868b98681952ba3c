-- Putting new tasks into queues. In a table, since a library has no more than 200 local names. A call that takes some in begins with
-- intake.begin, and ends with intake.close; what is taken in twice must be judged before (plans.lua).
local intake = {}
intake.BAR = ('|'):byte()

-- window: how long an idempotency key is kept.
function intake.begin(window)
  intake.window = window
  -- By name of the queue, what is put into it.
  intake.opened = {}
  -- How the body of a task begins that may run at once.
  intake.start_now = '1|ready|' .. NOW_TEXT .. '|' .. NOW_TEXT .. '|'
end

function intake.open(name)
  local opened = intake.opened[name]
  if not opened then
    local queue = open_queue(name)
    if not queue.exists then make_queue(queue) end
    opened = { queue = queue, stored = 0, scheduled = 0, blocked = 0, ready = {}, buckets = {} }
    intake.opened[name] = opened
  end
  return opened
end

-- How many tasks were put into the queue and are not counted there yet.
function intake.pending(name)
  local opened = intake.opened[name]
  return opened and opened.stored or 0
end

-- The queue has had such a task.
function intake.mark(queue, field)
  if queue_text(queue, field) then return end
  queue.values[field] = '1'
  queue.changed[field] = true
end

-- Stores the task of the arguments from `base` on (plans.lua), at once: another of the same call must find it. Puts the id of a task
-- that ended so that a unique key came free into `ended`. said: whether something is going to be said of it. Answers its runAt and state.
function intake.store(opened, base, ended, said)
  local id, rest = ARGV[base], ARGV[base + 3]
  local queue, name = opened.queue, opened.queue.name
  local priority, delay, run_at, ttl, key, fingerprint, kind, unique_ttl, digest, _, group_digest, kept = extras_at(base)
  if kind ~= '' then ended[#ended + 1] = clear_the_way(queue, digest, id) end
  local due, expires = NOW, ''
  if delay ~= '' then due = NOW + delay elseif run_at ~= '' then due = math.max(NOW, tonumber(run_at)) end
  if ttl ~= '' then expires = digits(NOW + ttl) end
  -- After the way was cleared, which may have given places from the same counter.
  local n = take_number(queue, 'n')
  opened.stored = opened.stored + 1
  local later = due > NOW
  local blocked = not later and group_digest ~= '' and not is_open_to_new(queue, group_digest)
  local start = intake.start_now
  if later then
    start = '1|scheduled|' .. NOW_TEXT .. '|' .. digits(due) .. '|'
  elseif blocked then
    start = '1|blocked|' .. NOW_TEXT .. '|' .. NOW_TEXT .. '|'
  end
  call('SET', BASE .. 'b:' .. id, start .. ARGV[base + 1] .. digits(n) .. '|' .. priority .. '|' .. expires .. rest)
  tasks[id] = nil
  local bucket = math.floor(n / BUCKET)
  push(BASE .. 'i:' .. bucket .. ':' .. name, id)
  opened.buckets[bucket] = true
  if later then
    opened.scheduled = opened.scheduled + 1
    zput(BASE .. 'd:' .. name, id, due)
    expect(queue, due)
  elseif blocked then
    opened.blocked = opened.blocked + 1
    zput(BASE .. 'v:' .. name, id, n)
  else
    opened.ready[priority] = (opened.ready[priority] or 0) + 1
    -- A bare id says that there is nothing to look at before it is granted, and nothing to do when it ends.
    local bare = not said and expires == '' and kind == '' and group_digest == '' and kept == '' and string.byte(rest, 2) == intake.BAR
    push(line_key(priority, name), bare and id or id .. ':' .. digits(n))
  end
  if expires ~= '' then
    zput(BASE .. 'e:' .. name, id, expires)
    expect(queue, tonumber(expires))
  end
  if key ~= '' then write_key(queue, key, id, fingerprint, intake.window) end
  if kind ~= '' then hold_key(queue, id, NOW, kind, unique_ttl, digest) end
  if group_digest ~= '' and not later then
    call('ZADD', group_line(queue, group_digest), digits(n), id)
    if not blocked then open_group(queue, group_digest).ready = id end
  end
  if group_digest ~= '' then intake.mark(queue, 'grouped') end
  if kept ~= '' then intake.mark(queue, 'keeps') end
  return { due, blocked and 'blocked' or later and 'scheduled' or 'ready' }
end

-- Counts what was put into all queues, and has lists find it.
function intake.close()
  for name, opened in pairs(intake.opened) do
    local queue = opened.queue
    for bucket in pairs(opened.buckets) do
      if call('EXISTS', BASE .. 'i:' .. bucket .. ':' .. name) == 0 then
        call('ZADD', BASE .. 'n:' .. name, bucket, bucket)
      end
    end
    add(queue, '+enqueued', opened.stored)
    if opened.scheduled > 0 then add(queue, '#scheduled', opened.scheduled) end
    if opened.blocked > 0 then add(queue, '#blocked', opened.blocked) end
    for priority, some in pairs(opened.ready) do
      add_ready(queue, priority, some)
    end
  end
  intake.opened = {}
end
