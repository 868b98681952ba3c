-- The body of a task is written once and never changed:
--   1|queue|n|priority|state|createdAt|runAt|expiresAt|leaseMs|maxAttempts|backoff|key|type|length of attributes|
-- then the attributes (JSON: tags, metadata, trace) and the payload, both opaque bytes.
local HEADER = '^1|([^|]*)|(%d+)|(%d)|([^|]*)|%d+|(%d+)|(%d*)|(%d*)|(%d*)|([^|]*)|([^|]*)|'
-- No header is longer: two names, a backoff, a digest and nine numbers.
local HEADER_END = 639

local function header_of(id)
  return call('GETRANGE', BASE .. 'b:' .. id, 0, HEADER_END)
end

-- The type a task was given, '' for none.
local function type_of(id)
  return string.match(header_of(id), '^1|[^|]*|%d+|%d|[^|]*|%d+|%d+|%d*|%d*|%d*|[^|]*|[^|]*|([^|]*)|')
end

local function created_at(id)
  return string.match(header_of(id), '^1|[^|]*|%d+|%d|[^|]*|(%d+)|')
end
