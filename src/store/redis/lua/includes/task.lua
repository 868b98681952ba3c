-- Loading and changing a task. What has changed since it was stored is one text of fields in this order:
--   1 s state  2 n sequence  3 p priority  4 q queue  5 pl place  6 fr 1 when in front of its line  7 at attempt
--   8 dl deliveries  9 tk token  10 ex lease deadline  11 lm length of the lease  12 ga granted at  13 gn number of the grant
--   14 wk worker  15 sv how the latest grant was settled (verb,state,attempt,runAt,late)  16 ra runAt  17 xa expiresAt
--   18 fa finishedAt  19 cr 1 when a cancellation is asked for  20 tl 21 ma 22 bo 23 ik the task's own leaseMs,
--   maxAttempts, backoff and idempotency key  24 said 1 when there is a hash with what workers said:
--   pr progress, cp checkpoint, rs result, ec em ed ea et the last error
local PACKED = '^' .. string.rep('([^|]*)|', 23) .. '(.*)$'

local tasks = {}
local changed = {}

local function put(task, field, value)
  task[field] = value
  if not task.changed then
    task.changed = true
    changed[#changed + 1] = task
  end
end

local function filled(text)
  if text == '' or text == false then return nil end
  return text
end

-- A task that has never changed is what its body says.
local function fresh_task(id, body)
  local q, n, p, s, ra, xa, tl, ma, bo, ik = string.match(body, HEADER)
  if not q then error('the body of task ' .. id .. ' cannot be read') end
  local task = {
    id = id, q = q, n = tonumber(n), p = p, s = s, at = 0, dl = 0, ra = tonumber(ra), xa = tonumber(xa),
    tl = tonumber(tl), ma = tonumber(ma), bo = filled(bo), ik = filled(ik),
  }
  if s == 'ready' then task.pl = task.n end
  return task
end

local function unpack_task(id, packed)
  local s, n, p, q, pl, fr, at, dl, tk, ex, lm, ga, gn, wk, sv, ra, xa, fa, cr, tl, ma, bo, ik, said = string.match(packed, PACKED)
  if not s then error('task ' .. id .. ' cannot be read') end
  return {
    id = id, s = s, n = tonumber(n), p = p, q = q, pl = tonumber(pl), fr = filled(fr), at = tonumber(at), dl = tonumber(dl),
    tk = filled(tk), ex = tonumber(ex), lm = tonumber(lm), ga = tonumber(ga), gn = tonumber(gn), wk = filled(wk), sv = filled(sv),
    ra = tonumber(ra), xa = tonumber(xa), fa = tonumber(fa), cr = filled(cr), tl = tonumber(tl), ma = tonumber(ma),
    bo = filled(bo), ik = filled(ik), said = filled(said),
  }
end

-- Numbers above 2^46 would lose digits in Lua's own conversion.
local function whole(number)
  return number and string.format('%.0f', number) or ''
end

local function pack_task(task)
  return table.concat({
    task.s, task.n, task.p, task.q, whole(task.pl), task.fr or '', task.at, task.dl, task.tk or '', task.ex or '', task.lm or '',
    task.ga or '', task.gn or '', task.wk or '', task.sv or '', task.ra, task.xa or '', task.fa or '', task.cr or '',
    task.tl or '', task.ma or '', task.bo or '', task.ik or '', task.said or '',
  }, '|')
end

-- Reads many tasks at once, so that load_task finds them.
local function load_tasks(ids)
  local keys, wanted = {}, {}
  for _, id in ipairs(ids) do
    if tasks[id] == nil then
      tasks[id] = false
      wanted[#wanted + 1] = id
      keys[#keys + 1] = BASE .. 't:' .. id
    end
  end
  if #keys == 0 then return end
  for index, packed in ipairs(call('MGET', unpack(keys))) do
    local id = wanted[index]
    if packed then
      tasks[id] = unpack_task(id, packed)
    else
      local body = header_of(id)
      if body ~= '' then tasks[id] = fresh_task(id, body) end
    end
  end
end

-- The task, or nil when there is none.
local function load_task(id)
  if tasks[id] == nil then load_tasks({ id }) end
  return tasks[id] or nil
end

-- What a worker, or the broker, says of a task; nil takes it back.
local function say(task, field, value)
  local key = BASE .. 'h:' .. task.id
  if value == nil then
    if task.said then call('HDEL', key, field) end
  else
    call('HSET', key, field, value)
    if not task.said then put(task, 'said', '1') end
  end
end

local function write_tasks()
  local pairs_of, gone = {}, {}
  for _, task in ipairs(changed) do
    if task.deleted then
      gone[#gone + 1] = BASE .. 'b:' .. task.id
      gone[#gone + 1] = BASE .. 't:' .. task.id
      if task.said then gone[#gone + 1] = BASE .. 'h:' .. task.id end
    else
      pairs_of[#pairs_of + 1] = BASE .. 't:' .. task.id
      pairs_of[#pairs_of + 1] = pack_task(task)
    end
    task.changed = nil
  end
  changed = {}
  for first = 1, #gone, 4000 do
    call('DEL', unpack(gone, first, math.min(first + 3999, #gone)))
  end
  for first = 1, #pairs_of, 4000 do
    call('MSET', unpack(pairs_of, first, math.min(first + 3999, #pairs_of)))
  end
end

-- A task for a reply: id, body, what has changed ('' for nothing), what was said ('' for nothing), the queue's maxAttempts.
-- Comes after the last change to the task.
local function view(task, body)
  local packed = ''
  if task.changed then packed = pack_task(task) else packed = call('GET', BASE .. 't:' .. task.id) or '' end
  return {
    task.id,
    body or call('GET', BASE .. 'b:' .. task.id),
    packed,
    task.said and call('HGETALL', BASE .. 'h:' .. task.id) or '',
    setting(open_queue(task.q), 'maxAttempts'),
  }
end

-- The end of a script that touched tasks: now, when the earliest of what was touched is due ('' for never), the results.
-- What makes room is written before what takes some.
local function reply(results)
  write_tasks()
  write_lists()
  return queue_reply(results)
end
