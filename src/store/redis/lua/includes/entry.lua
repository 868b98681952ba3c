-- The task that a list entry stands for, or nil when it stands there no longer.
local function task_of_entry(entry)
  local id, place = string.match(entry, '^([^:]+):?(%d*)$')
  local task = load_task(id)
  if not task or task.s ~= 'ready' or task.fr or task.deleted then return nil end
  if task.pl ~= (place == '' and task.n or tonumber(place)) then return nil end
  return task
end
