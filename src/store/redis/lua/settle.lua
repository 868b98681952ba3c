#!lua flags=allow-oom
-- Ends or extends leases. Allowed in a full Redis: finished work must get through.
-- KEYS  1 the shard's base key
-- ARGV  1 how many items; then per item: verb, id, token, and seven more:
--       ack: result. nack: '1' with an error else '0', code, message ('+' and text, '' for none), details, '1' when retryable, delayMs, random.
--       release: delayMs. heartbeat: leaseMs, maxRuntimeMs, progress, checkpoint. ('' for none)
-- Returns per item {'settled', queue, state, attempt, late, replayed, runAt, deadline ('' unless a heartbeat), cancelRequested}
--       or {'refused', problem code, queue in which the task became ready or ''}
local QUEUE_FIELDS = { '#leased', '#completed', '+acked', 'completedMs', 'completedMax' }
-- @include defaults settle-table lease-end-rules core queue body task moves endings backoff
local STRIDE = 10

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

local function outcome(task, late, deadline)
  return { 'settled', task.q, task.s, task.at, late and 1 or 0, 0, task.ra, deadline or '', task.cr and 1 or 0 }
end

-- A verb has ended the grant: what it led to is kept for a repeated call.
local function ended(task, verb, late)
  put(task, 'sv', table.concat({ verb, task.s, task.at, task.ra, late and 1 or 0 }, ','))
  return outcome(task, late)
end

local function replayed(task)
  local _, state, attempt, run_at, late = string.match(task.sv, '^(%a+),(%a+),(%d+),(%d+),(%d)$')
  return { 'settled', task.q, state, tonumber(attempt), tonumber(late), 1, tonumber(run_at), '', task.cr and 1 or 0 }
end

local function take_back(queue, task)
  leave(queue, task)
  put(task, 'ex', nil)
  put(task, 'wk', nil)
end

local verbs = {}

function verbs.ack(queue, task, at, late)
  take_back(queue, task)
  if ARGV[at] ~= '' then say(task, 'rs', ARGV[at]) end
  add(queue, '+acked', 1)
  enter(queue, task, lease_end_rule('ack', {}), 0)
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
    if task.s == 'ready' and not retryable then
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
  enter(queue, task, rule, wait)
  return ended(task, 'nack', false)
end

function verbs.release(queue, task, at)
  local wait = tonumber(ARGV[at]) or 0
  local rule = lease_end_rule('release', { cancelRequested = task.cr, ttlPassed = ttl_passed(task), delayed = wait > 0 })
  take_back(queue, task)
  put(task, 'at', task.at - 1)
  add(queue, '+released', 1)
  enter(queue, task, rule, wait)
  return ended(task, 'release', false)
end

function verbs.heartbeat(queue, task, at, late)
  local cap = task.ga + tonumber(ARGV[at + 1])
  if late and cap <= NOW then return nil end
  local deadline = math.min(NOW + (tonumber(ARGV[at]) or task.lm), cap)
  if late then
    leave(queue, task)
    enter_leased(queue, task, deadline)
  else
    set_deadline(queue, task, deadline)
  end
  for offset, field in pairs({ [2] = 'pr', [3] = 'cp' }) do
    local value = filled(ARGV[at + offset])
    if value == 'null' then say(task, field, nil) elseif value then say(task, field, value) end
  end
  return outcome(task, late, deadline)
end

local function settle(at)
  local verb, id, token = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local task = load_task(id)
  local queue = task and open_queue(task.q)
  local became_ready = ''
  if task and catch_up(queue, task) and task.s == 'ready' then became_ready = task.q end
  local verdict = SETTLE_TABLE[settle_case(task, token, verb)][verb]
  local result
  if verdict == 'replay' then
    result = replayed(task)
  elseif verdict == 'accept' or verdict == 'late' then
    result = verbs[verb](queue, task, at + 3, verdict == 'late') or { 'refused', 'lease_lost', became_ready }
  else
    result = { 'refused', verdict, became_ready }
  end
  return result
end

local ids, results = {}, {}
for item = 1, tonumber(ARGV[1]) do
  ids[item] = ARGV[3 + (item - 1) * STRIDE]
end
load_tasks(ids)
for item = 1, #ids do
  results[item] = settle(2 + (item - 1) * STRIDE)
end
return reply(results)
