-- Loading, changing and moving a task.
-- Fields of the task hash: q queue, n sequence, p priority, s state, pl place, fr 1 when in front of its line,
-- at attempt, dl deliveries, tk token, ex lease deadline, lm length of the lease, ga granted at, gn number of the
-- grant, wk worker, sv how the latest grant was settled (verb|state|attempt|runAt|late), ra runAt, xa expiresAt,
-- fa finishedAt, cr 1 when a cancellation is asked for, tl, ma, bo, ik the task's own leaseMs, maxAttempts, backoff
-- and idempotency key, pr progress, cp checkpoint, rs result, ec em ed ea et the last error.
local TASK_FIELDS = {
  'q', 'n', 'p', 's', 'pl', 'fr', 'at', 'dl', 'tk', 'ex', 'lm', 'ga', 'gn', 'wk', 'sv', 'ra', 'xa', 'cr', 'tl', 'ma', 'bo', 'ik', 'fa',
}
local NUMBERS = { n = true, pl = true, at = true, dl = true, ex = true, lm = true, ga = true, gn = true, ra = true, xa = true, tl = true, ma = true, fa = true }
-- What a task hash takes over from the body when it is first written.
local INHERITED = { 'q', 'n', 'p', 's', 'pl', 'ra', 'xa', 'tl', 'ma', 'bo', 'ik' }

local function put(task, field, value)
  task[field] = value
  task.changed[field] = true
end

-- A task that has never changed is what its body says.
local function load_fresh(id, body)
  local q, n, p, s, ra, xa, tl, ma, bo, ik, kind = string.match(body, HEADER)
  if not q then error('the body of task ' .. id .. ' cannot be read') end
  local task = {
    id = id, fresh = true, changed = {},
    q = q, n = tonumber(n), p = p, s = s, at = 0, dl = 0, ra = tonumber(ra), xa = tonumber(xa), tl = tonumber(tl),
    ma = tonumber(ma), bo = filled(bo), ik = filled(ik), kind = kind,
  }
  if s == 'ready' then task.pl = task.n end
  return task
end

-- The task, or nil when there is none.
local function load_task(id)
  local values = redis.call('HMGET', BASE .. 't:' .. id, unpack(TASK_FIELDS))
  if not values[4] then
    local body = redis.call('GETRANGE', BASE .. 'b:' .. id, 0, HEADER_END)
    if body == '' then return nil end
    return load_fresh(id, body)
  end
  local task = { id = id, fresh = false, changed = {} }
  for index, field in ipairs(TASK_FIELDS) do
    local value = values[index]
    if value then task[field] = NUMBERS[field] and tonumber(value) or value end
  end
  task.at = task.at or 0
  task.dl = task.dl or 0
  return task
end

