-- Apply deltas to their records: policies/records.py `apply` is the reference, a contract suite compares the two.
-- KEYS: generation, version counter, index (sorted set: record -> version), mark that this batch was written, records
-- ARGV: generation expected ('' = any), now ('' = the server's clock), expiry of records (s), expiry of the mark (s, 0 =
--       no mark), deltas as JSON: [name in the index, steps, half-life (steps), half-life (s), shrink epoch (-1 = none),
--       shrink scale, epoch at which '+' fields count (-1 = any), {field: value}], one per record key and in their order.
-- Inside a record: '@t' time, '@e' epoch, '@v' version of its last change, '@g' generation it was made in, '@r' where it
-- was restored from. '+field' adds without decay and never below 0, '^field' keeps the larger value, every other field
-- decays and adds.
-- Returns the version after the batch; -1 where the generation is another: the store lost what the caller believes in.
local generation = redis.call('GET', KEYS[1]) or ''
if ARGV[1] ~= '' and ARGV[1] ~= generation then return -1 end
local done = redis.call('GET', KEYS[4])
if done then return tonumber(done) end
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function decay(amount, half_life)
  if half_life > 0 and amount > 0 then return 2 ^ (-amount / half_life) end
  return 1
end

local function read(key)
  local fields, own, flat = {}, {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, 1) == '@' then own[flat[i]] = flat[i + 1] else fields[flat[i]] = tonumber(flat[i + 1]) end
  end
  if #flat == 0 then own['@g'] = generation end
  return fields, own
end

local function write(key, name, fields, own)
  own['@v'] = redis.call('INCR', KEYS[2])
  local flat = {}
  for field, value in pairs(own) do flat[#flat + 1] = field; flat[#flat + 1] = value end
  for field, value in pairs(fields) do flat[#flat + 1] = field; flat[#flat + 1] = string.format('%.17g', value) end
  redis.call('HSET', key, unpack(flat))
  redis.call('EXPIRE', key, ARGV[3])
  redis.call('ZADD', KEYS[3], own['@v'], name)
end

for i, delta in ipairs(cjson.decode(ARGV[5])) do
  local name, steps, half_life_steps, half_life_s, shrink_epoch, scale, formed, add = unpack(delta)
  local fields, own = read(KEYS[4 + i])
  local at, epoch = tonumber(own['@t'] or 0), tonumber(own['@e'] or 0)
  local keep = decay(steps, half_life_steps)
  if at ~= 0 then keep = keep * decay(now - at, half_life_s) end
  local shrunk = shrink_epoch == epoch
  local late = formed ~= -1 and formed ~= epoch
  if shrunk then
    keep = keep * scale
    epoch = epoch + 1
  end
  for field, value in pairs(fields) do
    local kind = string.sub(field, 1, 1)
    if kind == '+' then
      if shrunk then fields[field] = 0 end
    elseif kind ~= '^' then
      fields[field] = value * keep
    end
  end
  for field, value in pairs(add) do
    local kind, old = string.sub(field, 1, 1), fields[field]
    if kind == '^' then
      fields[field] = old and math.max(old, value) or value
    elseif kind == '+' then
      if not late then fields[field] = math.max(0, (old or 0) + value) end
    else
      fields[field] = (old or 0) + value
    end
  end
  own['@t'], own['@e'] = string.format('%.17g', math.max(at, now)), string.format('%d', epoch)
  write(KEYS[4 + i], name, fields, own)
end

local version = tonumber(redis.call('GET', KEYS[2]) or 0)
if ARGV[4] ~= '0' then redis.call('SET', KEYS[4], version, 'EX', ARGV[4]) end
return version
