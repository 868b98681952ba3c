-- Asks for word of every end of a task in a queue.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 for how long, in ms
-- Returns nothing of interest
operation('watch_queue', { 'watchedUntil' }, ALLOW_OOM, function()
  local queue = open_queue(ARGV[1])
  local until_then = NOW + tonumber(ARGV[2])
  if queue.exists and until_then > queue_number(queue, 'watchedUntil') then
    queue.values.watchedUntil = until_then
    queue.changed.watchedUntil = true
  end
  return queue_reply('')
end)
