-- Places of half-open, leased: a member a probe, scored by the end of its lease
-- on the server's clock. Whoever looks first takes back what is overdue.

-- The end of a token's lease; nil when it has none or it is over.
local function lease_end(token, at)
  local score = tonumber(redis.call('ZSCORE', KEYS[3], token) or 0)
  return score > at and score or nil
end

-- No lease ends later, see config.py. What does was not leased by us, or is of a clock
-- that was set back: it would take up a place for ever.
local function latest_end(at, policy)
  return at + math.max(policy.lease_ms, 3600000)
end

local function count_places(at, policy)
  return redis.call('ZCOUNT', KEYS[3], string.format('(%.0f', at), latest_end(at, policy))
end

local function lease_place(token, at, policy)
  redis.call('ZADD', KEYS[3], at + policy.lease_ms, token)
  redis.call('PEXPIRE', KEYS[3], policy.lease_ms + policy.idle_ms)
end
