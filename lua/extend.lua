-- PURPOSE: renew the lease of a probe whose call still runs, also when the circuit
--          moved on meanwhile: the call takes up a place as long as it runs.
-- KEYS: circuit, window, probes, cooldown, events
-- ARGV: now_ms, policy, token
-- REPLY: verdict (held, lost), then the circuit; until_ms is the lease's new end

-- INCLUDE: arguments, policy, clock, circuit, probes

local circuit = read_circuit()
local policy = read_policy(ARGV[2])
if not ARGV[3] then
  refuse('token is missing')
end
if not lease_end(ARGV[3], now) then
  return describe(circuit, 'lost', now)
end
lease_place(ARGV[3], now, policy)
if circuit.exists and circuit.state ~= 'open' then
  keep_alive(circuit, now, policy.idle_ms)
end
return describe(circuit, 'held', now, now + policy.lease_ms)
