#!lua flags=allow-oom
-- Before a process gives back what its lease calls with a name were granted: they are found under the name no more.
-- KEYS  1 the shard's base key
-- ARGV  per call: queue, name, token
-- Returns per call 0 when another process has found its leases, and then leaves them as they are; else 1
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
local results = {}
for index = 1, #ARGV, 3 do
  local key = BASE .. 'r:' .. ARGV[index] .. ':' .. ARGV[index + 1]
  local token, process = string.match(call('GET', key) or '', '^([^|]*)|[^|]*|(.*)$')
  local kept = token == ARGV[index + 2]
  if kept and process == ORIGIN then call('DEL', key) end
  results[#results + 1] = (kept and process ~= ORIGIN) and 0 or 1
end
return { NOW, '', results }
