#!lua name=lessor_99b12fb963650163
local LIBRARY = 'lessor_99b12fb963650163'

local DEFAULTS = { leaseMs = 30000, maxAttempts = 5, backoff = "exponential,1000,3600000,0.2", groupMax = 1, groupOrder = "strict", completedMs = 600000, completedMax = 10000, deadMs = 2592000000 }
local FRONT = 4503599627370496
local LEASES_LOOKED_AT = 100
local MIN_RETENTION_BY_COUNT_MS = 10000

local SETTLE_TABLE = { unknown = { ack = "task_not_found", nack = "task_not_found", release = "task_not_found", heartbeat = "task_not_found" }, superseded = { ack = "lease_lost", nack = "lease_lost", release = "lease_lost", heartbeat = "lease_lost" }, repeated = { ack = "replay", nack = "replay", release = "replay", heartbeat = "already_settled" }, cancelled = { ack = "task_cancelled", nack = "task_cancelled", release = "task_cancelled", heartbeat = "task_cancelled" }, settled = { ack = "already_settled", nack = "already_settled", release = "already_settled", heartbeat = "already_settled" }, lapsed = { ack = "late", nack = "late", release = "already_settled", heartbeat = "lease_lost" }, late = { ack = "late", nack = "late", release = "lease_lost", heartbeat = "late" }, held = { ack = "accept", nack = "accept", release = "accept", heartbeat = "accept" } }

local LEASE_END_RULES = { ack = { { when = "always", state = "completed" } }, nack = { { when = "cancelRequested", state = "cancelled" }, { when = "ttlPassed", state = "expired" }, { when = "exhausted", state = "dead" }, { when = "delayed", state = "scheduled" }, { when = "always", state = "ready", place = "back" } }, release = { { when = "cancelRequested", state = "cancelled" }, { when = "ttlPassed", state = "expired" }, { when = "delayed", state = "scheduled" }, { when = "always", state = "ready", place = "old" } }, expiry = { { when = "cancelRequested", state = "cancelled" }, { when = "ttlPassed", state = "expired" }, { when = "exhausted", state = "dead" }, { when = "always", state = "ready", place = "front" } } }
local LEASE_EXPIRED_CODE = "lease_expired"
local LEASE_EXPIRED_MESSAGE = "The lease ran out before the worker settled it."

local MOVES = { cancel = { scheduled = { to = "cancelled" }, ready = { to = "cancelled" }, blocked = { to = "cancelled" }, leased = { stays = "requested" }, completed = { refused = "already_settled" }, dead = { refused = "already_settled" }, cancelled = { stays = "unchanged" }, expired = { refused = "already_settled" } }, forceCancel = { scheduled = { to = "cancelled" }, ready = { to = "cancelled" }, blocked = { to = "cancelled" }, leased = { to = "cancelled" }, completed = { refused = "already_settled" }, dead = { refused = "already_settled" }, cancelled = { stays = "unchanged" }, expired = { refused = "already_settled" } }, redrive = { scheduled = { refused = "not_redrivable" }, ready = { refused = "not_redrivable" }, blocked = { refused = "not_redrivable" }, leased = { refused = "not_redrivable" }, completed = { refused = "not_redrivable" }, dead = { to = "ready" }, cancelled = { to = "ready" }, expired = { to = "ready" } }, remove = { scheduled = { refused = "task_active" }, ready = { refused = "task_active" }, blocked = { refused = "task_active" }, leased = { refused = "task_active" }, completed = { stays = "unchanged" }, dead = { stays = "unchanged" }, cancelled = { stays = "unchanged" }, expired = { stays = "unchanged" } } }
local CANCELLED_ERROR_CODE = "cancelled"

local UNIQUE_RELEASE = { finished = { start = false, finish = true }, started = { start = true, finish = true }, ttl = { start = false, finish = false } }
local TERMINAL = { completed = true, dead = true, cancelled = true, expired = true }
local BACKLOG_STATES = { "scheduled", "ready", "blocked", "leased" }
local REPLACED_BY = "Replaced by task "

local OPERATION = { keptMs = 86400000, kept = 1000, running = 100, step = 128, bytes = 1048576, fullPauseMs = 1000 }

-- The only clock: ms since the epoch, by the server.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What every operation starts from: the shard's base key, the time, how keys are named, and writes put off to the
-- end, so that a call for a hundred tasks calls Redis as often as one for one.
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
--   <base>:a:<queue>         zset    finished tasks with a retention of their own, by its end
--   <base>:i:<bucket>:<queue> list   ids in order of creation, BUCKET sequence numbers a list
--   <base>:n:<queue>         zset    the buckets in use
--   <base>:k:<queue>:<key>   string  an idempotency key: id|fingerprint|first use|generation of the queue[|what is left of a pruned task]
--   <base>:o:<queue>         list    times of the last grants of a queue with a rate limit (flow.lua)
--   <base>:v:<queue>         zset    blocked tasks by number
--   <base>:w:<queue>:<group> zset    ready and blocked tasks of a group by their place in its line
--   <base>:y:<queue>:<group> string  how a group stands (group.lua)
--   <base>:u:<queue>:<key>   string  who holds a unique key (unique.lua)
--   <base>:r:<queue>:<name>  string  what a named lease call was granted: token|id,…
--   <base>:g:<process>       string  what the latest lease call of a process granted (grants.lua)
--   <base>:j:<id>            hash    a long operation (jobs.lua)
--   <base>:c:b:<id>, c:t:<id>, c:h:<id>  what b, t and h hold of a task that is on its way to another queue (moving.lua)
--   <base>:p:<id>            string  the receipt for what an operation, of this or another shard, has brought: batch|outcomes|mark (moving.lua)
--   <base>:jobs, jobs-ended  zset    operations that run by when they were made, and ended ones by when they ended
--   <base>:ready:<queue>     channel the first task has become ready in an empty queue; the message is who did it
--   <base>:finished          channel a task of a watched queue has ended; the message is who did it|id
--   <base>:m:<queue>         hash    how many ids of a bucket are of deleted tasks
--   <base>:due               zset    queues by when something in them is due next
--   <base>:keep              zset    queues by when retention lets go of something in them next
--   <base>:queues            zset    all queues of the shard
--   <base>:meta              hash    version and shards of the data (first shard), how many queues were ever made
-- What a call has been given and what it has done so far: set anew by every call (begin).
local call, ARGV, BASE, ORIGIN, NOW, NOW_TEXT, QUEUE_FIELDS
-- When the earliest of what this call touched is due.
local earliest
-- Members to be written to sorted sets: key -> member -> score, or false to remove it. The last word counts.
local zsets
-- Entries to be appended to lists: key -> entries in order.
local lists
-- Queues and tasks that were looked at, by name and id (false: there is no such task), and tasks to be written.
local queues, tasks, changed
-- Groups that were looked at, by key.
local groups
-- Queues in which a task became ready, by name.
local readied
-- How many entries of lines that fit no task any more may still be dropped as they come up.
local skips

local BUCKET = 128
-- Sorted sets of the states that have one of their own for each queue.
local STRUCTURES = { leased = 'x:', scheduled = 'd:', blocked = 'v:' }
local MAX_SKIPS = 1000

-- A whole number as text. Lua's own conversion costs twice as much and loses digits above 2^46; as an argument of a command
-- a number costs more still.
local function digits(number)
  return string.format('%d', number)
end

-- Begins a call. Nothing of an earlier one, which may have failed half-way, is left.
local function begin(keys, args, queue_fields)
  call = redis.call
  ARGV = args
  BASE = keys[1] .. ':'
  -- Who calls, the last argument of every operation: publications name it, so that nobody is woken by himself.
  ORIGIN = table.remove(ARGV)
  NOW = clock(keys[1])
  -- Written most of all, so written once.
  NOW_TEXT = digits(NOW)
  QUEUE_FIELDS = queue_fields
  earliest = nil
  zsets, lists, queues, tasks, changed, groups, readied = {}, {}, {}, {}, {}, {}, {}
  skips = MAX_SKIPS
end

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

-- A queue's counters and settings: read at first touch (QUEUE_FIELDS, which an operation names, in one go), written
-- once at the end.
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
    if (queue.ready_before == 0 or queue.freed) and queue_number(queue, 'ready') > 0 then announce(queue) end
    queue.ready_before, queue.freed = nil, nil
    queue.changed = {}
  end
end

-- The end of a script that touched queues alone: now, when the earliest of what was touched is due ('' for never), the results.
local function queue_reply(results)
  write_zsets()
  write_queues()
  return { NOW, earliest or '', results }
end

-- Whether the queue holds more tasks of a terminal state than it keeps.
local function is_crowded(queue, state)
  return state ~= 'dead' and queue_number(queue, '#' .. state) > setting(queue, 'completedMax')
end

-- When the age that the queue allows lets go of what finished at a time.
local function aged_at(queue, state, finished)
  return finished + setting(queue, state == 'dead' and 'deadMs' or 'completedMs')
end

-- When retention is due next because a task finishes now, kept for a time of its own or nil: it may crowd out one that finished
-- long ago.
local function retention_due(queue, state, own)
  local due = own and NOW + own or aged_at(queue, state, NOW)
  if not is_crowded(queue, state) then return due end
  local oldest = tonumber(call('ZRANGE', BASE .. 'z:' .. state .. ':' .. queue.name, 0, 0, 'WITHSCORES')[2])
  return math.min(due, math.max(NOW, (oldest or NOW) + MIN_RETENTION_BY_COUNT_MS))
end

-- Of a set of finished tasks, how many stand before one that finished at a time, which may have gone since, and how many up to it.
local function ranks_of(key, at, last)
  local low, high = call('ZCOUNT', key, '-inf', '(' .. at), call('ZCOUNT', key, '-inf', at)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local id = call('ZRANGE', key, middle, middle)[1]
    if id == last then return middle, middle + 1 end
    if id < last then low = middle + 1 else high = middle end
  end
  return low, low
end

-- The body of a task is written once and never changed, but for its first byte:
--   1|state|createdAt|runAt|type|length of attributes|queue|n|priority|expiresAt|leaseMs|maxAttempts|backoff|key|unique|group|retentionMs|
-- then the attributes (JSON: tags, metadata, trace) and the payload, both opaque bytes. From the queue to the retention it is
-- what a changed task goes on carrying as it is (task.lua). The first byte becomes 2 when the task leaves its line other
-- than by being popped: an entry of a line whose body says 1 is ready to be granted, whatever else there is to know of it.
local FRESH = '^[12]|(%a+)|%d+|(%d+)|[^|]*|%d+|(([^|]*)|(%d+)|%d|(%d*)|(%d*)|%d*|[^|]*|[^|]*|[^|]*|[^|]*|%d*)|'
local CREATED = '^[12]|%a+|(%d+)|'
local TYPE = '^[12]|%a+|%d+|%d+|([^|]*)|'
-- No header is longer: two names, a backoff, three digests and twelve numbers.
local HEADER_END = 843

local function header_of(id)
  return call('GETRANGE', BASE .. 'b:' .. id, 0, HEADER_END)
end

local KEEPS_GROUP_PLACE = { strict = { nack = { ready = true, scheduled = true }, release = { ready = true, scheduled = false }, expiry = { ready = true, scheduled = true } }, relaxed = { nack = { ready = false, scheduled = false }, release = { ready = true, scheduled = false }, expiry = { ready = true, scheduled = true } } }

-- Groups. The line of a group holds those of its tasks that are ready or blocked; one of them at most, its head, is ready and stands in
-- the line of the queue. How a group stands is kept as leased|waiting in place|id of the one that is ready: how many of its tasks are
-- leased, and how many wait for their time and have kept their place.
local function group_line(queue, digest)
  return BASE .. 'w:' .. queue.name .. ':' .. digest
end

local function open_group(queue, digest)
  local key = BASE .. 'y:' .. queue.name .. ':' .. digest
  local group = groups[key]
  if not group then
    local leased, waiting, ready = string.match(call('GET', key) or '0|0|', '^(%d+)|(%d+)|(.*)$')
    group = { key = key, leased = tonumber(leased), waiting = tonumber(waiting), ready = filled(ready) }
    groups[key] = group
  end
  return group
end

local function write_groups()
  for key, group in pairs(groups) do
    if group.leased == 0 and group.waiting == 0 and not group.ready then
      call('DEL', key)
    else
      call('SET', key, group.leased .. '|' .. group.waiting .. '|' .. (group.ready or ''))
    end
  end
  groups = {}
end

local function group_ordering(queue)
  return filled(queue_text(queue, 'groupOrder')) or DEFAULTS.groupOrder
end

-- Whether one more task of the group may run.
local function has_group_room(queue, digest)
  local group = open_group(queue, digest)
  local running = group.leased
  if group_ordering(queue) == 'strict' then running = running + group.waiting end
  return running < setting(queue, 'groupMax')
end

-- Takes a task that is about to leave its state out of its group.
local function leave_group(queue, task)
  local group = open_group(queue, task.gk)
  if task.s == 'ready' or task.s == 'blocked' then
    call('ZREM', group_line(queue, task.gk), task.id)
    if group.ready == task.id then group.ready = nil end
  elseif task.s == 'leased' then
    group.leased = group.leased - 1
  elseif task.s == 'scheduled' and task.gp then
    group.waiting = group.waiting - 1
  end
end

-- Whether a new task of the group is ready: it may run, and nothing waits before it.
local function is_open_to_new(queue, digest)
  return call('EXISTS', group_line(queue, digest)) == 0 and has_group_room(queue, digest)
end

-- Whether a task keeps its place in the line of its group when its lease ends and it waits again.
local function keeps_group_place(queue, task, how, state)
  local kept = task.gk and KEEPS_GROUP_PLACE[group_ordering(queue)][how]
  return kept and kept[state] or false
end

-- Loading and changing a task. What has changed since it was stored is one text of fields in this order:
--   1 s state  2 tk token  3 ex lease deadline  4 at attempt  5 dl deliveries  6 lm length of the lease  7 ga granted at
--   8 gn number of the grant  9 wk worker  10 sv how the latest grant was settled (verb,state,attempt,runAt,late)
--   11 ra runAt  12 fa finishedAt  13 pl place  14 fr 1 when in front of its line  15 cr 1 when a cancellation is asked for
--   16 said 1 when there is a hash with what workers said: pr progress, cp checkpoint, rs result, ec em ed ea et the last
--   error, rq the name of the lease call
--   and, as in the body, 17 q queue  18 n sequence  19 p priority  20 xa expiresAt  21 tl 22 ma 23 bo 24 ik the task's own
--   leaseMs, maxAttempts, backoff and idempotency key  25 un what is unique (unique.lua)  26 gk its group
--   (group.lua)  27 gp its place in the line of its group  28 rt its own retentionMs.
-- The first grant of a task, and the ack that ends it, are most of all changes. They have short texts; all else is in the body:
--   ~n|key|token|deadline|length|granted at|worker|queue|runAt|number of the grant
--   !finishedAt|n|key|… the same; ? instead of ! when there is a hash with what workers said
local PACKED = '^' .. ('([^|]*)|'):rep(27) .. '(.*)$'

local FIRST_GRANT = '^~%d+|[^|]*|([^|]*)|(%d+)|(%d+)|(%d+)|([^|]*)|[^|]*|%d+|(%d+)$'
local FIRST_ACK = '^[!?](%d+)|%d+|[^|]*|([^|]*)|%d+|(%d+)|(%d+)|[^|]*|[^|]*|%d+|(%d+)$'
local TILDE, QUESTION, EXCLAMATION = ('~?!'):byte(1, 3)

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
  local p, ma, bo, ik, un, gk, rt = string.match(own, '|(%d)|%d*|%d*|(%d*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(%d*)$')
  local task = {
    id = id, q = q, n = tonumber(n), p = p, s = s, at = 0, dl = 0, ra = tonumber(ra), xa = tonumber(xa),
    tl = tonumber(tl), ma = tonumber(ma), bo = filled(bo), ik = filled(ik), un = filled(un),
    gk = filled(gk), rt = tonumber(rt), fresh = true, header = body,
  }
  if s == 'ready' then task.pl = task.n end
  if task.gk and s ~= 'scheduled' then task.gp = task.n end
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
  local s, tk, ex, at, dl, lm, ga, gn, wk, sv, ra, fa, pl, fr, cr, said, q, n, p, xa, tl, ma, bo, ik, un, gk, gp, rt = string.match(packed, PACKED)
  if not s then error('task ' .. id .. ' cannot be read') end
  return {
    id = id, s = s, tk = filled(tk), ex = tonumber(ex), at = tonumber(at), dl = tonumber(dl), lm = tonumber(lm),
    ga = tonumber(ga), gn = tonumber(gn), wk = filled(wk), sv = filled(sv), ra = tonumber(ra), fa = tonumber(fa),
    pl = tonumber(pl), fr = filled(fr), cr = filled(cr), said = filled(said), q = q, n = tonumber(n), p = p,
    xa = tonumber(xa), tl = tonumber(tl), ma = tonumber(ma), bo = filled(bo), ik = filled(ik), un = filled(un),
    gk = filled(gk), gp = tonumber(gp), rt = tonumber(rt),
  }
end

local function whole(number)
  return number and digits(number) or ''
end

