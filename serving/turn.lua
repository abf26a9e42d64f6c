-- Whose turn it is to compute a list for a listener: one at a time, across all workers.
-- KEYS: 1 the listener's turn, 2 the listener's lists (hash)
-- ARGV: 1 the taker's token, 2 how long the turn may last in ms, 3 field of the list or ''
-- Returns: taken (1/0), the list that another left meanwhile or nil
if ARGV[3] ~= '' then
    local list = redis.call('HGET', KEYS[2], ARGV[3])
    if list then return {0, list} end
end
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return {1, false} end
return {0, false}
