-- Long operations. Each is a hash of texts:
--   queue, type, code ('' for any; the code with '+' before it), until (later deaths are none of its business), max and rate ('' for
--   none), state, created, finished ('' while it runs), next (when the next step can do something), by and byUntil (which process
--   takes the steps, and until when others leave it to that one), at and id (the last task it has looked at), seen, total, matched, moved
-- One that takes tasks to another queue has also (moving.lua):
--   to, batch (number of the last batch), claims (the tasks of the batch that is on its way, '' for none), claimed (when it was last
--   given to a process), endAt, endId, endSeen (as at, id and seen, once the batch has arrived), endLast ('1' when nothing is left behind
--   it), open ('1' from the first batch until its receipt need not be kept any more), walked ('1' when nothing is left to be looked at)
local jobs = {}
jobs.NUMBERS = { 'until', 'max', 'rate', 'created', 'finished', 'next', 'byUntil', 'seen', 'total', 'matched', 'moved', 'batch', 'claimed', 'endSeen' }
-- A process that has taken a step is left alone for this long, in ms.
jobs.HELD = 2000

function jobs.key(id)
  return BASE .. 'j:' .. id
end

-- The operation, or nil when there is none or it is kept no longer.
function jobs.load(id)
  local flat = call('HGETALL', jobs.key(id))
  if #flat == 0 then return nil end
  local job = {}
  for index = 1, #flat, 2 do
    job[flat[index]] = flat[index + 1]
  end
  for _, field in ipairs(jobs.NUMBERS) do
    job[field] = tonumber(job[field])
  end
  if job.finished and not jobs.is_open(job) and job.finished + OPERATION.keptMs <= NOW then return nil end
  job.key = id
  return job
end

-- Whether something of it is still to be put in order in the shard of the other queue, though it may have been cancelled.
function jobs.is_open(job)
  return job.open == '1'
end

function jobs.save(job)
  local args = {}
  for field, value in pairs(job) do
    if field ~= 'key' then
      args[#args + 1] = field
      args[#args + 1] = type(value) == 'number' and digits(value) or value
    end
  end
  call('HSET', jobs.key(job.key), unpack(args))
end

-- When the next step can do something, after one that has redriven so many and perhaps met a queue that is full.
function jobs.next_after(job, moved, full)
  local pause = job.rate and math.ceil(moved * 1000 / job.rate) or 0
  return NOW + (full and math.max(pause, OPERATION.fullPauseMs) or pause)
end

-- What is kept of ended ones is bounded in number and time.
function jobs.clear()
  local ended = BASE .. 'jobs-ended'
  local old = call('ZRANGEBYSCORE', ended, '-inf', digits(NOW - OPERATION.keptMs), 'LIMIT', 0, 16)
  local beyond = call('ZCARD', ended) - #old - OPERATION.kept
  if beyond > 0 then
    for _, id in ipairs(call('ZRANGE', ended, #old, #old + math.min(beyond, 16) - 1)) do
      old[#old + 1] = id
    end
  end
  for _, id in ipairs(old) do
    call('DEL', jobs.key(id))
    call('ZREM', ended, id)
  end
end

-- Ends one of which nothing is open. One that was cancelled keeps the time of that.
function jobs.finish(job, state)
  job.state, job.finished = state, filled(job.finished) or NOW
  if state == 'completed' then job.total = job.seen end
  call('ZREM', BASE .. 'jobs', job.key)
  call('ZADD', BASE .. 'jobs-ended', digits(job.finished), job.key)
  jobs.save(job)
  call('PEXPIRE', jobs.key(job.key), OPERATION.keptMs)
  call('PEXPIRE', BASE .. 'jobs-ended', OPERATION.keptMs)
  jobs.clear()
end

-- An operation for a reply.
function jobs.view(job)
  return {
    job.key, job.queue, job.state, digits(job.created), whole(job.finished), whole(job.rate), digits(job.seen), digits(job.total),
    digits(job.matched), digits(job.moved), job.to or '',
  }
end