local function pack_task(task)
  return table.concat({
    task.s, task.tk or '', whole(task.ex), task.at, task.dl, whole(task.lm), whole(task.ga), whole(task.gn), task.wk or '',
    task.sv or '', digits(task.ra), whole(task.fa), whole(task.pl), task.fr or '', task.cr or '', task.said or '',
    task.q, digits(task.n), task.p, whole(task.xa), whole(task.tl), task.ma or '', task.bo or '', task.ik or '', task.un or '', task.gk or '', whole(task.gp), whole(task.rt),
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
  write_groups()
  write_lists()
  return queue_reply(results)
end

-- Unique keys. What a task was stored with is 'until,ttlMs,digest of the key'; who holds a key is kept as its id and when the
-- key is free whatever becomes of the task ('' for a key that is not held for a time).
local function unique_of(task)
  return string.match(task.un, '^(%a+),(%d*),(.*)$')
end

local function unique_key(queue, digest)
  return BASE .. 'u:' .. queue.name .. ':' .. digest
end

-- The id of whoever holds the key, and whether it is free by now because its time has passed; nil when nobody has it.
local function key_holder(queue, digest)
  local id, free_at = string.match(call('GET', unique_key(queue, digest)) or '', '^([^|]*)|(%d*)$')
  if not id then return nil end
  return id, free_at ~= '' and tonumber(free_at) <= NOW
end

-- The key must be free.
local function hold_key(queue, id, created, kind, ttl, digest)
  local free_at = kind == 'ttl' and digits(created + ttl) or ''
  call('SET', unique_key(queue, digest), id .. '|' .. free_at)
end

-- Lets go of the key when the task holds it.
local function let_go(queue, task)
  if not task.un then return end
  local _, _, digest = unique_of(task)
  if key_holder(queue, digest) == task.id then call('DEL', unique_key(queue, digest)) end
end

-- The same in the step ('start' or 'finish') that takes it from tasks that were stored with such an `until`.
local function release_key(queue, task, step)
  if task.un and UNIQUE_RELEASE[unique_of(task)][step] then let_go(queue, task) end
end

-- Limits of a queue. maxConcurrency is judged by the tasks that are leased; a rate limit ('limit,periodMs') by the times of its last
-- grants, as many as the limit, oldest first.
local function max_concurrency(queue)
  return tonumber(filled(queue_text(queue, 'maxConcurrency')))
end

-- `ended`: leases that have ended and are not counted yet.
local function has_room(queue, ended)
  local most = max_concurrency(queue)
  return not most or queue_number(queue, '#leased') - (ended or 0) < most
end

-- Whether the end of a lease leaves room for a task that is ready.
local function leaves_room(queue)
  return max_concurrency(queue) ~= nil and queue_number(queue, 'ready') > 0
end

-- Whether something in the queue may be granted that could not before, beside the task at hand, which is forgotten by this.
local function has_opened(queue, ended)
  local opened = queue.opened
  queue.opened = nil
  return queue_number(queue, 'ready') > 0 and (opened or ended and leaves_room(queue)) or false
end

-- A lease of the queue has ended: whoever is held back by its limit, in any process, is told.
local function freed(queue)
  if max_concurrency(queue) then queue.freed = true end
end

local function rate_limit(queue)
  local limit, period = string.match(queue_text(queue, 'rateLimit') or '', '^(%d+),(%d+)$')
  return tonumber(limit), tonumber(period)
end

local function rate_key(queue)
  return BASE .. 'o:' .. queue.name
end

-- How many of `max` grants the rate limit allows, and, when it is less, when it allows the next.
local function rate_allowance(queue, max)
  local limit, period = rate_limit(queue)
  if not limit then return max end
  local most = math.min(max, limit)
  local first = call('LLEN', rate_key(queue)) - limit
  -- Each grant is allowed a period after the one that is `limit` grants before it; what is not remembered was long ago.
  local allowed = math.min(most, math.max(0, -first))
  if allowed == most then return allowed end
  for _, at in ipairs(call('LRANGE', rate_key(queue), math.max(0, first), math.max(0, first) + most - allowed - 1)) do
    if at + period > NOW then return allowed, at + period end
    allowed = allowed + 1
  end
  return allowed
end

local function note_grants(queue, count)
  local limit = rate_limit(queue)
  if not limit or count == 0 then return end
  local times = {}
  for index = 1, count do
    times[index] = NOW_TEXT
  end
  call_all('RPUSH', rate_key(queue), times)
  call('LTRIM', rate_key(queue), -limit, -1)
end

-- How many of `max` grants all limits allow.
local function allowed_grants(queue, max)
  local most = max_concurrency(queue)
  if most then max = math.min(max, math.max(0, most - queue_number(queue, '#leased'))) end
  if max == 0 then return 0 end
  return (rate_allowance(queue, max))
end

-- When a limit lets go of ready tasks that it holds: a time, '-' when a lease has to end first, '' when it holds none.
local function held_until(queue)
  if queue_text(queue, 'paused') or queue_number(queue, 'ready') == 0 then return '' end
  if not has_room(queue) then return '-' end
  local _, opens_at = rate_allowance(queue, 1)
  return opens_at and digits(opens_at) or ''
end

-- Moving a task between the structures; in flight it is in exactly one.
local function leave_line(queue, task)
  -- Its entry in a list stays behind and fits no task any more: the next pop skips it.
  if task.fresh then call('SETRANGE', BASE .. 'b:' .. task.id, 0, '2') end
  add_ready(queue, task.p, -1)
  if task.fr then
    zdel(front_key(task.p, queue.name), task.id)
    add(queue, 'front', -1)
    put(task, 'fr', nil)
  end
end

local WAITING = { scheduled = true, ready = true, blocked = true }

-- Takes a task out of the structures it is in.
local function leave(queue, task)
  local state = task.s
  if state == 'ready' then
    leave_line(queue, task)
  else
    add(queue, '#' .. state, -1)
    if state == 'scheduled' then
      zdel(BASE .. 'd:' .. queue.name, task.id)
    elseif state == 'leased' then
      zdel(BASE .. 'x:' .. queue.name, task.id)
      freed(queue)
    elseif state == 'blocked' then
      zdel(BASE .. 'v:' .. queue.name, task.id)
    else
      zdel(BASE .. 'z:' .. state .. ':' .. queue.name, task.id)
      if task.rt then zdel(BASE .. 'a:' .. queue.name, task.id) end
    end
  end
  if task.xa and WAITING[state] then zdel(BASE .. 'e:' .. queue.name, task.id) end
  if task.gk then leave_group(queue, task) end
end

local function watch_ttl(queue, task)
  if task.xa then
    zput(BASE .. 'e:' .. queue.name, task.id, task.xa)
    expect(queue, task.xa)
  end
end

-- The place before all but expired tasks of earlier grants.
local function front_place(task)
  return task.gn - FRONT
end

-- place: 'back', 'old' (where it stood) or 'front'.
local function stand_in_line(queue, task, place)
  put(task, 's', 'ready')
  add_ready(queue, task.p, 1)
  if place == 'back' then
    put(task, 'pl', take_number(queue, 'n'))
    push(line_key(task.p, queue.name), task.id .. ':' .. digits(task.pl))
  else
    if place == 'front' then put(task, 'pl', front_place(task)) end
    put(task, 'fr', '1')
    add(queue, 'front', 1)
    zput(front_key(task.p, queue.name), task.id, task.pl)
  end
end

local function stand_blocked(queue, task)
  put(task, 's', 'blocked')
  add(queue, '#blocked', 1)
  zput(BASE .. 'v:' .. queue.name, task.id, task.n)
end

-- Has the first of a group stand in the line of its queue, ready, if one more of it may run, and nobody else. Whoever comes to the head
-- of its group takes a new turn at the back, but `self`, which comes back to its place. Answers the priority of whoever stands there
-- now and did not before.
local function regroup(queue, digest, self, place)
  local group = open_group(queue, digest)
  local first = call('ZRANGE', group_line(queue, digest), 0, 0)[1]
  if not first then return nil end
  local open = has_group_room(queue, digest)
  if open and first == group.ready then return nil end
  if group.ready then
    local before = load_task(group.ready)
    leave_line(queue, before)
    stand_blocked(queue, before)
    put(before, 'pl', nil)
    group.ready = nil
  end
  if not open then return nil end
  local head = load_task(first)
  add(queue, '#blocked', -1)
  zdel(BASE .. 'v:' .. queue.name, first)
  stand_in_line(queue, head, head == self and place or 'back')
  group.ready = first
  if head ~= self then queue.opened = true end
  return tonumber(head.p)
end

local function stand_in_group(queue, task, place, keeps)
  stand_blocked(queue, task)
  if not keeps or not task.gp then put(task, 'gp', take_number(queue, 'n')) end
  call('ZADD', group_line(queue, task.gk), digits(task.gp), task.id)
  regroup(queue, task.gk, task, place)
  if task.s == 'blocked' then put(task, 'pl', nil) end
end

-- keeps: whether it keeps its place in the line of its group.
local function enter_ready(queue, task, place, keeps)
  if task.gk then stand_in_group(queue, task, place, keeps) else stand_in_line(queue, task, place) end
  watch_ttl(queue, task)
  if task.s == 'ready' then readied[queue.name] = true end
end

local function enter_scheduled(queue, task, at, keeps)
  put(task, 's', 'scheduled')
  put(task, 'ra', at)
  add(queue, '#scheduled', 1)
  zput(BASE .. 'd:' .. queue.name, task.id, at)
  expect(queue, at)
  watch_ttl(queue, task)
  if not task.gk then return end
  if not keeps then
    put(task, 'gp', nil)
  elseif task.gp then
    local group = open_group(queue, task.gk)
    group.waiting = group.waiting + 1
  end
  regroup(queue, task.gk)
end

local function set_deadline(queue, task, deadline)
  put(task, 'ex', deadline)
  zput(BASE .. 'x:' .. queue.name, task.id, deadline)
  expect(queue, deadline)
end

-- Answers what regroup does.
local function enter_leased(queue, task, deadline)
  put(task, 's', 'leased')
  add(queue, '#leased', 1)
  set_deadline(queue, task, deadline)
  if not task.gk then return nil end
  local group = open_group(queue, task.gk)
  group.leased = group.leased + 1
  return regroup(queue, task.gk)
end

local function enter_finished(queue, task, state)
  put(task, 's', state)
  put(task, 'fa', NOW)
  add(queue, '#' .. state, 1)
  if state == 'dead' then add(queue, '+dead', 1) end
  zput(BASE .. 'z:' .. state .. ':' .. queue.name, task.id, NOW)
  if task.rt then zput(BASE .. 'a:' .. queue.name, task.id, NOW + task.rt) end
  expect_retention(queue, retention_due(queue, state, task.rt))
  release_key(queue, task, 'finish')
  announce_end(queue, task.id)
  if task.gk then regroup(queue, task.gk) end
end

-- How a lease ends, and what time alone makes of a task.

-- Enters the state that the rule for an end of a lease names.
local function enter(queue, task, how, rule, wait)
  local keeps = keeps_group_place(queue, task, how, rule.state)
  if rule.state == 'ready' then
    enter_ready(queue, task, rule.place, keeps)
  elseif rule.state == 'scheduled' then
    enter_scheduled(queue, task, NOW + wait, keeps)
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
  enter(queue, task, 'expiry', lease_end_rule('expiry', {
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
  if WAITING[task.s] and ttl_passed(task) then
    expire_ttl(queue, task)
    return true
  end
  return false
end

-- The task that a list entry stands for, or nil when it stands there no longer.
local function task_of_entry(entry)
  local id, place = string.match(entry, '^([^:]+):?(%d*)$')
  local task = load_task(id)
  if not task or task.s ~= 'ready' or task.fr or task.deleted then return nil end
  if task.pl ~= (place == '' and task.n or tonumber(place)) then return nil end
  return task
end

-- Taking tasks out of a queue's lines.
local function id_of_entry(entry)
  return string.match(entry, '^[^:]+')
end

-- Takes up to `limit` tasks from the line of one priority into `taken`.
local function pop_line(queue, priority, limit, taken)
  if queue_number(queue, 'front') > 0 then
    local first = call('ZPOPMIN', front_key(priority, queue.name), limit)
    for index = 1, #first, 2 do
      local task = load_task(first[index])
      add(queue, 'front', -1)
      add_ready(queue, priority, -1)
      put(task, 'fr', nil)
      taken[#taken + 1] = task
      limit = limit - 1
    end
  end
  while limit > 0 and skips > 0 do
    local entries = call('LPOP', line_key(priority, queue.name), math.min(limit, skips))
    if not entries then return end
    local ids = {}
    for index, entry in ipairs(entries) do
      ids[index] = id_of_entry(entry)
    end
    load_tasks(ids)
    for _, entry in ipairs(entries) do
      local task = task_of_entry(entry)
      if task then
        add_ready(queue, priority, -1)
        taken[#taken + 1] = task
        limit = limit - 1
      else
        skips = skips - 1
      end
    end
  end
end

-- Up to `limit` tasks of the queue by priority, out of their structures. There may be more behind what was skipped
-- when `skips` has run out.
local function pop_ready(queue, limit)
  local taken = {}
  for priority = 9, 0, -1 do
    local ready = queue_number(queue, READY_OF[priority])
    if ready > 0 and #taken < limit then pop_line(queue, priority, math.min(ready, limit - #taken), taken) end
  end
  for _, task in ipairs(taken) do
    if task.xa then zdel(BASE .. 'e:' .. queue.name, task.id) end
  end
  return taken
end

-- What the latest lease script of a process has granted in this shard, in case its reply is lost: batch|id token id token …
-- A process makes one such call at a time, so that the next one says that the reply to the last one came.
local GRANTS_KEPT = 3600000

local function grants_of(batch)
  local kept, granted = string.match(call('GET', BASE .. 'g:' .. ORIGIN) or '', '^([^|]*)|(.*)$')
  if kept == batch then return granted end
end

local function keep_grants(batch, granted)
  call('SET', BASE .. 'g:' .. ORIGIN, batch .. '|' .. table.concat(granted, ' '), 'PX', GRANTS_KEPT)
end

-- Lease calls that have a name. What one was granted is kept as token|ids|process for as long as its leases may run, and
-- each of its tasks knows the name (rq), so that a heartbeat prolongs it. Once another process has found it there is none.
local function request_key(queue, request)
  return BASE .. 'r:' .. queue.name .. ':' .. request
end

-- Views of what was granted under the name and still runs.
local function recall(queue, request)
  local token, list, process = string.match(call('GET', request_key(queue, request)) or '', '^([^|]*)|([^|]*)|?(.*)$')
  local ids, views = {}, {}
  for id in string.gmatch(list or '', '[^,]+') do
    ids[#ids + 1] = id
  end
  local granted = load_tasks(ids)
  table.sort(granted, function(a, b) return (a.gn or 0) < (b.gn or 0) end)
  for _, task in ipairs(granted) do
    if task.s == 'leased' and task.tk == token and task.ex > NOW then views[#views + 1] = view(task) end
  end
  if #views > 0 and process ~= '' and process ~= ORIGIN then
    call('SET', request_key(queue, request), token .. '|' .. list .. '|', 'KEEPTTL')
  end
  return views
end

-- A lease that ran out goes on, and what the call was granted may be forgotten: the task is found under its name again, unless that is known
-- to be the name of a later call. No process gives it back, since the worker has it.
local function recall_again(queue, request, task, length)
  local key = request_key(queue, request)
  local token, list, process = string.match(call('GET', key) or '', '^([^|]*)|([^|]*)|?(.*)$')
  if token == task.tk then
    if string.find(',' .. list .. ',', ',' .. task.id .. ',', 1, true) then return end
    call('SET', key, token .. '|' .. list .. ',' .. task.id .. '|' .. process, 'KEEPTTL')
    return
  end
  local other = token and load_task(string.match(list, '^[^,]*'))
  if other and other.tk == token and other.gn > task.gn then return end
  call('SET', key, task.tk .. '|' .. task.id .. '|', 'PX', length)
end

local function remember(queue, request, token, ids, length)
  call('SET', request_key(queue, request), token .. '|' .. table.concat(ids, ',') .. '|' .. ORIGIN, 'PX', length)
end

-- Idempotency keys of a queue. A record is in force for a window from its first use, and only for the queue it was made
-- in, not for a later one of the same name.
local function key_record(queue, key, window)
  local record = queue.exists and call('GET', BASE .. 'k:' .. queue.name .. ':' .. key)
  if not record then return nil end
  local id, fingerprint, used, generation, rest = string.match(record, '^([^|]*)|([^|]*)|(%d+)|(%d+)(.*)$')
  if tonumber(used) + window <= NOW or generation ~= queue_text(queue, 'generation') then return nil end
  return { id = id, fingerprint = fingerprint, rest = rest }
end

local function write_key(queue, key, id, fingerprint, window)
  local record = id .. '|' .. fingerprint .. '|' .. NOW_TEXT .. '|' .. queue_text(queue, 'generation')
  call('SET', BASE .. 'k:' .. queue.name .. ':' .. key, record, 'PX', window)
end

-- Deletes finished or purged tasks that are in no structure any more. `keep_key`: an idempotency key goes on
-- answering for its task with what is left; otherwise the key is free.
local function delete_key(queue, task, keep_key)
  local key = BASE .. 'k:' .. queue.name .. ':' .. task.ik
  local record = call('GET', key)
  if not record or string.sub(record, 1, #task.id + 1) ~= task.id .. '|' then return end
  if not keep_key then
    call('DEL', key)
    return
  end
  local head = string.match(record, '^[^|]*|[^|]*|%d+|%d+')
  local created = string.match(header_of(task.id), CREATED)
  local left = { head, task.s, created, task.ra, task.fa, task.at, task.dl, task.xa or '' }
  call('SET', key, table.concat(left, '|'), 'KEEPTTL')
end

-- Ids of deleted tasks stay in their bucket, counted, until all of them are deleted.
local function empty_buckets(queue, deleted)
  for bucket, count in pairs(deleted) do
    local list, counts = BASE .. 'i:' .. bucket .. ':' .. queue.name, BASE .. 'm:' .. queue.name
    if call('HINCRBY', counts, bucket, count) >= call('LLEN', list) then
      call('DEL', list)
      call('ZREM', BASE .. 'n:' .. queue.name, bucket)
      call('HDEL', counts, bucket)
    end
  end
end

local function delete_tasks(queue, doomed, keep_key)
  local buckets = {}
  for _, task in ipairs(doomed) do
    if task.ik then delete_key(queue, task, keep_key) end
    let_go(queue, task)
    put(task, 'deleted', true)
    local bucket = math.floor(task.n / BUCKET)
    buckets[bucket] = (buckets[bucket] or 0) + 1
  end
  empty_buckets(queue, buckets)
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

-- What a task that holds a unique key is to others.

-- The state that time alone has brought a task to, whether the sweep has been there or not.
local function state_by_now(queue, task)
  if task.s == 'leased' and task.ex <= NOW then
    return lease_end_rule('expiry', {
      cancelRequested = task.cr, ttlPassed = ttl_passed(task), exhausted = task.at >= max_attempts(queue, task),
    }).state
  end
  return WAITING[task.s] and ttl_passed(task) and 'expired' or task.s
end

-- {task, its state by now, whether the key is free all the same}, or nil.
local function holder_of(queue, digest)
  local id, elapsed = key_holder(queue, digest)
  if not id then return nil end
  local task = load_task(id)
  local state = state_by_now(queue, task)
  local ended = UNIQUE_RELEASE[unique_of(task)].finish and TERMINAL[state]
  return { task = task, state = state, free = ended or elapsed }
end

-- What becomes of a new task whose key another one holds.
local function on_unique_held(asked, state)
  if asked ~= 'replace' then return asked end
  local move = MOVES.cancel[state]
  return (move.to or move.stays == 'unchanged') and 'replace' or 'return'
end

-- Takes a key from whoever holds it: a task whose time is over, or one that is to be replaced. Answers its id if it ended by this.
local function clear_the_way(queue, digest, by)
  local holder = holder_of(queue, digest)
  if not holder then return nil end
  local task = holder.task
  local finished = task.fa
  if not holder.free or TERMINAL[holder.state] then catch_up(queue, task) end
  if not holder.free and task.s ~= 'cancelled' then
    leave(queue, task)
    enter_finished(queue, task, 'cancelled')
    record_error(task, '+' .. CANCELLED_ERROR_CODE, '+' .. REPLACED_BY .. by, nil)
  end
  let_go(queue, task)
  return not finished and task.fa and task.id or nil
end

-- Lets a task that is redriven hold its key as when it was stored; false, and nothing done, if another has it.
local function take_key_back(queue, task)
  if not task.un then return true end
  local kind, ttl, digest = unique_of(task)
  local holder = holder_of(queue, digest)
  if holder and holder.task == task then return true end
  if holder and not holder.free then return false end
  if holder then
    if TERMINAL[holder.state] then catch_up(queue, holder.task) end
    let_go(queue, holder.task)
  end
  local created = tonumber(string.match(header_of(task.id), CREATED))
  if kind ~= 'ttl' or created + ttl > NOW then hold_key(queue, task.id, created, kind, ttl, digest) end
  return true
end

-- Redriving, one task or the dead ones of a queue in turn. In a table, since a library has no more than 200 local names.
local dead = {}

-- Sends a task that has ended back to the end of its line. Answers why not, when it stays as it is.
function dead.redrive(queue, task)
  local move = MOVES.redrive[task.s]
  if move.refused then return move.refused end
  if not take_key_back(queue, task) then return 'unique_conflict' end
  leave(queue, task)
  for _, field in ipairs({ 'xa', 'fa', 'tk', 'sv', 'cr' }) do
    put(task, field, nil)
  end
  put(task, 'at', 0)
  put(task, 'ra', NOW)
  enter_ready(queue, task, 'back', false)
  return nil
end

-- The rank of the first one behind the one of this id that finished at a time ('' for none), whether that is still there or not.
function dead.rank_after(key, at, id)
  if id == '' then return 0 end
  local low, high = call('ZCOUNT', key, '-inf', '(' .. at), call('ZCOUNT', key, '-inf', at)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if call('ZRANGE', key, middle, middle)[1] <= id then low = middle + 1 else high = middle end
  end
  return low
end

-- Up to `limit` of the queue's dead tasks behind that one: when each died, by id, and the ids in the order in which they died.
function dead.after(name, at, id, upto, limit)
  local key = BASE .. 'z:dead:' .. name
  local start = dead.rank_after(key, at, id)
  local entries = call('ZRANGE', key, start, start + limit - 1, 'WITHSCORES')
  local ids, died = {}, {}
  for index = 1, #entries, 2 do
    if tonumber(entries[index + 1]) > upto then break end
    ids[#ids + 1] = entries[index]
    died[entries[index]] = entries[index + 1]
  end
  return ids, died
end

-- kind, code: '' for any; a code is written with a '+' before it.
function dead.is_meant(task, kind, code)
  if kind ~= '' and string.match(header_of(task.id), TYPE) ~= kind then return false end
  return code == '' or task.said and call('HGET', BASE .. 'h:' .. task.id, 'ec') == code or false
end

-- Long operations. Each is a hash of texts:
--   queue, type, code ('' for any; the code with '+' before it), until (later deaths are none of its business), max and rate ('' for
--   none), state, created, finished ('' while it runs), next (when the next step can do something), by and byUntil (which process
--   takes the steps, and until when others leave it to that one), at and id (the last task it has looked at), seen, total, matched, moved
-- One that takes tasks to another queue has also (moving.lua):
--   to, batch (number of the last batch), claims (the tasks of the batch that is on its way, '' for none), claimed (when it was last
--   given to a process), endAt, endId, endSeen (as at, id and seen, once the batch has arrived), endLast ('1' when nothing is left behind
--   it), open ('1' from the first batch until its receipt need not be kept any more), walked ('1' when nothing is left to be looked at)
local jobs = {}
jobs.NUMBERS = { 'until', 'max', 'rate', 'created', 'finished', 'next', 'byUntil', 'seen', 'total', 'matched', 'moved', 'batch', 'claimed', 'endSeen' }
-- A process that has taken a step is left alone for this long, in ms.
jobs.HELD = 2000

function jobs.key(id)
  return BASE .. 'j:' .. id
end

-- The operation, or nil when there is none or it is kept no longer.
function jobs.load(id)
  local flat = call('HGETALL', jobs.key(id))
  if #flat == 0 then return nil end
  local job = {}
  for index = 1, #flat, 2 do
    job[flat[index]] = flat[index + 1]
  end
  for _, field in ipairs(jobs.NUMBERS) do
    job[field] = tonumber(job[field])
  end
  if job.finished and not jobs.is_open(job) and job.finished + OPERATION.keptMs <= NOW then return nil end
  job.key = id
  return job
end

-- Whether something of it is still to be put in order in the shard of the other queue, though it may have been cancelled.
function jobs.is_open(job)
  return job.open == '1'
end

function jobs.save(job)
  local args = {}
  for field, value in pairs(job) do
    if field ~= 'key' then
      args[#args + 1] = field
      args[#args + 1] = type(value) == 'number' and digits(value) or value
    end
  end
  call('HSET', jobs.key(job.key), unpack(args))
end

-- When the next step can do something, after one that has redriven so many and perhaps met a queue that is full.
function jobs.next_after(job, moved, full)
  local pause = job.rate and math.ceil(moved * 1000 / job.rate) or 0
  return NOW + (full and math.max(pause, OPERATION.fullPauseMs) or pause)
end

-- What is kept of ended ones is bounded in number and time.
function jobs.clear()
  local ended = BASE .. 'jobs-ended'
  local old = call('ZRANGEBYSCORE', ended, '-inf', digits(NOW - OPERATION.keptMs), 'LIMIT', 0, 16)
  local beyond = call('ZCARD', ended) - #old - OPERATION.kept
  if beyond > 0 then
    for _, id in ipairs(call('ZRANGE', ended, #old, #old + math.min(beyond, 16) - 1)) do
      old[#old + 1] = id
    end
  end
  for _, id in ipairs(old) do
    call('DEL', jobs.key(id))
    call('ZREM', ended, id)
  end
end

-- Ends one of which nothing is open. One that was cancelled keeps the time of that.
function jobs.finish(job, state)
  job.state, job.finished = state, filled(job.finished) or NOW
  if state == 'completed' then job.total = job.seen end
  call('ZREM', BASE .. 'jobs', job.key)
  call('ZADD', BASE .. 'jobs-ended', digits(job.finished), job.key)
  jobs.save(job)
  call('PEXPIRE', jobs.key(job.key), OPERATION.keptMs)
  call('PEXPIRE', BASE .. 'jobs-ended', OPERATION.keptMs)
  jobs.clear()
end

-- An operation for a reply.
function jobs.view(job)
  return {
    job.key, job.queue, job.state, digits(job.created), whole(job.finished), whole(job.rate), digits(job.seen), digits(job.total),
    digits(job.matched), digits(job.moved), job.to or '',
  }
end

-- Tasks on their way to another queue, which may live on another shard, where no script of this one can reach. They go in batches, one
-- at a time for each operation:
--   1. step-operation.lua parks the tasks of a batch: from then on they are in no structure of their queue, and every verb finds them
--      gone, though they count as dead. What is to become of them is known to the operation alone.
--   2. receive.lua stores them in the other queue and writes a receipt in the same script: how each has fared. A batch that has a receipt
--      is not stored again, so that it does not matter how often, or by which process, it is sent, nor what has become of
--      the new tasks since.
--   3. take-receipt.lua deletes those that were stored, and has the others be dead again.
-- A process may be gone after any of these: the next step finds the batch and goes on with it. Numbers of batches only grow, so a process
-- that comes too late meets a receipt of its own batch or of a later one.
-- The shard of the operation may lose its last writes when its server fails over, and then gives the number of a batch again, or an earlier
-- one than the other shard has seen. So a batch is its number and its mark, which is made of its tasks: what became of other tasks is never
-- taken for what became of these. A batch that is behind its receipt is not stored; its tasks are dead again, and leave once more under
-- the number that comes after the receipt's. A task of it that was stored before the failover is then stored twice, and none is lost.
-- The receipt is kept as long as its operation is open, and
-- an hour longer: what comes so late that it may be gone is told by its age.
local moving = {}
moving.KINDS = { 'b:', 't:', 'h:' }
-- What is told of a task in the other queue too: its progress, checkpoint and last error.
moving.TOLD = { 'pr', 'cp', 'ec', 'em', 'ed', 'ea', 'et' }
-- A batch that was given to a process so long ago is not stored; the next step gives it out anew.
moving.FRESH_MS = 600000
-- How long a receipt is kept that is not needed but by those that come too late: longer than that, whatever the difference of two clocks.
moving.KEPT_MS = 3600000

-- Fields and values of what is told of a task, and their bytes, by the key of what was said of it.
function moving.told(key)
  local told, bytes = {}, 0
  for index, value in ipairs(call('HMGET', key, unpack(moving.TOLD))) do
    if value then
      told[#told + 1] = moving.TOLD[index]
      told[#told + 1] = value
      bytes = bytes + #value
    end
  end
  return told, bytes
end

-- Bytes of a task that go to the other queue.
function moving.size(task)
  local told = task.said and select(2, moving.told(BASE .. 'h:' .. task.id)) or 0
  return call('STRLEN', BASE .. 'b:' .. task.id) + told
end

-- Takes a dead task out of its queue. Answers what is kept of it: id, when it died, n, whether it held its unique key, whether anything is
-- said of it, and how many the operation has looked at with it.
function moving.park(queue, task, seen)
  zdel(BASE .. 'z:dead:' .. queue.name, task.id)
  if task.rt then zdel(BASE .. 'a:' .. queue.name, task.id) end
  if task.ik then delete_key(queue, task, true) end
  local held = ''
  if task.un then
    local _, _, digest = unique_of(task)
    if key_holder(queue, digest) == task.id then held = '1' end
    let_go(queue, task)
  end
  -- Nothing must fail half-way here, whatever has been lost of a task.
  local said = task.said and call('EXISTS', BASE .. 'h:' .. task.id) == 1
  for _, kind in ipairs(moving.KINDS) do
    if kind ~= 'h:' or said then call('RENAME', BASE .. kind .. task.id, BASE .. 'c:' .. kind .. task.id) end
  end
  tasks[task.id] = false
  return table.concat({ task.id, digits(task.fa), digits(task.n), held, said and '1' or '', digits(seen) }, ',')
end

-- The tasks of the batch that is on its way, in order.
function moving.claims(job)
  local claims = {}
  for id, died, n, held, said, seen in string.gmatch(job.claims or '', '([^,;]+),(%d+),(%d+),(1?),(1?),(%d+)') do
    claims[#claims + 1] = {
      id = id, died = tonumber(died), n = tonumber(n), held = held == '1', said = said == '1', seen = tonumber(seen),
    }
  end
  return claims
end

-- Its idempotency key answers with the task again.
function moving.revive_key(queue, task)
  local key = BASE .. 'k:' .. queue.name .. ':' .. task.ik
  local record = call('GET', key)
  if not record or string.sub(record, 1, #task.id + 1) ~= task.id .. '|' then return end
  call('SET', key, string.match(record, '^[^|]*|[^|]*|%d+|%d+'), 'KEEPTTL')
end

-- Whether there is a key of a parked task.
function moving.has(kind, id)
  return call('EXISTS', BASE .. 'c:' .. kind .. id) == 1
end

-- Has a parked task be dead again, as since it died, unless it is so already. Answers whether it is; of one that is not, a part has been lost
-- without which there is no task.
function moving.restore(queue, claim)
  local id = claim.id
  if not moving.has('b:', id) then return call('EXISTS', BASE .. 'b:' .. id) == 1 end
  if not moving.has('t:', id) then return false end
  for _, kind in ipairs(moving.KINDS) do
    if moving.has(kind, id) then call('RENAME', BASE .. 'c:' .. kind .. id, BASE .. kind .. id) end
  end
  tasks[id] = nil
  local task = load_task(id)
  zput(BASE .. 'z:dead:' .. queue.name, id, claim.died)
  if task.rt then zput(BASE .. 'a:' .. queue.name, id, claim.died + task.rt) end
  expect_retention(queue, task.rt and claim.died + task.rt or aged_at(queue, 'dead', claim.died))
  -- Retention has perhaps passed over its place meanwhile (sweep.lua).
  local passed = tonumber(string.match(queue_text(queue, 'passed:dead') or '', '^%d+'))
  if passed and claim.died <= passed then
    call('HDEL', queue.key, 'passed:dead')
    queue.values['passed:dead'], queue.changed['passed:dead'] = false, nil
  end
  if task.ik then moving.revive_key(queue, task) end
  if not claim.held then return true end
  local kind, ttl, digest = unique_of(task)
  if key_holder(queue, digest) then return true end
  local created = tonumber(string.match(header_of(id), CREATED))
  if kind ~= 'ttl' or created + ttl > NOW then hold_key(queue, id, created, kind, ttl, digest) end
  return true
end

-- Deletes parked tasks, which are stored in the other queue, or what is left of those that are lost.
function moving.discard(queue, claims)
  local keys, buckets = {}, {}
  for _, claim in ipairs(claims) do
    for _, kind in ipairs(moving.KINDS) do
      keys[#keys + 1] = BASE .. 'c:' .. kind .. claim.id
    end
    local bucket = math.floor(claim.n / BUCKET)
    buckets[bucket] = (buckets[bucket] or 0) + 1
  end
  if #keys > 0 then call('DEL', unpack(keys)) end
  empty_buckets(queue, buckets)
  add(queue, '#dead', -#claims)
end

-- What has to be done for an operation elsewhere before it can go on: 'deliver' a batch; 'decline' it, to learn what has become of
-- it, and to have it never be stored if it was not; 'close' its receipt, to have that last no longer than is needed; nil for nothing.
function moving.awaits(job)
  if not jobs.is_open(job) then return nil end
  if filled(job.claims) then return job.state == 'running' and 'deliver' or 'decline' end
  return (job.state ~= 'running' or job.walked == '1') and 'close' or nil
end

-- Tells the batch that is on its way from any other, of the same number or not.
function moving.mark(job)
  return redis.sha1hex(job.claims)
end

-- The same for the process that does it: {'deliver', queue, batch, mark, when it was given out, body, {field, value, …}, …}, {'decline', queue,
-- batch, mark, how many tasks}, {'close', queue} or ''.
function moving.errand(job)
  local what = moving.awaits(job)
  if not what then return '' end
  if what == 'close' then return { what, job.to } end
  local claims = moving.claims(job)
  -- One that is not whole is called back: the others leave with the next.
  for _, claim in ipairs(claims) do
    if not moving.has('b:', claim.id) then what = 'decline' end
  end
  local mark = moving.mark(job)
  if what == 'decline' then return { what, job.to, job.batch, mark, #claims } end
  local errand = { what, job.to, job.batch, mark, job.claimed }
  for _, claim in ipairs(claims) do
    errand[#errand + 1] = call('GET', BASE .. 'c:b:' .. claim.id)
    errand[#errand + 1] = claim.said and moving.told(BASE .. 'c:h:' .. claim.id) or {}
  end
  return errand
end

-- An operation for the process that takes its steps: {view, when the next step can do something, or '' when it has ended, '1' when the
-- queue they go to was full, what is to be done elsewhere}.
function moving.stepped(job, next_at, full)
  local runs = job.state == 'running' or jobs.is_open(job)
  return { jobs.view(job), runs and next_at or '', full and '1' or '', moving.errand(job) }
end

-- The outcome of a batch that this shard has a receipt for, or 'behind:' and the number of the receipt when that is of a later batch, or of
-- another one of the same number; nil otherwise. A receipt without a mark was written by an earlier version.
function moving.receipt(id, batch, mark)
  local last, outcomes, marked = string.match(call('GET', BASE .. 'p:' .. id) or '', '^(%d+)|([^|]*)|?(.*)$')
  if not last or tonumber(last) < batch then return nil end
  if tonumber(last) == batch and (marked == '' or marked == mark) then return outcomes end
  return 'behind:' .. last
end

function moving.write_receipt(id, batch, mark, outcomes)
  call('SET', BASE .. 'p:' .. id, digits(batch) .. '|' .. outcomes .. '|' .. mark)
end

-- What is to be done with the tasks of an enqueue, judged in order before any of them is stored, so that a refusal leaves
-- nothing behind. Arguments as enqueue.lua names them.
local STRIDE = 4
local EXTRAS = '^(%d),(%d*),(%d*),(%d*),([^,]*),([^,]*),(%a*),(%d*),([^,]*),(%a*),([^,]*),(%d*)$'

-- priority, delayMs, runAt, ttlMs, idempotency key and fingerprint, until, ttlMs, key and onConflict of what is unique, group, retentionMs
local function extras_at(base)
  local extras = ARGV[base + 2]
  if #extras == 1 then return extras, '', '', '', '', '', '', '', '', '', '', '' end
  return string.match(extras, EXTRAS)
end

local function is_known(id)
  return call('EXISTS', BASE .. 'b:' .. id) == 1
end

-- Why the first task that is refused is, and the indexes of all that are for that reason, but only the first that has no room; nil when
-- none is. Otherwise what is to be done with each: 'store', 'known',
-- 'replay', or {id of the task that holds its unique key}.
local function plan_call(queue, at, count, backlog, window)
  local most = queue.exists and tonumber(filled(queue_text(queue, 'maxBacklog'))) or math.huge
  local plans, minted, fingerprints, holders = {}, {}, {}, {}
  local refusal
  local refused = {}
  for index = 0, count - 1 do
    local base = at + index * STRIDE
    local id = ARGV[base]
    local _, _, _, _, key, fingerprint, kind, _, digest, on_conflict = extras_at(base)
    local plan, adds, reason = 'store', 1, nil
    if minted[id] or is_known(id) then
      plan = 'known'
    elseif key ~= '' then
      local record = queue.exists and key_record(queue, key, window)
      local first = fingerprints[key] or record and record.fingerprint
      if first and first ~= fingerprint then reason = 'idempotency_key_reused' end
      if first then plan = 'replay' end
    end
    if plan == 'store' and kind ~= '' then
      local held = holders[digest]
      if not held then
        local holder = queue.exists and holder_of(queue, digest)
        if holder then
          local ends = not holder.task.fa and (not holder.free or TERMINAL[holder.state])
          held = { id = holder.task.id, state = holder.state, free = holder.free, ends = ends }
        end
      end
      if held and held.ends then adds = 0 end
      if held and not held.free then
        local verdict = on_unique_held(on_conflict, held.state)
        if verdict == 'reject' then plan, reason = 'reject', 'unique_conflict' end
        if verdict == 'return' then plan = { held.id } end
      end
    end
    if plan == 'store' and adds > 0 and backlog + adds > most then plan, reason = 'reject', 'queue_full' end
    refusal = refusal or reason
    if reason and reason == refusal then refused[#refused + 1] = index end
    if refusal == 'queue_full' then break end
    if plan == 'store' then
      backlog = backlog + adds
      minted[id] = true
      if key ~= '' then fingerprints[key] = fingerprint end
      if kind ~= '' then holders[digest] = { id = id, state = 'ready', free = false, ends = true } end
    end
    plans[index] = plan
  end
  if refusal then return nil, refusal, refused end
  return plans
end

-- Tasks of a queue that have not ended.
local function backlog_of(queue)
  if not queue.exists then return 0 end
  local backlog = queue_number(queue, 'ready')
  for _, state in ipairs(BACKLOG_STATES) do
    if state ~= 'ready' then backlog = backlog + queue_number(queue, '#' .. state) end
  end
  return backlog
end

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

-- A page of a list: which tasks it wants, and when it is full. ARGV from a place on: state, type, tag (as JSON in ASCII), error
-- code ('+' and text), createdAfter and createdBefore ('' for any), how many tasks at most, how many to look at at most, bytes of
-- bodies after which the page ends.
local open_page, look_at
do
  local ATTRIBUTES = '^' .. ('[^|]*|'):rep(5) .. '(%d+)|' .. ('[^|]*|'):rep(11) .. '()'
  local BACKSLASH = ('\\'):byte()

  function open_page(at)
    return {
      state = filled(ARGV[at]), kind = filled(ARGV[at + 1]), tag = filled(ARGV[at + 2]), code = filled(ARGV[at + 3]),
      from = tonumber(ARGV[at + 4]), to = tonumber(ARGV[at + 5]),
      limit = tonumber(ARGV[at + 6]), budget = tonumber(ARGV[at + 7]), bytes = tonumber(ARGV[at + 8]),
      views = {},
    }
  end

  -- The attributes of a task, of which tags come first. What is read beyond the header counts as bytes of the page.
  local function attributes_of(page, id, header)
    local length, first = string.match(header, ATTRIBUTES)
    local last = first + length - 1
    if last <= #header then return string.sub(header, first, last) end
    page.bytes = page.bytes - length
    return call('GETRANGE', BASE .. 'b:' .. id, first - 1, last - 1)
  end

  -- Whether the attributes have the tag. Tag by tag, because one may look like the seam between two others.
  local function has_tag(attributes, tag)
    if string.sub(attributes, 1, 6) ~= '{"g":[' or not string.find(attributes, tag, 1, true) then return false end
    local at = 6
    repeat
      local first = at + 1
      local last = first
      local escaped
      repeat
        last = string.find(attributes, '["\\]', last + 1)
        escaped = string.byte(attributes, last) == BACKSLASH
        if escaped then last = last + 1 end
      until not escaped
      if string.sub(attributes, first, last) == tag then return true end
      at = last + 1
    until string.sub(attributes, at, at) ~= ','
    return false
  end

  -- Notes in page.outside when a task was created 'before' or 'after' the times that are wanted.
  local function wants(page, task)
    page.outside = nil
    if not (page.kind or page.tag or page.code or page.from or page.to) then return not page.state or task.s == page.state end
    local header = task.header or header_of(task.id)
    if page.from or page.to then
      local created = tonumber(string.match(header, CREATED))
      page.outside = page.from and created < page.from and 'before' or page.to and created >= page.to and 'after' or nil
      if page.outside then return false end
    end
    if page.state and task.s ~= page.state then return false end
    if page.kind and string.match(header, TYPE) ~= page.kind then return false end
    if page.code and not (task.said and call('HGET', BASE .. 'h:' .. task.id, 'ec') == page.code) then return false end
    return not page.tag or has_tag(attributes_of(page, task.id, header), page.tag)
  end

  -- Looks at a task, and answers whether the page ends with it.
  function look_at(page, task)
    page.budget = page.budget - 1
    if wants(page, task) then
      local seen = view(task)
      page.bytes = page.bytes - #seen[2]
      page.views[#page.views + 1] = seen
    end
    return #page.views >= page.limit or page.budget <= 0 or page.bytes <= 0
  end
end

-- Looking at what is stored for faults, a bounded part in one call: all that one call sees belongs together, so that what it finds is
-- no trick of the time between two looks. In a table, since a library has no more than 200 local names.
local census = {}
-- Entries that a look takes beyond the one at hand, and how large a queue is that is counted in one look.
census.FEW = 250
-- Entries of lines that one look searches.
census.SEARCHED = 10000
-- Entries of a list that are asked whether there is a task of theirs.
census.NAMES = 1000

function census.begin(mends)
  census.mends, census.found, census.owed, census.lists, census.taken = mends, {}, {}, {}, nil
end

-- Notes a fault; answers whether it is to be mended.
function census.find(fault, queue, subject, detail, only_told)
  local mended = census.mends and not only_told
  census.found[#census.found + 1] = { fault, queue or '', subject, detail, mended and '1' or '' }
  return mended
end

-- The task; nil when there is none, or when it cannot be read, which is a fault.
function census.load(id)
  local fine, task = pcall(load_task, id)
  if fine then return task end
  tasks[id] = nil
  if not census.owed[id] then
    census.owed[id] = true
    census.find('unreadable', nil, id, 'the record of the task cannot be read', true)
  end
end

-- Whether there is a task of this id, on its way to another queue or not.
function census.is_task(id)
  return call('EXISTS', BASE .. 'b:' .. id, BASE .. 'c:b:' .. id) > 0
end

-- What says that a list names a task which is there; nil when it names none. One that is longer than is looked at is taken to name some.
function census.named(key)
  for first = 0, census.NAMES - 1, 100 do
    local entries = call('LRANGE', key, first, first + 99)
    for _, entry in ipairs(entries) do
      local id = string.match(entry, '^[^:]*')
      if census.is_task(id) then return 'task ' .. id .. ' is of it' end
    end
    if #entries < 100 then return nil end
  end
  return 'there is more in its lines than is looked through'
end

-- 'there', 'gone', or 'lost': it has no record, and there are tasks or what looks like some. Lists of ids that its set of them does not
-- know, and groups, are not found by the name of the queue: whoever comes upon one has to look at it.
function census.standing(queue)
  if queue.exists then return 'there' end
  if not queue.standing then
    local name = queue.name
    local keys = { BASE .. 'n:' .. name, BASE .. 'a:' .. name, BASE .. 'e:' .. name }
    for _, letter in pairs(STRUCTURES) do
      keys[#keys + 1] = BASE .. letter .. name
    end
    for state in pairs(TERMINAL) do
      keys[#keys + 1] = BASE .. 'z:' .. state .. ':' .. name
    end
    for priority = 0, 9 do
      keys[#keys + 1] = front_key(digits(priority), name)
    end
    local stands = call('EXISTS', unpack(keys)) > 0
    -- What is taken out of a line leaves its entry there, so a line says nothing by being there.
    for priority = 0, 9 do
      stands = stands or census.named(line_key(digits(priority), name)) ~= nil
    end
    queue.standing = stands and 'lost' or 'gone'
  end
  return queue.standing
end

-- Says once in a look that a queue has lost its record. Its settings are known to nobody, so it is not made up.
function census.lost(queue, detail)
  if not queue.told then census.find('queue', queue.name, queue.name, detail, true) end
  queue.told, queue.standing = true, 'lost'
end

-- Whether a queue is gone for good, with all of its tasks; one that has only lost its record is told.
function census.is_gone(queue)
  local standing = census.standing(queue)
  if standing == 'lost' then census.lost(queue, 'there is something left of its tasks') end
  return standing == 'gone'
end

-- What a sorted set holds of a task, against what it must.
function census.listed(queue, task, key, score, where)
  local held = call('ZSCORE', key, task.id)
  if held and tonumber(held) == score then return end
  local detail = task.s .. ', not ' .. where
  if held then detail = task.s .. ', ' .. where .. ' at ' .. held .. ' and not at ' .. digits(score) end
  if census.find('unlisted', queue.name, task.id, detail) then call('ZADD', key, digits(score), task.id) end
  return true
end

-- The task stands in its line by a new entry, and by no other.
function census.stand_anew(queue, task)
  if task.fresh then call('SETRANGE', BASE .. 'b:' .. task.id, 0, '2') end
  put(task, 'pl', take_number(queue, 'n'))
  push(line_key(task.p, queue.name), task.id .. ':' .. digits(task.pl))
  readied[queue.name] = true
end

-- How often tasks stand in their lines, by id; those of a line that is too long for one look are left out.
function census.times_in_line(queue, some)
  local wanted, times = {}, {}
  for _, task in ipairs(some) do
    local entries = wanted[task.p] or {}
    wanted[task.p] = entries
    entries[task.id .. ':' .. digits(task.pl)] = task.id
    if task.pl == task.n then entries[task.id] = task.id end
  end
  local left = census.SEARCHED
  for priority, entries in pairs(wanted) do
    local key = line_key(priority, queue.name)
    local length = call('LLEN', key)
    if length <= left then
      left = left - length
      for _, id in pairs(entries) do
        times[id] = 0
      end
      for first = 0, length - 1, 1000 do
        for _, entry in ipairs(call('LRANGE', key, first, first + 999)) do
          local id = entries[entry]
          if id then times[id] = times[id] + 1 end
        end
      end
    end
  end
  return times
end

-- Of tasks with places, in ARGV from a place on: those that still stand in a list by that place, as far as their state says.
function census.still_standing(queue, at)
  local some = {}
  for index = at, #ARGV, 2 do
    local task = queue.exists and census.load(ARGV[index])
    if task and task.s == 'ready' and not task.fr and digits(task.pl) == ARGV[index + 1] then some[#some + 1] = task end
  end
  return some
end

-- Whether a task is in the list of what was created. Where all numbers are those of tasks, its number says at which place; lists that
-- had to be looked through are kept for the call.
function census.is_listed(queue, bucket, task)
  local name = bucket .. ':' .. queue.name
  local list = census.lists[name]
  if not list then
    local place = task.n % BUCKET
    for _, member in ipairs(call('LRANGE', BASE .. 'i:' .. name, math.max(0, place - 1), place)) do
      if member == task.id then return true end
    end
    list = {}
    for _, member in ipairs(call('LRANGE', BASE .. 'i:' .. name, 0, 2 * BUCKET)) do
      list[member] = true
    end
    census.lists[name] = list
  end
  return list[task.id]
end

-- Numbers that a task has were given out.
function census.numbered(queue, task)
  local function given(counter, number)
    if not number or number <= queue_number(queue, counter) then return end
    local detail = digits(number) .. ' of task ' .. task.id .. ' is beyond ' .. digits(queue_number(queue, counter))
    if census.find('sequence', queue.name, counter, detail) then
      queue.values[counter] = number
      queue.changed[counter] = true
    end
  end
  given('n', task.n)
  given('n', task.pl)
  given('n', task.gp)
  given('grants', task.gn)
end

-- A key that is held until the end, or until the first grant, by a task that has not come so far.
function census.holds_key(queue, task)
  if not task.un or TERMINAL[task.s] then return end
  local kind, ttl, digest = unique_of(task)
  if kind == 'ttl' or kind == 'started' and task.dl > 0 then return end
  local holder = key_holder(queue, digest)
  if holder == task.id then return end
  local held = holder and call('EXISTS', BASE .. 'b:' .. holder) == 1
  local detail = holder and 'its key is held by ' .. holder or 'nobody holds its key'
  if census.find('unique', queue.name, task.id, detail, held) then hold_key(queue, task.id, NOW, kind, ttl, digest) end
end

-- A task of a bucket, against all structures it must be in. Answers whether it stands in the list of its line, which is not looked at.
function census.task(queue, task)
  local name, state = queue.name, task.s
  census.numbered(queue, task)
  census.holds_key(queue, task)
  if WAITING[state] and task.xa then census.listed(queue, task, BASE .. 'e:' .. name, task.xa, 'among those with a ttl') end
  if task.gk and (state == 'ready' or state == 'blocked') and task.gp then
    if census.listed(queue, task, group_line(queue, task.gk), task.gp, 'in the line of its group') and census.mends then
      regroup(queue, task.gk)
    end
  end
  if state == 'scheduled' then
    census.listed(queue, task, BASE .. 'd:' .. name, task.ra, 'among those that wait for their time')
  elseif state == 'leased' then
    census.listed(queue, task, BASE .. 'x:' .. name, task.ex, 'among the leases by deadline')
  elseif state == 'blocked' then
    census.listed(queue, task, BASE .. 'v:' .. name, task.n, 'among the blocked')
  elseif TERMINAL[state] then
    census.listed(queue, task, BASE .. 'z:' .. state .. ':' .. name, task.fa, 'among those that finished so')
    if task.rt then census.listed(queue, task, BASE .. 'a:' .. name, task.fa + task.rt, 'among those with a retention of their own') end
  elseif task.fr then
    census.listed(queue, task, front_key(task.p, name), task.pl, 'in front of its line')
  else
    return true
  end
end

-- Whether a member of a sorted set belongs there, by what the name of the set begins with.
census.FITS = {
  d = function(task) return task.s == 'scheduled' end,
  x = function(task) return task.s == 'leased' end,
  v = function(task) return task.s == 'blocked' end,
  e = function(task) return WAITING[task.s] and task.xa ~= nil end,
  a = function(task) return TERMINAL[task.s] and task.rt ~= nil end,
  z = function(task, state) return task.s == state end,
  f = function(task, priority) return task.s == 'ready' and task.fr ~= nil and task.p == priority end,
  w = function(task, digest) return (task.s == 'ready' or task.s == 'blocked') and task.gk == digest end,
}

-- The name of the sorted set of a queue; `more` is what else is in it: a state, a priority, a group.
function census.set_key(queue, kind, more)
  if kind == 'w' then return group_line(queue, more) end
  return BASE .. kind .. ':' .. (more ~= '' and more .. ':' or '') .. queue.name
end

-- Some members of a sorted set; answers the cursor to go on with, '0' at the end.
function census.members(queue, kind, more, cursor)
  local key = census.set_key(queue, kind, more)
  local next, entries = unpack(call('ZSCAN', key, cursor, 'COUNT', 100))
  for index = 1, #entries, 2 do
    local id = entries[index]
    local there = call('EXISTS', BASE .. 'b:' .. id) == 1
    local task = there and census.load(id)
    if there and not queue.exists then
      census.lost(queue, 'task ' .. id .. ' is of it')
    elseif not there or task and (task.q ~= queue.name or not census.FITS[kind](task, more)) then
      local what = task and 'the task is ' .. task.s or 'there is no such task'
      if census.find('stray', queue.name, id, 'in ' .. kind .. (more ~= '' and ':' .. more or '') .. ', but ' .. what) then
        call('ZREM', key, id)
      end
    end
  end
  return next
end

-- The counters of a queue, of its lines and of its groups, against what is there.

-- A counter that has drifted.
function census.counted(queue, field, real)
  local kept = queue_number(queue, field)
  if kept == real then return end
  if census.find('counter', queue.name, field, digits(kept) .. ' is noted, ' .. digits(real) .. ' is there') then
    queue.values[field] = real
    queue.changed[field] = true
  end
end

-- Sorted sets of the queue: kind, more, how many.
function census.sets(queue)
  local sets = {}
  local function look(kind, more)
    local size = call('ZCARD', census.set_key(queue, kind, more))
    if size > 0 then sets[#sets + 1] = { kind, more, size } end
  end
  for _, kind in ipairs({ 'd', 'x', 'v', 'e', 'a' }) do
    look(kind, '')
  end
  for state in pairs(TERMINAL) do
    look('z', state)
  end
  for priority = 0, 9 do
    look('f', digits(priority))
  end
  return sets
end

-- Looks at the members of small sets; answers those that take more than one look.
function census.small_sets(queue)
  local left, large = census.FEW, {}
  for _, set in ipairs(census.sets(queue)) do
    local kind, more, size = unpack(set)
    if size > left then
      large[#large + 1] = { kind, more }
    else
      left = left - size
      local cursor = '0'
      repeat
        cursor = census.members(queue, kind, more, cursor)
      until cursor == '0'
    end
  end
  return large
end

-- Entries of a line that stand for ready tasks: id, place, … An entry that would be granted unseen though its task is not ready is a fault.
function census.line(queue, priority, first, last)
  local entries = call('LRANGE', line_key(priority, queue.name), first, last)
  local valid = {}
  for _, entry in ipairs(entries) do
    local id, place = string.match(entry, '^([^:]+):?(%d*)$')
    local first_byte = id and call('GETRANGE', BASE .. 'b:' .. id, 0, 0) or ''
    local task = first_byte ~= '' and census.load(id) or nil
    if task and task.s == 'ready' and not task.fr and task.pl == (place == '' and task.n or tonumber(place)) and task.p == priority then
      valid[#valid + 1] = id
      valid[#valid + 1] = digits(task.pl)
    elseif task and place == '' and first_byte == '1' and task.s == 'ready' then
      if census.find('spent', queue.name, id, 'its entry in line ' .. priority .. ' is another than the one it stands by') then
        call('SETRANGE', BASE .. 'b:' .. id, 0, '2')
      end
    elseif task and place == '' and first_byte == '1' then
      if census.find('spent', queue.name, id, 'in line ' .. priority .. ', and the task is ' .. task.s) then
        call('SETRANGE', BASE .. 'b:' .. id, 0, '2')
      end
    end
  end
  return #entries, valid
end

function census.line_length(queue)
  local length = 0
  for priority = 0, 9 do
    length = length + call('LLEN', line_key(digits(priority), queue.name))
  end
  return length
end

-- Tasks that stand in lists, by priority, when that is few; nil when it is not.
function census.standing_in_lines(queue)
  if census.line_length(queue) > census.FEW then return nil end
  local counts = {}
  for priority = 0, 9 do
    local _, valid = census.line(queue, digits(priority), 0, -1)
    local seen, count = {}, 0
    for index = 1, #valid, 2 do
      if not seen[valid[index]] then count = count + 1 end
      seen[valid[index]] = true
    end
    counts[priority] = count
  end
  return counts
end

-- Nothing has come to stand in the queue's lines, or has gone, while this text stays the same: every way in takes a number, or is one
-- of the ends of a lease.
function census.mark(queue)
  local parts = {}
  for _, field in ipairs({ 'n', 'grants', 'front', 'ready', '+released', '+nacked', '+expired' }) do
    parts[#parts + 1] = digits(queue_number(queue, field))
  end
  return table.concat(parts, ',')
end

-- counts: tasks that stand in lists, or must, by priority.
function census.ready(queue, counts)
  local ready, front = 0, 0
  for priority = 0, 9 do
    local before = call('ZCARD', front_key(digits(priority), queue.name))
    front = front + before
    ready = ready + before + counts[priority]
    census.counted(queue, READY_OF[priority], before + counts[priority])
  end
  census.counted(queue, 'front', front)
  census.counted(queue, 'ready', ready)
end

-- Counters that a set or a time tells.
function census.queue(queue)
  for state, letter in pairs(STRUCTURES) do
    census.counted(queue, '#' .. state, call('ZCARD', BASE .. letter .. queue.name))
  end
  for state in pairs(TERMINAL) do
    local on_way = state == 'dead' and census.claims().of[queue.name] or 0
    census.counted(queue, '#' .. state, call('ZCARD', BASE .. 'z:' .. state .. ':' .. queue.name) + on_way)
  end
  census.looked_at(queue, 'due', census.first_due(queue), expect)
  census.looked_at(queue, 'keep', census.first_pruning(queue), expect_retention)
end

function census.first_score(key)
  return tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
end

function census.first_due(queue)
  local first = queue_text(queue, 'regroup') and NOW or nil
  for _, kind in ipairs({ 'x:', 'e:', 'd:' }) do
    local at = census.first_score(BASE .. kind .. queue.name)
    if at and (not first or at < first) then first = at end
  end
  return first
end

-- When age lets go of something for certain. Where tasks have a retention of their own, only that time is.
function census.first_pruning(queue)
  if queue_text(queue, 'keeps') then return census.first_score(BASE .. 'a:' .. queue.name) end
  local first
  for state in pairs(TERMINAL) do
    local finished = census.first_score(BASE .. 'z:' .. state .. ':' .. queue.name)
    local at = finished and aged_at(queue, state, finished)
    if at and (not first or at < first) then first = at end
  end
  return first
end

-- The queue must be in the schedule of its shard at a time or before (nil for nothing), and know of nothing earlier than what stands there:
-- otherwise what falls due after that would not be noted.
function census.looked_at(queue, field, at, expect_at)
  local planned = tonumber(call('ZSCORE', BASE .. field, queue.name) or nil)
  local noted = tonumber(queue_text(queue, field) or nil)
  local is_late = at and not (planned and planned <= math.max(at, NOW))
  local is_deaf = noted and not (planned and planned <= noted)
  if not is_late and not is_deaf then return end
  local detail = (at and 'due at ' .. digits(at) or 'nothing due') .. ', ' .. (planned and 'planned at ' .. digits(planned) or 'not planned')
  if noted then detail = detail .. ', ' .. digits(noted) .. ' is noted' end
  if not census.find('schedule', queue.name, field, detail) then return end
  queue.values[field] = false
  if at or planned then
    expect_at(queue, math.min(at or planned, planned or at))
  else
    call('HDEL', queue.key, field)
  end
end

-- What a group has leased and waiting in place, by its tasks; nil when the queue has too many to look at.
function census.tally(queue)
  local sets = { leased = BASE .. 'x:' .. queue.name, scheduled = BASE .. 'd:' .. queue.name }
  if call('ZCARD', sets.leased) + call('ZCARD', sets.scheduled) > census.FEW then return nil end
  local tally = {}
  for state, key in pairs(sets) do
    for _, id in ipairs(call('ZRANGE', key, 0, -1)) do
      local task = call('EXISTS', BASE .. 'b:' .. id) == 1 and census.load(id)
      if task and task.gk and task.s == state and (state == 'leased' or task.gp) then
        local of = tally[task.gk] or { leased = 0, scheduled = 0 }
        of[state] = of[state] + 1
        tally[task.gk] = of
      end
    end
  end
  return tally
end

-- Which task of a group is ready: the one that is noted, or was met, or is among the first. No other one can be.
function census.ready_of(queue, digest, noted, met)
  local candidates = {}
  candidates[#candidates + 1] = noted
  candidates[#candidates + 1] = met
  for _, id in ipairs(call('ZRANGE', group_line(queue, digest), 0, 7)) do
    candidates[#candidates + 1] = id
  end
  for _, id in ipairs(candidates) do
    local task = call('EXISTS', BASE .. 'b:' .. id) == 1 and census.load(id)
    if task and task.s == 'ready' and task.gk == digest and task.q == queue.name then return id end
  end
end

-- Groups of a queue; answers how many could not be counted. `met`: a ready task that a group does not know of, by group. What is mended
-- is set going, which comes after all structures were looked at.
function census.groups(queue, digests, met)
  local tally = census.tally(queue)
  if not tally then return #digests end
  for _, digest in ipairs(digests) do
    local group = open_group(queue, digest)
    local real = tally[digest] or { leased = 0, scheduled = 0 }
    local ready = census.ready_of(queue, digest, group.ready, met[digest])
    local drifted = group.leased ~= real.leased or group.waiting ~= real.scheduled or group.ready ~= ready
    if drifted then
      local detail = group.leased .. '|' .. group.waiting .. '|' .. (group.ready or '') .. ' is noted, '
      detail = detail .. real.leased .. '|' .. real.scheduled .. '|' .. (ready or '') .. ' is there'
      if census.find('group', queue.name, digest, detail) then
        group.leased, group.waiting, group.ready = real.leased, real.scheduled, ready
        regroup(queue, digest)
      end
    elseif not ready and not queue_text(queue, 'regroup') and call('EXISTS', group_line(queue, digest)) == 1 and has_group_room(queue, digest) then
      if census.find('stalled', queue.name, digest, 'its first task is blocked by nothing') then regroup(queue, digest) end
    end
  end
  return 0
end

-- Keys of a shard by their names, one at a time: what is left behind by what is gone.

-- The queue and the last part of a name such as <queue>:<digest>.
function census.last_part(name)
  return string.match(name, '^(.*):([^:]*)$')
end

-- The queue of a task whose body is gone, by what is left.
function census.queue_of(text)
  return string.match(text, '^~%d+|[^|]*|[^|]*|%d+|%d+|%d+|[^|]*|([^|]*)|')
    or string.match(text, '^[!?]%d+|%d+|[^|]*|[^|]*|%d+|%d+|%d+|[^|]*|([^|]*)|')
    or string.match(text, '^' .. ('[^|]*|'):rep(16) .. '([^|]*)|')
end

function census.orphan(key, queue, subject, detail)
  if census.find('orphan', queue, subject, detail) then call('UNLINK', key) end
end

census.KINDS = {}

-- A task is not deleted, whatever else has been lost: with its body, and the record of its queue, all can be put back.
function census.KINDS.b(id)
  local header = header_of(id)
  if header == '' then return end
  local task = census.load(id)
  if not task then return end
  local queue = open_queue(task.q)
  if not queue.exists then census.lost(queue, 'task ' .. id .. ' is of it') end
  local bucket = digits(math.floor(task.n / BUCKET))
  if census.is_listed(queue, bucket, task) then return end
  if census.find('unlisted', task.q, id, task.s .. ', not in the list of what was created') then
    call('RPUSH', BASE .. 'i:' .. bucket .. ':' .. task.q, id)
    call('ZADD', BASE .. 'n:' .. task.q, bucket, bucket)
  end
end

function census.KINDS.t(id, key)
  local text = call('GET', key)
  if not text or call('EXISTS', BASE .. 'b:' .. id) == 1 then return end
  local name = census.queue_of(text)
  if not name then
    census.find('unreadable', nil, id, 'what has changed about the task cannot be read', true)
    return
  end
  if not census.find('bodiless', name, id, 'its body is gone') then return end
  call('DEL', key, BASE .. 'h:' .. id)
  tasks[id] = false
  local queue = open_queue(name)
  for _, set in ipairs(census.sets(queue)) do
    call('ZREM', census.set_key(queue, set[1], set[2]), id)
  end
end

function census.KINDS.h(id, key)
  if call('EXISTS', key) == 0 then return end
  if call('EXISTS', BASE .. 'b:' .. id) == 1 then
    local task = census.load(id)
    if not task or task.said then return end
    if census.find('unheard', task.q, id, task.s .. ', and its record says that nothing was said') then
      if task.fresh then call('SETRANGE', BASE .. 'b:' .. id, 0, '2') end
      put(task, 'said', '1')
    end
  elseif call('EXISTS', BASE .. 't:' .. id) == 0 then
    census.orphan(key, nil, id, 'what workers said of a task that is gone')
  end
end

function census.KINDS.u(rest, key)
  local name, digest = census.last_part(rest)
  local id = string.match(call('GET', key) or '', '^([^|]*)|')
  if not name or not id then return end
  local there = call('EXISTS', BASE .. 'b:' .. id) == 1
  local task = there and census.load(id)
  if there and not task then return end
  local why
  if not there then
    why = 'held by a task that is gone'
  elseif not task.un or select(3, unique_of(task)) ~= digest or task.q ~= name then
    why = 'held by a task that has another key'
  elseif TERMINAL[task.s] and UNIQUE_RELEASE[unique_of(task)].finish then
    why = 'held by a task that has ended'
  end
  if why then census.orphan(key, name, id, 'a unique key ' .. why) end
end

function census.KINDS.k(rest, key)
  local name = census.last_part(rest)
  local id, left = string.match(call('GET', key) or '', '^([^|]*)|[^|]*|%d+|%d+(.*)$')
  if not id or left ~= '' or call('EXISTS', BASE .. 'b:' .. id) == 1 then return end
  census.orphan(key, name, id, 'an idempotency key of a task that is gone')
end

function census.KINDS.o(name, key)
  if call('EXISTS', key) == 0 then return end
  local queue = open_queue(name)
  if not queue.exists then
    if census.is_gone(queue) then census.orphan(key, name, name, 'times of grants of a queue that is gone') end
  elseif not rate_limit(queue) then
    census.orphan(key, name, name, 'times of grants, and the queue has no rate limit')
  end
end

function census.KINDS.m(name, key)
  if call('EXISTS', key) == 0 or not census.is_gone(open_queue(name)) then return end
  census.orphan(key, name, name, 'counts of a queue that is gone')
end

function census.KINDS.l(rest, key)
  local name = string.match(rest, '^%d:(.*)$')
  if not name or call('EXISTS', key) == 0 or not census.is_gone(open_queue(name)) then return end
  census.orphan(key, name, name, 'a line of a queue that is gone')
end

function census.KINDS.i(rest, key)
  local bucket, name = string.match(rest, '^(%d+):(.*)$')
  if not bucket or call('EXISTS', key) == 0 then return end
  local queue = open_queue(name)
  local named = not queue.exists and census.named(key)
  if named then census.lost(queue, named) end
  if census.is_gone(queue) then
    census.orphan(key, name, name, 'a list of ids of a queue that is gone')
  elseif (named or queue.exists) and not call('ZSCORE', BASE .. 'n:' .. name, bucket) then
    if census.find('unlisted', name, bucket, 'a list of ids that is not among those of its queue') then
      call('ZADD', BASE .. 'n:' .. name, bucket, bucket)
    end
  end
end

-- Where the queue has no record, the lists tell whether there is a task of it.
function census.KINDS.n(name, key)
  local queue = open_queue(name)
  if queue.exists then return end
  local lists = {}
  for _, bucket in ipairs(call('ZRANGE', key, 0, 7)) do
    lists[#lists + 1] = BASE .. 'i:' .. bucket .. ':' .. name
    local named = census.named(lists[#lists])
    if named then
      census.lost(queue, named)
      return
    end
  end
  if #lists > 0 and census.find('orphan', name, name, 'lists of ids of a queue that is gone') then
    call('UNLINK', unpack(lists))
    call('ZREMRANGEBYRANK', key, 0, #lists - 1)
  end
end

function census.KINDS.q(name, key)
  local queue = open_queue(name)
  if queue.exists then
    if call('ZSCORE', BASE .. 'queues', name) then return end
    if census.find('unlisted', name, name, 'a queue that is not in the list of queues') then
      call('ZADD', BASE .. 'queues', 0, name)
    end
  elseif call('EXISTS', key) == 1 and census.is_gone(queue) then
    census.orphan(key, name, name, 'a part of the record of a queue that is gone')
  end
end

function census.KINDS.j(id, key)
  local job = jobs.load(id)
  if not job then return end
  local running = job.state == 'running'
  local list = BASE .. ((running or jobs.is_open(job)) and 'jobs' or 'jobs-ended')
  if not call('ZSCORE', list, id) then
    if census.find('unlisted', job.queue, id, 'an operation that is ' .. job.state .. ', and not listed so') then
      call('ZADD', list, digits(job.finished or job.created), id)
    end
  end
  -- A broker that takes its steps ends it within moments.
  if running and not open_queue(job.queue).exists and math.max(job.created, job.byUntil or 0) + 60000 < NOW then
    if census.find('operation', job.queue, id, 'runs, and the queue is gone') then
      if jobs.is_open(job) then
        job.state, job.finished = 'cancelled', NOW
        jobs.save(job)
      else
        jobs.finish(job, 'cancelled')
      end
    end
  end
  census.carried(job)
end

-- Looks at a key; answers {queue, kind, more} for a sorted set that is looked at by its members: that of a group, or of a queue
-- without a record. A part of a task on its way, and a receipt that does not go by itself, are looked at when all operations have been:
-- {'', 'c' or 'p', id}.
function census.key(name)
  local kind, rest = string.match(name, '^(%a):(.*)$')
  if not kind then return end
  if kind == 'w' or kind == 'y' then
    local queue, digest = census.last_part(rest)
    return queue and { queue, 'w', digest }
  end
  if kind == 'c' then
    local id = string.match(rest, '^[bth]:(.*)$')
    return id and { '', 'c', id }
  end
  if kind == 'p' then return call('PTTL', BASE .. name) == -1 and { '', 'p', rest } or nil end
  if census.KINDS[kind] then
    census.KINDS[kind](rest, BASE .. name)
    return
  end
  if not census.FITS[kind] then return end
  local more, queue = '', rest
  if kind == 'z' or kind == 'f' then
    more, queue = string.match(rest, '^([^:]*):(.*)$')
  end
  if queue and not open_queue(queue).exists and call('EXISTS', BASE .. name) == 1 then return { queue, kind, more } end
end

-- Some members of a list of the shard's own, whatever they stand for being gone.
function census.own(list, cursor)
  local next, entries = unpack(call('ZSCAN', BASE .. list, cursor, 'COUNT', 100))
  for index = 1, #entries, 2 do
    local name, score = entries[index], tonumber(entries[index + 1])
    local there
    if list == 'jobs' or list == 'jobs-ended' then
      -- An ended operation goes by itself when its time is over, and its entry with the end of another.
      there = call('EXISTS', jobs.key(name)) == 1 or list == 'jobs-ended' and score + OPERATION.keptMs <= NOW
    else
      local queue = open_queue(name)
      there = queue.exists
      if not there and census.standing(queue) == 'lost' then
        if list == 'queues' then census.lost(queue, 'there is something left of its tasks') end
        there = true
      end
    end
    if not there and census.find('stray', nil, name, 'in ' .. list .. ', and there is none of this name') then
      call('ZREM', BASE .. list, name)
    end
  end
  return next
end

-- Tasks on their way to another queue, and the receipts of those that have arrived (moving.lua).

-- What operations take with them: by, the operation by the id of each task; of, how many by the name of their queue.
function census.claims()
  if census.taken then return census.taken end
  local taken = { by = {}, of = {} }
  for _, id in ipairs(call('ZRANGE', BASE .. 'jobs', 0, -1)) do
    local queue, claims = unpack(call('HMGET', jobs.key(id), 'queue', 'claims'))
    for _, claim in ipairs(moving.claims({ claims = claims or '' })) do
      taken.by[claim.id] = id
      taken.of[queue] = (taken.of[queue] or 0) + 1
    end
  end
  census.taken = taken
  return taken
end

-- What an operation takes with it is there. It may be in the other queue already, so nothing is done about it here.
function census.carried(job)
  for _, claim in ipairs(moving.claims(job)) do
    if call('EXISTS', BASE .. 'c:b:' .. claim.id) == 0 then
      census.find('bodiless', job.queue, claim.id, 'operation ' .. job.key .. ' takes it to another queue, and its body is gone', true)
    end
  end
end

-- A task that is on its way is dead; nil when what is left of it cannot be read.
function census.parked(id)
  local fine, task = pcall(unpack_task, id, call('GET', BASE .. 'c:t:' .. id) or '')
  return fine and task.s == 'dead' and task.fa and task or nil
end

-- A task of which something is on its way: an operation takes it, or it is dead again. Its copy is then perhaps in the other queue as well,
-- which a person can see; nothing runs twice by it.
function census.on_way(id)
  if census.claims().by[id] then return end
  local parts = {}
  for _, kind in ipairs(moving.KINDS) do
    local key = BASE .. 'c:' .. kind .. id
    if call('EXISTS', key) == 1 then parts[kind] = key end
  end
  if not parts['b:'] or call('EXISTS', BASE .. 'b:' .. id) == 1 then
    for _, key in pairs(parts) do
      census.orphan(key, nil, id, 'a part of a task that is not on its way any more')
    end
    return
  end
  local task = census.parked(id)
  if not task then
    census.find('unreadable', nil, id, 'on its way to another queue, and the record of the task cannot be read', true)
    return
  end
  local queue = open_queue(task.q)
  if not queue.exists then
    census.lost(queue, 'task ' .. id .. ' is of it')
  elseif census.find('stranded', task.q, id, 'died at ' .. digits(task.fa) .. ', was on its way, and no operation knows of it') then
    local held = task.un ~= nil and not UNIQUE_RELEASE[unique_of(task)].finish
    moving.restore(queue, { id = id, died = task.fa, n = task.n, held = held, said = parts['h:'] ~= nil })
  end
end

-- A receipt whose operation has ended. Whoever comes too late may still need it for a while.
function census.receipt(id)
  local key = BASE .. 'p:' .. id
  if call('PTTL', key) ~= -1 then return end
  if census.find('receipt', nil, id, 'the receipt of an operation that is over') then call('PEXPIRE', key, moving.KEPT_MS) end
end

-- How a file of lua/ makes its operation known. The functions of all libraries of a server share one set of names.
-- While a library is loaded, only `redis.register_function` and the methods of texts can be called.
local NO_FLAGS = {}
-- Runs in a full Redis too.
local ALLOW_OOM = { 'allow-oom' }
local READS_ONLY = { 'no-writes' }

-- queue_fields: of a queue's hash, what the operation usually needs, to be read in one go.
local function operation(name, queue_fields, flags, run)
  redis.register_function({
    function_name = LIBRARY .. '_' .. name,
    flags = flags,
    callback = function(keys, args)
      begin(keys, args, queue_fields)
      return run()
    end,
  })
end

do
-- Cancels tasks, or asks their workers to stop.
-- KEYS  1 the shard's base key
-- ARGV  1 how many items; then per item: id, reason ('+' and text, '' for none), '1' to force
-- Returns per item {'cancelled' | 'requested', view, readied} or {'refused', problem code, readied}, readied being the queue when the end
--       of a lease leaves room in it (or '')
operation('cancel', { 'front' }, ALLOW_OOM, function()
  local function cancel(id, reason, force)
    local task = load_task(id)
    if not task then return { 'refused', 'task_not_found' } end
    local queue = open_queue(task.q)
    local was_leased = task.s == 'leased'
    catch_up(queue, task)
    local move = MOVES[force == '1' and 'forceCancel' or 'cancel'][task.s]
    local result
    if move.refused then
      result = { 'refused', move.refused }
    elseif move.stays == 'unchanged' then
      result = { 'cancelled' }
    else
      if reason ~= '' then record_error(task, '+' .. CANCELLED_ERROR_CODE, reason, nil) end
      if move.stays == 'requested' then
        put(task, 'cr', '1')
        result = { 'requested' }
      else
        leave(queue, task)
        put(task, 'ex', nil)
        put(task, 'wk', nil)
        enter_finished(queue, task, move.to)
        result = { 'cancelled' }
      end
    end
    if not move.refused then result[2] = view(task) end
    result[3] = has_opened(queue, was_leased and task.s ~= 'leased') and queue.name or ''
    return result
  end

  local results = {}
  for item = 1, tonumber(ARGV[1]) do
    local at = 2 + (item - 1) * 3
    results[item] = cancel(ARGV[at], ARGV[at + 1], ARGV[at + 2])
  end
  return reply(results)
end)
end

do
-- Ends operations that run. One that has tasks on their way, or a receipt elsewhere, is cancelled at once and ends when those are put
-- in order.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per operation as step-operation.lua
operation('cancel_operation', {}, ALLOW_OOM, function()
  local results = {}
  for index, id in ipairs(ARGV) do
    local job = jobs.load(id)
    if job and job.state == 'running' then
      if jobs.is_open(job) then
        job.state, job.finished, job.by, job.byUntil = 'cancelled', NOW, ORIGIN, NOW + jobs.HELD
        jobs.save(job)
      else
        jobs.finish(job, 'cancelled')
      end
    end
    results[index] = job and moving.stepped(job, job.next, false) or ''
  end
  return reply(results)
end)
end

do
-- Looks at a part of what is stored for faults, and changes nothing; as mend, it mends what is safe to mend.
-- KEYS  1 the shard's base key
-- ARGV  1 which part, and what it needs:
--       marks · keys, names of keys after the base · own, list, cursor · buckets, queue, bucket to go on after or '' · tasks, queue, bucket ·
--       sets or counters, queue · members, queue, kind, more, cursor · mark, queue · line, queue, priority, first, last · lost, queue, id and place, … · twice, queue, the mark, id and place, … ·
--       counts, queue, the mark or '', then of each priority how many stand in its list, or how many are lost of them ·
--       groups, queue, digests · parked, ids of tasks · open, id of an operation · receipt, id of an operation
-- Returns {what the part answers, findings: {fault, queue, subject, what was seen, '1' when it was mended}}
local parts = {}

function parts.marks()
  return call('HMGET', BASE .. 'meta', 'version', 'shards')
end

function parts.keys()
  local more = {}
  for index = 2, #ARGV do
    local set = census.key(ARGV[index])
    if set then more[#more + 1] = set end
  end
  return more
end

function parts.own()
  return census.own(ARGV[2], ARGV[3])
end

function parts.buckets()
  local name, after = ARGV[2], ARGV[3]
  local buckets = call('ZRANGEBYSCORE', BASE .. 'n:' .. name, after == '' and '-inf' or '(' .. after, '+inf', 'LIMIT', 0, 256)
  for _, bucket in ipairs(buckets) do
    if call('EXISTS', BASE .. 'i:' .. bucket .. ':' .. name) == 0 then
      if census.find('stray', name, bucket, 'among its lists of ids, and there is none of this number') then
        call('ZREM', BASE .. 'n:' .. name, bucket)
        call('HDEL', BASE .. 'm:' .. name, bucket)
      end
    end
  end
  return buckets
end

-- Answers how many tasks there are, and of those that stand in lists: id, place, …
function parts.tasks()
  local name, bucket = ARGV[2], ARGV[3]
  local queue = open_queue(name)
  if not queue.exists then return { 0, {} } end
  local ids = call('LRANGE', BASE .. 'i:' .. bucket .. ':' .. name, 0, 2 * BUCKET)
  local there, gone, standing, grouped, met = 0, 0, {}, {}, {}
  for _, id in ipairs(ids) do
    if call('EXISTS', BASE .. 'b:' .. id) == 0 then
      -- One that is on its way to another queue still counts as dead.
      local on_way = census.claims().by[id] or call('EXISTS', BASE .. 'c:b:' .. id) == 1
      if on_way then there = there + 1 else gone = gone + 1 end
    else
      there = there + 1
      local task = census.load(id)
      if task and census.task(queue, task) then
        standing[#standing + 1] = id
        standing[#standing + 1] = digits(task.pl)
      end
      if task and task.gk then
        local group = open_group(queue, task.gk)
        local is_met = task.s == 'ready' and group.ready ~= id
        if is_met then met[task.gk] = id end
        if (is_met or task.s == 'leased' and group.leased < 1 or task.s == 'scheduled' and task.gp and group.waiting < 1) and not grouped[task.gk] then
          grouped[task.gk] = true
          grouped[#grouped + 1] = task.gk
        end
      end
    end
  end
  if #grouped > 0 then census.groups(queue, grouped, met) end
  local noted = tonumber(call('HGET', BASE .. 'm:' .. name, bucket) or 0)
  if #ids > 0 and noted ~= gone then
    local detail = noted .. ' of list ' .. bucket .. ' are noted as deleted, ' .. gone .. ' are'
    if census.find('counter', name, bucket, detail) then
      if gone == #ids then
        call('DEL', BASE .. 'i:' .. bucket .. ':' .. name)
        call('ZREM', BASE .. 'n:' .. name, bucket)
        call('HDEL', BASE .. 'm:' .. name, bucket)
      else
        call('HSET', BASE .. 'm:' .. name, bucket, gone)
      end
    end
  end
  return { there, standing }
end

-- Counters come after all that may be mended in the sets.
function parts.sets()
  local queue = open_queue(ARGV[2])
  if not queue.exists then return {} end
  local large = census.small_sets(queue)
  if #large == 0 then census.queue(queue) end
  return large
end

function parts.counters()
  local queue = open_queue(ARGV[2])
  if queue.exists then census.queue(queue) end
  return ''
end

function parts.members()
  return census.members(open_queue(ARGV[2]), ARGV[3], ARGV[4], ARGV[5])
end

-- Answers the mark, and how many entries the lines of the queue have, from priority 0 on.
function parts.mark()
  local queue = open_queue(ARGV[2])
  local answer = { census.mark(queue) }
  for priority = 0, 9 do
    answer[priority + 2] = call('LLEN', line_key(digits(priority), queue.name))
  end
  return answer
end

function parts.line()
  local entries, valid = census.line(open_queue(ARGV[2]), ARGV[3], ARGV[4], ARGV[5])
  return { entries, valid }
end

-- Of tasks that were seen to stand in a list, and whose entries have not been found there since: whether they still have that place. If so
-- they stood there all the time, and there is no such entry. Answers their priorities.
function parts.lost()
  local queue = open_queue(ARGV[2])
  local lost, some = {}, census.still_standing(queue, 3)
  local times = census.times_in_line(queue, some)
  for _, task in ipairs(some) do
    if (times[task.id] or 0) == 0 then
      if census.find('unlisted', queue.name, task.id, 'ready, in no line') then
        census.stand_anew(queue, task)
        announce(queue)
      else
        lost[#lost + 1] = task.p
      end
    end
  end
  return lost
end

-- Of tasks that were met twice in their lines since those were marked, which may be because others came meanwhile.
function parts.twice()
  local queue = open_queue(ARGV[2])
  local some = census.still_standing(queue, 4)
  local is_quiet = census.mark(queue) == ARGV[3]
  local times = census.times_in_line(queue, some)
  for _, task in ipairs(some) do
    if is_quiet or (times[task.id] or 0) > 1 then
      if census.find('twice', queue.name, task.id, 'in line ' .. task.p) then census.stand_anew(queue, task) end
    end
  end
  return ''
end

-- Answers 'counted', 'moved' when the queue is not as marked any more, or 'long' when it has to be counted in steps.
function parts.counts()
  local queue = open_queue(ARGV[2])
  if not queue.exists then return 'counted' end
  local marked = ARGV[3] ~= ''
  if marked and census.mark(queue) ~= ARGV[3] then return 'moved' end
  local counts = marked and {} or census.standing_in_lines(queue)
  if not counts then return 'long' end
  for priority = 0, 9 do
    counts[priority] = (counts[priority] or 0) + tonumber(ARGV[4 + priority])
  end
  census.ready(queue, counts)
  return 'counted'
end

-- Answers how many could not be counted.
function parts.groups()
  local queue = open_queue(ARGV[2])
  local digests = {}
  for index = 3, #ARGV do
    digests[#digests + 1] = ARGV[index]
  end
  if not queue.exists then
    for _, digest in ipairs(digests) do
      -- Not opened as a group, which would be written again in the end.
      local key = BASE .. 'y:' .. queue.name .. ':' .. digest
      local group = call('GET', key)
      if group then
        if call('EXISTS', group_line(queue, digest)) == 1 or census.is_task(string.match(group, '[^|]*$')) then
          census.lost(queue, 'there is something left of its tasks')
        elseif census.is_gone(queue) then
          census.orphan(key, queue.name, digest, 'a group of a queue that is gone')
        end
      end
    end
    return 0
  end
  return census.groups(queue, digests, {})
end

function parts.parked()
  for index = 2, #ARGV do
    census.on_way(ARGV[index])
  end
  return ''
end

-- Answers '1' when the operation still needs its receipt.
function parts.open()
  local job = jobs.load(ARGV[2])
  return job and jobs.is_open(job) and '1' or ''
end

function parts.receipt()
  census.receipt(ARGV[2])
  return ''
end

local function take(mends)
  census.begin(mends)
  local answer = parts[ARGV[1]]()
  if not mends then return { NOW, '', { answer, census.found } } end
  return reply({ answer, census.found })
end

operation('census', {}, READS_ONLY, function()
  return take(false)
end)

operation('mend', {}, ALLOW_OOM, function()
  return take(true)
end)
end

do
-- Whether scripts can write here. A full Redis refuses new tasks only, which is told otherwise.
-- KEYS  1 the base key of the first shard
-- Returns nothing of interest
operation('check', {}, ALLOW_OOM, function()
  call('HSET', BASE .. 'meta', 'checkedAt', NOW)
  return { NOW, '', '' }
end)
end

do
-- Has the receipt of an operation that brings nothing more last only until nobody can come too late.
-- KEYS  1 the shard's base key
-- ARGV  1 id of the operation
-- Returns 1, or 0 when there was none
operation('close_receipt', {}, ALLOW_OOM, function()
  return queue_reply(call('PEXPIRE', BASE .. 'p:' .. ARGV[1], moving.KEPT_MS))
end)
end

do
-- Sets a queue's settings, if nobody else did meanwhile.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 the settings this change started from ('' for none) or '*' for any, 3 the new settings (JSON);
--       then pairs of field and value, '' for a value that follows the default
-- Returns {'conflict', settings as they are} or {'created' | 'changed'}
operation('configure', { 'settings' }, NO_FLAGS, function()
  local queue = open_queue(ARGV[1])
  local known = queue_text(queue, 'settings') or ''
  if ARGV[2] ~= '*' and ARGV[2] ~= known then return queue_reply({ 'conflict', known }) end
  local verb = queue.exists and 'changed' or 'created'
  if not queue.exists then make_queue(queue) end
  local most, ordering = setting(queue, 'groupMax'), group_ordering(queue)
  call('HSET', queue.key, 'settings', ARGV[3])
  for index = 4, #ARGV, 2 do
    if ARGV[index + 1] == '' then
      call('HDEL', queue.key, ARGV[index])
    else
      call('HSET', queue.key, ARGV[index], ARGV[index + 1])
    end
  end
  -- What was read of the queue is no longer true.
  queue.values = {}
  -- Another retention may let go of tasks at once: the next sweep looks.
  expect_retention(queue, NOW)
  if not rate_limit(queue) then call('DEL', rate_key(queue)) end
  local relaxes = ordering == 'strict' and group_ordering(queue) == 'relaxed'
  if queue_number(queue, '#blocked') > 0 and (setting(queue, 'groupMax') > most or relaxes) then
    -- Blocked tasks are looked at by the next sweeps, in steps.
    queue.values.regroup = 0
    queue.changed.regroup = true
    expect(queue, NOW)
  end
  -- So may other limits: whoever waits asks again.
  if queue_number(queue, 'ready') > 0 then announce(queue) end
  return queue_reply({ verb })
end)
end

do
-- Writes, and nothing else: what a connection waits for replicas to hold then covers all that its calls before have written or seen.
-- KEYS  1 the shard's base key
-- Returns nothing of interest
operation('confirm', {}, ALLOW_OOM, function()
  call('HSET', BASE .. 'meta', 'confirmedAt', NOW)
  return { NOW, '', '' }
end)
end

do
-- Counts dead tasks of a queue that match, a bounded number of them at a time.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 type or '', 3 '+' and the code of the last error, or '', 4 the latest time of death, 5 and 6 when the last one seen
--       died and its id ('' for the first), 7 how many to look at at most
-- Returns {how many match, how many were looked at, time and id of the last one, '' at the end}
operation('count_dead', {}, READS_ONLY, function()
  local limit = tonumber(ARGV[7])
  local ids, died = dead.after(ARGV[1], ARGV[5], ARGV[6], tonumber(ARGV[4]), limit)
  local matched = #ids
  if ARGV[2] ~= '' or ARGV[3] ~= '' then
    matched = 0
    for _, task in ipairs(load_tasks(ids)) do
      if dead.is_meant(task, ARGV[2], ARGV[3]) then matched = matched + 1 end
    end
  end
  local last = #ids == limit and ids[#ids] or ''
  return reply({ matched, #ids, died[last] or '', last })
end)
end

do
-- Begins operations that redrive the dead tasks of a queue.
-- KEYS  1 the shard's base key
-- ARGV  per operation: id, queue, the queue they go to or '' for their own, type or '', '+' and the code of the last error, or '', the latest time of death or '', max or '', rate
--       or '', '1' when the number of dead tasks is all there is to know of how many match
-- Returns per operation its view, 'queue_not_found' or 'too_many'
operation('create_operation', { '#dead' }, NO_FLAGS, function()
  local function create(id, name, to, kind, code, upto, max, rate, bounded)
    jobs.clear()
    local stored = jobs.load(id)
    if stored then return jobs.view(stored) end
    local queue = open_queue(name)
    if not queue.exists then return 'queue_not_found' end
    if call('ZCARD', BASE .. 'jobs') >= OPERATION.running then return 'too_many' end
    local total = queue_number(queue, '#dead')
    if bounded == '1' and max ~= '' then total = math.min(total, tonumber(max)) end
    jobs.save({
      key = id, queue = name, to = to, type = kind, code = code, ['until'] = math.min(NOW, tonumber(upto) or NOW), max = max, rate = rate,
      state = 'running', created = NOW, finished = '', next = NOW, by = '', byUntil = 0, at = '', id = '', seen = 0, total = total,
      matched = 0, moved = 0,
    })
    call('ZADD', BASE .. 'jobs', NOW_TEXT, id)
    return jobs.view(jobs.load(id))
  end

  local results = {}
  for at = 1, #ARGV, 9 do
    results[#results + 1] = create(unpack(ARGV, at, at + 8))
  end
  return reply(results)
end)
end

do
-- Has a batch never be stored, unless it was.
-- KEYS  1 the shard's base key
-- ARGV  1 id of the operation, 2 number of the batch, 3 its mark, 4 how many tasks there are in it
-- Returns as receive.lua; f for each when none was stored and none will be
operation('decline', {}, ALLOW_OOM, function()
  local id, batch, mark = ARGV[1], tonumber(ARGV[2]), ARGV[3]
  local outcomes = moving.receipt(id, batch, mark)
  if not outcomes then
    outcomes = string.rep('f', tonumber(ARGV[4]))
    moving.write_receipt(id, batch, mark, outcomes)
  end
  return queue_reply(outcomes)
end)
end

do
-- Before a process gives back what its lease calls with a name were granted: they are found under the name no more.
-- KEYS  1 the shard's base key
-- ARGV  per call: queue, name, token
-- Returns per call 0 when another process has found its leases, and then leaves them as they are; else 1
operation('disown', {}, ALLOW_OOM, function()
  local results = {}
  for index = 1, #ARGV, 3 do
    local key = BASE .. 'r:' .. ARGV[index] .. ':' .. ARGV[index + 1]
    local token, process = string.match(call('GET', key) or '', '^([^|]*)|[^|]*|(.*)$')
    local kept = token == ARGV[index + 2]
    if kept and process == ORIGIN then call('DEL', key) end
    results[#results + 1] = (kept and process ~= ORIGIN) and 0 or 1
  end
  return { NOW, '', results }
end)
end

do
-- Deletes a queue in which nothing waits, is leased or is dead, in bounded steps.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 how many finished tasks to delete at most
-- Returns 'deleted', 'more', 'not_empty' or 'not_found'
operation('drop_queue', { '#scheduled', '#blocked', '#leased', '#dead', 'ready' }, ALLOW_OOM, function()
  local queue = open_queue(ARGV[1])

  local function drop()
    if not queue.exists then return 'not_found' end
    for _, count in ipairs({ '#scheduled', '#blocked', '#leased', '#dead', 'ready' }) do
      if queue_number(queue, count) > 0 then return 'not_empty' end
    end
    local left = tonumber(ARGV[2])
    for _, state in ipairs({ 'completed', 'cancelled', 'expired' }) do
      local doomed = load_tasks(call('ZRANGE', BASE .. 'z:' .. state .. ':' .. queue.name, 0, left - 1))
      for _, task in ipairs(doomed) do
        leave(queue, task)
      end
      delete_tasks(queue, doomed, false)
      left = left - #doomed
      if left == 0 then return 'more' end
    end
    -- Stale entries may be left in the lines; lists of any length are freed in the background.
    for priority = 0, 9 do
      call('UNLINK', line_key(priority, queue.name))
    end
    call('ZREM', BASE .. 'due', queue.name)
    call('ZREM', BASE .. 'keep', queue.name)
    call('ZREM', BASE .. 'queues', queue.name)
    call('DEL', queue.key, rate_key(queue))
    queue.exists = false
    return 'deleted'
  end

  return reply(drop())
end)
end

do
-- Ends an operation that has nothing more to do, once its receipt lasts no longer than is needed.
-- KEYS  1 the shard's base key
-- ARGV  1 id
-- Returns as step-operation.lua for one operation, or '' when there is none
operation('end_operation', {}, ALLOW_OOM, function()
  local job = jobs.load(ARGV[1])
  if not job then return reply('') end
  if moving.awaits(job) == 'close' then
    job.open = ''
    jobs.finish(job, job.state == 'running' and 'completed' or job.state)
  end
  return reply(moving.stepped(job, job.next, false))
end)
end

do
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
end

do
-- Forgets operations, which run no further.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per operation 1, 0 when there was none, or 2, and nothing done, when it has something open elsewhere and must be cancelled first
operation('forget_operation', {}, ALLOW_OOM, function()
  local results = {}
  for index, id in ipairs(ARGV) do
    local job = jobs.load(id)
    if job and jobs.is_open(job) then
      results[index] = 2
    else
      results[index] = call('DEL', jobs.key(id))
      call('ZREM', BASE .. 'jobs', id)
      call('ZREM', BASE .. 'jobs-ended', id)
    end
  end
  return reply(results)
end)
end

do
-- Reads tasks.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per id a view, or ''
operation('get', { 'maxAttempts' }, READS_ONLY, function()
  load_tasks(ARGV)
  local results = {}
  for index, id in ipairs(ARGV) do
    local task = load_task(id)
    results[index] = task and view(task) or ''
  end
  return reply(results)
end)
end

do
-- Grants ready tasks. Allowed in a full Redis: without it nothing would ever drain.
-- KEYS  1 the shard's base key
-- ARGV  1 how many queues, 2 the batch, 3 1 when it was sent before and the reply was lost; then per queue: its name, how many
--       calls, and per call: token, and max, or, where there is more to say, 'max|leaseMs|worker|name of the call' (each may be empty)
-- Returns per call {1 when there may be more behind stale entries, else 0; the queue's maxAttempts; until when a limit holds ready
--       tasks of the queue back (flow.lua); '1' when others became ready because of this; the deadline of what follows as id, body; …}. Where a view stands instead of an id, it says all there is to say, and no body follows
local function grant(queue, task, to)
  local length = to.lease_ms or task.tl or setting(queue, 'leaseMs')
  put(task, 'at', task.at + 1)
  task.dl = task.dl + 1
  task.tk = to.token
  task.sv = nil
  task.lm = length
  task.ga = NOW
  task.gn = take_number(queue, 'grants')
  task.wk = filled(to.worker)
  if task.said or to.request then say(task, 'rq', to.request) end
  if to.request then to.granted(task.id, length) end
  release_key(queue, task, 'start')
  enter_leased(queue, task, NOW + length)
  return view(task)
end

-- Takes a task that is out of its structure out of the counts too; nil when its ttl has passed or its group may run no more.
local function take(queue, task, to)
  add_ready(queue, task.p, -1)
  if task.xa then zdel(BASE .. 'e:' .. queue.name, task.id) end
  if task.gk then leave_group(queue, task) end
  local expired = task.xa and task.xa <= NOW
  if not expired and (not task.gk or has_group_room(queue, task.gk)) then return grant(queue, task, to) end
  skips = skips - 1
  if expired then
    enter_finished(queue, task, 'expired')
  else
    -- The groups of the queue may run fewer than when it became ready.
    stand_in_group(queue, task, 'back', true)
    watch_ttl(queue, task)
  end
  return nil
end

-- What an earlier run of this batch granted and still runs, by token.
local function granted_before(granted)
  local by_token = {}
  for id, token in string.gmatch(granted, '([^ ]+) ([^ ]+)') do
    local task = load_task(id)
    if task and task.s == 'leased' and task.tk == token then
      by_token[token] = by_token[token] or {}
      table.insert(by_token[token], view(task))
    end
  end
  return by_token
end

-- For an entry of a line: a view, or nil when there is nothing to grant.
local function take_entry(queue, entry, to)
  local task = task_of_entry(entry)
  if task then return take(queue, task, to) end
  skips = skips - 1
  return nil
end

-- The same for a task that stood in front of its line.
local function take_front(queue, id, to)
  local task = load_task(id)
  add(queue, 'front', -1)
  put(task, 'fr', nil)
  return take(queue, task, to)
end

-- Calls that wait for tasks of one queue, in order; the first that wants more gets the next.
local function taker(calls)
  local to = calls[calls.at]
  while to and to.left == 0 do
    calls.at = calls.at + 1
    to = calls[calls.at]
  end
  return to
end

-- Id and token of all that is granted, in turn.
local granted_now

local function give(calls, to, id)
  local granted = #granted_now
  granted_now[granted + 1] = id
  granted_now[granted + 2] = to.token
  to.left = to.left - 1
  calls.wanted = calls.wanted - 1
  calls.given = calls.given + 1
end

local function give_view(calls, to, view)
  to.views[#to.views + 1] = view
  give(calls, to, view[1])
end

-- What the body of a task in a line says that never changed and is bare (enqueue.lua): runAt, n and key.
local UNCHANGED = '^1|ready|%d+|(%d+)|[^|]*|%d+|[^|]*|(%d+)|%d|||[^|]*|[^|]*|([^|]*)|'

-- What the texts of all first grants of a call have in common.
local function begin_grants(queue, to)
  local length = to.lease_ms or setting(queue, 'leaseMs')
  to.deadline = digits(NOW + length)
  to.text = '|' .. to.token .. '|' .. to.deadline .. '|' .. length .. '|' .. NOW_TEXT .. '|' .. to.worker .. '|' .. queue.name .. '|'
  to.views[5] = to.deadline
  expect(queue, NOW + length)
end

-- Grants list entries. A bare id whose body says that it never changed is granted without taking the task apart.
local function grant_entries(queue, priority, entries, calls)
  local keys = {}
  for index = 1, #entries do
    keys[index] = BASE .. 'b:' .. entries[index]
  end
  local bodies = call('MGET', unpack(keys))
  local grants, fresh = queue_number(queue, 'grants'), 0
  -- Changed tasks and their leases, in the form of one MSET and one ZADD.
  local texts, leases = {}, {}
  for index = 1, #entries do
    local entry, body, to = entries[index], bodies[index], taker(calls)
    local run_at, n, key
    if body and not to.request then run_at, n, key = string.match(body, UNCHANGED) end
    if run_at then
      if not to.text then begin_grants(queue, to) end
      grants = grants + 1
      texts[2 * fresh + 1] = BASE .. 't:' .. entry
      texts[2 * fresh + 2] = '~' .. n .. '|' .. key .. to.text .. run_at .. '|' .. digits(grants)
      leases[2 * fresh + 1] = to.deadline
      leases[2 * fresh + 2] = entry
      fresh = fresh + 1
      local views = to.views
      local at = #views
      views[at + 1] = entry
      views[at + 2] = body
      give(calls, to, entry)
    else
      queue.values.grants = grants
      local view = take_entry(queue, entry, to)
      grants = queue_number(queue, 'grants')
      if view then give_view(calls, to, view) end
    end
  end
  queue.values.grants = grants
  queue.changed.grants = true
  if fresh > 0 then
    add_ready(queue, priority, -fresh)
    add(queue, '#leased', fresh)
    call('MSET', unpack(texts))
    call('ZADD', BASE .. 'x:' .. queue.name, unpack(leases))
  end
end

local function grant_front(queue, priority, calls)
  local first = call('ZPOPMIN', front_key(priority, queue.name), calls.wanted)
  for index = 1, #first, 2 do
    local to = taker(calls)
    local view = take_front(queue, first[index], to)
    if view then give_view(calls, to, view) end
  end
  return #first > 0
end

-- The highest priority in which a task is ready.
local function first_priority(queue)
  for priority = 9, 0, -1 do
    if queue_number(queue, READY_OF[priority]) > 0 then return priority end
  end
end

-- One after the other, because a grant may bring the next of a group into a line.
local function lease_by_turns(queue, calls)
  local wanted = calls.wanted
  while skips > 0 and calls.given < wanted do
    local priority = first_priority(queue)
    if not priority then break end
    write_lists()
    write_zsets()
    calls.wanted = 1
    if queue_number(queue, 'front') == 0 or not grant_front(queue, priority, calls) then
      local entries = call('LPOP', line_key(priority, queue.name), 1)
      if not entries then break end
      grant_entries(queue, priority, entries, calls)
    end
  end
end

local function lease_by_lines(queue, calls)
  for priority = 9, 0, -1 do
    while skips > 0 and calls.wanted > 0 and queue_number(queue, READY_OF[priority]) > 0 do
      -- As long as there is somebody in front, the line has to wait: what was popped there may have been past its ttl.
      if queue_number(queue, 'front') == 0 or not grant_front(queue, priority, calls) then
        local entries = call('LPOP', line_key(priority, queue.name), calls.wanted)
        if not entries then break end
        grant_entries(queue, priority, entries, calls)
      end
    end
  end
end

local function lease(queue, calls)
  calls.wanted = allowed_grants(queue, calls.wanted)
  if queue_text(queue, 'grouped') then lease_by_turns(queue, calls) else lease_by_lines(queue, calls) end
  add(queue, '+leased', calls.given)
  note_grants(queue, calls.given)
end

-- Keeps what named calls are granted. Calls named alike in one script are one.
local named, twins

local function name_grants(queue, to, request)
  local ids, longest = {}, 0
  to.request = request
  to.granted = function(id, length)
    ids[#ids + 1] = id
    longest = math.max(longest, length)
  end
  named[#named + 1] = function()
    if #ids > 0 then remember(queue, request, to.token, ids, longest) end
  end
end

local function new_call(token, asked)
  local max = tonumber(asked)
  local to = { token = token, left = max, worker = '' }
  if not max then
    local most, length, worker, request = string.match(asked, '^(%d+)|(%d*)|([^|]*)|(.*)$')
    to.left, to.lease_ms, to.worker, to.request = tonumber(most), tonumber(length), worker, filled(request)
  end
  return to
end

operation('lease', {
  'paused', 'grouped', 'maxConcurrency', 'rateLimit', 'grants', 'front', '#leased', '+leased', 'leaseMs', 'maxAttempts', 'ready',
  'ready0', 'ready1', 'ready2', 'ready3', 'ready4', 'ready5', 'ready6', 'ready7', 'ready8', 'ready9',
}, ALLOW_OOM, function()
  granted_now, named, twins = {}, {}, {}
  local before = ARGV[3] == '1' and grants_of(ARGV[2])
  local by_token = before and granted_before(before)
  local results = {}
  local at = 4
  for _ = 1, tonumber(ARGV[1]) do
    local queue = open_queue(ARGV[at])
    local closed = not queue.exists or queue_text(queue, 'paused')
    local max_attempts = queue.exists and setting(queue, 'maxAttempts') or 0
    local calls = { at = 1, wanted = 0, given = 0 }
    local first = #results + 1
    for place = at + 2, at + 2 * tonumber(ARGV[at + 1]), 2 do
      local views = { 0, max_attempts, '', '', 0 }
      results[#results + 1] = views
      if before then
        for _, view in ipairs(by_token[ARGV[place]] or {}) do
          views[#views + 1] = view
        end
      elseif queue.exists then
        local to = new_call(ARGV[place], ARGV[place + 1])
        local request = to.request
        local name = request and queue.name .. ':' .. request
        if request and twins[name] then
          results[#results] = twins[name]
        else
          if request then
            twins[name] = views
            for _, known in ipairs(recall(queue, request)) do
              views[#views + 1] = known
            end
          end
          if not closed and #views == 5 then
            to.views = views
            calls[#calls + 1] = to
            calls.wanted = calls.wanted + to.left
            if request then name_grants(queue, to, request) end
          end
        end
      end
    end
    at = at + 2 + 2 * tonumber(ARGV[at + 1])
    if #calls > 0 then lease(queue, calls) end
    local held = queue.exists and held_until(queue) or ''
    local opened = queue.opened and queue_number(queue, 'ready') > 0 and '1' or ''
    if held ~= '' or opened ~= '' then
      for index = first, #results do
        results[index][3], results[index][4] = held, opened
      end
    end
  end
  if skips <= 0 then
    for _, views in ipairs(results) do
      views[1] = 1
    end
  end
  for _, finish in ipairs(named) do
    finish()
  end
  if #granted_now > 0 then keep_grants(ARGV[2], granted_now) end
  return reply(results)
end)
end

do
-- One page of a queue's tasks in order of creation. The clock is taken not to go back: what was created outside the times that
-- are wanted is passed over by halves.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 'oldest' or 'newest' first, 3 the sequence number to go on after ('' for the first page), 4 and more: the page (page.lua)
-- Returns {{sequence number to go on after}, or {} at the end, views}
operation('list_created', { 'maxAttempts' }, READS_ONLY, function()
  local name, newest, reached = ARGV[1], ARGV[2] == 'newest', tonumber(ARGV[3])
  local page = open_page(4)
  local buckets_key = BASE .. 'n:' .. name

  local FEW = 128

  local function is_next(task)
    if not reached then return true end
    if newest then return task.n < reached end
    return task.n > reached
  end

  -- Looks at tasks, which are in order of creation; answers where the page ends, {} where the list does, nil when there is more
  -- to look at.
  local function look(found)
    local first, last, step = 1, #found, 1
    if newest then first, last, step = #found, 1, -1 end
    for index = first, last, step do
      local task = found[index]
      if is_next(task) then
        reached = task.n
        local full = look_at(page, task)
        if page.outside == (newest and 'before' or 'after') then return {} end
        if full then return { reached } end
      end
    end
  end

  -- A bucket may hold ids of deleted tasks, which cost too.
  local function read_bucket(bucket)
    local ids = call('LRANGE', BASE .. 'i:' .. bucket .. ':' .. name, 0, -1)
    local found = load_tasks(ids)
    page.budget = page.budget - (#ids - #found)
    return look(found)
  end

  local function begins_before(bucket, time)
    for _, id in ipairs(call('LRANGE', BASE .. 'i:' .. bucket .. ':' .. name, 0, -1)) do
      local created = string.match(header_of(id), CREATED)
      if created then return tonumber(created) < time end
    end
    return true
  end

  -- The last bucket that begins with a task created before a time; nil when none does.
  local function bucket_before(time)
    local low, high = 0, call('ZCARD', buckets_key)
    while low < high do
      local middle = math.floor((low + high) / 2)
      if begins_before(call('ZRANGE', buckets_key, middle, middle)[1], time) then low = middle + 1 else high = middle end
    end
    return low > 0 and call('ZRANGE', buckets_key, low - 1, low - 1)[1] or nil
  end

  -- Where reading begins, as a bound of buckets; nil when no task can be wanted.
  local function start()
    if reached then return math.floor(reached / BUCKET) end
    if newest then
      if page.to then return bucket_before(page.to) end
      return '+inf'
    end
    return page.from and bucket_before(page.from) or '-inf'
  end

  local function read()
    local from = start()
    if not from then return {} end
    local command = newest and 'ZREVRANGEBYSCORE' or 'ZRANGEBYSCORE'
    local upto = newest and '-inf' or '+inf'
    while true do
      local buckets = call(command, buckets_key, from, upto, 'LIMIT', 0, 8)
      for _, bucket in ipairs(buckets) do
        local ended = read_bucket(bucket)
        if ended then return ended end
        from = '(' .. bucket
      end
      if #buckets < 8 then return {} end
    end
  end

  -- Few tasks of a state that has a structure of its own are taken from there, however many others surround them.
  local function read_structure(key)
    local found = load_tasks(call('ZRANGE', key, 0, -1))
    table.sort(found, function(a, b) return a.n < b.n end)
    return look(found) or {}
  end

  local structure = STRUCTURES[page.state]
  local position
  if structure and queue_number(open_queue(name), '#' .. page.state) <= FEW then
    position = read_structure(BASE .. structure .. name)
  else
    position = read()
  end
  return reply({ position, page.views })
end)
end

do
-- One page of a queue's tasks of one terminal state, in the order in which they finished. The clock is taken not to go back: what
-- finished before the times that are wanted was created before them.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 'oldest' or 'newest' first, 3 and 4 when the last one seen finished and its id ('' for the first page),
--       5 and more: the page (page.lua)
-- Returns {finished at, id} to go on after, or {} at the end, and the views
operation('list_finished', { 'maxAttempts' }, READS_ONLY, function()
  local newest, at, last = ARGV[2] == 'newest', ARGV[3], filled(ARGV[4])
  local page = open_page(5)
  local key = BASE .. 'z:' .. page.state .. ':' .. ARGV[1]

  -- How many are passed over, from the end at which the list begins.
  local function passed_over()
    if last then
      local before, upto = ranks_of(key, at, last)
      return newest and call('ZCARD', key) - before or upto
    end
    if page.from and not newest then return call('ZCOUNT', key, '-inf', '(' .. digits(page.from)) end
    return 0
  end

  -- Where nothing is filtered, what is read is shown.
  local filtered = page.kind or page.tag or page.code or page.from or page.to
  local most = filtered and page.budget or math.min(page.budget, page.limit)
  local start = passed_over()
  local entries = call(newest and 'ZREVRANGE' or 'ZRANGE', key, start, start + most - 1, 'WITHSCORES')
  local ids = {}
  for index = 1, #entries, 2 do
    ids[#ids + 1] = entries[index]
  end
  load_tasks(ids)
  local position, full = {}, false
  for index, id in ipairs(ids) do
    local finished = entries[2 * index]
    if newest and page.from and tonumber(finished) < page.from then return reply({ {}, page.views }) end
    position = { finished, id }
    full = look_at(page, load_task(id))
    if full then break end
  end
  if #ids < most and not full then position = {} end
  return reply({ position, page.views })
end)
end

do
-- What a lease call of this process has granted whose reply was lost.
-- KEYS  1 the shard's base key
-- ARGV  1 the batch
-- Returns id and token of each task, in turn
operation('lost_leases', {}, READS_ONLY, function()
  local granted = {}
  for id, token in string.gmatch(grants_of(ARGV[1]) or '', '([^ ]+) ([^ ]+)') do
    granted[#granted + 1] = id
    granted[#granted + 1] = token
  end
  return { NOW, '', granted }
end)
end

do
-- Marks the data on first use and reads the marks.
-- KEYS  1 the base key of the first shard
-- ARGV  1 version of the data, 2 number of shards
-- Returns {version, shards}
operation('open_data', {}, NO_FLAGS, function()
  local key = BASE .. 'meta'
  call('HSETNX', key, 'version', ARGV[1])
  call('HSETNX', key, 'shards', ARGV[2])
  return { NOW, '', call('HMGET', key, 'version', 'shards') }
end)
end

do
-- Reads operations.
-- KEYS  1 the shard's base key
-- ARGV  the ids; none for those that run, up to 100
-- Returns per operation its view or ''
operation('operations', {}, READS_ONLY, function()
  local ids = #ARGV > 0 and ARGV or call('ZRANGE', BASE .. 'jobs', 0, OPERATION.running - 1)
  local results = {}
  for index, id in ipairs(ids) do
    local job = jobs.load(id)
    results[index] = job and jobs.view(job) or ''
  end
  return reply(results)
end)
end

do
-- Deletes tasks of one state; finished ones oldest first, waiting ones in the order of their line.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 state, 3 how many at most (128)
-- Returns {how many, 1 when there may be more behind stale entries, else 0}
operation('purge', { 'front', 'watchedUntil' }, ALLOW_OOM, function()
  local queue = open_queue(ARGV[1])
  local state, limit = ARGV[2], tonumber(ARGV[3])
  local tired = 0
  local found, doomed = {}, {}
  if queue.exists and state == 'ready' then
    found = pop_ready(queue, limit)
    if skips <= 0 then tired = 1 end
  elseif queue.exists then
    local key = BASE .. (STRUCTURES[state] or 'z:' .. state .. ':') .. queue.name
    found = load_tasks(call('ZRANGE', key, 0, limit - 1))
  end
  -- What is behind them in their groups comes to its turn in this order.
  if not TERMINAL[state] then table.sort(found, function(a, b) return a.n < b.n end) end
  for _, task in ipairs(found) do
    -- Another one of its group may have brought it to another state.
    if task.s == state then
      if state ~= 'ready' then
        leave(queue, task)
      elseif task.gk then
        leave_group(queue, task)
      end
      doomed[#doomed + 1] = task
      announce_end(queue, task.id)
      if task.gk and not TERMINAL[state] then regroup(queue, task.gk) end
    end
  end
  delete_tasks(queue, doomed, false)
  return reply({ #doomed, tired })
end)
end

do
-- Names of queues in byte order.
-- KEYS  1 the shard's base key
-- ARGV  1 the name to go on after, or '', 2 how many at most
-- Returns the names
operation('queue_names', {}, READS_ONLY, function()
  local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
  return { NOW, '', call('ZRANGEBYLEX', BASE .. 'queues', from, '+', 'LIMIT', 0, ARGV[2]) }
end)
end

do
-- Reads queues: what is configured and counted, and what stands at the head of their lines.
-- KEYS  1 the shard's base key
-- ARGV  the names
-- Returns per name '' or {fields and values of the hash, runAt of the longest ready head or '', next due time of a scheduled task or '',
--       when the rate limit allows the next grant or '', '1' when a blocked task waits for one that is leased}
operation('queues', { 'ready', '#blocked', '#leased', '#scheduled', 'ready0', 'ready1', 'ready2', 'ready3', 'ready4', 'ready5', 'ready6', 'ready7', 'ready8', 'ready9' }, ALLOW_OOM, function()
  -- Drops stale entries from the head of a line, so that looking at it stays cheap.
  local function head(queue, priority)
    local first = call('ZRANGE', front_key(priority, queue.name), 0, 0)[1]
    if first then return load_task(first) end
    while skips > 0 do
      local entry = call('LINDEX', line_key(priority, queue.name), 0)
      if not entry then return nil end
      local task = task_of_entry(entry)
      if task then return task end
      call('LPOP', line_key(priority, queue.name))
      skips = skips - 1
    end
  end

  -- Whether a blocked task is of a group of which another one is leased; looked at where the numbers alone do not tell.
  local function is_blocked_by_lease(queue)
    if queue_number(queue, 'ready') > 0 then return false end
    for _, count in ipairs({ '#blocked', '#leased', '#scheduled' }) do
      if queue_number(queue, count) == 0 then return false end
    end
    for _, task in ipairs(load_tasks(call('ZRANGE', BASE .. 'x:' .. queue.name, 0, LEASES_LOOKED_AT - 1))) do
      if task.gk and call('EXISTS', group_line(queue, task.gk)) == 1 then return true end
    end
    return false
  end

  local results = {}
  for index, name in ipairs(ARGV) do
    local queue = open_queue(name)
    results[index] = ''
    if queue.exists then
      local oldest = ''
      for priority = 9, 0, -1 do
        local task = queue_number(queue, READY_OF[priority]) > 0 and head(queue, priority)
        if task and (oldest == '' or task.ra < oldest) then oldest = task.ra end
      end
      local next_run = call('ZRANGE', BASE .. 'd:' .. name, 0, 0, 'WITHSCORES')[2] or ''
      local _, opens_at = rate_allowance(queue, 1)
      results[index] = { call('HGETALL', queue.key), oldest, next_run, opens_at or '', is_blocked_by_lease(queue) and '1' or '' }
    end
  end
  return reply(results)
end)
end

do
-- Leases that still run of earlier lease calls with a name, of which is noted when another process has found them.
-- KEYS  1 the shard's base key
-- ARGV  per call: queue, name
-- Returns per call the views
operation('recall', { 'maxAttempts' }, ALLOW_OOM, function()
  local results = {}
  for index = 1, #ARGV, 2 do
    local queue = open_queue(ARGV[index])
    results[#results + 1] = queue.exists and recall(queue, ARGV[index + 1]) or {}
  end
  return reply(results)
end)
end

do
-- Stores tasks that an operation takes to a queue, each as new, unless that has been done.
-- KEYS  1 the shard's base key
-- ARGV  1 id of the operation, 2 number of the batch, 3 its mark, 4 when it was given out, 5 queue; then per task as in enqueue.lua, and how
--       many fields and values of what was said of it follow
-- Returns a letter per task: s it is stored, u another one holds its unique key, f the queue is full, as it is then for all behind it;
--       or 'stale' when the batch was given out too long ago; or 'behind:' and a number, as moving.receipt does
operation('receive', {
  'n', '+enqueued', 'ready', 'ready4', 'generation', 'maxBacklog', '#scheduled', '#blocked', '#leased',
}, NO_FLAGS, function()
  local id, batch, mark, name = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[5]
  local known = moving.receipt(id, batch, mark)
  if known then return queue_reply(known) end
  if NOW - tonumber(ARGV[4]) >= moving.FRESH_MS then return queue_reply('stale') end
  intake.begin(0)
  local outcomes = {}
  local full = false
  local base = 6
  while base < #ARGV do
    local said = tonumber(ARGV[base + STRIDE])
    local queue = open_queue(name)
    local plans, refusal
    if not full then plans, refusal = plan_call(queue, base, 1, backlog_of(queue) + intake.pending(name), 0) end
    -- A task of the same id is another one: ids are minted anew for each batch that may be stored.
    if plans and plans[0] == 'store' then
      outcomes[#outcomes + 1] = 's'
      intake.store(intake.open(name), base, {}, said > 0)
      if said > 0 then
        call('HSET', BASE .. 'h:' .. ARGV[base], unpack(ARGV, base + STRIDE + 1, base + STRIDE + said))
        put(load_task(ARGV[base]), 'said', '1')
      end
    elseif refusal == 'unique_conflict' then
      outcomes[#outcomes + 1] = 'u'
    else
      full = true
      outcomes[#outcomes + 1] = 'f'
    end
    base = base + STRIDE + 1 + said
  end
  intake.close()
  local result = table.concat(outcomes)
  moving.write_receipt(id, batch, mark, result)
  return reply(result)
end)
end

do
-- Sends finished tasks back to the end of their line, attempts reset, every old token void.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per id {'redriven', view} or {'refused', problem code}
operation('redrive', { 'n' }, NO_FLAGS, function()
  local function redrive(id)
    local task = load_task(id)
    if not task then return { 'refused', 'task_not_found' } end
    local refused = dead.redrive(open_queue(task.q), task)
    if refused then return { 'refused', refused } end
    return { 'redriven', view(task) }
  end

  local results = {}
  for index, id in ipairs(ARGV) do
    results[index] = redrive(id)
  end
  return reply(results)
end)
end

do
-- Deletes finished tasks.
-- KEYS  1 the shard's base key
-- ARGV  the ids
-- Returns per id '' or the problem code of the refusal
operation('remove', {}, ALLOW_OOM, function()
  local results = {}
  for index, id in ipairs(ARGV) do
    local task = load_task(id)
    if not task or task.deleted then
      results[index] = 'task_not_found'
    else
      results[index] = MOVES.remove[task.s].refused or ''
      if results[index] == '' then
        local queue = open_queue(task.q)
        leave(queue, task)
        delete_tasks(queue, { task }, false)
      end
    end
  end
  return reply(results)
end)
end

do
-- Pauses or resumes a queue.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 '1' to pause
-- Returns 1, or 0 when there is no such queue
operation('set_paused', { 'paused', 'ready' }, ALLOW_OOM, function()
  local queue = open_queue(ARGV[1])
  if not queue.exists then return queue_reply(0) end
  if ARGV[2] == '1' then
    call('HSET', queue.key, 'paused', '1')
  else
    call('HDEL', queue.key, 'paused')
    if queue_text(queue, 'paused') and queue_number(queue, 'ready') > 0 then announce(queue) end
  end
  return queue_reply(1)
end)
end

do
-- Ends or extends leases. Allowed in a full Redis: finished work must get through.
-- KEYS  1 the shard's base key
-- ARGV  1 how many items; then per item: verb, id, token, how many more, and those:
--       ack: nothing, or the result. nack: '1' with an error else '0', code, message ('+' and text, '' for none), details, '1' when retryable, delayMs, random.
--       release: delayMs. heartbeat: leaseMs, maxRuntimeMs, progress, checkpoint. ('' for none)
-- Returns per item 'acked|queue|runAt|readied' (completed at the first attempt), 'settled|queue|state|attempt|late|replayed|runAt|deadline
--       ('' unless a heartbeat)|cancelRequested|readied' or 'refused|problem code|readied', readied being the queue when something in it
--       may be granted because of this (or '')
-- Of acks in the common case: texts to be written in the form of an MSET, and ids by queue.
local texts, acked

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
local function prolong_request(queue, task, length, late)
  local request = task.said and call('HGET', BASE .. 'h:' .. task.id, 'rq')
  if not request then return end
  if late then recall_again(queue, request, task, length) end
  call('PEXPIRE', request_key(queue, request), length, 'GT')
end

local function outcome(task, late, deadline)
  return table.concat({ 'settled', task.q, task.s, task.at, late and 1 or 0, 0, digits(task.ra), deadline and digits(deadline) or '', task.cr or '' }, '|')
end

-- A verb has ended the grant: what it led to is kept for a repeated call.
local function ended(task, verb, late)
  put(task, 'sv', table.concat({ verb, task.s, task.at, digits(task.ra), late and 1 or 0 }, ','))
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
  enter(queue, task, 'ack', lease_end_rule('ack', {}), 0)
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
    if (task.s == 'ready' or task.s == 'blocked') and not retryable then
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
  enter(queue, task, 'nack', rule, wait)
  return ended(task, 'nack', false)
end

function verbs.release(queue, task, at)
  local wait = tonumber(ARGV[at]) or 0
  local rule = lease_end_rule('release', { cancelRequested = task.cr, ttlPassed = ttl_passed(task), delayed = wait > 0 })
  take_back(queue, task)
  put(task, 'at', task.at - 1)
  add(queue, '+released', 1)
  enter(queue, task, 'release', rule, wait)
  return ended(task, 'release', false)
end

function verbs.heartbeat(queue, task, at, late)
  local cap = task.ga + tonumber(ARGV[at + 1])
  if late then
    local room = has_room(queue, #(acked[queue.name] or {})) and (not task.gk or has_group_room(queue, task.gk))
    if cap <= NOW or not room then return nil end
  end
  local deadline = math.min(NOW + (tonumber(ARGV[at]) or task.lm), cap)
  if late then
    leave(queue, task)
    -- The one that its expiry gave, also where the task has lost it since.
    put(task, 'pl', front_place(task))
    enter_leased(queue, task, deadline)
  else
    set_deadline(queue, task, deadline)
  end
  prolong_request(queue, task, deadline - NOW, late)
  for offset, field in pairs({ [2] = 'pr', [3] = 'cp' }) do
    local value = filled(ARGV[at + offset])
    if value == 'null' then say(task, field, nil) elseif value then say(task, field, value) end
  end
  return outcome(task, late, deadline)
end

-- What comes of a verb: a reply, and whether it is a refusal.
local function judge(queue, task, at)
  local verb, token = ARGV[at], ARGV[at + 2]
  local verdict = SETTLE_TABLE[settle_case(task, token, verb)][verb]
  if verdict == 'replay' then return replayed(task) end
  if verdict == 'accept' or verdict == 'late' then
    local result = verbs[verb](queue, task, at + 4, verdict == 'late')
    if result then return result end
    verdict = 'lease_lost'
  end
  return 'refused|' .. verdict, true
end

local function settle(at)
  local task = load_task(ARGV[at + 1])
  if not task then return judge(nil, nil, at) .. '|' end
  local queue = open_queue(task.q)
  local was_leased = task.s == 'leased'
  catch_up(queue, task)
  local result, refused = judge(queue, task, at)
  local ended = was_leased and task.s ~= 'leased'
  local readied = has_opened(queue, ended) or ended and refused and task.s == 'ready'
  return result .. '|' .. (readied and queue.name or '')
end

-- The common case, an ack of the first grant of a task while it runs, by itself: the text of the task is changed without
-- taking it apart.
local FIRST_GRANT = '^~%d+|[^|]*|([^|]*)|(%d+)|%d+|%d+|[^|]*|([^|]*)|(%d+)|'

-- The reply, or nil when this is not the common case.
local function ack_first(id, text, token, result)
  local held_by, deadline, name, run_at = string.match(text, FIRST_GRANT)
  -- Times of one length compare as texts do.
  if held_by ~= token or #deadline ~= #NOW_TEXT or deadline <= NOW_TEXT then return nil end
  if result then call('HSET', BASE .. 'h:' .. id, 'rs', result) end
  local written = #texts
  texts[written + 1] = BASE .. 't:' .. id
  texts[written + 2] = (result and '?' or '!') .. NOW_TEXT .. '|' .. string.sub(text, 2)
  local ids = acked[name]
  if ids then ids[#ids + 1] = id else acked[name] = { id } end
  return 'acked|' .. name .. '|' .. run_at .. (leaves_room(open_queue(name)) and '|' .. name or '|')
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
    freed(queue)
    add(queue, '#completed', #ids)
    add(queue, '+acked', #ids)
    expect_retention(queue, retention_due(queue, 'completed'))
  end
end

operation('settle', { 'maxConcurrency', 'ready', '#leased', '#completed', '+acked', 'completedMs', 'completedMax', 'watchedUntil' }, ALLOW_OOM, function()
  texts, acked = {}, {}
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
      result = settle(start)
    end
    results[item] = result
  end
  finish_acks()
  return reply(results)
end)
end

do
-- One step of operations: redrives the next of their tasks, in the order in which they died, or has them leave for the queue that they go
-- to. While one process takes the steps of an operation, others do nothing.
-- KEYS  1 the shard's base key
-- ARGV  per operation: id, how many tasks to redrive at most
-- Returns per operation '' or {view, when the next step can do something, or '' when it has ended, '1' when the queue they go to was full,
--       what is to be done elsewhere, as moving.lua says it}
operation('step_operation', { 'n', '#dead', 'front', 'ready' }, NO_FLAGS, function()
  local function redrive(job, queue, ids, died, limit)
    local most = job.max or math.huge
    local moved, looked = 0, 0
    for _, id in ipairs(ids) do
      if moved >= limit or job.matched >= most then break end
      looked = looked + 1
      job.at, job.id = died[id], id
      local task = load_task(id)
      if dead.is_meant(task, job.type, job.code) then
        job.matched = job.matched + 1
        if not dead.redrive(queue, task) then moved = moved + 1 end
      end
    end
    job.seen, job.moved = job.seen + looked, job.moved + moved
    job.total = math.max(job.total, job.seen)
    job.next = jobs.next_after(job, moved, false)
    return job.matched >= most or looked == #ids and #ids < OPERATION.step
  end

  -- Parks the tasks of the next batch. Answers whether there are none and nothing is left to be looked at.
  local function claim(job, queue, ids, died, limit)
    local most = job.max or math.huge
    local claims, looked, bytes = {}, 0, 0
    job.endAt, job.endId = job.at, job.id
    for _, id in ipairs(ids) do
      if #claims >= limit or job.matched + #claims >= most then break end
      local task = load_task(id)
      local entire = task and call('EXISTS', BASE .. 'b:' .. id) == 1
      local meant = entire and dead.is_meant(task, job.type, job.code)
      if meant then
        bytes = bytes + moving.size(task)
        if #claims > 0 and bytes > OPERATION.bytes then break end
      end
      looked = looked + 1
      job.endAt, job.endId = died[id], id
      if meant then claims[#claims + 1] = moving.park(queue, task, job.seen + looked) end
    end
    local last = job.matched + #claims >= most or looked == #ids and #ids < OPERATION.step
    job.endSeen, job.endLast = job.seen + looked, last and '1' or ''
    if #claims == 0 then
      job.at, job.id, job.seen, job.walked = job.endAt, job.endId, job.endSeen, job.endLast
      job.total = math.max(job.total, job.seen)
      return last and not jobs.is_open(job)
    end
    job.batch, job.claims, job.claimed, job.open = (job.batch or 0) + 1, table.concat(claims, ';'), NOW, '1'
    return false
  end

  local function advance(job, limit)
    local queue = open_queue(job.queue)
    local ids, died = dead.after(job.queue, job.at, job.id, job['until'], OPERATION.step)
    load_tasks(ids)
    local work = filled(job.to) and claim or redrive
    local ended = work(job, queue, ids, died, limit)
    -- Another step of this call finds them gone from the dead.
    write_zsets()
    job.by, job.byUntil = ORIGIN, NOW + jobs.HELD
    if ended then jobs.finish(job, 'completed') else jobs.save(job) end
  end

  -- An operation of which something is open has an errand first, if it has one.
  local function step(job, limit)
    if moving.awaits(job) then
      job.by, job.byUntil, job.claimed = ORIGIN, NOW + jobs.HELD, NOW
      jobs.save(job)
    elseif job.state == 'running' and job.next <= NOW then
      advance(job, limit)
    end
  end

  local results = {}
  for at = 1, #ARGV, 2 do
    local job = jobs.load(ARGV[at])
    local result = ''
    if job then
      if job.by ~= ORIGIN and job.byUntil > NOW then
        local runs = job.state == 'running' or jobs.is_open(job)
        result = { jobs.view(job), runs and math.max(job.next, job.byUntil) or '', '', '' }
      else
        step(job, math.min(tonumber(ARGV[at + 1]), OPERATION.step))
        result = moving.stepped(job, job.next, false)
      end
    end
    results[#results + 1] = result
  end
  return reply(results)
end)
end

do
-- One bounded step of what time brings about in a shard: due tasks become ready, leases that ran out are taken
-- back, tasks past their ttl expire, and what retention no longer keeps is deleted.
-- KEYS  1 the shard's base key
-- ARGV  1 how many tasks at most
-- Returns {when the next step is due or '' (retention, which can wait, counts only when this step was not enough for it), promoted, reclaimed, expired, pruned, names of queues with newly ready tasks, or with room for them}
-- What is left of the step, and what it has done.
local budget, promoted, reclaimed, expired, pruned
local FINISHED = { 'completed', 'cancelled', 'expired', 'dead' }

-- Tasks of a sorted set that are due, as many as the budget allows. Those of one moment are in the order of a number of theirs, as far as
-- they are in one step; the set knows only their ids, by which steps part them.
local function take_due(kind, queue, time, number)
  if budget <= 0 then return {} end
  local ids = call('ZRANGEBYSCORE', BASE .. kind .. queue.name, '-inf', NOW, 'LIMIT', 0, budget)
  budget = budget - #ids
  local due = load_tasks(ids)
  table.sort(due, function(a, b)
    -- A task that has neither stands here by mistake, and must not be in the way of the others.
    local first, second = a[time] or 0, b[time] or 0
    if first ~= second then return first < second end
    return (a[number] or 0) < (b[number] or 0)
  end)
  return due
end

-- A task that was acknowledged at its first attempt and has no idempotency key: n.
local DONE = '^[!?]%d+|(%d+)||'

-- Deletes finished tasks, the usual kind without taking them apart.
local function prune(queue, state, ids)
  if #ids == 0 then return end
  local keys, doomed, gone, buckets = {}, {}, {}, {}
  for index = 1, #ids do
    keys[index] = BASE .. 't:' .. ids[index]
  end
  for index, text in ipairs(call('MGET', unpack(keys))) do
    local id, n = ids[index], string.match(text, DONE)
    if n then
      gone[#gone + 1] = BASE .. 'b:' .. id
      gone[#gone + 1] = keys[index]
      if string.byte(text) == QUESTION then gone[#gone + 1] = BASE .. 'h:' .. id end
      local bucket = math.floor(n / BUCKET)
      buckets[bucket] = (buckets[bucket] or 0) + 1
    else
      doomed[#doomed + 1] = id
    end
  end
  if #doomed == 0 and not queue_text(queue, 'keeps') then
    -- They are the first of all.
    call('ZREMRANGEBYRANK', BASE .. 'z:' .. state .. ':' .. queue.name, 0, #ids - 1)
    add(queue, '#' .. state, -#ids)
  else
    local loaded = load_tasks(ids)
    for _, task in ipairs(loaded) do
      leave(queue, task)
    end
    write_zsets()
    delete_tasks(queue, load_tasks(doomed), true)
  end
  if #gone > 0 then call('DEL', unpack(gone)) end
  empty_buckets(queue, buckets)
  pruned = pruned + #ids
end

-- Finished tasks of the queue, the oldest first, as many as the budget allows.
local function finished_until(key, upto, most)
  local limit = math.min(budget, most)
  if limit <= 0 then return {} end
  local ids = call('ZRANGEBYSCORE', key, '-inf', digits(upto), 'LIMIT', 0, limit)
  budget = budget - #ids
  return ids
end

-- Among finished tasks stand those with a retention of their own, however long. Those that age has passed over already are all up
-- to the one that is noted, finishedAt|id. Answers that; nil when the clock was set back since, or there is none.
local function passed_over(queue, state, upto)
  local at, id = string.match(queue_text(queue, 'passed:' .. state) or '', '^(%d+)|(.*)$')
  if at and tonumber(at) <= upto then return at, id end
end

-- Entries of a set of finished tasks behind those that age has passed over, with their times.
local function behind_passed(queue, state, key, upto, most)
  local at, id = passed_over(queue, state, upto)
  local start = 0
  if at then start = select(2, ranks_of(key, at, id)) end
  return call('ZRANGE', key, start, start + most - 1, 'WITHSCORES')
end

-- As finished_until, in a queue that has had tasks with a retention of their own, without those.
local function aged_until(queue, state, key, upto)
  if budget <= 0 then return {} end
  local entries = behind_passed(queue, state, key, upto, budget)
  local ids, aged, passed = {}, {}, nil
  for index = 1, #entries, 2 do
    if tonumber(entries[index + 1]) > upto then break end
    ids[#ids + 1] = entries[index]
  end
  budget = budget - #ids
  load_tasks(ids)
  for index, id in ipairs(ids) do
    if not load_task(id).rt then
      aged[#aged + 1] = id
    elseif tonumber(entries[2 * index]) < NOW then
      -- Of what ends now more may come, before it.
      passed = entries[2 * index] .. '|' .. id
    end
  end
  if passed then
    queue.values['passed:' .. state] = passed
    queue.changed['passed:' .. state] = true
  end
  return aged
end

local function prune_state(queue, state)
  if queue_number(queue, '#' .. state) == 0 then return end
  local key = BASE .. 'z:' .. state .. ':' .. queue.name
  local upto = NOW - setting(queue, state == 'dead' and 'deadMs' or 'completedMs')
  prune(queue, state, queue_text(queue, 'keeps') and aged_until(queue, state, key, upto) or finished_until(key, upto, budget))
  if state == 'dead' then return end
  local excess = queue_number(queue, '#' .. state) - setting(queue, 'completedMax')
  prune(queue, state, finished_until(key, NOW - MIN_RETENTION_BY_COUNT_MS, excess))
end

-- A line in which nothing is ready holds only entries that fit no task any more.
local function clear_lines(queue)
  local stale = {}
  for priority = 0, 9 do
    if queue_number(queue, READY_OF[priority]) == 0 then stale[#stale + 1] = line_key(priority, queue.name) end
  end
  if #stale > 0 then call('UNLINK', unpack(stale)) end
end

local function prune_queue(queue)
  clear_lines(queue)
  if queue_text(queue, 'keeps') then prune(queue, nil, finished_until(BASE .. 'a:' .. queue.name, NOW, budget)) end
  for _, state in ipairs(FINISHED) do
    prune_state(queue, state)
  end
end

-- Looks at the next of the queue's blocked tasks: their groups may run more than before (configure.lua).
local function regroup_step(queue)
  local after = queue_text(queue, 'regroup')
  if not after or budget <= 0 then return end
  local found = call('ZRANGEBYSCORE', BASE .. 'v:' .. queue.name, '(' .. after, '+inf', 'LIMIT', 0, budget)
  local enough = #found < budget
  budget = budget - #found
  local last
  for _, task in ipairs(load_tasks(found)) do
    last = task.n
    regroup(queue, task.gk)
  end
  if enough then
    call('HDEL', queue.key, 'regroup')
    queue.values.regroup, queue.changed.regroup = false, nil
  else
    queue.values.regroup = last
    queue.changed.regroup = true
  end
end

local function sweep(queue)
  for _, task in ipairs(take_due('d:', queue, 'ra', 'n')) do
    if ttl_passed(task) then
      expire_ttl(queue, task)
      expired = expired + 1
    else
      leave(queue, task)
      enter_ready(queue, task, 'back', task.gp ~= nil)
      promoted = promoted + 1
    end
  end
  write_zsets()
  for _, task in ipairs(take_due('x:', queue, 'ex', 'gn')) do
    expire_lease(queue, task)
    reclaimed = reclaimed + 1
  end
  write_zsets()
  for _, task in ipairs(take_due('e:', queue, 'xa', 'n')) do
    expire_ttl(queue, task)
    expired = expired + 1
  end
  write_zsets()
  regroup_step(queue)
end

local function first_score(key)
  return tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
end

-- When something in the queue is due next, from the structures themselves.
local function next_due(queue)
  local at = queue_text(queue, 'regroup') and NOW or nil
  for _, kind in ipairs({ 'x:', 'e:', 'd:' }) do
    local first = first_score(BASE .. kind .. queue.name)
    if first and (not at or first < at) then at = first end
  end
  return at
end

-- The same for what retention lets go of.
local function next_pruning(queue)
  local at
  local function expect_at(time)
    if time and (not at or time < at) then at = time end
  end
  local keeps = queue_text(queue, 'keeps')
  if keeps then expect_at(first_score(BASE .. 'a:' .. queue.name)) end
  for _, state in ipairs(FINISHED) do
    if queue_number(queue, '#' .. state) > 0 then
      local key = BASE .. 'z:' .. state .. ':' .. queue.name
      local first = first_score(key)
      local aging = first
      if keeps then aging = tonumber(behind_passed(queue, state, key, NOW, 1)[2]) end
      if aging then
        local due = aged_at(queue, state, aging)
        -- One that ends now and stays has been looked at, and is passed over a moment later.
        if aging == NOW and budget > 0 then due = math.max(due, NOW + 1) end
        expect_at(due)
      end
      if is_crowded(queue, state) then expect_at(first + MIN_RETENTION_BY_COUNT_MS) end
    end
  end
  return at
end

-- Notes when a queue is to be looked at again; nil for never.
local function plan(queue, field, zset, at)
  queue.values[field] = at or false
  if at then
    queue.changed[field] = true
    call('ZADD', zset, digits(at), queue.name)
  else
    queue.changed[field] = nil
    call('HDEL', queue.key, field)
    call('ZREM', zset, queue.name)
  end
end

-- Looks at the queues for which it is time. Queues without anything to do cost too, so that a step stays bounded.
local function visit(zset, field, work, next_time)
  for _, name in ipairs(call('ZRANGEBYSCORE', zset, '-inf', NOW_TEXT, 'LIMIT', 0, math.max(budget, 0))) do
    if budget <= 0 then return end
    budget = budget - 1
    local queue = open_queue(name)
    work(queue)
    write_zsets()
    plan(queue, field, zset, next_time(queue))
  end
end

operation('sweep', { 'front', '#completed', '#cancelled', '#expired', '#dead' }, ALLOW_OOM, function()
  budget = tonumber(ARGV[1])
  promoted, reclaimed, expired, pruned = 0, 0, 0, 0
  visit(BASE .. 'due', 'due', sweep, next_due)
  -- What has ended just now may not be kept at all.
  write_tasks()
  visit(BASE .. 'keep', 'keep', prune_queue, next_pruning)
  local names = {}
  for name, queue in pairs(queues) do
    local opened = queue.opened and queue_number(queue, 'ready') > 0
    if readied[name] or opened or queue.freed and leaves_room(queue) then names[#names + 1] = name end
  end
  local due, keep = call('ZRANGE', BASE .. 'due', 0, 0, 'WITHSCORES')[2], first_score(BASE .. 'keep')
  if keep and keep <= NOW then due = NOW_TEXT end
  return reply({ due or '', promoted, reclaimed, expired, pruned, names })
end)
end

do
-- What has become of the batch of an operation that was on its way: those that were stored are deleted, the others are dead again.
-- KEYS  1 the shard's base key
-- ARGV  1 id, 2 number of the batch, 3 its mark, 4 as receive.lua answers
-- Returns as step-operation.lua for one operation, or '' when there is none
operation('take_receipt', { '#dead' }, ALLOW_OOM, function()
  local job = jobs.load(ARGV[1])
  if not job then return reply('') end
  local full = false

  -- They are dead again, and leave once more with the next batch, which comes after what the other shard has seen.
  local function call_back(last)
    local queue = open_queue(job.queue)
    local lost = {}
    for _, claim in ipairs(moving.claims(job)) do
      if not moving.restore(queue, claim) then lost[#lost + 1] = claim end
    end
    moving.discard(queue, lost)
    job.claims, job.batch = '', last
  end

  local function take(outcomes)
    local queue = open_queue(job.queue)
    local gone, lost = {}, {}
    for index, claim in ipairs(moving.claims(job)) do
      local outcome = string.sub(outcomes, index, index)
      if outcome == 's' then
        gone[#gone + 1] = claim
      elseif not moving.restore(queue, claim) then
        lost[#lost + 1] = claim
      end
      full = full or outcome == 'f'
      if not full then
        job.at, job.id, job.seen = digits(claim.died), claim.id, claim.seen
        job.matched = job.matched + 1
      end
    end
    moving.discard(queue, gone)
    moving.discard(queue, lost)
    if not full then
      job.at, job.id, job.seen, job.walked = job.endAt, job.endId, job.endSeen, job.endLast
    end
    job.claims = ''
    job.moved = job.moved + #gone
    job.total = math.max(job.total, job.seen)
    job.next = jobs.next_after(job, #gone, full)
  end

  if filled(job.claims) and job.batch == tonumber(ARGV[2]) and moving.mark(job) == ARGV[3] then
    local behind = tonumber(string.match(ARGV[4], '^behind:(%d+)$'))
    if behind then
      call_back(behind)
    elseif ARGV[4] ~= 'stale' then
      take(ARGV[4])
    end
    -- What could not be stored as it was is not tried at full pace.
    if behind or ARGV[4] == 'stale' then job.next = NOW + OPERATION.fullPauseMs end
    jobs.save(job)
  end
  return reply(moving.stepped(job, job.next, full))
end)
end

do
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
end

do
-- Asks for word of every end of a task in a queue.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 for how long, in ms
-- Returns nothing of interest
operation('watch_queue', { 'watchedUntil' }, ALLOW_OOM, function()
  local queue = open_queue(ARGV[1])
  local until_then = NOW + tonumber(ARGV[2])
  if queue.exists and until_then > queue_number(queue, 'watchedUntil') then
    queue.values.watchedUntil = until_then
    queue.changed.watchedUntil = true
  end
  return queue_reply('')
end)
end
