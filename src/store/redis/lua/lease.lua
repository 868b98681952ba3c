#!lua flags=allow-oom
-- Grants ready tasks. Allowed in a full Redis: without it nothing would ever drain.
-- KEYS  1 the shard's base key
-- ARGV  1 how many calls, 2 the batch, 3 1 when it was sent before and the reply was lost; then per call: queue, token, max, leaseMs ('' for the task's or queue's), worker ('' for none),
--       the name of the call ('' for none)
-- Returns per call {1 when there may be more behind stale entries, else 0, view, …}
local QUEUE_FIELDS = {
  'paused', 'grants', 'front', '#leased', '+leased', 'leaseMs', 'maxAttempts', 'ready',
  'ready0', 'ready1', 'ready2', 'ready3', 'ready4', 'ready5', 'ready6', 'ready7', 'ready8', 'ready9',
}
-- @include clock defaults core queue retention body grants
-- Entries that fit no task any more are dropped as they come up, at most this many in a call.
local skips = 1000

-- Whatever is not a fresh task at the head of its line.
local function tools()
-- @include task moves entry request
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
    enter_leased(queue, task, NOW + length)
    return view(task)
  end

  -- Takes a task that is out of its structure out of the counts too; nil when its ttl has passed.
  local function take(queue, task, to)
    add_ready(queue, task.p, -1)
    if task.xa then zdel(BASE .. 'e:' .. queue.name, task.id) end
    if not task.xa or task.xa > NOW then return grant(queue, task, to) end
    skips = skips - 1
    enter_finished(queue, task, 'expired')
    return nil
  end

  return {
    finish = write_tasks,
    -- What an earlier run of this batch granted and still runs, by token.
    again = function(granted)
      local by_token = {}
      for id, token in string.gmatch(granted, '([^ ]+) ([^ ]+)') do
        local task = load_task(id)
        if task and task.s == 'leased' and task.tk == token then
          by_token[token] = by_token[token] or {}
          table.insert(by_token[token], view(task))
        end
      end
      return by_token
    end,
    recall = recall,
    remember = remember,
    -- For an entry of a line: a view, or nil when there is nothing to grant.
    entry = function(queue, entry, to)
      local task = task_of_entry(entry)
      if task then return take(queue, task, to) end
      skips = skips - 1
      return nil
    end,
    -- The same for a task that stood in front of its line.
    front = function(queue, id, to)
      local task = load_task(id)
      add(queue, 'front', -1)
      put(task, 'fr', nil)
      return take(queue, task, to)
    end,
  }
end
local toolbox

local function tool(name)
  toolbox = toolbox or tools()
  return toolbox[name]
end

-- Calls that wait for tasks of one queue, in order; the first that wants more gets the next.
local function taker(calls)
  while calls[calls.at] and calls[calls.at].left == 0 do
    calls.at = calls.at + 1
  end
  return calls[calls.at]
end

local granted_now = {}

