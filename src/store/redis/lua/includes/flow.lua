-- Limits of a queue. maxConcurrency is judged by the tasks that are leased; a rate limit ('limit,periodMs') by the times of its last
-- grants, as many as the limit, oldest first.
local function max_concurrency(queue)
  return tonumber(filled(queue_text(queue, 'maxConcurrency')))
end

-- `ended`: leases that have ended and are not counted yet.
local function has_room(queue, ended)
  local most = max_concurrency(queue)
  return not most or queue_number(queue, '#leased') - (ended or 0) < most
end

-- Whether the end of a lease leaves room for a task that is ready.
local function leaves_room(queue)
  return max_concurrency(queue) ~= nil and queue_number(queue, 'ready') > 0
end

-- Whether something in the queue may be granted that could not before, beside the task at hand, which is forgotten by this.
local function has_opened(queue, ended)
  local opened = queue.opened
  queue.opened = nil
  return queue_number(queue, 'ready') > 0 and (opened or ended and leaves_room(queue)) or false
end

-- A lease of the queue has ended: whoever is held back by its limit, in any process, is told.
local function freed(queue)
  if max_concurrency(queue) then queue.freed = true end
end

local function rate_limit(queue)
  local limit, period = string.match(queue_text(queue, 'rateLimit') or '', '^(%d+),(%d+)$')
  return tonumber(limit), tonumber(period)
end

local function rate_key(queue)
  return BASE .. 'o:' .. queue.name
end

-- How many of `max` grants the rate limit allows, and, when it is less, when it allows the next.
local function rate_allowance(queue, max)
  local limit, period = rate_limit(queue)
  if not limit then return max end
  local most = math.min(max, limit)
  local first = call('LLEN', rate_key(queue)) - limit
  -- Each grant is allowed a period after the one that is `limit` grants before it; what is not remembered was long ago.
  local allowed = math.min(most, math.max(0, -first))
  if allowed == most then return allowed end
  for _, at in ipairs(call('LRANGE', rate_key(queue), math.max(0, first), math.max(0, first) + most - allowed - 1)) do
    if at + period > NOW then return allowed, at + period end
    allowed = allowed + 1
  end
  return allowed
end

local function note_grants(queue, count)
  local limit = rate_limit(queue)
  if not limit or count == 0 then return end
  local times = {}
  for index = 1, count do
    times[index] = NOW_TEXT
  end
  call_all('RPUSH', rate_key(queue), times)
  call('LTRIM', rate_key(queue), -limit, -1)
end

-- How many of `max` grants all limits allow.
local function allowed_grants(queue, max)
  local most = max_concurrency(queue)
  if most then max = math.min(max, math.max(0, most - queue_number(queue, '#leased'))) end
  if max == 0 then return 0 end
  return (rate_allowance(queue, max))
end

-- When a limit lets go of ready tasks that it holds: a time, '-' when a lease has to end first, '' when it holds none.
local function held_until(queue)
  if queue_text(queue, 'paused') or queue_number(queue, 'ready') == 0 then return '' end
  if not has_room(queue) then return '-' end
  local _, opens_at = rate_allowance(queue, 1)
  return opens_at and digits(opens_at) or ''
end
