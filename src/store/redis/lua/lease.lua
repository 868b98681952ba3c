#!lua flags=allow-oom
-- Grants ready tasks. Allowed in a full Redis: without it nothing would ever drain.
-- KEYS  1 the shard's base key
-- ARGV  1 how many calls; then per call: queue, token, max, leaseMs ('' for the task's or queue's), worker ('' for none)
-- Returns per call {1 when there may be more behind stale entries, else 0, view, …}
-- @include core queue body task line
local function grant(queue, task, token, lease_ms, worker)
  local length = tonumber(lease_ms) or task.tl or setting(queue, 'leaseMs')
  put(task, 'at', task.at + 1)
  put(task, 'dl', task.dl + 1)
  put(task, 'tk', token)
  put(task, 'sv', nil)
  put(task, 'lm', length)
  put(task, 'ga', NOW)
  put(task, 'gn', take_number(queue, 'grants'))
  put(task, 'wk', filled(worker))
  enter_leased(queue, task, NOW + length)
  add(queue, '+leased', 1)
  save_task(task)
  return view(task)
end

local results = {}
for call = 1, tonumber(ARGV[1]) do
  local base = 2 + (call - 1) * 5
  local queue = open_queue(ARGV[base])
  local granted = { 0 }
  if queue.exists and not queue_text(queue, 'paused') then
    for _ = 1, tonumber(ARGV[base + 2]) do
      local task, tired = pop_ready(queue)
      if tired then granted[1] = 1 end
      if not task then break end
      granted[#granted + 1] = grant(queue, task, ARGV[base + 1], ARGV[base + 3], ARGV[base + 4])
    end
  end
  results[call] = granted
end
return reply(results)
