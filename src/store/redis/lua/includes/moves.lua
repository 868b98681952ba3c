-- Moving a task between the structures; in flight it is in exactly one.
local function leave_line(queue, task)
  -- Its entry in a list stays behind and fits no task any more: the next pop skips it.
  if task.fresh then call('SETRANGE', BASE .. 'b:' .. task.id, 0, '2') end
  add_ready(queue, task.p, -1)
  if task.fr then
    zdel(front_key(task.p, queue.name), task.id)
    add(queue, 'front', -1)
    put(task, 'fr', nil)
  end
end

local WAITING = { scheduled = true, ready = true, blocked = true }

-- Takes a task out of the structures it is in.
local function leave(queue, task)
  local state = task.s
  if state == 'ready' then
    leave_line(queue, task)
  else
    add(queue, '#' .. state, -1)
    if state == 'scheduled' then
      zdel(BASE .. 'd:' .. queue.name, task.id)
    elseif state == 'leased' then
      zdel(BASE .. 'x:' .. queue.name, task.id)
      freed(queue)
    elseif state == 'blocked' then
      zdel(BASE .. 'v:' .. queue.name, task.id)
    else
      zdel(BASE .. 'z:' .. state .. ':' .. queue.name, task.id)
      if task.rt then zdel(BASE .. 'a:' .. queue.name, task.id) end
    end
  end
  if task.xa and WAITING[state] then zdel(BASE .. 'e:' .. queue.name, task.id) end
  if task.gk then leave_group(queue, task) end
end

local function watch_ttl(queue, task)
  if task.xa then
    zput(BASE .. 'e:' .. queue.name, task.id, task.xa)
    expect(queue, task.xa)
  end
end

-- The place before all but expired tasks of earlier grants.
local function front_place(task)
  return task.gn - FRONT
end

-- place: 'back', 'old' (where it stood) or 'front'.
local function stand_in_line(queue, task, place)
  put(task, 's', 'ready')
  add_ready(queue, task.p, 1)
  if place == 'back' then
    put(task, 'pl', take_number(queue, 'n'))
    push(line_key(task.p, queue.name), task.id .. ':' .. digits(task.pl))
  else
    if place == 'front' then put(task, 'pl', front_place(task)) end
    put(task, 'fr', '1')
    add(queue, 'front', 1)
    zput(front_key(task.p, queue.name), task.id, task.pl)
  end
end

local function stand_blocked(queue, task)
  put(task, 's', 'blocked')
  add(queue, '#blocked', 1)
  zput(BASE .. 'v:' .. queue.name, task.id, task.n)
end

-- Has the first of a group stand in the line of its queue, ready, if one more of it may run, and nobody else. Whoever comes to the head
-- of its group takes a new turn at the back, but `self`, which comes back to its place. Answers the priority of whoever stands there
-- now and did not before.
local function regroup(queue, digest, self, place)
  local group = open_group(queue, digest)
  local first = call('ZRANGE', group_line(queue, digest), 0, 0)[1]
  if not first then return nil end
  local open = has_group_room(queue, digest)
  if open and first == group.ready then return nil end
  if group.ready then
    local before = load_task(group.ready)
    leave_line(queue, before)
    stand_blocked(queue, before)
    put(before, 'pl', nil)
    group.ready = nil
  end
  if not open then return nil end
  local head = load_task(first)
  add(queue, '#blocked', -1)
  zdel(BASE .. 'v:' .. queue.name, first)
  stand_in_line(queue, head, head == self and place or 'back')
  group.ready = first
  if head ~= self then queue.opened = true end
  return tonumber(head.p)
end

local function stand_in_group(queue, task, place, keeps)
  stand_blocked(queue, task)
  if not keeps or not task.gp then put(task, 'gp', take_number(queue, 'n')) end
  call('ZADD', group_line(queue, task.gk), digits(task.gp), task.id)
  regroup(queue, task.gk, task, place)
  if task.s == 'blocked' then put(task, 'pl', nil) end
end

-- keeps: whether it keeps its place in the line of its group.
local function enter_ready(queue, task, place, keeps)
  if task.gk then stand_in_group(queue, task, place, keeps) else stand_in_line(queue, task, place) end
  watch_ttl(queue, task)
  if task.s == 'ready' then readied[queue.name] = true end
end

local function enter_scheduled(queue, task, at, keeps)
  put(task, 's', 'scheduled')
  put(task, 'ra', at)
  add(queue, '#scheduled', 1)
  zput(BASE .. 'd:' .. queue.name, task.id, at)
  expect(queue, at)
  watch_ttl(queue, task)
  if not task.gk then return end
  if not keeps then
    put(task, 'gp', nil)
  elseif task.gp then
    local group = open_group(queue, task.gk)
    group.waiting = group.waiting + 1
  end
  regroup(queue, task.gk)
end

local function set_deadline(queue, task, deadline)
  put(task, 'ex', deadline)
  zput(BASE .. 'x:' .. queue.name, task.id, deadline)
  expect(queue, deadline)
end

-- Answers what regroup does.
local function enter_leased(queue, task, deadline)
  put(task, 's', 'leased')
  add(queue, '#leased', 1)
  set_deadline(queue, task, deadline)
  if not task.gk then return nil end
  local group = open_group(queue, task.gk)
  group.leased = group.leased + 1
  return regroup(queue, task.gk)
end

local function enter_finished(queue, task, state)
  put(task, 's', state)
  put(task, 'fa', NOW)
  add(queue, '#' .. state, 1)
  if state == 'dead' then add(queue, '+dead', 1) end
  zput(BASE .. 'z:' .. state .. ':' .. queue.name, task.id, NOW)
  if task.rt then zput(BASE .. 'a:' .. queue.name, task.id, NOW + task.rt) end
  expect_retention(queue, retention_due(queue, state, task.rt))
  release_key(queue, task, 'finish')
  announce_end(queue, task.id)
  if task.gk then regroup(queue, task.gk) end
end
