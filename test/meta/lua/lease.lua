#!lua flags=allow-oom
-- Grants ready tasks. Allowed in a full Redis: without it nothing would ever drain.
-- KEYS  1 the shard's base key
-- ARGV  1 how many calls, 2 the batch, 3 1 when it was sent before and the reply was lost; then per call: queue, token, max, leaseMs ('' for the task's or queue's), worker ('' for none),
--       the name of the call ('' for none)
-- Returns per call {1 when there may be more behind stale entries, else 0, view, …}
local QUEUE_FIELDS = {
  'paused', 'grants', 'front', '#leased', '+leased', 'leaseMs', 'maxAttempts', 'ready',
  'ready0', 'ready1', 'ready2', 'ready3', 'ready4', 'ready5', 'ready6', 'ready7', 'ready8', 'ready9',
}
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
-- Entries that fit no task any more are dropped as they come up, at most this many in a call.
local skips = 1000

-- Whatever is not a fresh task at the head of its line.
local function tools()
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
-- Moving a task between the structures; in flight it is in exactly one.
-- Queues in which a task became ready, by name.
local readied = {}

-- Takes a task out of the structure it is in. In a ready list it stays behind as an entry that no longer fits
-- its task, which the next pop skips.
local function leave(queue, task)
  local state = task.s
  if state == 'ready' then
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
    push(line_key(task.p, queue.name), task.id .. ':' .. task.pl)
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
  expect(queue, retention_due(queue, state))
  announce_end(queue, task.id)
end
-- The task that a list entry stands for, or nil when it stands there no longer.
local function task_of_entry(entry)
  local id, place = string.match(entry, '^([^:]+):?(%d*)$')
  local task = load_task(id)
  if not task or task.s ~= 'ready' or task.fr or task.deleted then return nil end
  if task.pl ~= (place == '' and task.n or tonumber(place)) then return nil end
  return task
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
    enter_leased(queue, task, NOW + length)
    return view(task)
  end

  -- Takes a task that is out of its structure out of the counts too; nil when its ttl has passed.
  local function take(queue, task, to)
    add_ready(queue, task.p, -1)
    if task.xa then zdel(BASE .. 'e:' .. queue.name, task.id) end
    if not task.xa or task.xa > NOW then return grant(queue, task, to) end
    skips = skips - 1
    enter_finished(queue, task, 'expired')
    return nil
  end

  return {
    finish = write_tasks,
    -- What an earlier run of this batch granted and still runs, by token.
    again = function(granted)
      local by_token = {}
      for id, token in string.gmatch(granted, '([^ ]+) ([^ ]+)') do
        local task = load_task(id)
        if task and task.s == 'leased' and task.tk == token then
          by_token[token] = by_token[token] or {}
          table.insert(by_token[token], view(task))
        end
      end
      return by_token
    end,
    recall = recall,
    remember = remember,
    -- For an entry of a line: a view, or nil when there is nothing to grant.
    entry = function(queue, entry, to)
      local task = task_of_entry(entry)
      if task then return take(queue, task, to) end
      skips = skips - 1
      return nil
    end,
    -- The same for a task that stood in front of its line.
    front = function(queue, id, to)
      local task = load_task(id)
      add(queue, 'front', -1)
      put(task, 'fr', nil)
      return take(queue, task, to)
    end,
  }
end
local toolbox

local function tool(name)
  toolbox = toolbox or tools()
  return toolbox[name]
end

-- Calls that wait for tasks of one queue, in order; the first that wants more gets the next.
local function taker(calls)
  while calls[calls.at] and calls[calls.at].left == 0 do
    calls.at = calls.at + 1
  end
  return calls[calls.at]
end

local granted_now = {}

