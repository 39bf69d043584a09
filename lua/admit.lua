-- PURPOSE: may this call run? In half-open a place is leased to it.
-- KEYS: circuit, window, probes, cooldown, events, sender
-- ARGV: now_ms, service, owner, sequence, policy, token, purpose
-- REPLY: verdict (allow, probe, reject), then the circuit; until_ms is the end
--        of the open period, of the new lease, or of the lease that ends first

-- The common case first, before the prelude costs anything.
local held = redis.call('HMGET', KEYS[1], 'state', 'generation', 'epoch')
if not held[1] or (held[1] == 'closed' and string.find(held[2] or '', '^%d+$') and #held[2] < 16) then
  return 'allow\nclosed\n\n0\n' .. (held[2] or 0) .. '\n0\n0\n0\n0\n' .. (held[3] or '') .. '\n'
end

-- INCLUDE: arguments, policy, clock, calendar, circuit, details, transition, repeats, probes

local circuit = read_circuit()
read_details(circuit)
if circuit.state == 'closed' then
  return describe(circuit, 'allow', now)
end
local policy = read_policy(ARGV[5])
local token, purpose = ARGV[6], ARGV[7]
if purpose ~= 'call' and purpose ~= 'health_check' then
  refuse('purpose must be call or health_check, got "' .. tostring(purpose) .. '"')
end
local sequence = whole('sequence', ARGV[4], 1)
local due = circuit.state == 'open' and now >= circuit.open_until_ms

local function earliest_end()
  if circuit.state == 'open' then
    return circuit.open_until_ms
  end
  local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  return first[2] and math.min(tonumber(first[2]), latest_end(now, policy)) or now
end

-- The first write is that of the transition, when one is due: it may be refused, and then
-- neither must a place be taken back nor the same admission pass for a repeat.
local taken = count_places(now, policy)
if due and not was_seen(KEYS[6], sequence) then
  redis.call('XLEN', KEYS[5])
  local event = { service = ARGV[2], owner = ARGV[3], reason = 'timeout_elapsed' }
  move(circuit, 'half_open', event, now, policy)
  keep_alive(circuit, now, policy.idle_ms)
end
local repeated = is_repeat(KEYS[6], sequence)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
if repeated then
  local lease = lease_end(token, now)
  return describe(circuit, lease and 'probe' or 'reject', now, lease or earliest_end())
end
if circuit.state == 'open' or taken >= policy.half_open_max_calls then
  -- Counted without an EXPIRE: a rejected call never prolongs a key's life. A health
  -- check that finds no place is nobody's call.
  if purpose == 'call' then
    redis.call('HSET', KEYS[1], 'rejections', circuit.rejections + 1)
  end
  return describe(circuit, 'reject', now, earliest_end())
end
lease_place(token, now, policy)
return describe(circuit, 'probe', now, now + policy.lease_ms)
