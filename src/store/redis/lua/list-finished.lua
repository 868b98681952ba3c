-- One page of a queue's tasks of one terminal state, in the order in which they finished. The clock is taken not to go back: what
-- finished before the times that are wanted was created before them.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 'oldest' or 'newest' first, 3 and 4 when the last one seen finished and its id ('' for the first page),
--       5 and more: the page (page.lua)
-- Returns {finished at, id} to go on after, or {} at the end, and the views
operation('list_finished', { 'maxAttempts' }, READS_ONLY, function()
  local newest, at, last = ARGV[2] == 'newest', ARGV[3], filled(ARGV[4])
  local page = open_page(5)
  local key = BASE .. 'z:' .. page.state .. ':' .. ARGV[1]

  -- How many are passed over, from the end at which the list begins.
  local function passed_over()
    if last then
      local before, upto = ranks_of(key, at, last)
      return newest and call('ZCARD', key) - before or upto
    end
    if page.from and not newest then return call('ZCOUNT', key, '-inf', '(' .. digits(page.from)) end
    return 0
  end

  -- Where nothing is filtered, what is read is shown.
  local filtered = page.kind or page.tag or page.code or page.from or page.to
  local most = filtered and page.budget or math.min(page.budget, page.limit)
  local start = passed_over()
  local entries = call(newest and 'ZREVRANGE' or 'ZRANGE', key, start, start + most - 1, 'WITHSCORES')
  local ids = {}
  for index = 1, #entries, 2 do
    ids[#ids + 1] = entries[index]
  end
  load_tasks(ids)
  local position, full = {}, false
  for index, id in ipairs(ids) do
    local finished = entries[2 * index]
    if newest and page.from and tonumber(finished) < page.from then return reply({ {}, page.views }) end
    position = { finished, id }
    full = look_at(page, load_task(id))
    if full then break end
  end
  if #ids < most and not full then position = {} end
  return reply({ position, page.views })
end)
