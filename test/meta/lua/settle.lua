#!lua flags=allow-oom
-- Ends or extends leases. Allowed in a full Redis: finished work must get through.
-- KEYS  1 the shard's base key
-- ARGV  1 how many items; then per item: verb, id, token, how many more, and those:
--       ack: nothing, or the result. nack: '1' with an error else '0', code, message ('+' and text, '' for none), details, '1' when retryable, delayMs, random.
--       release: delayMs. heartbeat: leaseMs, maxRuntimeMs, progress, checkpoint. ('' for none)
-- Returns per item 'acked|queue|runAt' (completed at the first attempt) or 'settled|queue|state|attempt|late|replayed|runAt|deadline ('' unless a heartbeat)|cancelRequested' or
--       'refused|problem code|queue in which the task became ready or empty'
local QUEUE_FIELDS = { '#leased', '#completed', '+acked', 'completedMs', 'completedMax', 'watchedUntil' }
-- The only clock: ms since the epoch, by the server.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local DEFAULTS = { leaseMs = 30000, maxAttempts = 5, backoff = "exponential,1000,3600000,0.2", completedMs = 600000, completedMax = 10000, deadMs = 2592000000 }
local FRONT = 4503599627370496
local MIN_RETENTION_BY_COUNT_MS = 10000
-- What every script starts from: the shard's base key, the time, how keys are named, and writes put off to the
-- end, so that a script for a hundred tasks calls Redis as often as one for one.
--   <base>:b:<id>            string  body: what never changes about a task, payload included (body.lua)
--   <base>:t:<id>            string  what has changed about a task; absent before the first change (task.lua)
--   <base>:h:<id>            hash    what workers have said of a task; absent where nobody said anything (task.lua)
--   <base>:q:<queue>         hash    configuration, counters and totals of a queue
--   <base>:l:<priority>:<queue>  list  ready line: ids, or id:place when the task was put at the back again
--   <base>:f:<priority>:<queue>  zset  ready tasks in front of that line, by place
--   <base>:d:<queue>         zset    scheduled tasks by due time
--   <base>:x:<queue>         zset    leases by deadline
--   <base>:e:<queue>         zset    waiting tasks that have a ttl, by its end
--   <base>:z:<state>:<queue> zset    finished tasks by time of finishing
--   <base>:i:<bucket>:<queue> list   ids in order of creation, BUCKET sequence numbers a list
--   <base>:n:<queue>         zset    the buckets in use
--   <base>:k:<queue>:<key>   string  an idempotency key: id|fingerprint|first use|generation of the queue[|what is left of a pruned task]
--   <base>:r:<queue>:<name>  string  what a named lease call was granted: token|id,…
--   <base>:g:<process>       string  what the latest lease script of a process granted (grants.lua)
--   <base>:ready:<queue>     channel the first task has become ready in an empty queue; the message is who did it
--   <base>:finished          channel a task of a watched queue has ended; the message is who did it|id
--   <base>:m:<queue>         hash    how many ids of a bucket are of deleted tasks
--   <base>:due               zset    queues by when something in them is due next
--   <base>:keep              zset    queues by when retention lets go of something in them next
--   <base>:queues            zset    all queues of the shard
--   <base>:meta              hash    version and shards of the data (first shard), how many queues were ever made
local BASE = KEYS[1] .. ':'
-- Who calls, the last argument of every script: publications name it, so that nobody is woken by himself.
local ORIGIN = table.remove(ARGV)
local NOW = clock()
-- A whole number as text. Lua's own conversion costs twice as much and loses digits above 2^46; as an argument of a command
-- a number costs more still.
local function digits(number)
  return string.format('%d', number)
end
-- Written most of all, so written once.
local NOW_TEXT = digits(NOW)
local BUCKET = 128
-- When the earliest of what this script touched is due.
local earliest = nil

local call = redis.call

-- The text, or nil for none.
local function filled(text)
  if text == '' or text == false then return nil end
  return text
end

local function line_key(priority, queue)
  return BASE .. 'l:' .. priority .. ':' .. queue
end

local function front_key(priority, queue)
  return BASE .. 'f:' .. priority .. ':' .. queue
end