local function give(calls, call, view)
  call.views[#call.views + 1] = view
  granted_now[#granted_now + 1] = view[1]
  granted_now[#granted_now + 1] = call.token
  call.left = call.left - 1
  calls.wanted = calls.wanted - 1
  calls.given = calls.given + 1
end

-- Grants list entries. A fresh task is granted without taking it apart: what its body says of it is carried along.
local function grant_entries(queue, priority, entries, calls)
  local keys = {}
  for index, entry in ipairs(entries) do
    keys[2 * index - 1] = BASE .. 't:' .. entry
    keys[2 * index] = BASE .. 'b:' .. entry
  end
  local values = call('MGET', unpack(keys))
  local queue_length, max_attempts = setting(queue, 'leaseMs'), setting(queue, 'maxAttempts')
  local grants, fresh = queue_number(queue, 'grants'), 0
  -- Changed tasks and their leases, in the form of one MSET and one ZADD.
  local texts, leases, first_deadline = {}, {}, math.huge
  for index, entry in ipairs(entries) do
    local body, to = values[2 * index], taker(calls)
    local state, ra, own, q, n, xa, tl
    if body and not values[2 * index - 1] then
      state, ra, own, q, n, xa, tl = string.match(body, FRESH)
    end
    if state == 'ready' and xa == '' and not to.request then
      local length = to.lease_ms or tonumber(tl) or queue_length
      local deadline = NOW + length
      grants = grants + 1
      fresh = fresh + 1
      local text = 'leased|' .. to.token .. '|' .. deadline .. '|1|1|' .. length .. '|' .. NOW_TEXT .. '|' .. grants .. '|' .. to.worker
        .. '||' .. ra .. '||' .. n .. '||||' .. own
      texts[2 * fresh - 1] = keys[2 * index - 1]
      texts[2 * fresh] = text
      leases[2 * fresh - 1] = deadline
      leases[2 * fresh] = entry
      first_deadline = math.min(first_deadline, deadline)
      give(calls, to, { entry, body, text, '', max_attempts })
    else
      queue.values.grants = grants
      local view = tool('entry')(queue, entry, to)
      grants = queue_number(queue, 'grants')
      if view then give(calls, to, view) end
    end
  end
  queue.values.grants = grants
  queue.changed.grants = true
  if fresh > 0 then
    add_ready(queue, priority, -fresh)
    add(queue, '#leased', fresh)
    call('MSET', unpack(texts))
    call('ZADD', BASE .. 'x:' .. queue.name, unpack(leases))
    expect(queue, first_deadline)
  end
end

local function grant_front(queue, priority, calls)
  local first = call('ZPOPMIN', front_key(priority, queue.name), calls.wanted)
  for index = 1, #first, 2 do
    local to = taker(calls)
    local view = tool('front')(queue, first[index], to)
    if view then give(calls, to, view) end
  end
  return #first > 0
end

local function lease(queue, calls)
  for priority = 9, 0, -1 do
    while skips > 0 and calls.wanted > 0 and queue_number(queue, 'ready' .. priority) > 0 do
      local found = queue_number(queue, 'front') > 0 and grant_front(queue, priority, calls)
      local entries = calls.wanted > 0 and call('LPOP', line_key(priority, queue.name), calls.wanted)
      if entries then
        grant_entries(queue, priority, entries, calls)
      elseif not found then
        break
      end
    end
  end
  add(queue, '+leased', calls.given)
end

-- Keeps what named calls are granted. Calls named alike in one script are one.
local named, twins = {}, {}

local function name_grants(queue, to, request)
  local ids, longest = {}, 0
  to.request = request
  to.granted = function(id, length)
    ids[#ids + 1] = id
    longest = math.max(longest, length)
  end
  named[#named + 1] = function()
    if #ids > 0 then tool('remember')(queue, request, to.token, ids, longest) end
  end
end

local before = ARGV[3] == '1' and grants_of(ARGV[2])
if before then
  local by_token, results = tool('again')(before), {}
  for index = 1, tonumber(ARGV[1]) do
    results[index] = { 0, unpack(by_token[ARGV[4 + (index - 1) * 6 + 1]] or {}) }
  end
  return queue_reply(results)
end

local results, by_queue = {}, {}
for index = 1, tonumber(ARGV[1]) do
  local base = 4 + (index - 1) * 6
  local queue = open_queue(ARGV[base])
  results[index] = { 0 }
  local request = filled(ARGV[base + 5])
  local twin = request and twins[queue.name .. ':' .. request]
  if twin then
    results[index] = twin
  elseif queue.exists and request then
    twins[queue.name .. ':' .. request] = results[index]
    for _, known in ipairs(tool('recall')(queue, request)) do
      results[index][#results[index] + 1] = known
    end
  end
  if queue.exists and not twin and not queue_text(queue, 'paused') and #results[index] == 1 then
    local calls = by_queue[queue]
    if not calls then
      calls = { at = 1, wanted = 0, given = 0 }
      by_queue[queue] = calls
    end
    local max = tonumber(ARGV[base + 2])
    calls.wanted = calls.wanted + max
    calls[#calls + 1] = {
      token = ARGV[base + 1], left = max, lease_ms = tonumber(ARGV[base + 3]), worker = ARGV[base + 4], views = results[index],
    }
    if request then name_grants(queue, calls[#calls], request) end
  end
end
for queue, calls in pairs(by_queue) do
  lease(queue, calls)
end
if skips <= 0 then
  for _, views in ipairs(results) do
    views[1] = 1
  end
end
for _, finish in ipairs(named) do
  finish()
end
if toolbox then tool('finish')() end
if #granted_now > 0 then keep_grants(ARGV[2], granted_now) end
return queue_reply(results)
