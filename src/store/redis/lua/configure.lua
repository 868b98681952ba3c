-- Sets a queue's settings, if nobody else did meanwhile.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 the settings this change started from ('' for none) or '*' for any, 3 the new settings (JSON);
--       then pairs of field and value, '' for a value that follows the default
-- Returns {'conflict', settings as they are} or {'created' | 'changed'}
operation('configure', { 'settings' }, NO_FLAGS, function()
  local queue = open_queue(ARGV[1])
  local known = queue_text(queue, 'settings') or ''
  if ARGV[2] ~= '*' and ARGV[2] ~= known then return queue_reply({ 'conflict', known }) end
  local verb = queue.exists and 'changed' or 'created'
  if not queue.exists then make_queue(queue) end
  local most, ordering = setting(queue, 'groupMax'), group_ordering(queue)
  call('HSET', queue.key, 'settings', ARGV[3])
  for index = 4, #ARGV, 2 do
    if ARGV[index + 1] == '' then
      call('HDEL', queue.key, ARGV[index])
    else
      call('HSET', queue.key, ARGV[index], ARGV[index + 1])
    end
  end
  -- What was read of the queue is no longer true.
  queue.values = {}
  -- Another retention may let go of tasks at once: the next sweep looks.
  expect_retention(queue, NOW)
  if not rate_limit(queue) then call('DEL', rate_key(queue)) end
  local relaxes = ordering == 'strict' and group_ordering(queue) == 'relaxed'
  if queue_number(queue, '#blocked') > 0 and (setting(queue, 'groupMax') > most or relaxes) then
    -- Blocked tasks are looked at by the next sweeps, in steps.
    queue.values.regroup = 0
    queue.changed.regroup = true
    expect(queue, NOW)
  end
  -- So may other limits: whoever waits asks again.
  if queue_number(queue, 'ready') > 0 then announce(queue) end
  return queue_reply({ verb })
end)
