-- A queue's counters: read when first needed, written once at the end.
local queues = {}

-- Fields of the queue hash that nearly every script needs.
local QUEUE_FIELDS = { 'created', 'n', 'grants', 'due', 'front', '#leased', 'maxAttempts' }

local function open_queue(name)
  local queue = queues[name]
  if queue then return queue end
  local key = BASE .. 'q:' .. name
  local values = redis.call('HMGET', key, unpack(QUEUE_FIELDS))
  queue = { name = name, key = key, values = {}, changed = {}, exists = values[1] ~= false }
  for index, field in ipairs(QUEUE_FIELDS) do
    queue.values[field] = values[index]
  end
  queues[name] = queue
  return queue
end

-- The text of a field, or nil.
local function queue_text(queue, field)
  local value = queue.values[field]
  if value == nil then
    value = redis.call('HGET', queue.key, field)
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
  redis.call('HSET', queue.key, 'created', NOW, 'note', 'this value is longer than sixty-four bytes so that Redis keeps the hash as a table')
  redis.call('ZADD', BASE .. 'queues', 0, queue.name)
end

-- Something in the queue is due at a time.
local function expect(queue, at)
  if not earliest or at < earliest then earliest = at end
  local due = queue_text(queue, 'due')
  if not due or at < tonumber(due) then
    queue.values.due = at
    queue.changed.due = true
    redis.call('ZADD', BASE .. 'due', at, queue.name)
  end
end

-- Writes what has changed about the queues this script touched.
local function close_queues()
  for _, queue in pairs(queues) do
    local fields = {}
    for field in pairs(queue.changed) do
      fields[#fields + 1] = field
      fields[#fields + 1] = queue.values[field]
    end
    if #fields > 0 and queue.exists then redis.call('HSET', queue.key, unpack(fields)) end
  end
end

-- The end of every script's reply: now, when the earliest of what was touched is due ('' for never), the results.
local function reply(results)
  close_queues()
  return { NOW, earliest or '', results }
end
