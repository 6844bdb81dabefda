-- One change of the desk, or none: compare the revision, write what is new, tell of it.
-- KEYS: desk (hash), versions (hash), history (stream)
-- ARGV: expected revision, new revision, desk as JSON, entry as JSON, length of the history,
--       number of versions to write, then number and JSON of each, then numbers to remove
if (redis.call('HGET', KEYS[1], 'revision') or '0') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'desk', ARGV[3])
local first = 7 + 2 * tonumber(ARGV[6])
for at = 7, first - 1, 2 do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
end
for at = first, #ARGV do
  redis.call('HDEL', KEYS[2], ARGV[at])
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'entry', ARGV[4])
return 1
