-- One call of one listener, counted against the limit: a sliding window over the times of their calls.
-- KEYS: 1 the listener's calls of the last window (list of ms, oldest first)
-- ARGV: 1 limit, 2 window in ms
-- Returns: allowed (1/0), calls left, ms until a slot is free
-- The list that a hit wants is asked for in the same message, not here: what passes through a script
-- is copied twice, which costs three times the rest of it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local oldest = redis.call('LINDEX', KEYS[1], 0)
while oldest and oldest + window <= now do
    redis.call('LPOP', KEYS[1])
    oldest = redis.call('LINDEX', KEYS[1], 0)
end
local used = redis.call('RPUSH', KEYS[1], now)
if used > limit then
    redis.call('RPOP', KEYS[1])
    return {0, 0, oldest + window - now}
end
redis.call('PEXPIRE', KEYS[1], window)
local reset = 0
if used == limit then reset = (oldest or now) + window - now end
return {1, limit - used, reset}
