-- Tasks on their way to another queue, which may live on another shard, where no script of this one can reach. They go in batches, one
-- at a time for each operation:
--   1. step-operation.lua parks the tasks of a batch: from then on they are in no structure of their queue, and every verb finds them
--      gone, though they count as dead. What is to become of them is known to the operation alone.
--   2. receive.lua stores them in the other queue and writes a receipt in the same script: how each has fared. A batch that has a receipt
--      is not stored again, so that it does not matter how often, or by which process, it is sent, nor what has become of
--      the new tasks since.
--   3. take-receipt.lua deletes those that were stored, and has the others be dead again.
-- A process may be gone after any of these: the next step finds the batch and goes on with it. Numbers of batches only grow, so a process
-- that comes too late meets a receipt of its own batch or of a later one.
-- The shard of the operation may lose its last writes when its server fails over, and then gives the number of a batch again, or an earlier
-- one than the other shard has seen. So a batch is its number and its mark, which is made of its tasks: what became of other tasks is never
-- taken for what became of these. A batch that is behind its receipt is not stored; its tasks are dead again, and leave once more under
-- the number that comes after the receipt's. A task of it that was stored before the failover is then stored twice, and none is lost.
-- The receipt is kept as long as its operation is open, and
-- an hour longer: what comes so late that it may be gone is told by its age.
local moving = {}
moving.KINDS = { 'b:', 't:', 'h:' }
-- What is told of a task in the other queue too: its progress, checkpoint and last error.
moving.TOLD = { 'pr', 'cp', 'ec', 'em', 'ed', 'ea', 'et' }
-- A batch that was given to a process so long ago is not stored; the next step gives it out anew.
moving.FRESH_MS = 600000
-- How long a receipt is kept that is not needed but by those that come too late: longer than that, whatever the difference of two clocks.
moving.KEPT_MS = 3600000

