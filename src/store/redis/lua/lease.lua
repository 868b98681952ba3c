#!lua flags=allow-oom
-- Grants ready tasks. Allowed in a full Redis: without it nothing would ever drain.
-- KEYS  1 the shard's base key
-- ARGV  1 how many calls; then per call: queue, token, max, leaseMs ('' for the task's or queue's), worker ('' for none)
-- Returns per call {1 when there may be more behind stale entries, else 0, view, …}
local QUEUE_FIELDS = {
  'paused', 'grants', 'front', '#leased', '+leased', 'leaseMs', 'maxAttempts',
  'ready0', 'ready1', 'ready2', 'ready3', 'ready4', 'ready5', 'ready6', 'ready7', 'ready8', 'ready9',
}
-- @include defaults core queue body task moves line
local function grant(queue, task, token, lease_ms, worker)
  local length = lease_ms or task.tl or setting(queue, 'leaseMs')
  put(task, 'at', task.at + 1)
  task.dl = task.dl + 1
  task.tk = token
  task.sv = nil
  task.lm = length
  task.ga = NOW
  task.gn = take_number(queue, 'grants')
  task.wk = worker
  enter_leased(queue, task, NOW + length)
  add(queue, '+leased', 1)
end

-- Bodies of many tasks in one call.
local function bodies(granted)
  local keys = {}
  for index, task in ipairs(granted) do
    keys[index] = BASE .. 'b:' .. task.id
  end
  return #keys > 0 and call('MGET', unpack(keys)) or {}
end

local function lease(queue, token, max, lease_ms, worker)
  local granted = {}
  while #granted < max do
    local taken = pop_ready(queue, max - #granted)
    if #taken == 0 then break end
    for _, task in ipairs(taken) do
      if task.xa and task.xa <= NOW then
        enter_finished(queue, task, 'expired')
        skips = skips - 1
      else
        grant(queue, task, token, lease_ms, worker)
        granted[#granted + 1] = task
      end
    end
    if skips <= 0 then break end
  end
  local views = { skips <= 0 and 1 or 0 }
  local found = bodies(granted)
  for index, task in ipairs(granted) do
    views[index + 1] = view(task, found[index])
  end
  return views
end

local results = {}
for index = 1, tonumber(ARGV[1]) do
  local base = 2 + (index - 1) * 5
  local queue = open_queue(ARGV[base])
  if queue.exists and not queue_text(queue, 'paused') then
    results[index] = lease(queue, ARGV[base + 1], tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3]), filled(ARGV[base + 4]))
  else
    results[index] = { 0 }
  end
end
return reply(results)
