-- Stores tasks that an operation takes to a queue, each as new, unless that has been done.
-- KEYS  1 the shard's base key
-- ARGV  1 id of the operation, 2 number of the batch, 3 its mark, 4 when it was given out, 5 queue; then per task as in enqueue.lua, and how
--       many fields and values of what was said of it follow
-- Returns a letter per task: s it is stored, u another one holds its unique key, f the queue is full, as it is then for all behind it;
--       or 'stale' when the batch was given out too long ago; or 'behind:' and a number, as moving.receipt does
operation('receive', {
  'n', '+enqueued', 'ready', 'ready4', 'generation', 'maxBacklog', '#scheduled', '#blocked', '#leased',
}, NO_FLAGS, function()
  local id, batch, mark, name = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[5]
  local known = moving.receipt(id, batch, mark)
  if known then return queue_reply(known) end
  if NOW - tonumber(ARGV[4]) >= moving.FRESH_MS then return queue_reply('stale') end
  intake.begin(0)
  local outcomes = {}
  local full = false
  local base = 6
  while base < #ARGV do
    local said = tonumber(ARGV[base + STRIDE])
    local queue = open_queue(name)
    local plans, refusal
    if not full then plans, refusal = plan_call(queue, base, 1, backlog_of(queue) + intake.pending(name), 0) end
    -- A task of the same id is another one: ids are minted anew for each batch that may be stored.
    if plans and plans[0] == 'store' then
      outcomes[#outcomes + 1] = 's'
      intake.store(intake.open(name), base, {}, said > 0)
      if said > 0 then
        call('HSET', BASE .. 'h:' .. ARGV[base], unpack(ARGV, base + STRIDE + 1, base + STRIDE + said))
        put(load_task(ARGV[base]), 'said', '1')
      end
    elseif refusal == 'unique_conflict' then
      outcomes[#outcomes + 1] = 'u'
    else
      full = true
      outcomes[#outcomes + 1] = 'f'
    end
    base = base + STRIDE + 1 + said
  end
  intake.close()
  local result = table.concat(outcomes)
  moving.write_receipt(id, batch, mark, result)
  return reply(result)
end)
