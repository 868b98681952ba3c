-- Looks at a part of what is stored for faults, and changes nothing; as mend, it mends what is safe to mend.
-- KEYS  1 the shard's base key
-- ARGV  1 which part, and what it needs:
--       marks · keys, names of keys after the base · own, list, cursor · buckets, queue, bucket to go on after or '' · tasks, queue, bucket ·
--       sets or counters, queue · members, queue, kind, more, cursor · mark, queue · line, queue, priority, first, last · lost, queue, id and place, … · twice, queue, the mark, id and place, … ·
--       counts, queue, the mark or '', then of each priority how many stand in its list, or how many are lost of them ·
--       groups, queue, digests · parked, ids of tasks · open, id of an operation · receipt, id of an operation
-- Returns {what the part answers, findings: {fault, queue, subject, what was seen, '1' when it was mended}}
local parts = {}

function parts.marks()
  return call('HMGET', BASE .. 'meta', 'version', 'shards')
end

function parts.keys()
  local more = {}
  for index = 2, #ARGV do
    local set = census.key(ARGV[index])
    if set then more[#more + 1] = set end
  end
  return more
end

function parts.own()
  return census.own(ARGV[2], ARGV[3])
end

function parts.buckets()
  local name, after = ARGV[2], ARGV[3]
  local buckets = call('ZRANGEBYSCORE', BASE .. 'n:' .. name, after == '' and '-inf' or '(' .. after, '+inf', 'LIMIT', 0, 256)
  for _, bucket in ipairs(buckets) do
    if call('EXISTS', BASE .. 'i:' .. bucket .. ':' .. name) == 0 then
      if census.find('stray', name, bucket, 'among its lists of ids, and there is none of this number') then
        call('ZREM', BASE .. 'n:' .. name, bucket)
        call('HDEL', BASE .. 'm:' .. name, bucket)
      end
    end
  end
  return buckets
end

-- Answers how many tasks there are, and of those that stand in lists: id, place, …
function parts.tasks()
  local name, bucket = ARGV[2], ARGV[3]
  local queue = open_queue(name)
  if not queue.exists then return { 0, {} } end
  local ids = call('LRANGE', BASE .. 'i:' .. bucket .. ':' .. name, 0, 2 * BUCKET)
  local there, gone, standing, grouped, met = 0, 0, {}, {}, {}
  for _, id in ipairs(ids) do
    if call('EXISTS', BASE .. 'b:' .. id) == 0 then
      -- One that is on its way to another queue still counts as dead.
      local on_way = census.claims().by[id] or call('EXISTS', BASE .. 'c:b:' .. id) == 1
      if on_way then there = there + 1 else gone = gone + 1 end
    else
      there = there + 1
      local task = census.load(id)
      if task and census.task(queue, task) then
        standing[#standing + 1] = id
        standing[#standing + 1] = digits(task.pl)
      end
      if task and task.gk then
        local group = open_group(queue, task.gk)
        local is_met = task.s == 'ready' and group.ready ~= id
        if is_met then met[task.gk] = id end
        if (is_met or task.s == 'leased' and group.leased < 1 or task.s == 'scheduled' and task.gp and group.waiting < 1) and not grouped[task.gk] then
          grouped[task.gk] = true
          grouped[#grouped + 1] = task.gk
        end
      end
    end
  end
  if #grouped > 0 then census.groups(queue, grouped, met) end
  local noted = tonumber(call('HGET', BASE .. 'm:' .. name, bucket) or 0)
  if #ids > 0 and noted ~= gone then
    local detail = noted .. ' of list ' .. bucket .. ' are noted as deleted, ' .. gone .. ' are'
    if census.find('counter', name, bucket, detail) then
      if gone == #ids then
        call('DEL', BASE .. 'i:' .. bucket .. ':' .. name)
        call('ZREM', BASE .. 'n:' .. name, bucket)
        call('HDEL', BASE .. 'm:' .. name, bucket)
      else
        call('HSET', BASE .. 'm:' .. name, bucket, gone)
      end
    end
  end
  return { there, standing }
end

-- Counters come after all that may be mended in the sets.
function parts.sets()
  local queue = open_queue(ARGV[2])
  if not queue.exists then return {} end
  local large = census.small_sets(queue)
  if #large == 0 then census.queue(queue) end
  return large
end

function parts.counters()
  local queue = open_queue(ARGV[2])
  if queue.exists then census.queue(queue) end
  return ''
end

function parts.members()
  return census.members(open_queue(ARGV[2]), ARGV[3], ARGV[4], ARGV[5])
end

-- Answers the mark, and how many entries the lines of the queue have, from priority 0 on.
function parts.mark()
  local queue = open_queue(ARGV[2])
  local answer = { census.mark(queue) }
  for priority = 0, 9 do
    answer[priority + 2] = call('LLEN', line_key(digits(priority), queue.name))
  end
  return answer
end

function parts.line()
  local entries, valid = census.line(open_queue(ARGV[2]), ARGV[3], ARGV[4], ARGV[5])
  return { entries, valid }
end

-- Of tasks that were seen to stand in a list, and whose entries have not been found there since: whether they still have that place. If so
-- they stood there all the time, and there is no such entry. Answers their priorities.
function parts.lost()
  local queue = open_queue(ARGV[2])
  local lost, some = {}, census.still_standing(queue, 3)
  local times = census.times_in_line(queue, some)
  for _, task in ipairs(some) do
    if (times[task.id] or 0) == 0 then
      if census.find('unlisted', queue.name, task.id, 'ready, in no line') then
        census.stand_anew(queue, task)
        announce(queue)
      else
        lost[#lost + 1] = task.p
      end
    end
  end
  return lost
end

-- Of tasks that were met twice in their lines since those were marked, which may be because others came meanwhile.
function parts.twice()
  local queue = open_queue(ARGV[2])
  local some = census.still_standing(queue, 4)
  local is_quiet = census.mark(queue) == ARGV[3]
  local times = census.times_in_line(queue, some)
  for _, task in ipairs(some) do
    if is_quiet or (times[task.id] or 0) > 1 then
      if census.find('twice', queue.name, task.id, 'in line ' .. task.p) then census.stand_anew(queue, task) end
    end
  end
  return ''
end

-- Answers 'counted', 'moved' when the queue is not as marked any more, or 'long' when it has to be counted in steps.
function parts.counts()
  local queue = open_queue(ARGV[2])
  if not queue.exists then return 'counted' end
  local marked = ARGV[3] ~= ''
  if marked and census.mark(queue) ~= ARGV[3] then return 'moved' end
  local counts = marked and {} or census.standing_in_lines(queue)
  if not counts then return 'long' end
  for priority = 0, 9 do
    counts[priority] = (counts[priority] or 0) + tonumber(ARGV[4 + priority])
  end
  census.ready(queue, counts)
  return 'counted'
end

-- Answers how many could not be counted.
function parts.groups()
  local queue = open_queue(ARGV[2])
  local digests = {}
  for index = 3, #ARGV do
    digests[#digests + 1] = ARGV[index]
  end
  if not queue.exists then
    for _, digest in ipairs(digests) do
      -- Not opened as a group, which would be written again in the end.
      local key = BASE .. 'y:' .. queue.name .. ':' .. digest
      local group = call('GET', key)
      if group then
        if call('EXISTS', group_line(queue, digest)) == 1 or census.is_task(string.match(group, '[^|]*$')) then
          census.lost(queue, 'there is something left of its tasks')
        elseif census.is_gone(queue) then
          census.orphan(key, queue.name, digest, 'a group of a queue that is gone')
        end
      end
    end
    return 0
  end
  return census.groups(queue, digests, {})
end

function parts.parked()
  for index = 2, #ARGV do
    census.on_way(ARGV[index])
  end
  return ''
end

-- Answers '1' when the operation still needs its receipt.
function parts.open()
  local job = jobs.load(ARGV[2])
  return job and jobs.is_open(job) and '1' or ''
end

function parts.receipt()
  census.receipt(ARGV[2])
  return ''
end

local function take(mends)
  census.begin(mends)
  local answer = parts[ARGV[1]]()
  if not mends then return { NOW, '', { answer, census.found } } end
  return reply({ answer, census.found })
end

operation('census', {}, READS_ONLY, function()
  return take(false)
end)

operation('mend', {}, ALLOW_OOM, function()
  return take(true)
end)
