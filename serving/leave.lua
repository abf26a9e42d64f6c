-- Gives a turn back, unless it ran out and another has it now.
-- KEYS: 1 the listener's turn; ARGV: 1 the taker's token
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
