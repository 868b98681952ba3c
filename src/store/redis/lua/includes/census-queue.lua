-- The counters of a queue, of its lines and of its groups, against what is there.

-- A counter that has drifted.
function census.counted(queue, field, real)
  local kept = queue_number(queue, field)
  if kept == real then return end
  if census.find('counter', queue.name, field, digits(kept) .. ' is noted, ' .. digits(real) .. ' is there') then
    queue.values[field] = real
    queue.changed[field] = true
  end
end

-- Sorted sets of the queue: kind, more, how many.
function census.sets(queue)
  local sets = {}
  local function look(kind, more)
    local size = call('ZCARD', census.set_key(queue, kind, more))
    if size > 0 then sets[#sets + 1] = { kind, more, size } end
  end
  for _, kind in ipairs({ 'd', 'x', 'v', 'e', 'a' }) do
    look(kind, '')
  end
  for state in pairs(TERMINAL) do
    look('z', state)
  end
  for priority = 0, 9 do
    look('f', digits(priority))
  end
  return sets
end

-- Looks at the members of small sets; answers those that take more than one look.
function census.small_sets(queue)
  local left, large = census.FEW, {}
  for _, set in ipairs(census.sets(queue)) do
    local kind, more, size = unpack(set)
    if size > left then
      large[#large + 1] = { kind, more }
    else
      left = left - size
      local cursor = '0'
      repeat
        cursor = census.members(queue, kind, more, cursor)
      until cursor == '0'
    end
  end
  return large
end

-- Entries of a line that stand for ready tasks: id, place, … An entry that would be granted unseen though its task is not ready is a fault.
function census.line(queue, priority, first, last)
  local entries = call('LRANGE', line_key(priority, queue.name), first, last)
  local valid = {}
  for _, entry in ipairs(entries) do
    local id, place = string.match(entry, '^([^:]+):?(%d*)$')
    local first_byte = id and call('GETRANGE', BASE .. 'b:' .. id, 0, 0) or ''
    local task = first_byte ~= '' and census.load(id) or nil
    if task and task.s == 'ready' and not task.fr and task.pl == (place == '' and task.n or tonumber(place)) and task.p == priority then
      valid[#valid + 1] = id
      valid[#valid + 1] = digits(task.pl)
    elseif task and place == '' and first_byte == '1' and task.s == 'ready' then
      if census.find('spent', queue.name, id, 'its entry in line ' .. priority .. ' is another than the one it stands by') then
        call('SETRANGE', BASE .. 'b:' .. id, 0, '2')
      end
    elseif task and place == '' and first_byte == '1' then
      if census.find('spent', queue.name, id, 'in line ' .. priority .. ', and the task is ' .. task.s) then
        call('SETRANGE', BASE .. 'b:' .. id, 0, '2')
      end
    end
  end
  return #entries, valid
end

function census.line_length(queue)
  local length = 0
  for priority = 0, 9 do
    length = length + call('LLEN', line_key(digits(priority), queue.name))
  end
  return length
end

-- Tasks that stand in lists, by priority, when that is few; nil when it is not.
function census.standing_in_lines(queue)
  if census.line_length(queue) > census.FEW then return nil end
  local counts = {}
  for priority = 0, 9 do
    local _, valid = census.line(queue, digits(priority), 0, -1)
    local seen, count = {}, 0
    for index = 1, #valid, 2 do
      if not seen[valid[index]] then count = count + 1 end
      seen[valid[index]] = true
    end
    counts[priority] = count
  end
  return counts
end

-- Nothing has come to stand in the queue's lines, or has gone, while this text stays the same: every way in takes a number, or is one
-- of the ends of a lease.
function census.mark(queue)
  local parts = {}
  for _, field in ipairs({ 'n', 'grants', 'front', 'ready', '+released', '+nacked', '+expired' }) do
    parts[#parts + 1] = digits(queue_number(queue, field))
  end
  return table.concat(parts, ',')
end

-- counts: tasks that stand in lists, or must, by priority.
function census.ready(queue, counts)
  local ready, front = 0, 0
  for priority = 0, 9 do
    local before = call('ZCARD', front_key(digits(priority), queue.name))
    front = front + before
    ready = ready + before + counts[priority]
    census.counted(queue, READY_OF[priority], before + counts[priority])
  end
  census.counted(queue, 'front', front)
  census.counted(queue, 'ready', ready)
end

-- Counters that a set or a time tells.
function census.queue(queue)
  for state, letter in pairs(STRUCTURES) do
    census.counted(queue, '#' .. state, call('ZCARD', BASE .. letter .. queue.name))
  end
  for state in pairs(TERMINAL) do
    local on_way = state == 'dead' and census.claims().of[queue.name] or 0
    census.counted(queue, '#' .. state, call('ZCARD', BASE .. 'z:' .. state .. ':' .. queue.name) + on_way)
  end
  census.looked_at(queue, 'due', census.first_due(queue), expect)
  census.looked_at(queue, 'keep', census.first_pruning(queue), expect_retention)
end

function census.first_score(key)
  return tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
end

function census.first_due(queue)
  local first = queue_text(queue, 'regroup') and NOW or nil
  for _, kind in ipairs({ 'x:', 'e:', 'd:' }) do
    local at = census.first_score(BASE .. kind .. queue.name)
    if at and (not first or at < first) then first = at end
  end
  return first
end

-- When age lets go of something for certain. Where tasks have a retention of their own, only that time is.
function census.first_pruning(queue)
  if queue_text(queue, 'keeps') then return census.first_score(BASE .. 'a:' .. queue.name) end
  local first
  for state in pairs(TERMINAL) do
    local finished = census.first_score(BASE .. 'z:' .. state .. ':' .. queue.name)
    local at = finished and aged_at(queue, state, finished)
    if at and (not first or at < first) then first = at end
  end
  return first
end

-- The queue must be in the schedule of its shard at a time or before (nil for nothing), and know of nothing earlier than what stands there:
-- otherwise what falls due after that would not be noted.
function census.looked_at(queue, field, at, expect_at)
  local planned = tonumber(call('ZSCORE', BASE .. field, queue.name) or nil)
  local noted = tonumber(queue_text(queue, field) or nil)
  local is_late = at and not (planned and planned <= math.max(at, NOW))
  local is_deaf = noted and not (planned and planned <= noted)
  if not is_late and not is_deaf then return end
  local detail = (at and 'due at ' .. digits(at) or 'nothing due') .. ', ' .. (planned and 'planned at ' .. digits(planned) or 'not planned')
  if noted then detail = detail .. ', ' .. digits(noted) .. ' is noted' end
  if not census.find('schedule', queue.name, field, detail) then return end
  queue.values[field] = false
  if at or planned then
    expect_at(queue, math.min(at or planned, planned or at))
  else
    call('HDEL', queue.key, field)
  end
end

-- What a group has leased and waiting in place, by its tasks; nil when the queue has too many to look at.
function census.tally(queue)
  local sets = { leased = BASE .. 'x:' .. queue.name, scheduled = BASE .. 'd:' .. queue.name }
  if call('ZCARD', sets.leased) + call('ZCARD', sets.scheduled) > census.FEW then return nil end
  local tally = {}
  for state, key in pairs(sets) do
    for _, id in ipairs(call('ZRANGE', key, 0, -1)) do
      local task = call('EXISTS', BASE .. 'b:' .. id) == 1 and census.load(id)
      if task and task.gk and task.s == state and (state == 'leased' or task.gp) then
        local of = tally[task.gk] or { leased = 0, scheduled = 0 }
        of[state] = of[state] + 1
        tally[task.gk] = of
      end
    end
  end
  return tally
end

-- Which task of a group is ready: the one that is noted, or was met, or is among the first. No other one can be.
function census.ready_of(queue, digest, noted, met)
  local candidates = {}
  candidates[#candidates + 1] = noted
  candidates[#candidates + 1] = met
  for _, id in ipairs(call('ZRANGE', group_line(queue, digest), 0, 7)) do
    candidates[#candidates + 1] = id
  end
  for _, id in ipairs(candidates) do
    local task = call('EXISTS', BASE .. 'b:' .. id) == 1 and census.load(id)
    if task and task.s == 'ready' and task.gk == digest and task.q == queue.name then return id end
  end
end

-- Groups of a queue; answers how many could not be counted. `met`: a ready task that a group does not know of, by group. What is mended
-- is set going, which comes after all structures were looked at.
function census.groups(queue, digests, met)
  local tally = census.tally(queue)
  if not tally then return #digests end
  for _, digest in ipairs(digests) do
    local group = open_group(queue, digest)
    local real = tally[digest] or { leased = 0, scheduled = 0 }
    local ready = census.ready_of(queue, digest, group.ready, met[digest])
    local drifted = group.leased ~= real.leased or group.waiting ~= real.scheduled or group.ready ~= ready
    if drifted then
      local detail = group.leased .. '|' .. group.waiting .. '|' .. (group.ready or '') .. ' is noted, '
      detail = detail .. real.leased .. '|' .. real.scheduled .. '|' .. (ready or '') .. ' is there'
      if census.find('group', queue.name, digest, detail) then
        group.leased, group.waiting, group.ready = real.leased, real.scheduled, ready
        regroup(queue, digest)
      end
    elseif not ready and not queue_text(queue, 'regroup') and call('EXISTS', group_line(queue, digest)) == 1 and has_group_room(queue, digest) then
      if census.find('stalled', queue.name, digest, 'its first task is blocked by nothing') then regroup(queue, digest) end
    end
  end
  return 0
end
