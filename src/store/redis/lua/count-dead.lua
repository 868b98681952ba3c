-- Counts dead tasks of a queue that match, a bounded number of them at a time.
-- KEYS  1 the shard's base key
-- ARGV  1 queue, 2 type or '', 3 '+' and the code of the last error, or '', 4 the latest time of death, 5 and 6 when the last one seen
--       died and its id ('' for the first), 7 how many to look at at most
-- Returns {how many match, how many were looked at, time and id of the last one, '' at the end}
operation('count_dead', {}, READS_ONLY, function()
  local limit = tonumber(ARGV[7])
  local ids, died = dead.after(ARGV[1], ARGV[5], ARGV[6], tonumber(ARGV[4]), limit)
  local matched = #ids
  if ARGV[2] ~= '' or ARGV[3] ~= '' then
    matched = 0
    for _, task in ipairs(load_tasks(ids)) do
      if dead.is_meant(task, ARGV[2], ARGV[3]) then matched = matched + 1 end
    end
  end
  local last = #ids == limit and ids[#ids] or ''
  return reply({ matched, #ids, died[last] or '', last })
end)
