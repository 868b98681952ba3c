-- How a file of lua/ makes its operation known. The functions of all libraries of a server share one set of names.
-- While a library is loaded, only `redis.register_function` and the methods of texts can be called.
local NO_FLAGS = {}
-- Runs in a full Redis too.
local ALLOW_OOM = { 'allow-oom' }
local READS_ONLY = { 'no-writes' }

-- queue_fields: of a queue's hash, what the operation usually needs, to be read in one go.
local function operation(name, queue_fields, flags, run)
  redis.register_function({
    function_name = LIBRARY .. '_' .. name,
    flags = flags,
    callback = function(keys, args)
      begin(keys, args, queue_fields)
      return run()
    end,
  })
end
