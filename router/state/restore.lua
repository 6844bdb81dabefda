-- Write records back into a store that lost them, each once, however many routers hold a copy.
-- KEYS: generation, version counter, index (sorted set: record -> version), records
-- ARGV: generation expected, expiry of records (s), name of this restoration, generation the copies are from, records as
--       JSON: [name in the index, time, epoch, version of the copy, {field: value}], one per record key, in their order.
-- A record that is not there is written. One that was begun anew since the loss gets the copy added, for it holds only
-- what came after. One restored already stays, and so does one that was never lost.
-- Returns per record 'ours', 'kept' (it was never lost) or 'generation version' of the copy it was restored from;
-- false where the generation is another.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end

local function joined(field, held, copy)
  if string.sub(field, 1, 1) == '^' then return math.max(held, copy) end
  return held + copy
end

local said = {}
for i, copy in ipairs(cjson.decode(ARGV[5])) do
  local name, at, epoch, version, fields = unpack(copy)
  local key, own = KEYS[3 + i], {}
  local flat = redis.call('HGETALL', key)
  for j = 1, #flat, 2 do
    if string.sub(flat[j], 1, 1) == '@' then
      own[flat[j]] = flat[j + 1]
    else
      local held = tonumber(flat[j + 1])
      fields[flat[j]] = fields[flat[j]] and joined(flat[j], held, fields[flat[j]]) or held
    end
  end
  local from = own['@r'] or ''
  if #flat > 0 and own['@g'] ~= ARGV[1] then
    said[i] = 'kept'
  elseif from ~= '' then
    local who, which = string.match(from, '^(%S+) (.*)$')
    said[i] = who == ARGV[3] and 'ours' or which
  else
    local now = redis.call('INCR', KEYS[2])
    local written = {
      '@t', string.format('%.17g', math.max(at, tonumber(own['@t'] or 0))),
      '@e', string.format('%d', math.max(epoch, tonumber(own['@e'] or 0))),
      '@v', now, '@g', ARGV[1], '@r', string.format('%s %s %d', ARGV[3], ARGV[4], version),
    }
    for field, value in pairs(fields) do
      written[#written + 1] = field
      written[#written + 1] = string.format('%.17g', value)
    end
    redis.call('HSET', key, unpack(written))
    redis.call('EXPIRE', key, ARGV[2])
    redis.call('ZADD', KEYS[3], now, name)
    said[i] = 'ours'
  end
end
return said
