-- Tasks on their way to another queue, and the receipts of those that have arrived (moving.lua).

-- What operations take with them: by, the operation by the id of each task; of, how many by the name of their queue.
function census.claims()
  if census.taken then return census.taken end
  local taken = { by = {}, of = {} }
  for _, id in ipairs(call('ZRANGE', BASE .. 'jobs', 0, -1)) do
    local queue, claims = unpack(call('HMGET', jobs.key(id), 'queue', 'claims'))
    for _, claim in ipairs(moving.claims({ claims = claims or '' })) do
      taken.by[claim.id] = id
      taken.of[queue] = (taken.of[queue] or 0) + 1
    end
  end
  census.taken = taken
  return taken
end

-- What an operation takes with it is there. It may be in the other queue already, so nothing is done about it here.
function census.carried(job)
  for _, claim in ipairs(moving.claims(job)) do
    if call('EXISTS', BASE .. 'c:b:' .. claim.id) == 0 then
      census.find('bodiless', job.queue, claim.id, 'operation ' .. job.key .. ' takes it to another queue, and its body is gone', true)
    end
  end
end

-- A task that is on its way is dead; nil when what is left of it cannot be read.
function census.parked(id)
  local fine, task = pcall(unpack_task, id, call('GET', BASE .. 'c:t:' .. id) or '')
  return fine and task.s == 'dead' and task.fa and task or nil
end

-- A task of which something is on its way: an operation takes it, or it is dead again. Its copy is then perhaps in the other queue as well,
-- which a person can see; nothing runs twice by it.
function census.on_way(id)
  if census.claims().by[id] then return end
  local parts = {}
  for _, kind in ipairs(moving.KINDS) do
    local key = BASE .. 'c:' .. kind .. id
    if call('EXISTS', key) == 1 then parts[kind] = key end
  end
  if not parts['b:'] or call('EXISTS', BASE .. 'b:' .. id) == 1 then
    for _, key in pairs(parts) do
      census.orphan(key, nil, id, 'a part of a task that is not on its way any more')
    end
    return
  end
  local task = census.parked(id)
  if not task then
    census.find('unreadable', nil, id, 'on its way to another queue, and the record of the task cannot be read', true)
    return
  end
  local queue = open_queue(task.q)
  if not queue.exists then
    census.lost(queue, 'task ' .. id .. ' is of it')
  elseif census.find('stranded', task.q, id, 'died at ' .. digits(task.fa) .. ', was on its way, and no operation knows of it') then
    local held = task.un ~= nil and not UNIQUE_RELEASE[unique_of(task)].finish
    moving.restore(queue, { id = id, died = task.fa, n = task.n, held = held, said = parts['h:'] ~= nil })
  end
end

-- A receipt whose operation has ended. Whoever comes too late may still need it for a while.
function census.receipt(id)
  local key = BASE .. 'p:' .. id
  if call('PTTL', key) ~= -1 then return end
  if census.find('receipt', nil, id, 'the receipt of an operation that is over') then call('PEXPIRE', key, moving.KEPT_MS) end
end