local function give(calls, call, view)
  call.views[#call.views + 1] = view
  granted_now[#granted_now + 1] = view[1]
  granted_now[#granted_now + 1] = call.token
  call.left = call.left - 1
  calls.wanted = calls.wanted - 1
  calls.given = calls.given + 1
end

-- Grants list entries. A fresh task is granted without taking it apart: what its body says of it is carried along.
local function grant_entries(queue, priority, entries, calls)
  local keys = {}
  for index, entry in ipairs(entries) do
    keys[2 * index - 1] = BASE .. 't:' .. entry
    keys[2 * index] = BASE .. 'b:' .. entry
  end
  local values = call('MGET', unpack(keys))
  local queue_length, max_attempts = setting(queue, 'leaseMs'), setting(queue, 'maxAttempts')
  local grants, fresh = queue_number(queue, 'grants'), 0
  -- Changed tasks and their leases, in the form of one MSET and one ZADD.
  local texts, leases, first_deadline = {}, {}, math.huge
  for index, entry in ipairs(entries) do
    local body, to = values[2 * index], taker(calls)
    local state, ra, own, q, n, xa, tl
    if body and not values[2 * index - 1] then
      state, ra, own, q, n, xa, tl = string.match(body, FRESH)
    end
    if state == 'ready' and xa == '' and not to.request then
      local length = to.lease_ms or tonumber(tl) or queue_length
      local deadline = NOW + length
      grants = grants + 1
      fresh = fresh + 1
      local text = 'leased|' .. to.token .. '|' .. deadline .. '|1|1|' .. length .. '|' .. NOW_TEXT .. '|' .. grants .. '|' .. to.worker
        .. '||' .. ra .. '||' .. n .. '||||' .. own
      texts[2 * fresh - 1] = keys[2 * index - 1]
      texts[2 * fresh] = text
      leases[2 * fresh - 1] = deadline
      leases[2 * fresh] = entry
      first_deadline = math.min(first_deadline, deadline)
      give(calls, to, { entry, body, text, '', max_attempts })
    else
      queue.values.grants = grants
      local view = tool('entry')(queue, entry, to)
      grants = queue_number(queue, 'grants')
      if view then give(calls, to, view) end
    end
  end
  queue.values.grants = grants
  queue.changed.grants = true
  if fresh > 0 then
    add_ready(queue, priority, -fresh)
    add(queue, '#leased', fresh)
    call('MSET', unpack(texts))
    call('ZADD', BASE .. 'x:' .. queue.name, unpack(leases))
    expect(queue, first_deadline)
  end
end

local function grant_front(queue, priority, calls)
  local first = call('ZPOPMIN', front_key(priority, queue.name), calls.wanted)
  for index = 1, #first, 2 do
    local to = taker(calls)
    local view = tool('front')(queue, first[index], to)
    if view then give(calls, to, view) end
  end
  return #first > 0
end

local function lease(queue, calls)
  for priority = 9, 0, -1 do
    while skips > 0 and calls.wanted > 0 and queue_number(queue, 'ready' .. priority) > 0 do
      local found = queue_number(queue, 'front') > 0 and grant_front(queue, priority, calls)
      local entries = calls.wanted > 0 and call('LPOP', line_key(priority, queue.name), calls.wanted)
      if entries then
        grant_entries(queue, priority, entries, calls)
      elseif not found then
        break
      end
    end
  end
  add(queue, '+leased', calls.given)
end

-- Keeps what named calls are granted. Calls named alike in one script are one.
local named, twins = {}, {}

local function name_grants(queue, to, request)
  local ids, longest = {}, 0
  to.request = request
  to.granted = function(id, length)
    ids[#ids + 1] = id
    longest = math.max(longest, length)
  end
  named[#named + 1] = function()
    if #ids > 0 then tool('remember')(queue, request, to.token, ids, longest) end
  end
end

local before = ARGV[3] == '1' and grants_of(ARGV[2])
if before then
  local by_token, results = tool('again')(before), {}
  for index = 1, tonumber(ARGV[1]) do
    results[index] = { 0, unpack(by_token[ARGV[4 + (index - 1) * 6 + 1]] or {}) }
  end
  return queue_reply(results)
end

local results, by_queue = {}, {}
for index = 1, tonumber(ARGV[1]) do
  local base = 4 + (index - 1) * 6
  local queue = open_queue(ARGV[base])
  results[index] = { 0 }
  local request = filled(ARGV[base + 5])
  local twin = request and twins[queue.name .. ':' .. request]
  if twin then
    results[index] = twin
  elseif queue.exists and request then
    twins[queue.name .. ':' .. request] = results[index]
    for _, known in ipairs(tool('recall')(queue, request)) do
      results[index][#results[index] + 1] = known
    end
  end
  if queue.exists and not twin and not queue_text(queue, 'paused') and #results[index] == 1 then
    local calls = by_queue[queue]
    if not calls then
      calls = { at = 1, wanted = 0, given = 0 }
      by_queue[queue] = calls
    end
    local max = tonumber(ARGV[base + 2])
    calls.wanted = calls.wanted + max
    calls[#calls + 1] = {
      token = ARGV[base + 1], left = max, lease_ms = tonumber(ARGV[base + 3]), worker = ARGV[base + 4], views = results[index],
    }
    if request then name_grants(queue, calls[#calls], request) end
  end
end
for queue, calls in pairs(by_queue) do
  lease(queue, calls)
end
if skips <= 0 then
  for _, views in ipairs(results) do
    views[1] = 1
  end
end
for _, finish in ipairs(named) do
  finish()
end
if toolbox then tool('finish')() end
if #granted_now > 0 then keep_grants(ARGV[2], granted_now) end
return queue_reply(results)
