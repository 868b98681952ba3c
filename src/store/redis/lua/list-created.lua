-- One page of a queue's tasks in order of creation.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 state or '', 3 type or '', 4 how many at most, 5 the sequence number to go on after,
--       6 how many tasks to look at at most, 7 bytes of bodies after which the page ends
-- Returns {{sequence number to go on after}, or {} at the end, views}
operation('list_created', { 'maxAttempts' }, READS_ONLY, function()
  local name, state, kind = ARGV[1], ARGV[2], ARGV[3]
  local limit, after, budget, bytes = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local function task_type(id)
    return string.match(header_of(id), TYPE)
  end

  local FEW = 256
  local views = {}

  -- Looks at one bucket, which may hold ids of deleted tasks; answers true when the page is full.
  local function read_bucket(bucket)
    local ids = call('LRANGE', BASE .. 'i:' .. bucket .. ':' .. name, 0, -1)
    load_tasks(ids)
    for _, id in ipairs(ids) do
      local task = load_task(id)
      if not task then
        budget = budget - 1
      elseif task.n > after then
        after = task.n
        budget = budget - 1
        if (state == '' or task.s == state) and (kind == '' or task_type(id) == kind) then
          local seen = view(task)
          bytes = bytes - #seen[2]
          views[#views + 1] = seen
        end
        if #views >= limit or budget <= 0 or bytes <= 0 then return true end
      end
    end
    return false
  end

  local function read()
    local first = math.floor(after / BUCKET)
    while true do
      local buckets = call('ZRANGEBYSCORE', BASE .. 'n:' .. name, first, '+inf', 'LIMIT', 0, 8)
      for _, bucket in ipairs(buckets) do
        if read_bucket(bucket) then return after end
        first = tonumber(bucket) + 1
      end
      if #buckets < 8 then return '' end
    end
  end

  -- Few tasks of a state that has a structure of its own are taken from there, however many others surround them.
  local function read_structure(key)
    local found = load_tasks(call('ZRANGE', key, 0, -1))
    table.sort(found, function(a, b) return a.n < b.n end)
    for _, task in ipairs(found) do
      if task.n > after then
        after = task.n
        if kind == '' or task_type(task.id) == kind then
          local seen = view(task)
          bytes = bytes - #seen[2]
          views[#views + 1] = seen
        end
        if #views >= limit or bytes <= 0 then return after end
      end
    end
    return ''
  end

  local structure = STRUCTURES[state]
  local position
  if structure and queue_number(open_queue(name), '#' .. state) <= FEW then
    position = read_structure(BASE .. structure .. name)
  else
    position = read()
  end
  return reply({ position == '' and {} or { position }, views })
end)
