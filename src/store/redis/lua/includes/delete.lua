-- Deletes a finished or purged task that is in no structure any more. `keep_key`: its idempotency key goes on
-- answering for it with what is left; otherwise the key is free.
local function delete_task(queue, task, keep_key)
  if task.ik then
    local key = BASE .. 'k:' .. queue.name .. ':' .. task.ik
    local record = call('GET', key)
    if record and string.sub(record, 1, #task.id + 1) == task.id .. '|' then
      if keep_key then
        local head = string.match(record, '^[^|]*|[^|]*|[^|]*')
        local left = { head, task.s, created_at(task.id), task.ra, task.fa, task.at, task.dl, task.xa or '' }
        call('SET', key, table.concat(left, '|'), 'KEEPTTL')
      else
        call('DEL', key)
      end
    end
  end
  put(task, 'deleted', true)
  local bucket = math.floor(task.n / BUCKET)
  local list = BASE .. 'i:' .. bucket .. ':' .. queue.name
  -- A bucket holds at most BUCKET ids, so this is bounded.
  if call('LREM', list, 1, task.id) == 1 and call('EXISTS', list) == 0 then call('ZREM', BASE .. 'n:' .. queue.name, bucket) end
end
