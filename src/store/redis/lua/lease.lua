-- Grants ready tasks. Allowed in a full Redis: without it nothing would ever drain.
-- KEYS  1 the shard's base key
-- ARGV  1 how many queues, 2 the batch, 3 1 when it was sent before and the reply was lost; then per queue: its name, how many
--       calls, and per call: token, and max, or, where there is more to say, 'max|leaseMs|worker|name of the call' (each may be empty)
-- Returns per call {1 when there may be more behind stale entries, else 0; the queue's maxAttempts; until when a limit holds ready
--       tasks of the queue back (flow.lua); '1' when others became ready because of this; the deadline of what follows as id, body; …}. Where a view stands instead of an id, it says all there is to say, and no body follows
local function grant(queue, task, to)
  local length = to.lease_ms or task.tl or setting(queue, 'leaseMs')
  put(task, 'at', task.at + 1)
  task.dl = task.dl + 1
  task.tk = to.token
  task.sv = nil
  task.lm = length
  task.ga = NOW
  task.gn = take_number(queue, 'grants')
  task.wk = filled(to.worker)
  if task.said or to.request then say(task, 'rq', to.request) end
  if to.request then to.granted(task.id, length) end
  release_key(queue, task, 'start')
  enter_leased(queue, task, NOW + length)
  return view(task)
end

-- Takes a task that is out of its structure out of the counts too; nil when its ttl has passed or its group may run no more.
local function take(queue, task, to)
  add_ready(queue, task.p, -1)
  if task.xa then zdel(BASE .. 'e:' .. queue.name, task.id) end
  if task.gk then leave_group(queue, task) end
  local expired = task.xa and task.xa <= NOW
  if not expired and (not task.gk or has_group_room(queue, task.gk)) then return grant(queue, task, to) end
  skips = skips - 1
  if expired then
    enter_finished(queue, task, 'expired')
  else
    -- The groups of the queue may run fewer than when it became ready.
    stand_in_group(queue, task, 'back', true)
    watch_ttl(queue, task)
  end
  return nil
end

-- What an earlier run of this batch granted and still runs, by token.
local function granted_before(granted)
  local by_token = {}
  for id, token in string.gmatch(granted, '([^ ]+) ([^ ]+)') do
    local task = load_task(id)
    if task and task.s == 'leased' and task.tk == token then
      by_token[token] = by_token[token] or {}
      table.insert(by_token[token], view(task))
    end
  end
  return by_token
end

-- For an entry of a line: a view, or nil when there is nothing to grant.
local function take_entry(queue, entry, to)
  local task = task_of_entry(entry)
  if task then return take(queue, task, to) end
  skips = skips - 1
  return nil
end

-- The same for a task that stood in front of its line.
local function take_front(queue, id, to)
  local task = load_task(id)
  add(queue, 'front', -1)
  put(task, 'fr', nil)
  return take(queue, task, to)
end

-- Calls that wait for tasks of one queue, in order; the first that wants more gets the next.
local function taker(calls)
  local to = calls[calls.at]
  while to and to.left == 0 do
    calls.at = calls.at + 1
    to = calls[calls.at]
  end
  return to
end

-- Id and token of all that is granted, in turn.
local granted_now

local function give(calls, to, id)
  local granted = #granted_now
  granted_now[granted + 1] = id
  granted_now[granted + 2] = to.token
  to.left = to.left - 1
  calls.wanted = calls.wanted - 1
  calls.given = calls.given + 1
end

