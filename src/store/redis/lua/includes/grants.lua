-- What the latest lease script of a process has granted in this shard, in case its reply is lost: batch|id token id token …
-- A process makes one such call at a time, so that the next one says that the reply to the last one came.
local GRANTS_KEPT = 3600000

local function grants_of(batch)
  local kept, granted = string.match(call('GET', BASE .. 'g:' .. ORIGIN) or '', '^([^|]*)|(.*)$')
  if kept == batch then return granted end
end

local function keep_grants(batch, granted)
  call('SET', BASE .. 'g:' .. ORIGIN, batch .. '|' .. table.concat(granted, ' '), 'PX', GRANTS_KEPT)
end