-- Calls a variadic command with as many arguments at a time as Lua can unpack.
local function call_all(command, key, args)
  for first = 1, #args, 4000 do
    call(command, key, unpack(args, first, math.min(first + 3999, #args)))
  end
end

-- Members to be written to sorted sets: key -> member -> score, or false to remove it. The last word counts.
local zsets = {}

local function zput(key, member, score)
  local members = zsets[key]
  if not members then
    members = {}
    zsets[key] = members
  end
  members[member] = score
end

local function zdel(key, member)
  zput(key, member, false)
end

local function write_zsets()
  for key, members in pairs(zsets) do
    local gone, there = {}, {}
    for member, score in pairs(members) do
      if score then
        there[#there + 1] = type(score) == 'number' and digits(score) or score
        there[#there + 1] = member
      else
        gone[#gone + 1] = member
      end
    end
    call_all('ZREM', key, gone)
    call_all('ZADD', key, there)
  end
  zsets = {}
end

-- Ids to be appended to lists: key -> ids in order.
local lists = {}

local function open_list(key)
  local list = lists[key]
  if not list then
    list = {}
    lists[key] = list
  end
  return list
end

local function push(key, entry)
  local list = open_list(key)
  list[#list + 1] = entry
end

local function write_lists()
  for key, entries in pairs(lists) do
    call_all('RPUSH', key, entries)
  end
  lists = {}
end
-- A queue's counters and settings: read at first touch (QUEUE_FIELDS, which a script defines, in one go), written
-- once at the end.
local queues = {}

local function open_queue(name)
  local queue = queues[name]
  if queue then return queue end
  local key = BASE .. 'q:' .. name
  local found = call('HMGET', key, 'created', 'due', 'keep', unpack(QUEUE_FIELDS))
  local values = { created = found[1], due = found[2], keep = found[3] }
  for index, field in ipairs(QUEUE_FIELDS) do
    values[field] = found[index + 3]
  end
  queue = { name = name, key = key, values = values, changed = {}, exists = found[1] ~= false }
  queues[name] = queue
  return queue
end

-- The text of a field, or nil.
local function queue_text(queue, field)
  local value = queue.values[field]
  if value == nil then
    value = call('HGET', queue.key, field)
    queue.values[field] = value
  end
  return value or nil
end

local function queue_number(queue, field)
  return tonumber(queue_text(queue, field) or 0)
end

local function add(queue, field, change)
  queue.values[field] = queue_number(queue, field) + change
  queue.changed[field] = true
end

-- Names of the counters of ready tasks, by priority as a number and as text.
local READY_OF = {
  [0] = 'ready0', ['0'] = 'ready0',
  [1] = 'ready1', ['1'] = 'ready1',
  [2] = 'ready2', ['2'] = 'ready2',
  [3] = 'ready3', ['3'] = 'ready3',
  [4] = 'ready4', ['4'] = 'ready4',
  [5] = 'ready5', ['5'] = 'ready5',
  [6] = 'ready6', ['6'] = 'ready6',
  [7] = 'ready7', ['7'] = 'ready7',
  [8] = 'ready8', ['8'] = 'ready8',
  [9] = 'ready9', ['9'] = 'ready9',
}

-- Ready tasks are counted by priority and in all. Where the first one comes into an empty queue, whoever waits for it in
-- another process is told.
local function add_ready(queue, priority, change)
  if not queue.ready_before then queue.ready_before = queue_number(queue, 'ready') end
  add(queue, 'ready', change)
  add(queue, READY_OF[priority], change)
end

-- Somebody waits for the end of a task of this queue: every end is told.
local function announce_end(queue, id)
  if queue_number(queue, 'watchedUntil') > NOW then call('SPUBLISH', BASE .. 'finished', ORIGIN .. '|' .. id) end
end

local function announce(queue)
  call('SPUBLISH', BASE .. 'ready:' .. queue.name, ORIGIN)
end

-- The next number of a counter.
local function take_number(queue, counter)
  add(queue, counter, 1)
  return queue.values[counter]
end

-- A setting of the queue, or its default.
local function setting(queue, field)
  return tonumber(queue_text(queue, field) or DEFAULTS[field])
end

-- A queue comes into being with its first task or its first configuration. The note is longer than what fits
-- into Redis' compact encoding, on purpose: as a hash table, every counter is found in one step.
local function make_queue(queue)
  queue.exists = true
  queue.values.created = NOW
  queue.values.generation = tostring(call('HINCRBY', BASE .. 'meta', 'generations', 1))
  call('HSET', queue.key, 'created', NOW, 'generation', queue.values.generation, 'note', 'this value is longer than sixty-four bytes so that Redis keeps the hash as a table')
  call('ZADD', BASE .. 'queues', 0, queue.name)
end

-- Something in the queue is due at a time.
local function expect(queue, at)
  if not earliest or at < earliest then earliest = at end
  local due = queue.values.due
  if not due or at < tonumber(due) then
    queue.values.due = at
    queue.changed.due = true
    zput(BASE .. 'due', queue.name, at)
  end
end

-- Retention lets go of something in the queue at a time. Nobody is told: it is not urgent, and every shard is swept every so often.
local function expect_retention(queue, at)
  local known = queue.values.keep
  if not known or at < tonumber(known) then
    queue.values.keep = at
    queue.changed.keep = true
    zput(BASE .. 'keep', queue.name, at)
  end
end

-- Writes what has changed about the queues this script touched.
local function write_queues()
  for _, queue in pairs(queues) do
    local fields = {}
    for field in pairs(queue.changed) do
      fields[#fields + 1] = field
      local value = queue.values[field]
      fields[#fields + 1] = type(value) == 'number' and digits(value) or value
    end
    if #fields > 0 and queue.exists then call('HSET', queue.key, unpack(fields)) end
    if queue.ready_before == 0 and queue_number(queue, 'ready') > 0 then announce(queue) end
    queue.ready_before = nil
    queue.changed = {}
  end
end

-- The end of a script that touched queues alone: now, when the earliest of what was touched is due ('' for never), the results.
local function queue_reply(results)
  write_zsets()
  write_queues()
  return { NOW, earliest or '', results }
end
-- When retention lets go of what finished at a time.
local function kept_until(queue, state, finished)
  if state == 'dead' then return finished + setting(queue, 'deadMs') end
  local by_age = finished + setting(queue, 'completedMs')
  if queue_number(queue, '#' .. state) > setting(queue, 'completedMax') then
    return math.min(by_age, finished + MIN_RETENTION_BY_COUNT_MS)
  end
  return by_age
end

-- When retention is due next because a task finishes now: it may crowd out one that finished long ago.
local function retention_due(queue, state)
  local due = kept_until(queue, state, NOW)
  if state == 'dead' or queue_number(queue, '#' .. state) <= setting(queue, 'completedMax') then return due end
  local oldest = tonumber(call('ZRANGE', BASE .. 'z:' .. state .. ':' .. queue.name, 0, 0, 'WITHSCORES')[2])
  return oldest and math.min(due, math.max(NOW, oldest + MIN_RETENTION_BY_COUNT_MS)) or due
end
-- The body of a task is written once and never changed, but for its first byte:
--   1|state|createdAt|runAt|type|length of attributes|queue|n|priority|expiresAt|leaseMs|maxAttempts|backoff|key|
-- then the attributes (JSON: tags, metadata, trace) and the payload, both opaque bytes. From the queue to the key it is
-- what a changed task goes on carrying as it is (task.lua). The first byte becomes 2 when the task leaves its line other
-- than by being popped: an entry of a line whose body says 1 is ready to be granted, whatever else there is to know of it.
local FRESH = '^[12]|(%a+)|%d+|(%d+)|[^|]*|%d+|(([^|]*)|(%d+)|%d|(%d*)|(%d*)|%d*|[^|]*|[^|]*)|'
local TYPE = '^[12]|%a+|%d+|%d+|([^|]*)|'
-- No header is longer: two names, a backoff, a digest and nine numbers.
local HEADER_END = 639

local function header_of(id)
  return call('GETRANGE', BASE .. 'b:' .. id, 0, HEADER_END)
end

-- Any verb in any case.
local function everything()
local SETTLE_TABLE = { unknown = { ack = "task_not_found", nack = "task_not_found", release = "task_not_found", heartbeat = "task_not_found" }, superseded = { ack = "lease_lost", nack = "lease_lost", release = "lease_lost", heartbeat = "lease_lost" }, repeated = { ack = "replay", nack = "replay", release = "replay", heartbeat = "already_settled" }, cancelled = { ack = "task_cancelled", nack = "task_cancelled", release = "task_cancelled", heartbeat = "task_cancelled" }, settled = { ack = "already_settled", nack = "already_settled", release = "already_settled", heartbeat = "already_settled" }, lapsed = { ack = "late", nack = "late", release = "already_settled", heartbeat = "lease_lost" }, late = { ack = "late", nack = "late", release = "lease_lost", heartbeat = "late" }, held = { ack = "accept", nack = "accept", release = "accept", heartbeat = "accept" } }
local LEASE_END_RULES = { ack = { { when = "always", state = "completed" } }, nack = { { when = "cancelRequested", state = "cancelled" }, { when = "ttlPassed", state = "expired" }, { when = "exhausted", state = "dead" }, { when = "delayed", state = "scheduled" }, { when = "always", state = "ready", place = "back" } }, release = { { when = "cancelRequested", state = "cancelled" }, { when = "ttlPassed", state = "expired" }, { when = "delayed", state = "scheduled" }, { when = "always", state = "ready", place = "old" } }, expiry = { { when = "cancelRequested", state = "cancelled" }, { when = "ttlPassed", state = "expired" }, { when = "exhausted", state = "dead" }, { when = "always", state = "ready", place = "front" } } }
local LEASE_EXPIRED_CODE = "lease_expired"
local LEASE_EXPIRED_MESSAGE = "The lease ran out before the worker settled it."
-- Loading and changing a task. What has changed since it was stored is one text of fields in this order:
--   1 s state  2 tk token  3 ex lease deadline  4 at attempt  5 dl deliveries  6 lm length of the lease  7 ga granted at
--   8 gn number of the grant  9 wk worker  10 sv how the latest grant was settled (verb,state,attempt,runAt,late)
--   11 ra runAt  12 fa finishedAt  13 pl place  14 fr 1 when in front of its line  15 cr 1 when a cancellation is asked for
--   16 said 1 when there is a hash with what workers said: pr progress, cp checkpoint, rs result, ec em ed ea et the last
--   error, rq the name of the lease call
--   and, as in the body, 17 q queue  18 n sequence  19 p priority  20 xa expiresAt  21 tl 22 ma 23 bo 24 ik the task's own
--   leaseMs, maxAttempts, backoff and idempotency key.
-- The first grant of a task, and the ack that ends it, are most of all changes. They have short texts; all else is in the body:
--   ~n|key|token|deadline|length|granted at|worker|queue|runAt|number of the grant
--   !finishedAt|n|key|… the same; ? instead of ! when there is a hash with what workers said
local PACKED = '^' .. string.rep('([^|]*)|', 23) .. '(.*)$'

local FIRST_GRANT = '^~%d+|[^|]*|([^|]*)|(%d+)|(%d+)|(%d+)|([^|]*)|[^|]*|%d+|(%d+)$'
local FIRST_ACK = '^[!?](%d+)|%d+|[^|]*|([^|]*)|%d+|(%d+)|(%d+)|[^|]*|[^|]*|%d+|(%d+)$'
local TILDE, QUESTION, EXCLAMATION = string.byte('~?!', 1, 3)

local tasks = {}
local changed = {}

local function put(task, field, value)
  task[field] = value
  if not task.changed then
    task.changed = true
    changed[#changed + 1] = task
  end
end

-- A task that has never changed is what its body says.
local function fresh_task(id, body)
  local s, ra, own, q, n, xa, tl = string.match(body, FRESH)
  if not s then error('the body of task ' .. id .. ' cannot be read') end
  local p, ma, bo, ik = string.match(own, '|(%d)|%d*|%d*|(%d*)|([^|]*)|([^|]*)$')
  local task = {
    id = id, q = q, n = tonumber(n), p = p, s = s, at = 0, dl = 0, ra = tonumber(ra), xa = tonumber(xa),
    tl = tonumber(tl), ma = tonumber(ma), bo = filled(bo), ik = filled(ik), fresh = true,
  }
  if s == 'ready' then task.pl = task.n end
  return task
end

-- A task that was granted once, and perhaps acknowledged, since it was stored.
local function first_task(id, text)
  local task = fresh_task(id, header_of(id))
  local deadline, length, granted
  task.fresh, task.at, task.dl = nil, 1, 1
  if string.byte(text) == TILDE then
    task.s = 'leased'
    task.tk, deadline, length, granted, task.wk, task.gn = string.match(text, FIRST_GRANT)
    task.ex, task.wk = tonumber(deadline), filled(task.wk)
  else
    local finished
    task.s = 'completed'
    finished, task.tk, length, granted, task.gn = string.match(text, FIRST_ACK)
    task.fa = tonumber(finished)
    if string.byte(text) == QUESTION then task.said = '1' end
    task.sv = table.concat({ 'ack', 'completed', 1, task.ra, 0 }, ',')
  end
  if not task.gn then error('task ' .. id .. ' cannot be read') end
  task.lm, task.ga, task.gn = tonumber(length), tonumber(granted), tonumber(task.gn)
  return task
end

local function unpack_task(id, packed)
  local first = string.byte(packed)
  if first == TILDE or first == QUESTION or first == EXCLAMATION then return first_task(id, packed) end
  local s, tk, ex, at, dl, lm, ga, gn, wk, sv, ra, fa, pl, fr, cr, said, q, n, p, xa, tl, ma, bo, ik = string.match(packed, PACKED)
  if not s then error('task ' .. id .. ' cannot be read') end
  return {
    id = id, s = s, tk = filled(tk), ex = tonumber(ex), at = tonumber(at), dl = tonumber(dl), lm = tonumber(lm),
    ga = tonumber(ga), gn = tonumber(gn), wk = filled(wk), sv = filled(sv), ra = tonumber(ra), fa = tonumber(fa),
    pl = tonumber(pl), fr = filled(fr), cr = filled(cr), said = filled(said), q = q, n = tonumber(n), p = p,
    xa = tonumber(xa), tl = tonumber(tl), ma = tonumber(ma), bo = filled(bo), ik = filled(ik),
  }
end

local function whole(number)
  return number and digits(number) or ''
end

local function pack_task(task)
  return table.concat({
    task.s, task.tk or '', whole(task.ex), task.at, task.dl, whole(task.lm), whole(task.ga), whole(task.gn), task.wk or '',
    task.sv or '', digits(task.ra), whole(task.fa), whole(task.pl), task.fr or '', task.cr or '', task.said or '',
    task.q, digits(task.n), task.p, whole(task.xa), whole(task.tl), task.ma or '', task.bo or '', task.ik or '',
  }, '|')
end

-- Reads many tasks at once, in order, leaving out those that do not exist; load_task finds them from then on.
local function load_tasks(ids)
  local keys, wanted = {}, {}
  for _, id in ipairs(ids) do
    if tasks[id] == nil then
      tasks[id] = false
      wanted[#wanted + 1] = id
      keys[#keys + 1] = BASE .. 't:' .. id
    end
  end
  if #keys > 0 then
    for index, packed in ipairs(call('MGET', unpack(keys))) do
      local id = wanted[index]
      if packed then
        tasks[id] = unpack_task(id, packed)
      else
        local body = header_of(id)
        if body ~= '' then tasks[id] = fresh_task(id, body) end
      end
    end
  end
  local found = {}
  for _, id in ipairs(ids) do
    found[#found + 1] = tasks[id] or nil
  end
  return found
end

-- The task, or nil when there is none.
local function load_task(id)
  if tasks[id] == nil then load_tasks({ id }) end
  return tasks[id] or nil
end

-- What a worker, or the broker, says of a task; nil takes it back.
local function say(task, field, value)
  local key = BASE .. 'h:' .. task.id
  if value == nil then
    if task.said then call('HDEL', key, field) end
  else
    call('HSET', key, field, value)
    if not task.said then put(task, 'said', '1') end
  end
end

local function write_tasks()
  local pairs_of, gone = {}, {}
  for _, task in ipairs(changed) do
    if task.deleted then
      gone[#gone + 1] = BASE .. 'b:' .. task.id
      gone[#gone + 1] = BASE .. 't:' .. task.id
      if task.said then gone[#gone + 1] = BASE .. 'h:' .. task.id end
    else
      pairs_of[#pairs_of + 1] = BASE .. 't:' .. task.id
      pairs_of[#pairs_of + 1] = pack_task(task)
    end
    task.changed, task.fresh = nil, nil
  end
  changed = {}
  for first = 1, #gone, 4000 do
    call('DEL', unpack(gone, first, math.min(first + 3999, #gone)))
  end
  for first = 1, #pairs_of, 4000 do
    call('MSET', unpack(pairs_of, first, math.min(first + 3999, #pairs_of)))
  end
end

-- A task for a reply: id, body, what has changed ('' for nothing), what was said ('' for nothing), the queue's maxAttempts.
-- Comes after the last change to the task.
local function view(task, body)
  return {
    task.id,
    body or call('GET', BASE .. 'b:' .. task.id),
    task.fresh and not task.changed and '' or pack_task(task),
    task.said and call('HGETALL', BASE .. 'h:' .. task.id) or '',
    setting(open_queue(task.q), 'maxAttempts'),
  }
end

-- The end of a script that touched tasks: now, when the earliest of what was touched is due ('' for never), the results.
-- What makes room is written before what takes some.
local function reply(results)
  write_tasks()
  write_lists()
  return queue_reply(results)
end
-- Moving a task between the structures; in flight it is in exactly one.
-- Queues in which a task became ready, by name.
local readied = {}

-- Takes a task out of the structure it is in. In a ready list it stays behind as an entry that no longer fits
-- its task, which the next pop skips.
local function leave(queue, task)
  local state = task.s
  if state == 'ready' then
    if task.fresh then call('SETRANGE', BASE .. 'b:' .. task.id, 0, '2') end
    add_ready(queue, task.p, -1)
    if task.fr then
      zdel(front_key(task.p, queue.name), task.id)
      add(queue, 'front', -1)
      put(task, 'fr', nil)
    end
  else
    add(queue, '#' .. state, -1)
    if state == 'scheduled' then
      zdel(BASE .. 'd:' .. queue.name, task.id)
    elseif state == 'leased' then
      zdel(BASE .. 'x:' .. queue.name, task.id)
    else
      zdel(BASE .. 'z:' .. state .. ':' .. queue.name, task.id)
    end
  end
  if task.xa and (state == 'ready' or state == 'scheduled') then zdel(BASE .. 'e:' .. queue.name, task.id) end
end

local function watch_ttl(queue, task)
  if task.xa then
    zput(BASE .. 'e:' .. queue.name, task.id, task.xa)
    expect(queue, task.xa)
  end
end

-- place: 'back', 'old' (where it stood) or 'front' (before all but expired ones of earlier grants).
local function enter_ready(queue, task, place)
  put(task, 's', 'ready')
  add_ready(queue, task.p, 1)
  if place == 'back' then
    put(task, 'pl', take_number(queue, 'n'))
    push(line_key(task.p, queue.name), task.id .. ':' .. digits(task.pl))
  else
    if place == 'front' then put(task, 'pl', task.gn - FRONT) end
    put(task, 'fr', '1')
    add(queue, 'front', 1)
    zput(front_key(task.p, queue.name), task.id, task.pl)
  end
  watch_ttl(queue, task)
  readied[queue.name] = true
end

local function enter_scheduled(queue, task, at)
  put(task, 's', 'scheduled')
  put(task, 'ra', at)
  add(queue, '#scheduled', 1)
  zput(BASE .. 'd:' .. queue.name, task.id, at)
  expect(queue, at)
  watch_ttl(queue, task)
end

local function set_deadline(queue, task, deadline)
  put(task, 'ex', deadline)
  zput(BASE .. 'x:' .. queue.name, task.id, deadline)
  expect(queue, deadline)
end

local function enter_leased(queue, task, deadline)
  put(task, 's', 'leased')
  add(queue, '#leased', 1)
  set_deadline(queue, task, deadline)
end

local function enter_finished(queue, task, state)
  put(task, 's', state)
  put(task, 'fa', NOW)
  add(queue, '#' .. state, 1)
  if state == 'dead' then add(queue, '+dead', 1) end
  zput(BASE .. 'z:' .. state .. ':' .. queue.name, task.id, NOW)
  expect_retention(queue, retention_due(queue, state))
  announce_end(queue, task.id)
end
-- How a lease ends, and what time alone makes of a task.

-- Enters the state that a rule names.
local function enter(queue, task, rule, wait)
  if rule.state == 'ready' then
    enter_ready(queue, task, rule.place)
  elseif rule.state == 'scheduled' then
    enter_scheduled(queue, task, NOW + wait)
  else
    enter_finished(queue, task, rule.state)
  end
end

local function record_error(task, code, message, details)
  say(task, 'ec', code)
  say(task, 'em', message)
  say(task, 'ed', details)
  say(task, 'ea', task.at)
  say(task, 'et', NOW)
end

local function max_attempts(queue, task)
  return task.ma or setting(queue, 'maxAttempts')
end

-- The first rule for the end of a lease whose fact holds.
local function lease_end_rule(how, facts)
  for _, rule in ipairs(LEASE_END_RULES[how]) do
    if rule.when == 'always' or facts[rule.when] then return rule end
  end
end

local function ttl_passed(task)
  return task.xa ~= nil and task.xa <= NOW
end

-- The lease ran out.
local function expire_lease(queue, task)
  leave(queue, task)
  put(task, 'ex', nil)
  add(queue, '+expired', 1)
  record_error(task, '+' .. LEASE_EXPIRED_CODE, '+' .. LEASE_EXPIRED_MESSAGE, nil)
  enter(queue, task, lease_end_rule('expiry', {
    cancelRequested = task.cr, ttlPassed = ttl_passed(task), exhausted = task.at >= max_attempts(queue, task),
  }), 0)
end

local function expire_ttl(queue, task)
  leave(queue, task)
  enter_finished(queue, task, 'expired')
end

-- What time alone has made of a task. Answers whether anything.
local function catch_up(queue, task)
  if task.s == 'leased' then
    if task.ex > NOW then return false end
    expire_lease(queue, task)
    return true
  end
  if (task.s == 'ready' or task.s == 'scheduled') and ttl_passed(task) then
    expire_ttl(queue, task)
    return true
  end
  return false
end
-- The twin of src/domain/backoff.ts, held to it by golden values.
local function backoff_ms(text, attempt, random)
  local kind, base, max, jitter = string.match(text, '^(%a+),([%d.e+-]+),([%d.e+-]+),([%d.e+-]+)$')
  base, max, jitter = tonumber(base), tonumber(max), tonumber(jitter)
  local delay = base
  if kind == 'exponential' then
    delay = base * 2 ^ math.min(attempt - 1, 1000)
  elseif kind == 'linear' then
    delay = base * attempt
  end
  delay = math.min(delay, max)
  return math.floor(delay + random * jitter * delay)
end
  local function settle_case(task, token, verb)
    if not task then return 'unknown' end
    if task.tk ~= token then return 'superseded' end
    local settled_by = task.sv and string.match(task.sv, '^%a+')
    if settled_by == verb then return 'repeated' end
    if task.s == 'cancelled' then return 'cancelled' end
    if settled_by then return 'settled' end
    if task.s == 'completed' or task.s == 'dead' or task.s == 'expired' then return 'lapsed' end
    if task.s ~= 'leased' then return 'late' end
    return 'held'
  end

  -- A named lease call must find what it was granted for as long as that may run.
  local function prolong_request(queue, task, length)
    local request = task.said and call('HGET', BASE .. 'h:' .. task.id, 'rq')
    if request then call('PEXPIRE', BASE .. 'r:' .. queue.name .. ':' .. request, length, 'GT') end
  end

  local function outcome(task, late, deadline)
    return table.concat({ 'settled', task.q, task.s, task.at, late and 1 or 0, 0, task.ra, deadline or '', task.cr or '' }, '|')
  end

  -- A verb has ended the grant: what it led to is kept for a repeated call.
  local function ended(task, verb, late)
    put(task, 'sv', table.concat({ verb, task.s, task.at, task.ra, late and 1 or 0 }, ','))
    return outcome(task, late)
  end

  local function replayed(task)
    local _, state, attempt, run_at, late = string.match(task.sv, '^(%a+),(%a+),(%d+),(%d+),(%d)$')
    return table.concat({ 'settled', task.q, state, attempt, late, 1, run_at, '', task.cr or '' }, '|')
  end

  local function take_back(queue, task)
    leave(queue, task)
    put(task, 'ex', nil)
    put(task, 'wk', nil)
  end

  local verbs = {}

  function verbs.ack(queue, task, at, late)
    take_back(queue, task)
    if ARGV[at - 1] == '1' then say(task, 'rs', ARGV[at]) end
    add(queue, '+acked', 1)
    enter(queue, task, lease_end_rule('ack', {}), 0)
    return ended(task, 'ack', late)
  end

  local function record_worker_error(task, at)
    if ARGV[at] == '1' then
      record_error(task, filled(ARGV[at + 1]), filled(ARGV[at + 2]), filled(ARGV[at + 3]))
    else
      record_error(task, nil, nil, nil)
    end
  end

  function verbs.nack(queue, task, at, late)
    local retryable, delay, random = ARGV[at + 4] == '1', ARGV[at + 5], ARGV[at + 6]
    add(queue, '+nacked', 1)
    record_worker_error(task, at)
    if late then
      -- The expiry has counted the attempt and put the task where it stands; only "of no use" still changes that.
      if task.s == 'ready' and not retryable then
        leave(queue, task)
        enter_finished(queue, task, 'dead')
      end
      return ended(task, 'nack', true)
    end
    local wait = tonumber(delay) or backoff_ms(task.bo or queue_text(queue, 'backoff') or DEFAULTS.backoff, task.at, tonumber(random))
    local rule = lease_end_rule('nack', {
      cancelRequested = task.cr, ttlPassed = ttl_passed(task),
      exhausted = not retryable or task.at >= max_attempts(queue, task), delayed = wait > 0,
    })
    take_back(queue, task)
    if rule.state == 'ready' then put(task, 'ra', NOW) end
    enter(queue, task, rule, wait)
    return ended(task, 'nack', false)
  end

  function verbs.release(queue, task, at)
    local wait = tonumber(ARGV[at]) or 0
    local rule = lease_end_rule('release', { cancelRequested = task.cr, ttlPassed = ttl_passed(task), delayed = wait > 0 })
    take_back(queue, task)
    put(task, 'at', task.at - 1)
    add(queue, '+released', 1)
    enter(queue, task, rule, wait)
    return ended(task, 'release', false)
  end

  function verbs.heartbeat(queue, task, at, late)
    local cap = task.ga + tonumber(ARGV[at + 1])
    if late and cap <= NOW then return nil end
    local deadline = math.min(NOW + (tonumber(ARGV[at]) or task.lm), cap)
    if late then
      leave(queue, task)
      enter_leased(queue, task, deadline)
    else
      set_deadline(queue, task, deadline)
    end
    prolong_request(queue, task, deadline - NOW)
    for offset, field in pairs({ [2] = 'pr', [3] = 'cp' }) do
      local value = filled(ARGV[at + offset])
      if value == 'null' then say(task, field, nil) elseif value then say(task, field, value) end
    end
    return outcome(task, late, deadline)
  end

  local function settle(at)
    local verb, id, token = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local task = load_task(id)
    local queue = task and open_queue(task.q)
    local became_ready = ''
    if task and catch_up(queue, task) and task.s == 'ready' then became_ready = task.q end
    local verdict = SETTLE_TABLE[settle_case(task, token, verb)][verb]
    local refusal = verdict
    if verdict == 'replay' then return replayed(task) end
    if verdict == 'accept' or verdict == 'late' then
      local result = verbs[verb](queue, task, at + 4, verdict == 'late')
      if result then return result end
      refusal = 'lease_lost'
    end
    return 'refused|' .. refusal .. '|' .. became_ready
  end

  return { settle = settle, finish = write_tasks }
end
local general

-- The common case, an ack of the first grant of a task while it runs, by itself: the text of the task is changed without
-- taking it apart.
local FIRST_GRANT = '^~%d+|[^|]*|([^|]*)|(%d+)|%d+|%d+|[^|]*|([^|]*)|(%d+)|'
local ACKED, ACKED_WITH_RESULT = '!' .. NOW_TEXT .. '|', '?' .. NOW_TEXT .. '|'
local texts, acked = {}, {}

-- The reply, or nil when this is not the common case.
local function ack_first(id, text, token, result)
  local held_by, deadline, name, run_at = string.match(text, FIRST_GRANT)
  -- Times of one length compare as texts do.
  if held_by ~= token or #deadline ~= #NOW_TEXT or deadline <= NOW_TEXT then return nil end
  if result then call('HSET', BASE .. 'h:' .. id, 'rs', result) end
  local written = #texts
  texts[written + 1] = BASE .. 't:' .. id
  texts[written + 2] = (result and ACKED_WITH_RESULT or ACKED) .. string.sub(text, 2)
  local ids = acked[name]
  if ids then ids[#ids + 1] = id else acked[name] = { id } end
  return 'acked|' .. name .. '|' .. run_at
end

local function finish_acks()
  if #texts == 0 then return end
  call('MSET', unpack(texts))
  for name, ids in pairs(acked) do
    local queue = open_queue(name)
    call('ZREM', BASE .. 'x:' .. name, unpack(ids))
    local scored = {}
    local watched = queue_number(queue, 'watchedUntil') > NOW
    for index, id in ipairs(ids) do
      scored[2 * index - 1] = NOW_TEXT
      scored[2 * index] = id
      if watched then announce_end(queue, id) end
    end
    call('ZADD', BASE .. 'z:completed:' .. name, unpack(scored))
    add(queue, '#leased', -#ids)
    add(queue, '#completed', #ids)
    add(queue, '+acked', #ids)
    expect_retention(queue, retention_due(queue, 'completed'))
  end
end

local results, starts, keys, seen = {}, {}, {}, {}
local at, twice = 2, false
for item = 1, tonumber(ARGV[1]) do
  local id = ARGV[at + 1]
  starts[item] = at
  keys[item] = BASE .. 't:' .. id
  if seen[id] then twice = true end
  seen[id] = true
  at = at + 4 + tonumber(ARGV[at + 3])
end
local values = call('MGET', unpack(keys))
for item, start in ipairs(starts) do
  local result
  -- A task that is named twice must meet what the first verb has left.
  if not twice and ARGV[start] == 'ack' and values[item] then
    result = ack_first(ARGV[start + 1], values[item], ARGV[start + 2], ARGV[start + 3] == '1' and ARGV[start + 4])
  end
  if not result then
    general = general or everything()
    result = general.settle(start)
  end
  results[item] = result
end
if general then general.finish() end
finish_acks()
if general then write_lists() end
return queue_reply(results)
