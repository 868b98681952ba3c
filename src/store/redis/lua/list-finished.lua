-- One page of a queue's tasks of one terminal state, in the order in which they finished.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 state, 3 type or '', 4 how many at most, 5 and 6 when the last one seen finished and its id ('' for the
--       first page), 7 how many tasks to look at at most, 8 bytes of bodies after which the page ends
-- Returns {finished at, id} to go on after, or {} at the end, and the views
operation('list_finished', { 'maxAttempts' }, READS_ONLY, function()
  local key = BASE .. 'z:' .. ARGV[2] .. ':' .. ARGV[1]
  local kind, limit, last = ARGV[3], tonumber(ARGV[4]), ARGV[6]
  local budget, bytes = tonumber(ARGV[7]), tonumber(ARGV[8])

  -- The rank to start from: behind the last one seen, or, where that has gone since, at the first of its time.
  local start = 0
  if last ~= '' then
    local score = call('ZSCORE', key, last)
    if score and tonumber(score) == tonumber(ARGV[5]) then
      start = call('ZRANK', key, last) + 1
    else
      start = call('ZCOUNT', key, '-inf', '(' .. ARGV[5])
    end
  end

  local function task_type(id)
    return string.match(header_of(id), TYPE)
  end

  local views, position = {}, {}
  local entries = call('ZRANGE', key, start, start + budget - 1, 'WITHSCORES')
  for index = 1, #entries, 2 do
    local id, finished = entries[index], entries[index + 1]
    if not (last ~= '' and tonumber(finished) == tonumber(ARGV[5]) and id <= last) then
      position = { finished, id }
      if kind == '' or task_type(id) == kind then
        local seen = view(load_task(id))
        bytes = bytes - #seen[2]
        views[#views + 1] = seen
      end
      if #views >= limit or bytes <= 0 then break end
    end
  end
  if #entries < 2 * budget and #views < limit and bytes > 0 then position = {} end
  return reply({ position, views })
end)
