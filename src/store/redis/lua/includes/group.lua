-- Groups. The line of a group holds those of its tasks that are ready or blocked; one of them at most, its head, is ready and stands in
-- the line of the queue. How a group stands is kept as leased|waiting in place|id of the one that is ready: how many of its tasks are
-- leased, and how many wait for their time and have kept their place.
local function group_line(queue, digest)
  return BASE .. 'w:' .. queue.name .. ':' .. digest
end

local function open_group(queue, digest)
  local key = BASE .. 'y:' .. queue.name .. ':' .. digest
  local group = groups[key]
  if not group then
    local leased, waiting, ready = string.match(call('GET', key) or '0|0|', '^(%d+)|(%d+)|(.*)$')
    group = { key = key, leased = tonumber(leased), waiting = tonumber(waiting), ready = filled(ready) }
    groups[key] = group
  end
  return group
end

local function write_groups()
  for key, group in pairs(groups) do
    if group.leased == 0 and group.waiting == 0 and not group.ready then
      call('DEL', key)
    else
      call('SET', key, group.leased .. '|' .. group.waiting .. '|' .. (group.ready or ''))
    end
  end
  groups = {}
end

local function group_ordering(queue)
  return filled(queue_text(queue, 'groupOrder')) or DEFAULTS.groupOrder
end

-- Whether one more task of the group may run.
local function has_group_room(queue, digest)
  local group = open_group(queue, digest)
  local running = group.leased
  if group_ordering(queue) == 'strict' then running = running + group.waiting end
  return running < setting(queue, 'groupMax')
end

-- Takes a task that is about to leave its state out of its group.
local function leave_group(queue, task)
  local group = open_group(queue, task.gk)
  if task.s == 'ready' or task.s == 'blocked' then
    call('ZREM', group_line(queue, task.gk), task.id)
    if group.ready == task.id then group.ready = nil end
  elseif task.s == 'leased' then
    group.leased = group.leased - 1
  elseif task.s == 'scheduled' and task.gp then
    group.waiting = group.waiting - 1
  end
end

-- Whether a new task of the group is ready: it may run, and nothing waits before it.
local function is_open_to_new(queue, digest)
  return call('EXISTS', group_line(queue, digest)) == 0 and has_group_room(queue, digest)
end

-- Whether a task keeps its place in the line of its group when its lease ends and it waits again.
local function keeps_group_place(queue, task, how, state)
  local kept = task.gk and KEEPS_GROUP_PLACE[group_ordering(queue)][how]
  return kept and kept[state] or false
end
