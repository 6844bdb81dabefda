-- Write a record back that was lost; one that is there again already stays as it is.
-- KEYS: record, index (sorted set: record -> version), version counter
-- ARGV: name in the index, expiry (s), then field, value, field, value, ... with '@t' and '@e' as in merge.lua
-- Returns 1 where it was written.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[3]), ARGV[1])
return 1