local function give_view(calls, to, view)
  to.views[#to.views + 1] = view
  give(calls, to, view[1])
end

-- What the body of a task in a line says that never changed and is bare (enqueue.lua): runAt, n and key.
local UNCHANGED = '^1|ready|%d+|(%d+)|[^|]*|%d+|[^|]*|(%d+)|%d|||[^|]*|[^|]*|([^|]*)|'

-- What the texts of all first grants of a call have in common.
local function begin_grants(queue, to)
  local length = to.lease_ms or setting(queue, 'leaseMs')
  to.deadline = digits(NOW + length)
  to.text = '|' .. to.token .. '|' .. to.deadline .. '|' .. length .. '|' .. NOW_TEXT .. '|' .. to.worker .. '|' .. queue.name .. '|'
  to.views[5] = to.deadline
  expect(queue, NOW + length)
end

-- Grants list entries. A bare id whose body says that it never changed is granted without taking the task apart.
local function grant_entries(queue, priority, entries, calls)
  local keys = {}
  for index = 1, #entries do
    keys[index] = BASE .. 'b:' .. entries[index]
  end
  local bodies = call('MGET', unpack(keys))
  local grants, fresh = queue_number(queue, 'grants'), 0
  -- Changed tasks and their leases, in the form of one MSET and one ZADD.
  local texts, leases = {}, {}
  for index = 1, #entries do
    local entry, body, to = entries[index], bodies[index], taker(calls)
    local run_at, n, key
    if body and not to.request then run_at, n, key = string.match(body, UNCHANGED) end
    if run_at then
      if not to.text then begin_grants(queue, to) end
      grants = grants + 1
      texts[2 * fresh + 1] = BASE .. 't:' .. entry
      texts[2 * fresh + 2] = '~' .. n .. '|' .. key .. to.text .. run_at .. '|' .. digits(grants)
      leases[2 * fresh + 1] = to.deadline
      leases[2 * fresh + 2] = entry
      fresh = fresh + 1
      local views = to.views
      local at = #views
      views[at + 1] = entry
      views[at + 2] = body
      give(calls, to, entry)
    else
      queue.values.grants = grants
      local view = take_entry(queue, entry, to)
      grants = queue_number(queue, 'grants')
      if view then give_view(calls, to, view) end
    end
  end
  queue.values.grants = grants
  queue.changed.grants = true
  if fresh > 0 then
    add_ready(queue, priority, -fresh)
    add(queue, '#leased', fresh)
    call('MSET', unpack(texts))
    call('ZADD', BASE .. 'x:' .. queue.name, unpack(leases))
  end
end

local function grant_front(queue, priority, calls)
  local first = call('ZPOPMIN', front_key(priority, queue.name), calls.wanted)
  for index = 1, #first, 2 do
    local to = taker(calls)
    local view = take_front(queue, first[index], to)
    if view then give_view(calls, to, view) end
  end
  return #first > 0
end

-- The highest priority in which a task is ready.
local function first_priority(queue)
  for priority = 9, 0, -1 do
    if queue_number(queue, READY_OF[priority]) > 0 then return priority end
  end
end

-- One after the other, because a grant may bring the next of a group into a line.
local function lease_by_turns(queue, calls)
  local wanted = calls.wanted
  while skips > 0 and calls.given < wanted do
    local priority = first_priority(queue)
    if not priority then break end
    write_lists()
    write_zsets()
    calls.wanted = 1
    if queue_number(queue, 'front') == 0 or not grant_front(queue, priority, calls) then
      local entries = call('LPOP', line_key(priority, queue.name), 1)
      if not entries then break end
      grant_entries(queue, priority, entries, calls)
    end
  end
end

local function lease_by_lines(queue, calls)
  for priority = 9, 0, -1 do
    while skips > 0 and calls.wanted > 0 and queue_number(queue, READY_OF[priority]) > 0 do
      -- As long as there is somebody in front, the line has to wait: what was popped there may have been past its ttl.
      if queue_number(queue, 'front') == 0 or not grant_front(queue, priority, calls) then
        local entries = call('LPOP', line_key(priority, queue.name), calls.wanted)
        if not entries then break end
        grant_entries(queue, priority, entries, calls)
      end
    end
  end
end

local function lease(queue, calls)
  calls.wanted = allowed_grants(queue, calls.wanted)
  if queue_text(queue, 'grouped') then lease_by_turns(queue, calls) else lease_by_lines(queue, calls) end
  add(queue, '+leased', calls.given)
  note_grants(queue, calls.given)
end

-- Keeps what named calls are granted. Calls named alike in one script are one.
local named, twins

local function name_grants(queue, to, request)
  local ids, longest = {}, 0
  to.request = request
  to.granted = function(id, length)
    ids[#ids + 1] = id
    longest = math.max(longest, length)
  end
  named[#named + 1] = function()
    if #ids > 0 then remember(queue, request, to.token, ids, longest) end
  end
end

local function new_call(token, asked)
  local max = tonumber(asked)
  local to = { token = token, left = max, worker = '' }
  if not max then
    local most, length, worker, request = string.match(asked, '^(%d+)|(%d*)|([^|]*)|(.*)$')
    to.left, to.lease_ms, to.worker, to.request = tonumber(most), tonumber(length), worker, filled(request)
  end
  return to
end

operation('lease', {
  'paused', 'grouped', 'maxConcurrency', 'rateLimit', 'grants', 'front', '#leased', '+leased', 'leaseMs', 'maxAttempts', 'ready',
  'ready0', 'ready1', 'ready2', 'ready3', 'ready4', 'ready5', 'ready6', 'ready7', 'ready8', 'ready9',
}, ALLOW_OOM, function()
  granted_now, named, twins = {}, {}, {}
  local before = ARGV[3] == '1' and grants_of(ARGV[2])
  local by_token = before and granted_before(before)
  local results = {}
  local at = 4
  for _ = 1, tonumber(ARGV[1]) do
    local queue = open_queue(ARGV[at])
    local closed = not queue.exists or queue_text(queue, 'paused')
    local max_attempts = queue.exists and setting(queue, 'maxAttempts') or 0
    local calls = { at = 1, wanted = 0, given = 0 }
    local first = #results + 1
    for place = at + 2, at + 2 * tonumber(ARGV[at + 1]), 2 do
      local views = { 0, max_attempts, '', '', 0 }
      results[#results + 1] = views
      if before then
        for _, view in ipairs(by_token[ARGV[place]] or {}) do
          views[#views + 1] = view
        end
      elseif queue.exists then
        local to = new_call(ARGV[place], ARGV[place + 1])
        local request = to.request
        local name = request and queue.name .. ':' .. request
        if request and twins[name] then
          results[#results] = twins[name]
        else
          if request then
            twins[name] = views
            for _, known in ipairs(recall(queue, request)) do
              views[#views + 1] = known
            end
          end
          if not closed and #views == 5 then
            to.views = views
            calls[#calls + 1] = to
            calls.wanted = calls.wanted + to.left
            if request then name_grants(queue, to, request) end
          end
        end
      end
    end
    at = at + 2 + 2 * tonumber(ARGV[at + 1])
    if #calls > 0 then lease(queue, calls) end
    local held = queue.exists and held_until(queue) or ''
    local opened = queue.opened and queue_number(queue, 'ready') > 0 and '1' or ''
    if held ~= '' or opened ~= '' then
      for index = first, #results do
        results[index][3], results[index][4] = held, opened
      end
    end
  end
  if skips <= 0 then
    for _, views in ipairs(results) do
      views[1] = 1
    end
  end
  for _, finish in ipairs(named) do
    finish()
  end
  if #granted_now > 0 then keep_grants(ARGV[2], granted_now) end
  return reply(results)
end)