-- Fields and values of what is told of a task, and their bytes, by the key of what was said of it.
function moving.told(key)
  local told, bytes = {}, 0
  for index, value in ipairs(call('HMGET', key, unpack(moving.TOLD))) do
    if value then
      told[#told + 1] = moving.TOLD[index]
      told[#told + 1] = value
      bytes = bytes + #value
    end
  end
  return told, bytes
end

-- Bytes of a task that go to the other queue.
function moving.size(task)
  local told = task.said and select(2, moving.told(BASE .. 'h:' .. task.id)) or 0
  return call('STRLEN', BASE .. 'b:' .. task.id) + told
end

-- Takes a dead task out of its queue. Answers what is kept of it: id, when it died, n, whether it held its unique key, whether anything is
-- said of it, and how many the operation has looked at with it.
function moving.park(queue, task, seen)
  zdel(BASE .. 'z:dead:' .. queue.name, task.id)
  if task.rt then zdel(BASE .. 'a:' .. queue.name, task.id) end
  if task.ik then delete_key(queue, task, true) end
  local held = ''
  if task.un then
    local _, _, digest = unique_of(task)
    if key_holder(queue, digest) == task.id then held = '1' end
    let_go(queue, task)
  end
  -- Nothing must fail half-way here, whatever has been lost of a task.
  local said = task.said and call('EXISTS', BASE .. 'h:' .. task.id) == 1
  for _, kind in ipairs(moving.KINDS) do
    if kind ~= 'h:' or said then call('RENAME', BASE .. kind .. task.id, BASE .. 'c:' .. kind .. task.id) end
  end
  tasks[task.id] = false
  return table.concat({ task.id, digits(task.fa), digits(task.n), held, said and '1' or '', digits(seen) }, ',')
end

-- The tasks of the batch that is on its way, in order.
function moving.claims(job)
  local claims = {}
  for id, died, n, held, said, seen in string.gmatch(job.claims or '', '([^,;]+),(%d+),(%d+),(1?),(1?),(%d+)') do
    claims[#claims + 1] = {
      id = id, died = tonumber(died), n = tonumber(n), held = held == '1', said = said == '1', seen = tonumber(seen),
    }
  end
  return claims
end

-- Its idempotency key answers with the task again.
function moving.revive_key(queue, task)
  local key = BASE .. 'k:' .. queue.name .. ':' .. task.ik
  local record = call('GET', key)
  if not record or string.sub(record, 1, #task.id + 1) ~= task.id .. '|' then return end
  call('SET', key, string.match(record, '^[^|]*|[^|]*|%d+|%d+'), 'KEEPTTL')
end

-- Whether there is a key of a parked task.
function moving.has(kind, id)
  return call('EXISTS', BASE .. 'c:' .. kind .. id) == 1
end

-- Has a parked task be dead again, as since it died, unless it is so already. Answers whether it is; of one that is not, a part has been lost
-- without which there is no task.
function moving.restore(queue, claim)
  local id = claim.id
  if not moving.has('b:', id) then return call('EXISTS', BASE .. 'b:' .. id) == 1 end
  if not moving.has('t:', id) then return false end
  for _, kind in ipairs(moving.KINDS) do
    if moving.has(kind, id) then call('RENAME', BASE .. 'c:' .. kind .. id, BASE .. kind .. id) end
  end
  tasks[id] = nil
  local task = load_task(id)
  zput(BASE .. 'z:dead:' .. queue.name, id, claim.died)
  if task.rt then zput(BASE .. 'a:' .. queue.name, id, claim.died + task.rt) end
  expect_retention(queue, task.rt and claim.died + task.rt or aged_at(queue, 'dead', claim.died))
  -- Retention has perhaps passed over its place meanwhile (sweep.lua).
  local passed = tonumber(string.match(queue_text(queue, 'passed:dead') or '', '^%d+'))
  if passed and claim.died <= passed then
    call('HDEL', queue.key, 'passed:dead')
    queue.values['passed:dead'], queue.changed['passed:dead'] = false, nil
  end
  if task.ik then moving.revive_key(queue, task) end
  if not claim.held then return true end
  local kind, ttl, digest = unique_of(task)
  if key_holder(queue, digest) then return true end
  local created = tonumber(string.match(header_of(id), CREATED))
  if kind ~= 'ttl' or created + ttl > NOW then hold_key(queue, id, created, kind, ttl, digest) end
  return true
end

-- Deletes parked tasks, which are stored in the other queue, or what is left of those that are lost.
function moving.discard(queue, claims)
  local keys, buckets = {}, {}
  for _, claim in ipairs(claims) do
    for _, kind in ipairs(moving.KINDS) do
      keys[#keys + 1] = BASE .. 'c:' .. kind .. claim.id
    end
    local bucket = math.floor(claim.n / BUCKET)
    buckets[bucket] = (buckets[bucket] or 0) + 1
  end
  if #keys > 0 then call('DEL', unpack(keys)) end
  empty_buckets(queue, buckets)
  add(queue, '#dead', -#claims)
end

-- What has to be done for an operation elsewhere before it can go on: 'deliver' a batch; 'decline' it, to learn what has become of
-- it, and to have it never be stored if it was not; 'close' its receipt, to have that last no longer than is needed; nil for nothing.
function moving.awaits(job)
  if not jobs.is_open(job) then return nil end
  if filled(job.claims) then return job.state == 'running' and 'deliver' or 'decline' end
  return (job.state ~= 'running' or job.walked == '1') and 'close' or nil
end

-- Tells the batch that is on its way from any other, of the same number or not.
function moving.mark(job)
  return redis.sha1hex(job.claims)
end

-- The same for the process that does it: {'deliver', queue, batch, mark, when it was given out, body, {field, value, …}, …}, {'decline', queue,
-- batch, mark, how many tasks}, {'close', queue} or ''.
function moving.errand(job)
  local what = moving.awaits(job)
  if not what then return '' end
  if what == 'close' then return { what, job.to } end
  local claims = moving.claims(job)
  -- One that is not whole is called back: the others leave with the next.
  for _, claim in ipairs(claims) do
    if not moving.has('b:', claim.id) then what = 'decline' end
  end
  local mark = moving.mark(job)
  if what == 'decline' then return { what, job.to, job.batch, mark, #claims } end
  local errand = { what, job.to, job.batch, mark, job.claimed }
  for _, claim in ipairs(claims) do
    errand[#errand + 1] = call('GET', BASE .. 'c:b:' .. claim.id)
    errand[#errand + 1] = claim.said and moving.told(BASE .. 'c:h:' .. claim.id) or {}
  end
  return errand
end

-- An operation for the process that takes its steps: {view, when the next step can do something, or '' when it has ended, '1' when the
-- queue they go to was full, what is to be done elsewhere}.
function moving.stepped(job, next_at, full)
  local runs = job.state == 'running' or jobs.is_open(job)
  return { jobs.view(job), runs and next_at or '', full and '1' or '', moving.errand(job) }
end

-- The outcome of a batch that this shard has a receipt for, or 'behind:' and the number of the receipt when that is of a later batch, or of
-- another one of the same number; nil otherwise. A receipt without a mark was written by an earlier version.
function moving.receipt(id, batch, mark)
  local last, outcomes, marked = string.match(call('GET', BASE .. 'p:' .. id) or '', '^(%d+)|([^|]*)|?(.*)$')
  if not last or tonumber(last) < batch then return nil end
  if tonumber(last) == batch and (marked == '' or marked == mark) then return outcomes end
  return 'behind:' .. last
end

function moving.write_receipt(id, batch, mark, outcomes)
  call('SET', BASE .. 'p:' .. id, digits(batch) .. '|' .. outcomes .. '|' .. mark)
end
