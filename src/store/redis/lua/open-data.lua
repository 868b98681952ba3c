-- Marks the data on first use and reads the marks.
-- KEYS  1 the base key of the first shard
-- ARGV  1 version of the data, 2 number of shards
-- Returns {version, shards}
operation('open_data', {}, NO_FLAGS, function()
  local key = BASE .. 'meta'
  call('HSETNX', key, 'version', ARGV[1])
  call('HSETNX', key, 'shards', ARGV[2])
  return { NOW, '', call('HMGET', key, 'version', 'shards') }
end)
