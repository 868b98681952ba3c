-- Idempotency keys of a queue. A record is in force for a window from its first use, and only for the queue it was made
-- in, not for a later one of the same name.
local function key_record(queue, key, window)
  local record = queue.exists and call('GET', BASE .. 'k:' .. queue.name .. ':' .. key)
  if not record then return nil end
  local id, fingerprint, used, generation, rest = string.match(record, '^([^|]*)|([^|]*)|(%d+)|(%d+)(.*)$')
  if tonumber(used) + window <= NOW or generation ~= queue_text(queue, 'generation') then return nil end
  return { id = id, fingerprint = fingerprint, rest = rest }
end

local function write_key(queue, key, id, fingerprint, window)
  local record = id .. '|' .. fingerprint .. '|' .. NOW_TEXT .. '|' .. queue_text(queue, 'generation')
  call('SET', BASE .. 'k:' .. queue.name .. ':' .. key, record, 'PX', window)
end
