-- When retention lets go of what finished at a time.
local function kept_until(queue, state, finished)
  if state == 'dead' then return finished + setting(queue, 'deadMs') end
  local by_age = finished + setting(queue, 'completedMs')
  if queue_number(queue, '#' .. state) > setting(queue, 'completedMax') then
    return math.min(by_age, finished + MIN_RETENTION_BY_COUNT_MS)
  end
  return by_age
end

-- When retention is due next because a task finishes now: it may crowd out one that finished long ago.
local function retention_due(queue, state)
  local due = kept_until(queue, state, NOW)
  if state == 'dead' or queue_number(queue, '#' .. state) <= setting(queue, 'completedMax') then return due end
  local oldest = tonumber(call('ZRANGE', BASE .. 'z:' .. state .. ':' .. queue.name, 0, 0, 'WITHSCORES')[2])
  return oldest and math.min(due, math.max(NOW, oldest + MIN_RETENTION_BY_COUNT_MS)) or due
end
