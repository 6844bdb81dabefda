-- Apply one delta to one record: policies/records.py `apply` is the reference, a contract suite compares the two.
-- KEYS: record, index (sorted set: record -> version), version counter, mark that this batch was written before
-- ARGV: name in the index, now ('' = the server's clock), expiry (s), steps, half-life (steps), half-life (s),
--       shrink epoch ('' = none), shrink scale, then field, value, field, value, ...
-- Inside the record, '@t' is its time and '@e' its epoch. '+field' adds without decay and never below 0,
-- '^field' keeps the larger value, every other field decays and adds.
if redis.call('EXISTS', KEYS[4]) == 1 then return end
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function decay(amount, half_life)
  if half_life > 0 and amount > 0 then return 2 ^ (-amount / half_life) end
  return 1
end

local record, flat = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do record[flat[i]] = tonumber(flat[i + 1]) end
local at, epoch = record['@t'] or 0, record['@e'] or 0
record['@t'], record['@e'] = nil, nil

local keep = decay(tonumber(ARGV[4]), tonumber(ARGV[5]))
if at ~= 0 then keep = keep * decay(now - at, tonumber(ARGV[6])) end
local shrunk = ARGV[7] ~= '' and tonumber(ARGV[7]) == epoch
if shrunk then
  keep = keep * tonumber(ARGV[8])
  epoch = epoch + 1
end

for name, value in pairs(record) do
  local kind = string.sub(name, 1, 1)
  if kind == '+' then
    if shrunk then record[name] = 0 end
  elseif kind ~= '^' then
    record[name] = value * keep
  end
end
for i = 9, #ARGV, 2 do
  local name, value = ARGV[i], tonumber(ARGV[i + 1])
  local kind, old = string.sub(name, 1, 1), record[name]
  if kind == '^' then
    record[name] = old and math.max(old, value) or value
  elseif kind == '+' then
    record[name] = math.max(0, (old or 0) + value)
  else
    record[name] = (old or 0) + value
  end
end

local written = {'@t', string.format('%.17g', math.max(at, now)), '@e', string.format('%d', epoch)}
for name, value in pairs(record) do
  written[#written + 1] = name
  written[#written + 1] = string.format('%.17g', value)
end
redis.call('HSET', KEYS[1], unpack(written))
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[3]), ARGV[1])
