-- What a computation finds of a listener: profile, Q-table, tracks nearby, candidates.
-- KEYS: profile, q, near, pools. ARGV: field of the pool, database of the pools ('' on a cluster).
-- The SELECT ends with the script.
local found = {
    redis.call('GET', KEYS[1]), redis.call('HGET', KEYS[2], 'state'), redis.call('GET', KEYS[3])
}
if ARGV[2] ~= '' then redis.call('SELECT', ARGV[2]) end
found[4] = redis.call('HGET', KEYS[4], ARGV[1])
return found
