-- KEYS: the replica's note, the turn if there is one. ARGV: the replica, for how long in ms. 1 where it is asked now,
-- 0 where the turn is another's. The turn is written last: it ends no sooner than the note that it stands for.
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
redis.call('SET', KEYS[1], '1', 'PX', ARGV[2])
if KEYS[2] then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
end
return 1
