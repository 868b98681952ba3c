-- Begins operations that redrive the dead tasks of a queue.
-- KEYS  1 the shard's base key
-- ARGV  per operation: id, queue, the queue they go to or '' for their own, type or '', '+' and the code of the last error, or '', the latest time of death or '', max or '', rate
--       or '', '1' when the number of dead tasks is all there is to know of how many match
-- Returns per operation its view, 'queue_not_found' or 'too_many'
operation('create_operation', { '#dead' }, NO_FLAGS, function()
  local function create(id, name, to, kind, code, upto, max, rate, bounded)
    jobs.clear()
    local stored = jobs.load(id)
    if stored then return jobs.view(stored) end
    local queue = open_queue(name)
    if not queue.exists then return 'queue_not_found' end
    if call('ZCARD', BASE .. 'jobs') >= OPERATION.running then return 'too_many' end
    local total = queue_number(queue, '#dead')
    if bounded == '1' and max ~= '' then total = math.min(total, tonumber(max)) end
    jobs.save({
      key = id, queue = name, to = to, type = kind, code = code, ['until'] = math.min(NOW, tonumber(upto) or NOW), max = max, rate = rate,
      state = 'running', created = NOW, finished = '', next = NOW, by = '', byUntil = 0, at = '', id = '', seen = 0, total = total,
      matched = 0, moved = 0,
    })
    call('ZADD', BASE .. 'jobs', NOW_TEXT, id)
    return jobs.view(jobs.load(id))
  end

  local results = {}
  for at = 1, #ARGV, 9 do
    results[#results + 1] = create(unpack(ARGV, at, at + 8))
  end
  return reply(results)
end)
