-- Lease calls that have a name. What one was granted is kept as token|ids|process for as long as its leases may run, and
-- each of its tasks knows the name (rq), so that a heartbeat prolongs it. Once another process has found it there is none.
local function request_key(queue, request)
  return BASE .. 'r:' .. queue.name .. ':' .. request
end

-- Views of what was granted under the name and still runs.
local function recall(queue, request)
  local token, list, process = string.match(call('GET', request_key(queue, request)) or '', '^([^|]*)|([^|]*)|?(.*)$')
  local ids, views = {}, {}
  for id in string.gmatch(list or '', '[^,]+') do
    ids[#ids + 1] = id
  end
  local granted = load_tasks(ids)
  table.sort(granted, function(a, b) return (a.gn or 0) < (b.gn or 0) end)
  for _, task in ipairs(granted) do
    if task.s == 'leased' and task.tk == token and task.ex > NOW then views[#views + 1] = view(task) end
  end
  if #views > 0 and process ~= '' and process ~= ORIGIN then
    call('SET', request_key(queue, request), token .. '|' .. list .. '|', 'KEEPTTL')
  end
  return views
end

-- A lease that ran out goes on, and what the call was granted may be forgotten: the task is found under its name again, unless that is known
-- to be the name of a later call. No process gives it back, since the worker has it.
local function recall_again(queue, request, task, length)
  local key = request_key(queue, request)
  local token, list, process = string.match(call('GET', key) or '', '^([^|]*)|([^|]*)|?(.*)$')
  if token == task.tk then
    if string.find(',' .. list .. ',', ',' .. task.id .. ',', 1, true) then return end
    call('SET', key, token .. '|' .. list .. ',' .. task.id .. '|' .. process, 'KEEPTTL')
    return
  end
  local other = token and load_task(string.match(list, '^[^,]*'))
  if other and other.tk == token and other.gn > task.gn then return end
  call('SET', key, task.tk .. '|' .. task.id .. '|', 'PX', length)
end

local function remember(queue, request, token, ids, length)
  call('SET', request_key(queue, request), token .. '|' .. table.concat(ids, ',') .. '|' .. ORIGIN, 'PX', length)
end
