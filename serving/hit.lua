-- One call of one listener: counts it against the limit and looks up the list, in one round trip.
-- KEYS: 1 the listener's recent calls (sorted set by time), 2 the listener's lists (hash)
-- ARGV: 1 limit, 2 window in ms, 3 a name for this call that no other has, 4 field of the list or ''
-- Returns: allowed (1/0), calls left, ms until a slot is free, the list or nil
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local used = redis.call('ZCARD', KEYS[1])
if used < limit then
    redis.call('ZADD', KEYS[1], now, ARGV[3])
    redis.call('PEXPIRE', KEYS[1], window)
end
local reset = 0
if used + 1 >= limit then
    local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    reset = oldest[2] + window - now
end
if used >= limit then return {0, 0, reset, false} end
local list = false
if ARGV[4] ~= '' then list = redis.call('HGET', KEYS[2], ARGV[4]) end
return {1, limit - used - 1, reset, list}
