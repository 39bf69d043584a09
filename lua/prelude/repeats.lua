-- A report that arrives twice (its reply was lost, a client sent it again, the
-- network delivered an abandoned one late) must count once. Each sender has one
-- report under way at a time and numbers them, so a number that is not above
-- the last one seen was counted already.

local function is_repeat(key, sequence)
  local last = redis.call('SET', key, sequence, 'PX', 600000, 'GET')
  local number = tonumber(last or 0)
  -- What is no number of ours is written over, or nothing of this sender would ever count.
  if not (number and sequence <= number and number <= 1e15) then
    return false
  end
  redis.call('SET', key, last, 'PX', 600000)
  return true
end

-- Asks only; for a script that must not have written when its event is refused.
local function was_seen(key, sequence)
  local number = tonumber(redis.call('GET', key) or 0)
  return number and sequence <= number and number <= 1e15
end
