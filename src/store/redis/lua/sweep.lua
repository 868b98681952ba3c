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
