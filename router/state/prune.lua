-- Take names out of the index whose records have expired.
-- KEYS: index (sorted set: record -> version), records; ARGV: the records' names in the index, in their order.
for i = 1, #ARGV do
  if redis.call('EXISTS', KEYS[1 + i]) == 0 then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
