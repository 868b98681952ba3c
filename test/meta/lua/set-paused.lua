-- Pauses or resumes a queue.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 '1' to pause
-- Returns 1, or 0 when there is no such queue
local QUEUE_FIELDS = { 'paused', 'ready' }
-- The only clock: ms since the epoch, by the server.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
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
local queue = open_queue(ARGV[1])
if not queue.exists then return queue_reply(0) end
if ARGV[2] == '1' then
  call('HSET', queue.key, 'paused', '1')
else
  call('HDEL', queue.key, 'paused')
  if queue_text(queue, 'paused') and queue_number(queue, 'ready') > 0 then announce(queue) end
end
return queue_reply(1)
