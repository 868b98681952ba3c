-- Taking tasks out of a queue's lines.
local function id_of_entry(entry)
  return string.match(entry, '^[^:]+')
end

-- Takes up to `limit` tasks from the line of one priority into `taken`.
local function pop_line(queue, priority, limit, taken)
  if queue_number(queue, 'front') > 0 then
    local first = call('ZPOPMIN', front_key(priority, queue.name), limit)
    for index = 1, #first, 2 do
      local task = load_task(first[index])
      add(queue, 'front', -1)
      add_ready(queue, priority, -1)
      put(task, 'fr', nil)
      taken[#taken + 1] = task
      limit = limit - 1
    end
  end
  while limit > 0 and skips > 0 do
    local entries = call('LPOP', line_key(priority, queue.name), math.min(limit, skips))
    if not entries then return end
    local ids = {}
    for index, entry in ipairs(entries) do
      ids[index] = id_of_entry(entry)
    end
    load_tasks(ids)
    for _, entry in ipairs(entries) do
      local task = task_of_entry(entry)
      if task then
        add_ready(queue, priority, -1)
        taken[#taken + 1] = task
        limit = limit - 1
      else
        skips = skips - 1
      end
    end
  end
end

-- Up to `limit` tasks of the queue by priority, out of their structures. There may be more behind what was skipped
-- when `skips` has run out.
local function pop_ready(queue, limit)
  local taken = {}
  for priority = 9, 0, -1 do
    local ready = queue_number(queue, READY_OF[priority])
    if ready > 0 and #taken < limit then pop_line(queue, priority, math.min(ready, limit - #taken), taken) end
  end
  for _, task in ipairs(taken) do
    if task.xa then zdel(BASE .. 'e:' .. queue.name, task.id) end
  end
  return taken
end
