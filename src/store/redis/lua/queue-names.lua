-- Names of queues in byte order.
-- KEYS  1 the shard's base key
-- ARGV  1 the name to go on after, or '', 2 how many at most
-- Returns the names
operation('queue_names', {}, READS_ONLY, function()
  local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
  return { NOW, '', call('ZRANGEBYLEX', BASE .. 'queues', from, '+', 'LIMIT', 0, ARGV[2]) }
end)
