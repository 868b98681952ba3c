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
