-- Redriving, one task or the dead ones of a queue in turn. In a table, since a library has no more than 200 local names.
local dead = {}

-- Sends a task that has ended back to the end of its line. Answers why not, when it stays as it is.
function dead.redrive(queue, task)
  local move = MOVES.redrive[task.s]
  if move.refused then return move.refused end
  if not take_key_back(queue, task) then return 'unique_conflict' end
  leave(queue, task)
  for _, field in ipairs({ 'xa', 'fa', 'tk', 'sv', 'cr' }) do
    put(task, field, nil)
  end
  put(task, 'at', 0)
  put(task, 'ra', NOW)
  enter_ready(queue, task, 'back', false)
  return nil
end

-- The rank of the first one behind the one of this id that finished at a time ('' for none), whether that is still there or not.
function dead.rank_after(key, at, id)
  if id == '' then return 0 end
  local low, high = call('ZCOUNT', key, '-inf', '(' .. at), call('ZCOUNT', key, '-inf', at)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if call('ZRANGE', key, middle, middle)[1] <= id then low = middle + 1 else high = middle end
  end
  return low
end

-- Up to `limit` of the queue's dead tasks behind that one: when each died, by id, and the ids in the order in which they died.
function dead.after(name, at, id, upto, limit)
  local key = BASE .. 'z:dead:' .. name
  local start = dead.rank_after(key, at, id)
  local entries = call('ZRANGE', key, start, start + limit - 1, 'WITHSCORES')
  local ids, died = {}, {}
  for index = 1, #entries, 2 do
    if tonumber(entries[index + 1]) > upto then break end
    ids[#ids + 1] = entries[index]
    died[entries[index]] = entries[index + 1]
  end
  return ids, died
end

-- kind, code: '' for any; a code is written with a '+' before it.
function dead.is_meant(task, kind, code)
  if kind ~= '' and string.match(header_of(task.id), TYPE) ~= kind then return false end
  return code == '' or task.said and call('HGET', BASE .. 'h:' .. task.id, 'ec') == code or false
end
