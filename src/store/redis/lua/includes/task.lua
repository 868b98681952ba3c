-- Loading and changing a task. What has changed since it was stored is one text of fields in this order:
--   1 s state  2 tk token  3 ex lease deadline  4 at attempt  5 dl deliveries  6 lm length of the lease  7 ga granted at
--   8 gn number of the grant  9 wk worker  10 sv how the latest grant was settled (verb,state,attempt,runAt,late)
--   11 ra runAt  12 fa finishedAt  13 pl place  14 fr 1 when in front of its line  15 cr 1 when a cancellation is asked for
--   16 said 1 when there is a hash with what workers said: pr progress, cp checkpoint, rs result, ec em ed ea et the last
--   error, rq the name of the lease call
--   and, as in the body, 17 q queue  18 n sequence  19 p priority  20 xa expiresAt  21 tl 22 ma 23 bo 24 ik the task's own
--   leaseMs, maxAttempts, backoff and idempotency key  25 un what is unique (unique.lua)  26 gk its group
--   (group.lua)  27 gp its place in the line of its group  28 rt its own retentionMs.
-- The first grant of a task, and the ack that ends it, are most of all changes. They have short texts; all else is in the body:
--   ~n|key|token|deadline|length|granted at|worker|queue|runAt|number of the grant
--   !finishedAt|n|key|… the same; ? instead of ! when there is a hash with what workers said
local PACKED = '^' .. ('([^|]*)|'):rep(27) .. '(.*)$'

local FIRST_GRANT = '^~%d+|[^|]*|([^|]*)|(%d+)|(%d+)|(%d+)|([^|]*)|[^|]*|%d+|(%d+)$'
local FIRST_ACK = '^[!?](%d+)|%d+|[^|]*|([^|]*)|%d+|(%d+)|(%d+)|[^|]*|[^|]*|%d+|(%d+)$'
local TILDE, QUESTION, EXCLAMATION = ('~?!'):byte(1, 3)

local function put(task, field, value)
  task[field] = value
  if not task.changed then
    task.changed = true
    changed[#changed + 1] = task
  end
end

-- A task that has never changed is what its body says.
local function fresh_task(id, body)
  local s, ra, own, q, n, xa, tl = string.match(body, FRESH)
  if not s then error('the body of task ' .. id .. ' cannot be read') end
  local p, ma, bo, ik, un, gk, rt = string.match(own, '|(%d)|%d*|%d*|(%d*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(%d*)$')
  local task = {
    id = id, q = q, n = tonumber(n), p = p, s = s, at = 0, dl = 0, ra = tonumber(ra), xa = tonumber(xa),
    tl = tonumber(tl), ma = tonumber(ma), bo = filled(bo), ik = filled(ik), un = filled(un),
    gk = filled(gk), rt = tonumber(rt), fresh = true, header = body,
  }
  if s == 'ready' then task.pl = task.n end
  if task.gk and s ~= 'scheduled' then task.gp = task.n end
  return task
end

-- A task that was granted once, and perhaps acknowledged, since it was stored.
local function first_task(id, text)
  local task = fresh_task(id, header_of(id))
  local deadline, length, granted
  task.fresh, task.at, task.dl = nil, 1, 1
  if string.byte(text) == TILDE then
    task.s = 'leased'
    task.tk, deadline, length, granted, task.wk, task.gn = string.match(text, FIRST_GRANT)
    task.ex, task.wk = tonumber(deadline), filled(task.wk)
  else
    local finished
    task.s = 'completed'
    finished, task.tk, length, granted, task.gn = string.match(text, FIRST_ACK)
    task.fa = tonumber(finished)
    if string.byte(text) == QUESTION then task.said = '1' end
    task.sv = table.concat({ 'ack', 'completed', 1, task.ra, 0 }, ',')
  end
  if not task.gn then error('task ' .. id .. ' cannot be read') end
  task.lm, task.ga, task.gn = tonumber(length), tonumber(granted), tonumber(task.gn)
  return task
end

local function unpack_task(id, packed)
  local first = string.byte(packed)
  if first == TILDE or first == QUESTION or first == EXCLAMATION then return first_task(id, packed) end
  local s, tk, ex, at, dl, lm, ga, gn, wk, sv, ra, fa, pl, fr, cr, said, q, n, p, xa, tl, ma, bo, ik, un, gk, gp, rt = string.match(packed, PACKED)
  if not s then error('task ' .. id .. ' cannot be read') end
  return {
    id = id, s = s, tk = filled(tk), ex = tonumber(ex), at = tonumber(at), dl = tonumber(dl), lm = tonumber(lm),
    ga = tonumber(ga), gn = tonumber(gn), wk = filled(wk), sv = filled(sv), ra = tonumber(ra), fa = tonumber(fa),
    pl = tonumber(pl), fr = filled(fr), cr = filled(cr), said = filled(said), q = q, n = tonumber(n), p = p,
    xa = tonumber(xa), tl = tonumber(tl), ma = tonumber(ma), bo = filled(bo), ik = filled(ik), un = filled(un),
    gk = filled(gk), gp = tonumber(gp), rt = tonumber(rt),
  }
end

local function whole(number)
  return number and digits(number) or ''
end

local function pack_task(task)
  return table.concat({
    task.s, task.tk or '', whole(task.ex), task.at, task.dl, whole(task.lm), whole(task.ga), whole(task.gn), task.wk or '',
    task.sv or '', digits(task.ra), whole(task.fa), whole(task.pl), task.fr or '', task.cr or '', task.said or '',
    task.q, digits(task.n), task.p, whole(task.xa), whole(task.tl), task.ma or '', task.bo or '', task.ik or '', task.un or '', task.gk or '', whole(task.gp), whole(task.rt),
  }, '|')
end

-- Reads many tasks at once, in order, leaving out those that do not exist; load_task finds them from then on.
local function load_tasks(ids)
  local keys, wanted = {}, {}
  for _, id in ipairs(ids) do
    if tasks[id] == nil then
      tasks[id] = false
      wanted[#wanted + 1] = id
      keys[#keys + 1] = BASE .. 't:' .. id
    end
  end
  if #keys > 0 then
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
  local found = {}
  for _, id in ipairs(ids) do
    found[#found + 1] = tasks[id] or nil
  end
  return found
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
    task.changed, task.fresh = nil, nil
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
  return {
    task.id,
    body or call('GET', BASE .. 'b:' .. task.id),
    task.fresh and not task.changed and '' or pack_task(task),
    task.said and call('HGETALL', BASE .. 'h:' .. task.id) or '',
    setting(open_queue(task.q), 'maxAttempts'),
  }
end

-- The end of a script that touched tasks: now, when the earliest of what was touched is due ('' for never), the results.
-- What makes room is written before what takes some.
local function reply(results)
  write_tasks()
  write_groups()
  write_lists()
  return queue_reply(results)
end
