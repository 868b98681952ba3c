-- One page of a queue's tasks in order of creation. The clock is taken not to go back: what was created outside the times that
-- are wanted is passed over by halves.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 'oldest' or 'newest' first, 3 the sequence number to go on after ('' for the first page), 4 and more: the page (page.lua)
-- Returns {{sequence number to go on after}, or {} at the end, views}
operation('list_created', { 'maxAttempts' }, READS_ONLY, function()
  local name, newest, reached = ARGV[1], ARGV[2] == 'newest', tonumber(ARGV[3])
  local page = open_page(4)
  local buckets_key = BASE .. 'n:' .. name

  local FEW = 128

  local function is_next(task)
    if not reached then return true end
    if newest then return task.n < reached end
    return task.n > reached
  end

  -- Looks at tasks, which are in order of creation; answers where the page ends, {} where the list does, nil when there is more
  -- to look at.
  local function look(found)
    local first, last, step = 1, #found, 1
    if newest then first, last, step = #found, 1, -1 end
    for index = first, last, step do
      local task = found[index]
      if is_next(task) then
        reached = task.n
        local full = look_at(page, task)
        if page.outside == (newest and 'before' or 'after') then return {} end
        if full then return { reached } end
      end
    end
  end

  -- A bucket may hold ids of deleted tasks, which cost too.
  local function read_bucket(bucket)
    local ids = call('LRANGE', BASE .. 'i:' .. bucket .. ':' .. name, 0, -1)
    local found = load_tasks(ids)
    page.budget = page.budget - (#ids - #found)
    return look(found)
  end

  local function begins_before(bucket, time)
    for _, id in ipairs(call('LRANGE', BASE .. 'i:' .. bucket .. ':' .. name, 0, -1)) do
      local created = string.match(header_of(id), CREATED)
      if created then return tonumber(created) < time end
    end
    return true
  end

  -- The last bucket that begins with a task created before a time; nil when none does.
  local function bucket_before(time)
    local low, high = 0, call('ZCARD', buckets_key)
    while low < high do
      local middle = math.floor((low + high) / 2)
      if begins_before(call('ZRANGE', buckets_key, middle, middle)[1], time) then low = middle + 1 else high = middle end
    end
    return low > 0 and call('ZRANGE', buckets_key, low - 1, low - 1)[1] or nil
  end

  -- Where reading begins, as a bound of buckets; nil when no task can be wanted.
  local function start()
    if reached then return math.floor(reached / BUCKET) end
    if newest then
      if page.to then return bucket_before(page.to) end
      return '+inf'
    end
    return page.from and bucket_before(page.from) or '-inf'
  end

  local function read()
    local from = start()
    if not from then return {} end
    local command = newest and 'ZREVRANGEBYSCORE' or 'ZRANGEBYSCORE'
    local upto = newest and '-inf' or '+inf'
    while true do
      local buckets = call(command, buckets_key, from, upto, 'LIMIT', 0, 8)
      for _, bucket in ipairs(buckets) do
        local ended = read_bucket(bucket)
        if ended then return ended end
        from = '(' .. bucket
      end
      if #buckets < 8 then return {} end
    end
  end

  -- Few tasks of a state that has a structure of its own are taken from there, however many others surround them.
  local function read_structure(key)
    local found = load_tasks(call('ZRANGE', key, 0, -1))
    table.sort(found, function(a, b) return a.n < b.n end)
    return look(found) or {}
  end

  local structure = STRUCTURES[page.state]
  local position
  if structure and queue_number(open_queue(name), '#' .. page.state) <= FEW then
    position = read_structure(BASE .. structure .. name)
  else
    position = read()
  end
  return reply({ position, page.views })
end)
