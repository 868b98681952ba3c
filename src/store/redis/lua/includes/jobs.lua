-- Long operations. Each is a hash of texts:
--   queue, type, code ('' for any; the code with '+' before it), until (later deaths are none of its business), max and rate ('' for
--   none), state, created, finished ('' while it runs), next (when the next step can do something), by and byUntil (which process
--   takes the steps, and until when others leave it to that one), at and id (the last task it has looked at), seen, total, matched, moved
local jobs = {}
jobs.NUMBERS = { 'until', 'max', 'rate', 'created', 'finished', 'next', 'byUntil', 'seen', 'total', 'matched', 'moved' }
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
  if job.finished and job.finished + OPERATION.keptMs <= NOW then return nil end
  job.key = id
  return job
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

function jobs.finish(job, state)
  job.state, job.finished = state, NOW
  if state == 'completed' then job.total = job.seen end
  call('ZREM', BASE .. 'jobs', job.key)
  call('ZADD', BASE .. 'jobs-ended', NOW_TEXT, job.key)
  jobs.save(job)
  call('PEXPIRE', jobs.key(job.key), OPERATION.keptMs)
  call('PEXPIRE', BASE .. 'jobs-ended', OPERATION.keptMs)
  jobs.clear()
end

-- An operation for a reply.
function jobs.view(job)
  return {
    job.key, job.queue, job.state, digits(job.created), whole(job.finished), whole(job.rate), digits(job.seen), digits(job.total),
    digits(job.matched), digits(job.moved),
  }
end
