#!lua flags=allow-oom
-- Deletes tasks of one state; finished ones oldest first, waiting ones in the order of their line.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 state, 3 how many at most (128)
-- Returns {how many, 1 when there may be more behind stale entries, else 0}
-- @include core queue body task line
local queue = open_queue(ARGV[1])
local state, limit = ARGV[2], tonumber(ARGV[3])
local purged, tired = 0, 0

local function purge_line(priority)
  while purged < limit and queue_number(queue, 'ready' .. priority) > 0 do
    local task, worn = pop_line(queue, priority)
    if worn then tired = 1 end
    if not task then return end
    if task.xa then redis.call('ZREM', BASE .. 'e:' .. queue.name, task.id) end
    delete_task(queue, task, false)
    purged = purged + 1
  end
end

if queue.exists then
  if state == 'ready' then
    for priority = 9, 0, -1 do
      purge_line(priority)
    end
  elseif state ~= 'blocked' then
    local key = BASE .. 'z:' .. state .. ':' .. queue.name
    if state == 'scheduled' then key = BASE .. 'd:' .. queue.name end
    if state == 'leased' then key = BASE .. 'x:' .. queue.name end
    for _, id in ipairs(redis.call('ZRANGE', key, 0, limit - 1)) do
      local task = load_task(id)
      leave(queue, task)
      delete_task(queue, task, false)
      purged = purged + 1
    end
  end
end
return reply({ purged, tired })
