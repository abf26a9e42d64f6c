-- What a computation leaves: list with reserves, candidates, profile; '' where there is none.
-- KEYS: lists, pools, profile. ARGV: field, seconds of lists, revision, most fields of lists, list,
-- field of the reserves, reserves, most fields of pools, pool, database of profiles ('' on a
-- cluster), seconds of profiles, profile.
-- A list is kept only if the listener was not revised since it was computed; old versions go at
-- times. The SELECT ends with the script.
local function keep(key, most, revision, ...)
    if tonumber(redis.call('HGET', key, 'revision') or 0) > tonumber(revision) then return end
    if redis.call('HLEN', key) > tonumber(most) then redis.call('DEL', key) end
    redis.call('HSET', key, 'revision', revision, ...)
    redis.call('EXPIRE', key, ARGV[2])
end
if ARGV[5] ~= '' then keep(KEYS[1], ARGV[4], ARGV[3], ARGV[1], ARGV[5], ARGV[6], ARGV[7]) end
if ARGV[9] ~= '' then keep(KEYS[2], ARGV[8], 0, ARGV[1], ARGV[9]) end
if ARGV[12] == '' then return end
if ARGV[10] ~= '' then redis.call('SELECT', ARGV[10]) end
redis.call('SET', KEYS[3], ARGV[12], 'EX', ARGV[11])
