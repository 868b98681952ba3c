-- Whether the queue holds more tasks of a terminal state than it keeps.
local function is_crowded(queue, state)
  return state ~= 'dead' and queue_number(queue, '#' .. state) > setting(queue, 'completedMax')
end

-- When the age that the queue allows lets go of what finished at a time.
local function aged_at(queue, state, finished)
  return finished + setting(queue, state == 'dead' and 'deadMs' or 'completedMs')
end

-- When retention is due next because a task finishes now, kept for a time of its own or nil: it may crowd out one that finished
-- long ago.
local function retention_due(queue, state, own)
  local due = own and NOW + own or aged_at(queue, state, NOW)
  if not is_crowded(queue, state) then return due end
  local oldest = tonumber(call('ZRANGE', BASE .. 'z:' .. state .. ':' .. queue.name, 0, 0, 'WITHSCORES')[2])
  return math.min(due, math.max(NOW, (oldest or NOW) + MIN_RETENTION_BY_COUNT_MS))
end

-- Of a set of finished tasks, how many stand before one that finished at a time, which may have gone since, and how many up to it.
local function ranks_of(key, at, last)
  local low, high = call('ZCOUNT', key, '-inf', '(' .. at), call('ZCOUNT', key, '-inf', at)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local id = call('ZRANGE', key, middle, middle)[1]
    if id == last then return middle, middle + 1 end
    if id < last then low = middle + 1 else high = middle end
  end
  return low, low
end
