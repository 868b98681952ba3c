-- The twin of src/domain/backoff.ts, held to it by golden values.
local function backoff_ms(text, attempt, random)
  local kind, base, max, jitter = string.match(text, '^(%a+),([%d.e+-]+),([%d.e+-]+),([%d.e+-]+)$')
  base, max, jitter = tonumber(base), tonumber(max), tonumber(jitter)
  local delay = base
  if kind == 'exponential' then
    delay = base * 2 ^ math.min(attempt - 1, 1000)
  elseif kind == 'linear' then
    delay = base * attempt
  end
  delay = math.min(delay, max)
  return math.floor(delay + random * jitter * delay)
end
