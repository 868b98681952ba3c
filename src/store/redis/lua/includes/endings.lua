-- How a lease ends, and what time alone makes of a task.

-- Enters the state that the rule for an end of a lease names.
local function enter(queue, task, how, rule, wait)
  local keeps = keeps_group_place(queue, task, how, rule.state)
  if rule.state == 'ready' then
    enter_ready(queue, task, rule.place, keeps)
  elseif rule.state == 'scheduled' then
    enter_scheduled(queue, task, NOW + wait, keeps)
  else
    enter_finished(queue, task, rule.state)
  end
end

local function record_error(task, code, message, details)
  say(task, 'ec', code)
  say(task, 'em', message)
  say(task, 'ed', details)
  say(task, 'ea', task.at)
  say(task, 'et', NOW)
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
  enter(queue, task, 'expiry', lease_end_rule('expiry', {
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
  if WAITING[task.s] and ttl_passed(task) then
    expire_ttl(queue, task)
    return true
  end
  return false
end
