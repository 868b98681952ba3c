-- The body of a task is written once and never changed:
--   1|state|createdAt|runAt|type|length of attributes|queue|n|priority|expiresAt|leaseMs|maxAttempts|backoff|key|
-- then the attributes (JSON: tags, metadata, trace) and the payload, both opaque bytes. From the queue to the key it is
-- what a changed task goes on carrying as it is (task.lua).
local FRESH = '^1|(%a+)|%d+|(%d+)|[^|]*|%d+|(([^|]*)|(%d+)|%d|(%d*)|(%d*)|%d*|[^|]*|[^|]*)|'
-- No header is longer: two names, a backoff, a digest and nine numbers.
local HEADER_END = 639

local function header_of(id)
  return call('GETRANGE', BASE .. 'b:' .. id, 0, HEADER_END)
end