-- Writes what has changed, if anything has.
local function save_task(task)
  if not next(task.changed) then return end
  if task.fresh then
    for _, field in ipairs(INHERITED) do
      task.changed[field] = true
    end
  end
  local fields, gone = {}, {}
  for field in pairs(task.changed) do
    if task[field] == nil then
      if not task.fresh then gone[#gone + 1] = field end
    else
      fields[#fields + 1] = field
      fields[#fields + 1] = task[field]
    end
  end
  task.changed = {}
  local key = BASE .. 't:' .. task.id
  if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
  if #fields > 0 then
    redis.call('HSET', key, unpack(fields))
    task.fresh = false
  end
end

-- Takes a task out of the structure it is in. In a ready list it stays behind as an entry that no longer fits
-- its task, which the next pop skips.
local function leave(queue, task)
  local state = task.s
  if state == 'ready' then
    add(queue, 'ready' .. task.p, -1)
    if task.fr then
      redis.call('ZREM', front_key(task.p, queue.name), task.id)
      add(queue, 'front', -1)
      put(task, 'fr', nil)
    end
  else
    add(queue, '#' .. state, -1)
    if state == 'scheduled' then
      redis.call('ZREM', BASE .. 'd:' .. queue.name, task.id)
    elseif state == 'leased' then
      redis.call('ZREM', BASE .. 'x:' .. queue.name, task.id)
    else
      redis.call('ZREM', BASE .. 'z:' .. state .. ':' .. queue.name, task.id)
    end
  end
  if task.xa and (state == 'ready' or state == 'scheduled') then
    redis.call('ZREM', BASE .. 'e:' .. queue.name, task.id)
  end
end

local function watch_ttl(queue, task)
  if task.xa then
    redis.call('ZADD', BASE .. 'e:' .. queue.name, task.xa, task.id)
    expect(queue, task.xa)
  end
end

-- place: 'back', 'old' (where it stood) or 'front' (before all but expired ones of earlier grants).
local function enter_ready(queue, task, place)
  put(task, 's', 'ready')
  add(queue, 'ready' .. task.p, 1)
  if place == 'back' then
    put(task, 'pl', take_number(queue, 'n'))
    redis.call('RPUSH', line_key(task.p, queue.name), task.id .. ':' .. task.pl)
  else
    if place == 'front' then put(task, 'pl', task.gn - FRONT) end
    put(task, 'fr', '1')
    add(queue, 'front', 1)
    redis.call('ZADD', front_key(task.p, queue.name), task.pl, task.id)
  end
  watch_ttl(queue, task)
  readied[queue.name] = true
end

local function enter_scheduled(queue, task, at)
  put(task, 's', 'scheduled')
  put(task, 'ra', at)
  add(queue, '#scheduled', 1)
  redis.call('ZADD', BASE .. 'd:' .. queue.name, at, task.id)
  expect(queue, at)
  watch_ttl(queue, task)
end

local function set_deadline(queue, task, deadline)
  put(task, 'ex', deadline)
  redis.call('ZADD', BASE .. 'x:' .. queue.name, deadline, task.id)
  expect(queue, deadline)
end

local function enter_leased(queue, task, deadline)
  put(task, 's', 'leased')
  add(queue, '#leased', 1)
  set_deadline(queue, task, deadline)
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

local function enter_finished(queue, task, state)
  put(task, 's', state)
  put(task, 'fa', NOW)
  add(queue, '#' .. state, 1)
  if state == 'dead' then add(queue, '+dead', 1) end
  redis.call('ZADD', BASE .. 'z:' .. state .. ':' .. queue.name, NOW, task.id)
  expect(queue, kept_until(queue, state, NOW))
end

-- Enters a state named by a rule.
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
  put(task, 'ec', code)
  put(task, 'em', message)
  put(task, 'ed', details)
  put(task, 'ea', task.at)
  put(task, 'et', NOW)
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

-- A task for a reply: id, body, fields and values of its hash, the queue's maxAttempts.
local function view(task)
  local queue = open_queue(task.q)
  return {
    task.id,
    redis.call('GET', BASE .. 'b:' .. task.id),
    redis.call('HGETALL', BASE .. 't:' .. task.id),
    setting(queue, 'maxAttempts'),
  }
end

-- Deletes a finished or purged task that is in no structure any more. `keep_key`: its idempotency key goes on
-- answering for it with what is left; otherwise the key is free.
local function delete_task(queue, task, keep_key)
  if task.ik then
    local key = BASE .. 'k:' .. queue.name .. ':' .. task.ik
    local record = redis.call('GET', key)
    if record and string.sub(record, 1, #task.id + 1) == task.id .. '|' then
      if keep_key then
        local head = string.match(record, '^[^|]*|[^|]*|[^|]*')
        local created = string.match(redis.call('GETRANGE', BASE .. 'b:' .. task.id, 0, HEADER_END), '^1|[^|]*|%d+|%d|[^|]*|(%d+)|')
        redis.call('SET', key, table.concat({ head, task.s, created, task.ra, task.fa, task.at, task.dl, task.xa or '' }, '|'), 'KEEPTTL')
      else
        redis.call('DEL', key)
      end
    end
  end
  redis.call('DEL', BASE .. 'b:' .. task.id, BASE .. 't:' .. task.id)
  local bucket = math.floor(task.n / BUCKET)
  local list = BASE .. 'i:' .. bucket .. ':' .. queue.name
  -- A bucket holds at most BUCKET ids, so this is bounded.
  if redis.call('LREM', list, 1, task.id) == 1 and redis.call('EXISTS', list) == 0 then
    redis.call('ZREM', BASE .. 'n:' .. queue.name, bucket)
  end
end
