-- What is to be done with the tasks of an enqueue, judged in order before any of them is stored, so that a refusal leaves
-- nothing behind. Arguments as enqueue.lua names them.
local STRIDE = 4
local EXTRAS = '^(%d),(%d*),(%d*),(%d*),([^,]*),([^,]*),(%a*),(%d*),([^,]*),(%a*),([^,]*),(%d*)$'

-- priority, delayMs, runAt, ttlMs, idempotency key and fingerprint, until, ttlMs, key and onConflict of what is unique, group, retentionMs
local function extras_at(base)
  local extras = ARGV[base + 2]
  if #extras == 1 then return extras, '', '', '', '', '', '', '', '', '', '', '' end
  return string.match(extras, EXTRAS)
end

local function is_known(id)
  return call('EXISTS', BASE .. 'b:' .. id) == 1
end

-- Why the first task that is refused is, and the indexes of all that are for that reason, but only the first that has no room; nil when
-- none is. Otherwise what is to be done with each: 'store', 'known',
-- 'replay', or {id of the task that holds its unique key}.
local function plan_call(queue, at, count, backlog, window)
  local most = queue.exists and tonumber(filled(queue_text(queue, 'maxBacklog'))) or math.huge
  local plans, minted, fingerprints, holders = {}, {}, {}, {}
  local refusal
  local refused = {}
  for index = 0, count - 1 do
    local base = at + index * STRIDE
    local id = ARGV[base]
    local _, _, _, _, key, fingerprint, kind, _, digest, on_conflict = extras_at(base)
    local plan, adds, reason = 'store', 1, nil
    if minted[id] or is_known(id) then
      plan = 'known'
    elseif key ~= '' then
      local record = queue.exists and key_record(queue, key, window)
      local first = fingerprints[key] or record and record.fingerprint
      if first and first ~= fingerprint then reason = 'idempotency_key_reused' end
      if first then plan = 'replay' end
    end
    if plan == 'store' and kind ~= '' then
      local held = holders[digest]
      if not held then
        local holder = queue.exists and holder_of(queue, digest)
        if holder then
          local ends = not holder.task.fa and (not holder.free or TERMINAL[holder.state])
          held = { id = holder.task.id, state = holder.state, free = holder.free, ends = ends }
        end
      end
      if held and held.ends then adds = 0 end
      if held and not held.free then
        local verdict = on_unique_held(on_conflict, held.state)
        if verdict == 'reject' then plan, reason = 'reject', 'unique_conflict' end
        if verdict == 'return' then plan = { held.id } end
      end
    end
    if plan == 'store' and adds > 0 and backlog + adds > most then plan, reason = 'reject', 'queue_full' end
    refusal = refusal or reason
    if reason and reason == refusal then refused[#refused + 1] = index end
    if refusal == 'queue_full' then break end
    if plan == 'store' then
      backlog = backlog + adds
      minted[id] = true
      if key ~= '' then fingerprints[key] = fingerprint end
      if kind ~= '' then holders[digest] = { id = id, state = 'ready', free = false, ends = true } end
    end
    plans[index] = plan
  end
  if refusal then return nil, refusal, refused end
  return plans
end

-- Tasks of a queue that have not ended.
local function backlog_of(queue)
  if not queue.exists then return 0 end
  local backlog = queue_number(queue, 'ready')
  for _, state in ipairs(BACKLOG_STATES) do
    if state ~= 'ready' then backlog = backlog + queue_number(queue, '#' .. state) end
  end
  return backlog
end
