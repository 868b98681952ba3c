#!lua flags=allow-oom
-- Leases that still run of earlier lease calls with a name, of which is noted when another process has found them.
-- KEYS  1 the shard's base key
-- ARGV  per call: queue, name
-- Returns per call the views
local QUEUE_FIELDS = { 'maxAttempts' }
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
--   <base>:due               zset    queues by when something in them is due next
--   <base>:queues            zset    all queues of the shard
--   <base>:meta              hash    version and shards of the data (first shard), how many queues were ever made
local BASE = KEYS[1] .. ':'
-- Who calls, the last argument of every script: publications name it, so that nobody is woken by himself.
local ORIGIN = table.remove(ARGV)
local NOW = clock()
-- Numbers cost more to write than texts, so the one written most is written once.
local NOW_TEXT = string.format('%.0f', NOW)
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
        there[#there + 1] = score
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

local function push(key, entry)
  local list = lists[key]
  if list then list[#list + 1] = entry else lists[key] = { entry } end
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
  local found = call('HMGET', key, 'created', 'due', unpack(QUEUE_FIELDS))
  local values = { created = found[1], due = found[2] }
  for index, field in ipairs(QUEUE_FIELDS) do
    values[field] = found[index + 2]
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

-- Ready tasks are counted by priority and in all. Where the first one comes into an empty queue, whoever waits for it in
-- another process is told.
local function add_ready(queue, priority, change)
  if not queue.ready_before then queue.ready_before = queue_number(queue, 'ready') end
  add(queue, 'ready', change)
  add(queue, 'ready' .. priority, change)
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

-- Writes what has changed about the queues this script touched.
local function write_queues()
  for _, queue in pairs(queues) do
    local fields = {}
    for field in pairs(queue.changed) do
      fields[#fields + 1] = field
      fields[#fields + 1] = queue.values[field]
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
-- The body of a task is written once and never changed:
--   1|state|createdAt|runAt|type|length of attributes|queue|n|priority|expiresAt|leaseMs|maxAttempts|backoff|key|
-- then the attributes (JSON: tags, metadata, trace) and the payload, both opaque bytes. From the queue to the key it is
-- what a changed task goes on carrying as it is (task.lua).
local FRESH = '^1|(%a+)|%d+|(%d+)|[^|]*|%d+|(([^|]*)|(%d+)|%d|(%d*)|(%d*)|%d*|[^|]*|[^|]*)|'
-- No header is longer: two names, a backoff, a digest and nine numbers.
local HEADER_END = 639

local function header_of(id)
  return call('GETRANGE', BASE .. 'b:' .. id, 0, HEADER_END)
end
-- Loading and changing a task. What has changed since it was stored is one text of fields in this order:
--   1 s state  2 tk token  3 ex lease deadline  4 at attempt  5 dl deliveries  6 lm length of the lease  7 ga granted at
--   8 gn number of the grant  9 wk worker  10 sv how the latest grant was settled (verb,state,attempt,runAt,late)
--   11 ra runAt  12 fa finishedAt  13 pl place  14 fr 1 when in front of its line  15 cr 1 when a cancellation is asked for
--   16 said 1 when there is a hash with what workers said: pr progress, cp checkpoint, rs result, ec em ed ea et the last
--   error, rq the name of the lease call
--   and, as in the body, 17 q queue  18 n sequence  19 p priority  20 xa expiresAt  21 tl 22 ma 23 bo 24 ik the task's own
--   leaseMs, maxAttempts, backoff and idempotency key
local PACKED = '^' .. string.rep('([^|]*)|', 23) .. '(.*)$'

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
    tl = tonumber(tl), ma = tonumber(ma), bo = filled(bo), ik = filled(ik),
  }
  if s == 'ready' then task.pl = task.n end
  return task
end

local function unpack_task(id, packed)
  local s, tk, ex, at, dl, lm, ga, gn, wk, sv, ra, fa, pl, fr, cr, said, q, n, p, xa, tl, ma, bo, ik = string.match(packed, PACKED)
  if not s then error('task ' .. id .. ' cannot be read') end
  return {
    id = id, s = s, tk = filled(tk), ex = tonumber(ex), at = tonumber(at), dl = tonumber(dl), lm = tonumber(lm),
    ga = tonumber(ga), gn = tonumber(gn), wk = filled(wk), sv = filled(sv), ra = tonumber(ra), fa = tonumber(fa),
    pl = tonumber(pl), fr = filled(fr), cr = filled(cr), said = filled(said), q = q, n = tonumber(n), p = p,
    xa = tonumber(xa), tl = tonumber(tl), ma = tonumber(ma), bo = filled(bo), ik = filled(ik),
  }
end

-- Numbers above 2^46 would lose digits in Lua's own conversion.
local function whole(number)
  return number and string.format('%.0f', number) or ''
end

local function pack_task(task)
  return table.concat({
    task.s, task.tk or '', task.ex or '', task.at, task.dl, task.lm or '', task.ga or '', task.gn or '', task.wk or '',
    task.sv or '', task.ra, task.fa or '', whole(task.pl), task.fr or '', task.cr or '', task.said or '',
    task.q, task.n, task.p, task.xa or '', task.tl or '', task.ma or '', task.bo or '', task.ik or '',
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
    task.changed = nil
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
  local packed = ''
  if task.changed then packed = pack_task(task) else packed = call('GET', BASE .. 't:' .. task.id) or '' end
  return {
    task.id,
    body or call('GET', BASE .. 'b:' .. task.id),
    packed,
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
  for _, task in ipairs(load_tasks(ids)) do
    if task.s == 'leased' and task.tk == token and task.ex > NOW then views[#views + 1] = view(task) end
  end
  if #views > 0 and process ~= '' and process ~= ORIGIN then
    call('SET', request_key(queue, request), token .. '|' .. list .. '|', 'KEEPTTL')
  end
  return views
end

local function remember(queue, request, token, ids, length)
  call('SET', request_key(queue, request), token .. '|' .. table.concat(ids, ',') .. '|' .. ORIGIN, 'PX', length)
end
local results = {}
for index = 1, #ARGV, 2 do
  local queue = open_queue(ARGV[index])
  results[#results + 1] = queue.exists and recall(queue, ARGV[index + 1]) or {}
end
return reply(results)
