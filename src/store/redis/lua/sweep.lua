#!lua flags=allow-oom
-- One bounded step of what time brings about in a shard: due tasks become ready, leases that ran out are taken
-- back, tasks past their ttl expire, and what retention no longer keeps is deleted.
-- KEYS  1 the shard's base key
-- ARGV  1 how many tasks at most
-- Returns {when the next step is due or '', promoted, reclaimed, expired, pruned, names of queues with newly ready tasks}
local QUEUE_FIELDS = { 'front', '#completed', '#cancelled', '#expired', '#dead' }
-- @include clock defaults lease-end-rules core queue retention body task moves endings delete
local budget = tonumber(ARGV[1])
local promoted, reclaimed, expired, pruned = 0, 0, 0, 0
local DUE = BASE .. 'due'
local FINISHED = { 'completed', 'cancelled', 'expired', 'dead' }

-- Tasks of a sorted set that are due, as many as the budget allows.
local function take_due(key, upto)
  if budget <= 0 then return {} end
  local ids = call('ZRANGEBYSCORE', key, '-inf', upto, 'LIMIT', 0, budget)
  budget = budget - #ids
  return load_tasks(ids)
end

local function prune(queue, doomed)
  for _, task in ipairs(doomed) do
    leave(queue, task)
  end
  delete_tasks(queue, doomed, true)
  pruned = pruned + #doomed
end

local function prune_state(queue, state)
  local count = queue_number(queue, '#' .. state)
  if count == 0 then return end
  local key = BASE .. 'z:' .. state .. ':' .. queue.name
  prune(queue, take_due(key, NOW - setting(queue, state == 'dead' and 'deadMs' or 'completedMs')))
  write_zsets()
  local excess = queue_number(queue, '#' .. state) - setting(queue, 'completedMax')
  if state == 'dead' or excess <= 0 or budget <= 0 then return end
  local old = call('ZRANGEBYSCORE', key, '-inf', NOW - MIN_RETENTION_BY_COUNT_MS, 'LIMIT', 0, math.min(excess, budget))
  budget = budget - #old
  prune(queue, load_tasks(old))
end

local function sweep(queue)
  for _, task in ipairs(take_due(BASE .. 'x:' .. queue.name, NOW)) do
    expire_lease(queue, task)
    reclaimed = reclaimed + 1
  end
  write_zsets()
  for _, task in ipairs(take_due(BASE .. 'e:' .. queue.name, NOW)) do
    expire_ttl(queue, task)
    expired = expired + 1
  end
  write_zsets()
  for _, task in ipairs(take_due(BASE .. 'd:' .. queue.name, NOW)) do
    leave(queue, task)
    enter_ready(queue, task, 'back')
    promoted = promoted + 1
  end
  for _, state in ipairs(FINISHED) do
    prune_state(queue, state)
  end
end

local function first_score(key)
  return tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
end

-- When something in the queue is due next, from the structures themselves.
local function next_due(queue)
  local at = math.huge
  for _, kind in ipairs({ 'x:', 'e:', 'd:' }) do
    at = math.min(at, first_score(BASE .. kind .. queue.name) or at)
  end
  for _, state in ipairs(FINISHED) do
    if queue_number(queue, '#' .. state) > 0 then
      at = math.min(at, kept_until(queue, state, first_score(BASE .. 'z:' .. state .. ':' .. queue.name)))
    end
  end
  return at
end

for _, name in ipairs(call('ZRANGEBYSCORE', DUE, '-inf', NOW, 'LIMIT', 0, budget)) do
  if budget <= 0 then break end
  -- Queues without anything to do cost too, so that a step stays bounded whatever is due.
  budget = budget - 1
  local queue = open_queue(name)
  sweep(queue)
  write_zsets()
  local at = next_due(queue)
  if at < math.huge then
    queue.values.due = at
    queue.changed.due = true
    call('ZADD', DUE, at, name)
  else
    queue.values.due = false
    queue.changed.due = nil
    call('HDEL', queue.key, 'due')
    call('ZREM', DUE, name)
  end
end

local names = {}
for name in pairs(readied) do
  names[#names + 1] = name
end
return reply({ call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or '', promoted, reclaimed, expired, pruned, names })
