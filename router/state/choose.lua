-- KEYS: the choice. ARGV: its number, it as JSON. 1 where it is in force, 0 where another was made meanwhile.
local number = tonumber(redis.call('HGET', KEYS[1], 'number') or '0')
if number + 1 ~= tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'number', ARGV[1], 'chosen', ARGV[2])
return 1
