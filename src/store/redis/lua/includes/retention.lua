-- When retention lets go of what finished at a time.
local function kept_until(queue, state, finished)
  if state == 'dead' then return finished + setting(queue, 'deadMs') end
  local by_age = finished + setting(queue, 'completedMs')
  if queue_number(queue, '#' .. state) > setting(queue, 'completedMax') then
    return math.min(by_age, finished + MIN_RETENTION_BY_COUNT_MS)
  end
  return by_age
end
