-- The body of a task is written once and never changed, but for its first byte:
--   1|state|createdAt|runAt|type|length of attributes|queue|n|priority|expiresAt|leaseMs|maxAttempts|backoff|key|unique|group|retentionMs|
-- then the attributes (JSON: tags, metadata, trace) and the payload, both opaque bytes. From the queue to the retention it is
-- what a changed task goes on carrying as it is (task.lua). The first byte becomes 2 when the task leaves its line other
-- than by being popped: an entry of a line whose body says 1 is ready to be granted, whatever else there is to know of it.
local FRESH = '^[12]|(%a+)|%d+|(%d+)|[^|]*|%d+|(([^|]*)|(%d+)|%d|(%d*)|(%d*)|%d*|[^|]*|[^|]*|[^|]*|[^|]*|%d*)|'
local CREATED = '^[12]|%a+|(%d+)|'
local TYPE = '^[12]|%a+|%d+|%d+|([^|]*)|'
-- No header is longer: two names, a backoff, three digests and twelve numbers.
local HEADER_END = 843

local function header_of(id)
  return call('GETRANGE', BASE .. 'b:' .. id, 0, HEADER_END)
end
