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
  for _, task in ipairs(load_tasks(ids)) do
    if task.s == 'leased' and task.tk == token and task.ex > NOW then views[#views + 1] = view(task) end
  end
  if #views > 0 and process ~= '' and process ~= ORIGIN then
    call('SET', request_key(queue, request), token .. '|' .. list .. '|', 'KEEPTTL')
  end
  return views
end

local function remember(queue, request, token, ids, length)
  call('SET', request_key(queue, request), token .. '|' .. table.concat(ids, ',') .. '|' .. ORIGIN, 'PX', length)
end
