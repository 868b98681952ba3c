-- Looking at what is stored for faults, a bounded part in one call: all that one call sees belongs together, so that what it finds is
-- no trick of the time between two looks. In a table, since a library has no more than 200 local names.
local census = {}
-- Entries that a look takes beyond the one at hand, and how large a queue is that is counted in one look.
census.FEW = 250
-- Entries of lines that one look searches.
census.SEARCHED = 10000
-- Entries of a list that are asked whether there is a task of theirs.
census.NAMES = 1000

function census.begin(mends)
  census.mends, census.found, census.owed, census.lists, census.taken = mends, {}, {}, {}, nil
end

-- Notes a fault; answers whether it is to be mended.
function census.find(fault, queue, subject, detail, only_told)
  local mended = census.mends and not only_told
  census.found[#census.found + 1] = { fault, queue or '', subject, detail, mended and '1' or '' }
  return mended
end

-- The task; nil when there is none, or when it cannot be read, which is a fault.
function census.load(id)
  local fine, task = pcall(load_task, id)
  if fine then return task end
  tasks[id] = nil
  if not census.owed[id] then
    census.owed[id] = true
    census.find('unreadable', nil, id, 'the record of the task cannot be read', true)
  end
end

-- Whether there is a task of this id, on its way to another queue or not.
function census.is_task(id)
  return call('EXISTS', BASE .. 'b:' .. id, BASE .. 'c:b:' .. id) > 0
end

-- What says that a list names a task which is there; nil when it names none. One that is longer than is looked at is taken to name some.
function census.named(key)
  for first = 0, census.NAMES - 1, 100 do
    local entries = call('LRANGE', key, first, first + 99)
    for _, entry in ipairs(entries) do
      local id = string.match(entry, '^[^:]*')
      if census.is_task(id) then return 'task ' .. id .. ' is of it' end
    end
    if #entries < 100 then return nil end
  end
  return 'there is more in its lines than is looked through'
end

-- 'there', 'gone', or 'lost': it has no record, and there are tasks or what looks like some. Lists of ids that its set of them does not
-- know, and groups, are not found by the name of the queue: whoever comes upon one has to look at it.
function census.standing(queue)
  if queue.exists then return 'there' end
  if not queue.standing then
    local name = queue.name
    local keys = { BASE .. 'n:' .. name, BASE .. 'a:' .. name, BASE .. 'e:' .. name }
    for _, letter in pairs(STRUCTURES) do
      keys[#keys + 1] = BASE .. letter .. name
    end
    for state in pairs(TERMINAL) do
      keys[#keys + 1] = BASE .. 'z:' .. state .. ':' .. name
    end
    for priority = 0, 9 do
      keys[#keys + 1] = front_key(digits(priority), name)
    end
    local stands = call('EXISTS', unpack(keys)) > 0
    -- What is taken out of a line leaves its entry there, so a line says nothing by being there.
    for priority = 0, 9 do
      stands = stands or census.named(line_key(digits(priority), name)) ~= nil
    end
    queue.standing = stands and 'lost' or 'gone'
  end
  return queue.standing
end

-- Says once in a look that a queue has lost its record. Its settings are known to nobody, so it is not made up.
function census.lost(queue, detail)
  if not queue.told then census.find('queue', queue.name, queue.name, detail, true) end
  queue.told, queue.standing = true, 'lost'
end

-- Whether a queue is gone for good, with all of its tasks; one that has only lost its record is told.
function census.is_gone(queue)
  local standing = census.standing(queue)
  if standing == 'lost' then census.lost(queue, 'there is something left of its tasks') end
  return standing == 'gone'
end

-- What a sorted set holds of a task, against what it must.
function census.listed(queue, task, key, score, where)
  local held = call('ZSCORE', key, task.id)
  if held and tonumber(held) == score then return end
  local detail = task.s .. ', not ' .. where
  if held then detail = task.s .. ', ' .. where .. ' at ' .. held .. ' and not at ' .. digits(score) end
  if census.find('unlisted', queue.name, task.id, detail) then call('ZADD', key, digits(score), task.id) end
  return true
end

-- The task stands in its line by a new entry, and by no other.
function census.stand_anew(queue, task)
  if task.fresh then call('SETRANGE', BASE .. 'b:' .. task.id, 0, '2') end
  put(task, 'pl', take_number(queue, 'n'))
  push(line_key(task.p, queue.name), task.id .. ':' .. digits(task.pl))
  readied[queue.name] = true
end

-- How often tasks stand in their lines, by id; those of a line that is too long for one look are left out.
function census.times_in_line(queue, some)
  local wanted, times = {}, {}
  for _, task in ipairs(some) do
    local entries = wanted[task.p] or {}
    wanted[task.p] = entries
    entries[task.id .. ':' .. digits(task.pl)] = task.id
    if task.pl == task.n then entries[task.id] = task.id end
  end
  local left = census.SEARCHED
  for priority, entries in pairs(wanted) do
    local key = line_key(priority, queue.name)
    local length = call('LLEN', key)
    if length <= left then
      left = left - length
      for _, id in pairs(entries) do
        times[id] = 0
      end
      for first = 0, length - 1, 1000 do
        for _, entry in ipairs(call('LRANGE', key, first, first + 999)) do
          local id = entries[entry]
          if id then times[id] = times[id] + 1 end
        end
      end
    end
  end
  return times
end

-- Of tasks with places, in ARGV from a place on: those that still stand in a list by that place, as far as their state says.
function census.still_standing(queue, at)
  local some = {}
  for index = at, #ARGV, 2 do
    local task = queue.exists and census.load(ARGV[index])
    if task and task.s == 'ready' and not task.fr and digits(task.pl) == ARGV[index + 1] then some[#some + 1] = task end
  end
  return some
end

-- Whether a task is in the list of what was created. Where all numbers are those of tasks, its number says at which place; lists that
-- had to be looked through are kept for the call.
function census.is_listed(queue, bucket, task)
  local name = bucket .. ':' .. queue.name
  local list = census.lists[name]
  if not list then
    local place = task.n % BUCKET
    for _, member in ipairs(call('LRANGE', BASE .. 'i:' .. name, math.max(0, place - 1), place)) do
      if member == task.id then return true end
    end
    list = {}
    for _, member in ipairs(call('LRANGE', BASE .. 'i:' .. name, 0, 2 * BUCKET)) do
      list[member] = true
    end
    census.lists[name] = list
  end
  return list[task.id]
end

-- Numbers that a task has were given out.
function census.numbered(queue, task)
  local function given(counter, number)
    if not number or number <= queue_number(queue, counter) then return end
    local detail = digits(number) .. ' of task ' .. task.id .. ' is beyond ' .. digits(queue_number(queue, counter))
    if census.find('sequence', queue.name, counter, detail) then
      queue.values[counter] = number
      queue.changed[counter] = true
    end
  end
  given('n', task.n)
  given('n', task.pl)
  given('n', task.gp)
  given('grants', task.gn)
end

-- A key that is held until the end, or until the first grant, by a task that has not come so far.
function census.holds_key(queue, task)
  if not task.un or TERMINAL[task.s] then return end
  local kind, ttl, digest = unique_of(task)
  if kind == 'ttl' or kind == 'started' and task.dl > 0 then return end
  local holder = key_holder(queue, digest)
  if holder == task.id then return end
  local held = holder and call('EXISTS', BASE .. 'b:' .. holder) == 1
  local detail = holder and 'its key is held by ' .. holder or 'nobody holds its key'
  if census.find('unique', queue.name, task.id, detail, held) then hold_key(queue, task.id, NOW, kind, ttl, digest) end
end

-- A task of a bucket, against all structures it must be in. Answers whether it stands in the list of its line, which is not looked at.
function census.task(queue, task)
  local name, state = queue.name, task.s
  census.numbered(queue, task)
  census.holds_key(queue, task)
  if WAITING[state] and task.xa then census.listed(queue, task, BASE .. 'e:' .. name, task.xa, 'among those with a ttl') end
  if task.gk and (state == 'ready' or state == 'blocked') and task.gp then
    if census.listed(queue, task, group_line(queue, task.gk), task.gp, 'in the line of its group') and census.mends then
      regroup(queue, task.gk)
    end
  end
  if state == 'scheduled' then
    census.listed(queue, task, BASE .. 'd:' .. name, task.ra, 'among those that wait for their time')
  elseif state == 'leased' then
    census.listed(queue, task, BASE .. 'x:' .. name, task.ex, 'among the leases by deadline')
  elseif state == 'blocked' then
    census.listed(queue, task, BASE .. 'v:' .. name, task.n, 'among the blocked')
  elseif TERMINAL[state] then
    census.listed(queue, task, BASE .. 'z:' .. state .. ':' .. name, task.fa, 'among those that finished so')
    if task.rt then census.listed(queue, task, BASE .. 'a:' .. name, task.fa + task.rt, 'among those with a retention of their own') end
  elseif task.fr then
    census.listed(queue, task, front_key(task.p, name), task.pl, 'in front of its line')
  else
    return true
  end
end

-- Whether a member of a sorted set belongs there, by what the name of the set begins with.
census.FITS = {
  d = function(task) return task.s == 'scheduled' end,
  x = function(task) return task.s == 'leased' end,
  v = function(task) return task.s == 'blocked' end,
  e = function(task) return WAITING[task.s] and task.xa ~= nil end,
  a = function(task) return TERMINAL[task.s] and task.rt ~= nil end,
  z = function(task, state) return task.s == state end,
  f = function(task, priority) return task.s == 'ready' and task.fr ~= nil and task.p == priority end,
  w = function(task, digest) return (task.s == 'ready' or task.s == 'blocked') and task.gk == digest end,
}

-- The name of the sorted set of a queue; `more` is what else is in it: a state, a priority, a group.
function census.set_key(queue, kind, more)
  if kind == 'w' then return group_line(queue, more) end
  return BASE .. kind .. ':' .. (more ~= '' and more .. ':' or '') .. queue.name
end

-- Some members of a sorted set; answers the cursor to go on with, '0' at the end.
function census.members(queue, kind, more, cursor)
  local key = census.set_key(queue, kind, more)
  local next, entries = unpack(call('ZSCAN', key, cursor, 'COUNT', 100))
  for index = 1, #entries, 2 do
    local id = entries[index]
    local there = call('EXISTS', BASE .. 'b:' .. id) == 1
    local task = there and census.load(id)
    if there and not queue.exists then
      census.lost(queue, 'task ' .. id .. ' is of it')
    elseif not there or task and (task.q ~= queue.name or not census.FITS[kind](task, more)) then
      local what = task and 'the task is ' .. task.s or 'there is no such task'
      if census.find('stray', queue.name, id, 'in ' .. kind .. (more ~= '' and ':' .. more or '') .. ', but ' .. what) then
        call('ZREM', key, id)
      end
    end
  end
  return next
end
