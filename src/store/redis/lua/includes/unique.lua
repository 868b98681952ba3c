-- Unique keys. What a task was stored with is 'until,ttlMs,digest of the key'; who holds a key is kept as its id and when the
-- key is free whatever becomes of the task ('' for a key that is not held for a time).
local function unique_of(task)
  return string.match(task.un, '^(%a+),(%d*),(.*)$')
end

local function unique_key(queue, digest)
  return BASE .. 'u:' .. queue.name .. ':' .. digest
end

-- The id of whoever holds the key, and whether it is free by now because its time has passed; nil when nobody has it.
local function key_holder(queue, digest)
  local id, free_at = string.match(call('GET', unique_key(queue, digest)) or '', '^([^|]*)|(%d*)$')
  if not id then return nil end
  return id, free_at ~= '' and tonumber(free_at) <= NOW
end

-- The key must be free.
local function hold_key(queue, id, created, kind, ttl, digest)
  local free_at = kind == 'ttl' and digits(created + ttl) or ''
  call('SET', unique_key(queue, digest), id .. '|' .. free_at)
end

-- Lets go of the key when the task holds it.
local function let_go(queue, task)
  if not task.un then return end
  local _, _, digest = unique_of(task)
  if key_holder(queue, digest) == task.id then call('DEL', unique_key(queue, digest)) end
end

-- The same in the step ('start' or 'finish') that takes it from tasks that were stored with such an `until`.
local function release_key(queue, task, step)
  if task.un and UNIQUE_RELEASE[unique_of(task)][step] then let_go(queue, task) end
end
