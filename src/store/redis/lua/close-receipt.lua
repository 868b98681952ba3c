-- Has the receipt of an operation that brings nothing more last only until nobody can come too late.
-- KEYS  1 the shard's base key
-- ARGV  1 id of the operation
-- Returns 1, or 0 when there was none
operation('close_receipt', {}, ALLOW_OOM, function()
  return queue_reply(call('PEXPIRE', BASE .. 'p:' .. ARGV[1], moving.KEPT_MS))
end)
