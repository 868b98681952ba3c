-- The body of a task is written once and never changed:
--   1|queue|n|priority|state|createdAt|runAt|expiresAt|leaseMs|maxAttempts|backoff|key|type|length of attributes|
-- then the attributes (JSON: tags, metadata, trace) and the payload, both opaque bytes.
local HEADER = '^1|([^|]*)|(%d+)|(%d)|([^|]*)|%d+|(%d+)|(%d*)|(%d*)|(%d*)|([^|]*)|([^|]*)|([^|]*)|%d+|'
-- No header is longer: two names, a backoff, a digest and nine numbers.
local HEADER_END = 639
