-- Deletes finished or purged tasks that are in no structure any more. `keep_key`: an idempotency key goes on
-- answering for its task with what is left; otherwise the key is free.
local function delete_key(queue, task, keep_key)
  local key = BASE .. 'k:' .. queue.name .. ':' .. task.ik
  local record = call('GET', key)
  if not record or string.sub(record, 1, #task.id + 1) ~= task.id .. '|' then return end
  if not keep_key then
    call('DEL', key)
    return
  end
  local head = string.match(record, '^[^|]*|[^|]*|%d+|%d+')
  local created = string.match(header_of(task.id), CREATED)
  local left = { head, task.s, created, task.ra, task.fa, task.at, task.dl, task.xa or '' }
  call('SET', key, table.concat(left, '|'), 'KEEPTTL')
end

-- Ids of deleted tasks stay in their bucket, counted, until all of them are deleted.
local function empty_buckets(queue, deleted)
  for bucket, count in pairs(deleted) do
    local list, counts = BASE .. 'i:' .. bucket .. ':' .. queue.name, BASE .. 'm:' .. queue.name
    if call('HINCRBY', counts, bucket, count) >= call('LLEN', list) then
      call('DEL', list)
      call('ZREM', BASE .. 'n:' .. queue.name, bucket)
      call('HDEL', counts, bucket)
    end
  end
end

local function delete_tasks(queue, doomed, keep_key)
  local buckets = {}
  for _, task in ipairs(doomed) do
    if task.ik then delete_key(queue, task, keep_key) end
    let_go(queue, task)
    put(task, 'deleted', true)
    local bucket = math.floor(task.n / BUCKET)
    buckets[bucket] = (buckets[bucket] or 0) + 1
  end
  empty_buckets(queue, buckets)
end
