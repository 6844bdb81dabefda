-- Append events to the log, each that happened once only from the first who tells of it.
-- KEYS: log (stream), per event the mark that it was told
-- ARGV: name of this batch, expiry of the marks (s), entries the log keeps, events as JSON: [field, value, …]
-- Returns per event 1 where it is this batch's telling that stands in the log, also when the batch is sent again; else 0.
local told = {}
for i, fields in ipairs(cjson.decode(ARGV[4])) do
  local mark = KEYS[1 + i]
  local by = redis.call('GET', mark)
  if not by then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', unpack(fields))
    redis.call('SET', mark, ARGV[1], 'EX', ARGV[2])
    by = ARGV[1]
  end
  told[i] = by == ARGV[1] and 1 or 0
end
return told
