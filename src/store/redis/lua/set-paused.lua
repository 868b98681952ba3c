-- Pauses or resumes a queue.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 '1' to pause
-- Returns 1, or 0 when there is no such queue
operation('set_paused', { 'paused', 'ready' }, ALLOW_OOM, function()
  local queue = open_queue(ARGV[1])
  if not queue.exists then return queue_reply(0) end
  if ARGV[2] == '1' then
    call('HSET', queue.key, 'paused', '1')
  else
    call('HDEL', queue.key, 'paused')
    if queue_text(queue, 'paused') and queue_number(queue, 'ready') > 0 then announce(queue) end
  end
  return queue_reply(1)
end)
