-- What a task that holds a unique key is to others.

-- The state that time alone has brought a task to, whether the sweep has been there or not.
local function state_by_now(queue, task)
  if task.s == 'leased' and task.ex <= NOW then
    return lease_end_rule('expiry', {
      cancelRequested = task.cr, ttlPassed = ttl_passed(task), exhausted = task.at >= max_attempts(queue, task),
    }).state
  end
  return WAITING[task.s] and ttl_passed(task) and 'expired' or task.s
end

-- {task, its state by now, whether the key is free all the same}, or nil.
local function holder_of(queue, digest)
  local id, elapsed = key_holder(queue, digest)
  if not id then return nil end
  local task = load_task(id)
  local state = state_by_now(queue, task)
  local ended = UNIQUE_RELEASE[unique_of(task)].finish and TERMINAL[state]
  return { task = task, state = state, free = ended or elapsed }
end

-- What becomes of a new task whose key another one holds.
local function on_unique_held(asked, state)
  if asked ~= 'replace' then return asked end
  local move = MOVES.cancel[state]
  return (move.to or move.stays == 'unchanged') and 'replace' or 'return'
end

-- Takes a key from whoever holds it: a task whose time is over, or one that is to be replaced. Answers its id if it ended by this.
local function clear_the_way(queue, digest, by)
  local holder = holder_of(queue, digest)
  if not holder then return nil end
  local task = holder.task
  local finished = task.fa
  if not holder.free or TERMINAL[holder.state] then catch_up(queue, task) end
  if not holder.free and task.s ~= 'cancelled' then
    leave(queue, task)
    enter_finished(queue, task, 'cancelled')
    record_error(task, '+' .. CANCELLED_ERROR_CODE, '+' .. REPLACED_BY .. by, nil)
  end
  let_go(queue, task)
  return not finished and task.fa and task.id or nil
end

-- Lets a task that is redriven hold its key as when it was stored; false, and nothing done, if another has it.
local function take_key_back(queue, task)
  if not task.un then return true end
  local kind, ttl, digest = unique_of(task)
  local holder = holder_of(queue, digest)
  if holder and holder.task == task then return true end
  if holder and not holder.free then return false end
  if holder then
    if TERMINAL[holder.state] then catch_up(queue, holder.task) end
    let_go(queue, holder.task)
  end
  local created = tonumber(string.match(header_of(task.id), CREATED))
  if kind ~= 'ttl' or created + ttl > NOW then hold_key(queue, task.id, created, kind, ttl, digest) end
  return true
end
