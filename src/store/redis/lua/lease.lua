#!lua flags=allow-oom
-- Grants ready tasks. Allowed in a full Redis: without it nothing would ever drain.
-- KEYS  1 the shard's base key
-- ARGV  1 how many calls; then per call: queue, token, max, leaseMs ('' for the task's or queue's), worker ('' for none)
-- Returns per call {1 when there may be more behind stale entries, else 0, view, …}
local QUEUE_FIELDS = {
  'paused', 'grants', 'front', '#leased', '+leased', 'leaseMs', 'maxAttempts',
  'ready0', 'ready1', 'ready2', 'ready3', 'ready4', 'ready5', 'ready6', 'ready7', 'ready8', 'ready9',
}
-- @include clock defaults core queue retention body
-- Entries that fit no task any more are dropped as they come up, at most this many in a call.
local skips = 1000

-- Whatever is not a fresh task at the head of its line.
local function tools()
-- @include task moves entry
  local function grant(queue, task, token, lease_ms, worker)
    local length = lease_ms or task.tl or setting(queue, 'leaseMs')
    put(task, 'at', task.at + 1)
    task.dl = task.dl + 1
    task.tk = token
    task.sv = nil
    task.lm = length
    task.ga = NOW
    task.gn = take_number(queue, 'grants')
    task.wk = filled(worker)
    enter_leased(queue, task, NOW + length)
    return view(task)
  end

  return {
    finish = write_tasks,
    -- The task that a list entry stands for, or that stands in front of its line: a view, or nil when it is none to grant.
    entry = function(queue, entry, token, lease_ms, worker)
      local task = task_of_entry(entry)
      if not task then
        skips = skips - 1
        return nil
      end
      add(queue, 'ready' .. task.p, -1)
      if task.xa then zdel(BASE .. 'e:' .. queue.name, task.id) end
      if task.xa and task.xa <= NOW then
        skips = skips - 1
        enter_finished(queue, task, 'expired')
        return nil
      end
      return grant(queue, task, token, lease_ms, worker)
    end,
    front = function(queue, id, token, lease_ms, worker)
      local task = load_task(id)
      add(queue, 'front', -1)
      add(queue, 'ready' .. task.p, -1)
      put(task, 'fr', nil)
      if task.xa then zdel(BASE .. 'e:' .. queue.name, task.id) end
      if task.xa and task.xa <= NOW then
        skips = skips - 1
        enter_finished(queue, task, 'expired')
        return nil
      end
      return grant(queue, task, token, lease_ms, worker)
    end,
  }
end
local toolbox

local function tool(name)
  toolbox = toolbox or tools()
  return toolbox[name]
end

-- Changed tasks and leases of fresh tasks, in the form of one MSET and one ZADD.
local texts, leases = {}, {}

-- Grants list entries. A fresh task is granted without taking it apart: what its body says of it is carried along.
local function grant_entries(queue, priority, entries, views, token, lease_ms, worker)
  local keys = {}
  for index, entry in ipairs(entries) do
    keys[2 * index - 1] = BASE .. 't:' .. entry
    keys[2 * index] = BASE .. 'b:' .. entry
  end
  local values = call('MGET', unpack(keys))
  local queue_length = lease_ms or setting(queue, 'leaseMs')
  local max_attempts = setting(queue, 'maxAttempts')
  local grants, fresh = queue_number(queue, 'grants'), 0
  for index, entry in ipairs(entries) do
    local body = values[2 * index]
    local view
    local state, ra, own, q, n, xa, tl
    if body and not values[2 * index - 1] then
      state, ra, own, q, n, xa, tl = string.match(body, FRESH)
    end
    if state == 'ready' and xa == '' then
      local length = queue_length
      if tl ~= '' and not lease_ms then length = tonumber(tl) end
      local deadline = NOW + length
      grants = grants + 1
      fresh = fresh + 1
      local text = 'leased|' .. token .. '|' .. deadline .. '|1|1|' .. length .. '|' .. NOW_TEXT .. '|' .. grants .. '|' .. worker
        .. '||' .. ra .. '||' .. n .. '||||' .. own
      texts[#texts + 1] = keys[2 * index - 1]
      texts[#texts + 1] = text
      leases[#leases + 1] = deadline
      leases[#leases + 1] = entry
      expect(queue, deadline)
      view = { entry, body, text, '', max_attempts }
    else
      add(queue, 'grants', grants - queue_number(queue, 'grants'))
      view = tool('entry')(queue, entry, token, lease_ms, worker)
      grants = queue_number(queue, 'grants')
    end
    views[#views + 1] = view
  end
  add(queue, 'grants', grants - queue_number(queue, 'grants'))
  if fresh > 0 then
    add(queue, 'ready' .. priority, -fresh)
    add(queue, '#leased', fresh)
  end
  if #leases > 0 then
    call_all('ZADD', BASE .. 'x:' .. queue.name, leases)
    leases = {}
  end
end

local function lease(queue, token, max, lease_ms, worker)
  local views = { 0 }
  for priority = 9, 0, -1 do
    while skips > 0 and #views <= max and queue_number(queue, 'ready' .. priority) > 0 do
      local wanted = max + 1 - #views
      local granted = #views
      if queue_number(queue, 'front') > 0 then
        local first = call('ZPOPMIN', front_key(priority, queue.name), wanted)
        for index = 1, #first, 2 do
          views[#views + 1] = tool('front')(queue, first[index], token, lease_ms, worker)
        end
        wanted = max + 1 - #views
      end
      local entries = wanted > 0 and call('LPOP', line_key(priority, queue.name), wanted)
      if entries then
        grant_entries(queue, priority, entries, views, token, lease_ms, worker)
      elseif #views == granted then
        break
      end
    end
  end
  add(queue, '+leased', #views - 1)
  if skips <= 0 then views[1] = 1 end
  return views
end

local results = {}
for index = 1, tonumber(ARGV[1]) do
  local base = 2 + (index - 1) * 5
  local queue = open_queue(ARGV[base])
  if queue.exists and not queue_text(queue, 'paused') then
    results[index] = lease(queue, ARGV[base + 1], tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3]), ARGV[base + 4])
  else
    results[index] = { 0 }
  end
end
if toolbox then tool('finish')() end
if #texts > 0 then call('MSET', unpack(texts)) end
return queue_reply(results)
