-- What a lease call of this process has granted whose reply was lost.
-- KEYS  1 the shard's base key
-- ARGV  1 the batch
-- Returns id and token of each task, in turn
operation('lost_leases', {}, READS_ONLY, function()
  local granted = {}
  for id, token in string.gmatch(grants_of(ARGV[1]) or '', '([^ ]+) ([^ ]+)') do
    granted[#granted + 1] = id
    granted[#granted + 1] = token
  end
  return { NOW, '', granted }
end)
