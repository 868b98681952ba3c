-- Has a batch never be stored, unless it was.
-- KEYS  1 the shard's base key
-- ARGV  1 id of the operation, 2 number of the batch, 3 its mark, 4 how many tasks there are in it
-- Returns as receive.lua; f for each when none was stored and none will be
operation('decline', {}, ALLOW_OOM, function()
  local id, batch, mark = ARGV[1], tonumber(ARGV[2]), ARGV[3]
  local outcomes = moving.receipt(id, batch, mark)
  if not outcomes then
    outcomes = string.rep('f', tonumber(ARGV[4]))
    moving.write_receipt(id, batch, mark, outcomes)
  end
  return queue_reply(outcomes)
end)
