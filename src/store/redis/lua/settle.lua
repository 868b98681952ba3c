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
