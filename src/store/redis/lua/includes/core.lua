-- What every script starts from: the shard's base key, the time, and how keys are named.
--   <base>:b:<id>            string  body: what never changes about a task, payload included (see body.lua)
--   <base>:t:<id>            hash    what has changed about a task since it was stored; absent before the first change
--   <base>:q:<queue>         hash    configuration, counters and totals of a queue
--   <base>:l:<priority>:<queue>  list  ready line: ids, or id:place when the task was put at the back again
--   <base>:f:<priority>:<queue>  zset  ready tasks in front of that line, by place
--   <base>:d:<queue>         zset    scheduled tasks by due time
--   <base>:x:<queue>         zset    leases by deadline
--   <base>:e:<queue>         zset    waiting tasks that have a ttl, by its end
--   <base>:z:<state>:<queue> zset    finished tasks by time of finishing
--   <base>:i:<bucket>:<queue> list   ids in order of creation, BUCKET sequence numbers a list
--   <base>:n:<queue>         zset    the buckets in use
--   <base>:k:<queue>:<key>   string  an idempotency key: id|fingerprint|first use[|what is left of a pruned task]
--   <base>:due               zset    queues by when something in them is due next
--   <base>:queues            zset    all queues of the shard
local BASE = KEYS[1] .. ':'
local NOW = clock()
local BUCKET = 128
-- When the earliest of what this script touched is due.
local earliest = nil
-- Queues in which a task became ready, by name.
local readied = {}

-- A ready list or zset of a queue.
local function line_key(priority, queue)
  return BASE .. 'l:' .. priority .. ':' .. queue
end

local function front_key(priority, queue)
  return BASE .. 'f:' .. priority .. ':' .. queue
end

local function filled(text)
  if text == '' or text == false then return nil end
  return text
end
