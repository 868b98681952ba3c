-- Keys of a shard by their names, one at a time: what is left behind by what is gone.

-- The queue and the last part of a name such as <queue>:<digest>.
function census.last_part(name)
  return string.match(name, '^(.*):([^:]*)$')
end

-- The queue of a task whose body is gone, by what is left.
function census.queue_of(text)
  return string.match(text, '^~%d+|[^|]*|[^|]*|%d+|%d+|%d+|[^|]*|([^|]*)|')
    or string.match(text, '^[!?]%d+|%d+|[^|]*|[^|]*|%d+|%d+|%d+|[^|]*|([^|]*)|')
    or string.match(text, '^' .. ('[^|]*|'):rep(16) .. '([^|]*)|')
end

function census.orphan(key, queue, subject, detail)
  if census.find('orphan', queue, subject, detail) then call('UNLINK', key) end
end

census.KINDS = {}

-- A task is not deleted, whatever else has been lost: with its body, and the record of its queue, all can be put back.
function census.KINDS.b(id)
  local header = header_of(id)
  if header == '' then return end
  local task = census.load(id)
  if not task then return end
  local queue = open_queue(task.q)
  if not queue.exists then census.lost(queue, 'task ' .. id .. ' is of it') end
  local bucket = digits(math.floor(task.n / BUCKET))
  if census.is_listed(queue, bucket, task) then return end
  if census.find('unlisted', task.q, id, task.s .. ', not in the list of what was created') then
    call('RPUSH', BASE .. 'i:' .. bucket .. ':' .. task.q, id)
    call('ZADD', BASE .. 'n:' .. task.q, bucket, bucket)
  end
end

function census.KINDS.t(id, key)
  local text = call('GET', key)
  if not text or call('EXISTS', BASE .. 'b:' .. id) == 1 then return end
  local name = census.queue_of(text)
  if not name then
    census.find('unreadable', nil, id, 'what has changed about the task cannot be read', true)
    return
  end
  if not census.find('bodiless', name, id, 'its body is gone') then return end
  call('DEL', key, BASE .. 'h:' .. id)
  tasks[id] = false
  local queue = open_queue(name)
  for _, set in ipairs(census.sets(queue)) do
    call('ZREM', census.set_key(queue, set[1], set[2]), id)
  end
end

function census.KINDS.h(id, key)
  if call('EXISTS', key) == 0 then return end
  if call('EXISTS', BASE .. 'b:' .. id) == 1 then
    local task = census.load(id)
    if not task or task.said then return end
    if census.find('unheard', task.q, id, task.s .. ', and its record says that nothing was said') then
      if task.fresh then call('SETRANGE', BASE .. 'b:' .. id, 0, '2') end
      put(task, 'said', '1')
    end
  elseif call('EXISTS', BASE .. 't:' .. id) == 0 then
    census.orphan(key, nil, id, 'what workers said of a task that is gone')
  end
end

function census.KINDS.u(rest, key)
  local name, digest = census.last_part(rest)
  local id = string.match(call('GET', key) or '', '^([^|]*)|')
  if not name or not id then return end
  local there = call('EXISTS', BASE .. 'b:' .. id) == 1
  local task = there and census.load(id)
  if there and not task then return end
  local why
  if not there then
    why = 'held by a task that is gone'
  elseif not task.un or select(3, unique_of(task)) ~= digest or task.q ~= name then
    why = 'held by a task that has another key'
  elseif TERMINAL[task.s] and UNIQUE_RELEASE[unique_of(task)].finish then
    why = 'held by a task that has ended'
  end
  if why then census.orphan(key, name, id, 'a unique key ' .. why) end
end

function census.KINDS.k(rest, key)
  local name = census.last_part(rest)
  local id, left = string.match(call('GET', key) or '', '^([^|]*)|[^|]*|%d+|%d+(.*)$')
  if not id or left ~= '' or call('EXISTS', BASE .. 'b:' .. id) == 1 then return end
  census.orphan(key, name, id, 'an idempotency key of a task that is gone')
end

function census.KINDS.o(name, key)
  if call('EXISTS', key) == 0 then return end
  local queue = open_queue(name)
  if not queue.exists then
    if census.is_gone(queue) then census.orphan(key, name, name, 'times of grants of a queue that is gone') end
  elseif not rate_limit(queue) then
    census.orphan(key, name, name, 'times of grants, and the queue has no rate limit')
  end
end

function census.KINDS.m(name, key)
  if call('EXISTS', key) == 0 or not census.is_gone(open_queue(name)) then return end
  census.orphan(key, name, name, 'counts of a queue that is gone')
end

function census.KINDS.l(rest, key)
  local name = string.match(rest, '^%d:(.*)$')
  if not name or call('EXISTS', key) == 0 or not census.is_gone(open_queue(name)) then return end
  census.orphan(key, name, name, 'a line of a queue that is gone')
end

