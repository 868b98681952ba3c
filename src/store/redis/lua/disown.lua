-- Before a process gives back what its lease calls with a name were granted: they are found under the name no more.
-- KEYS  1 the shard's base key
-- ARGV  per call: queue, name, token
-- Returns per call 0 when another process has found its leases, and then leaves them as they are; else 1
operation('disown', {}, ALLOW_OOM, function()
  local results = {}
  for index = 1, #ARGV, 3 do
    local key = BASE .. 'r:' .. ARGV[index] .. ':' .. ARGV[index + 1]
    local token, process = string.match(call('GET', key) or '', '^([^|]*)|[^|]*|(.*)$')
    local kept = token == ARGV[index + 2]
    if kept and process == ORIGIN then call('DEL', key) end
    results[#results + 1] = (kept and process ~= ORIGIN) and 0 or 1
  end
  return { NOW, '', results }
end)
