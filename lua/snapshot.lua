-- PURPOSE: read everything about the circuit; writes nothing.
-- KEYS: circuit, window, probes, cooldown, events
-- ARGV: now_ms
-- REPLY: now_ms, number of live leases, then field, value, ... of the hash

-- INCLUDE: clock, circuit, details

local circuit = read_circuit()
read_details(circuit)
local reply = { now, 0 }
if circuit.exists then
  reply[2] = redis.call('ZCOUNT', KEYS[3], '(' .. string.format('%.0f', now), '+inf')
  local fields = redis.call('HGETALL', KEYS[1])
  for i = 1, #fields do
    reply[i + 2] = fields[i]
  end
end
return reply