function census.KINDS.i(rest, key)
  local bucket, name = string.match(rest, '^(%d+):(.*)$')
  if not bucket or call('EXISTS', key) == 0 then return end
  local queue = open_queue(name)
  local named = not queue.exists and census.named(key)
  if named then census.lost(queue, named) end
  if census.is_gone(queue) then
    census.orphan(key, name, name, 'a list of ids of a queue that is gone')
  elseif (named or queue.exists) and not call('ZSCORE', BASE .. 'n:' .. name, bucket) then
    if census.find('unlisted', name, bucket, 'a list of ids that is not among those of its queue') then
      call('ZADD', BASE .. 'n:' .. name, bucket, bucket)
    end
  end
end

-- Where the queue has no record, the lists tell whether there is a task of it.
function census.KINDS.n(name, key)
  local queue = open_queue(name)
  if queue.exists then return end
  local lists = {}
  for _, bucket in ipairs(call('ZRANGE', key, 0, 7)) do
    lists[#lists + 1] = BASE .. 'i:' .. bucket .. ':' .. name
    local named = census.named(lists[#lists])
    if named then
      census.lost(queue, named)
      return
    end
  end
  if #lists > 0 and census.find('orphan', name, name, 'lists of ids of a queue that is gone') then
    call('UNLINK', unpack(lists))
    call('ZREMRANGEBYRANK', key, 0, #lists - 1)
  end
end

function census.KINDS.q(name, key)
  local queue = open_queue(name)
  if queue.exists then
    if call('ZSCORE', BASE .. 'queues', name) then return end
    if census.find('unlisted', name, name, 'a queue that is not in the list of queues') then
      call('ZADD', BASE .. 'queues', 0, name)
    end
  elseif call('EXISTS', key) == 1 and census.is_gone(queue) then
    census.orphan(key, name, name, 'a part of the record of a queue that is gone')
  end
end

function census.KINDS.j(id, key)
  local job = jobs.load(id)
  if not job then return end
  local running = job.state == 'running'
  local list = BASE .. ((running or jobs.is_open(job)) and 'jobs' or 'jobs-ended')
  if not call('ZSCORE', list, id) then
    if census.find('unlisted', job.queue, id, 'an operation that is ' .. job.state .. ', and not listed so') then
      call('ZADD', list, digits(job.finished or job.created), id)
    end
  end
  -- A broker that takes its steps ends it within moments.
  if running and not open_queue(job.queue).exists and math.max(job.created, job.byUntil or 0) + 60000 < NOW then
    if census.find('operation', job.queue, id, 'runs, and the queue is gone') then
      if jobs.is_open(job) then
        job.state, job.finished = 'cancelled', NOW
        jobs.save(job)
      else
        jobs.finish(job, 'cancelled')
      end
    end
  end
  census.carried(job)
end

-- Looks at a key; answers {queue, kind, more} for a sorted set that is looked at by its members: that of a group, or of a queue
-- without a record. A part of a task on its way, and a receipt that does not go by itself, are looked at when all operations have been:
-- {'', 'c' or 'p', id}.
function census.key(name)
  local kind, rest = string.match(name, '^(%a):(.*)$')
  if not kind then return end
  if kind == 'w' or kind == 'y' then
    local queue, digest = census.last_part(rest)
    return queue and { queue, 'w', digest }
  end
  if kind == 'c' then
    local id = string.match(rest, '^[bth]:(.*)$')
    return id and { '', 'c', id }
  end
  if kind == 'p' then return call('PTTL', BASE .. name) == -1 and { '', 'p', rest } or nil end
  if census.KINDS[kind] then
    census.KINDS[kind](rest, BASE .. name)
    return
  end
  if not census.FITS[kind] then return end
  local more, queue = '', rest
  if kind == 'z' or kind == 'f' then
    more, queue = string.match(rest, '^([^:]*):(.*)$')
  end
  if queue and not open_queue(queue).exists and call('EXISTS', BASE .. name) == 1 then return { queue, kind, more } end
end

-- Some members of a list of the shard's own, whatever they stand for being gone.
function census.own(list, cursor)
  local next, entries = unpack(call('ZSCAN', BASE .. list, cursor, 'COUNT', 100))
  for index = 1, #entries, 2 do
    local name, score = entries[index], tonumber(entries[index + 1])
    local there
    if list == 'jobs' or list == 'jobs-ended' then
      -- An ended operation goes by itself when its time is over, and its entry with the end of another.
      there = call('EXISTS', jobs.key(name)) == 1 or list == 'jobs-ended' and score + OPERATION.keptMs <= NOW
    else
      local queue = open_queue(name)
      there = queue.exists
      if not there and census.standing(queue) == 'lost' then
        if list == 'queues' then census.lost(queue, 'there is something left of its tasks') end
        there = true
      end
    end
    if not there and census.find('stray', nil, name, 'in ' .. list .. ', and there is none of this name') then
      call('ZREM', BASE .. list, name)
    end
  end
  return next
end
