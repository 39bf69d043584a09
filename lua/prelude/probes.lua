-- Places of half-open, leased: a member a probe, scored by the end of its lease
-- on the server's clock. Whoever looks first takes back what is overdue.

-- The end of a token's lease; nil when it has none or it is over.
local function lease_end(token, at)
  local score = tonumber(redis.call('ZSCORE', KEYS[3], token) or 0)
  return score > at and score or nil
end

-- What ends later than any lease may was not leased by us, or is of a clock that was set
-- back: it would take up a place for ever.
local function take_back_places(at, policy)
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', at)
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '(' .. string.format('%.0f', at + math.max(policy.lease_ms, 3600000)), '+inf')
end

local function lease_place(token, at, policy)
  redis.call('ZADD', KEYS[3], at + policy.lease_ms, token)
  redis.call('PEXPIRE', KEYS[3], policy.lease_ms + policy.idle_ms)
end
