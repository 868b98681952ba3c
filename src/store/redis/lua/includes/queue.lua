-- A queue's counters and settings: read at first touch (QUEUE_FIELDS, which an operation names, in one go), written
-- once at the end.
local function open_queue(name)
  local queue = queues[name]
  if queue then return queue end
  local key = BASE .. 'q:' .. name
  local found = call('HMGET', key, 'created', 'due', 'keep', unpack(QUEUE_FIELDS))
  local values = { created = found[1], due = found[2], keep = found[3] }
  for index, field in ipairs(QUEUE_FIELDS) do
    values[field] = found[index + 3]
  end
  queue = { name = name, key = key, values = values, changed = {}, exists = found[1] ~= false }
  queues[name] = queue
  return queue
end

-- The text of a field, or nil.
local function queue_text(queue, field)
  local value = queue.values[field]
  if value == nil then
    value = call('HGET', queue.key, field)
    queue.values[field] = value
  end
  return value or nil
end

local function queue_number(queue, field)
  return tonumber(queue_text(queue, field) or 0)
end

local function add(queue, field, change)
  queue.values[field] = queue_number(queue, field) + change
  queue.changed[field] = true
end

-- Names of the counters of ready tasks, by priority as a number and as text.
local READY_OF = {
  [0] = 'ready0', ['0'] = 'ready0',
  [1] = 'ready1', ['1'] = 'ready1',
  [2] = 'ready2', ['2'] = 'ready2',
  [3] = 'ready3', ['3'] = 'ready3',
  [4] = 'ready4', ['4'] = 'ready4',
  [5] = 'ready5', ['5'] = 'ready5',
  [6] = 'ready6', ['6'] = 'ready6',
  [7] = 'ready7', ['7'] = 'ready7',
  [8] = 'ready8', ['8'] = 'ready8',
  [9] = 'ready9', ['9'] = 'ready9',
}

-- Ready tasks are counted by priority and in all. Where the first one comes into an empty queue, whoever waits for it in
-- another process is told.
local function add_ready(queue, priority, change)
  if not queue.ready_before then queue.ready_before = queue_number(queue, 'ready') end
  add(queue, 'ready', change)
  add(queue, READY_OF[priority], change)
end

-- Somebody waits for the end of a task of this queue: every end is told.
local function announce_end(queue, id)
  if queue_number(queue, 'watchedUntil') > NOW then call('SPUBLISH', BASE .. 'finished', ORIGIN .. '|' .. id) end
end

local function announce(queue)
  call('SPUBLISH', BASE .. 'ready:' .. queue.name, ORIGIN)
end

-- The next number of a counter.
local function take_number(queue, counter)
  add(queue, counter, 1)
  return queue.values[counter]
end

-- A setting of the queue, or its default.
local function setting(queue, field)
  return tonumber(queue_text(queue, field) or DEFAULTS[field])
end

-- A queue comes into being with its first task or its first configuration. The note is longer than what fits
-- into Redis' compact encoding, on purpose: as a hash table, every counter is found in one step.
local function make_queue(queue)
  queue.exists = true
  queue.values.created = NOW
  queue.values.generation = tostring(call('HINCRBY', BASE .. 'meta', 'generations', 1))
  call('HSET', queue.key, 'created', NOW, 'generation', queue.values.generation, 'note', 'this value is longer than sixty-four bytes so that Redis keeps the hash as a table')
  call('ZADD', BASE .. 'queues', 0, queue.name)
end

-- Something in the queue is due at a time.
local function expect(queue, at)
  if not earliest or at < earliest then earliest = at end
  local due = queue.values.due
  if not due or at < tonumber(due) then
    queue.values.due = at
    queue.changed.due = true
    zput(BASE .. 'due', queue.name, at)
  end
end

-- Retention lets go of something in the queue at a time. Nobody is told: it is not urgent, and every shard is swept every so often.
local function expect_retention(queue, at)
  local known = queue.values.keep
  if not known or at < tonumber(known) then
    queue.values.keep = at
    queue.changed.keep = true
    zput(BASE .. 'keep', queue.name, at)
  end
end

-- Writes what has changed about the queues this script touched.
local function write_queues()
  for _, queue in pairs(queues) do
    local fields = {}
    for field in pairs(queue.changed) do
      fields[#fields + 1] = field
      local value = queue.values[field]
      fields[#fields + 1] = type(value) == 'number' and digits(value) or value
    end
    if #fields > 0 and queue.exists then call('HSET', queue.key, unpack(fields)) end
    if (queue.ready_before == 0 or queue.freed) and queue_number(queue, 'ready') > 0 then announce(queue) end
    queue.ready_before, queue.freed = nil, nil
    queue.changed = {}
  end
end

-- The end of a script that touched queues alone: now, when the earliest of what was touched is due ('' for never), the results.
local function queue_reply(results)
  write_zsets()
  write_queues()
  return { NOW, earliest or '', results }
end
