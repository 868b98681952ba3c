-- Taking the next task out of a queue's lines.
-- Entries that fit no task any more are dropped as they come up, at most this many in a call.
local skips = 1000

-- The task that a list entry stands for, or nil when it stands there no longer.
local function task_of_entry(entry)
  local id, place = string.match(entry, '^([^:]+):?(%d*)$')
  local task = load_task(id)
  if not task or task.s ~= 'ready' or task.fr then return nil end
  if task.pl ~= (place == '' and task.n or tonumber(place)) then return nil end
  return task
end

-- The first task of the line, out of its structure, or nil. The second value tells that the skips ran out.
local function pop_line(queue, priority)
  if queue_number(queue, 'front') > 0 then
    local first = redis.call('ZPOPMIN', front_key(priority, queue.name))
    if first[1] then
      add(queue, 'front', -1)
      add(queue, 'ready' .. priority, -1)
      local task = load_task(first[1])
      put(task, 'fr', nil)
      return task
    end
  end
  while skips > 0 do
    local entry = redis.call('LPOP', line_key(priority, queue.name))
    if not entry then return nil end
    local task = task_of_entry(entry)
    if task then
      add(queue, 'ready' .. priority, -1)
      return task
    end
    skips = skips - 1
  end
  return nil, true
end

-- The next task of the queue by priority, or nil. The second value tells that there may be more behind what was skipped.
local function pop_ready(queue)
  for priority = 9, 0, -1 do
    while queue_number(queue, 'ready' .. priority) > 0 do
      local task, tired = pop_line(queue, priority)
      if tired then return nil, true end
      if not task then break end
      if task.xa then redis.call('ZREM', BASE .. 'e:' .. queue.name, task.id) end
      if not ttl_passed(task) then return task end
      enter_finished(queue, task, 'expired')
      save_task(task)
      skips = skips - 1
    end
  end
  return nil
end
