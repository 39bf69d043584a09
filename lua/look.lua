-- PURPOSE: see the circuit as it is; writes nothing and ends no open period.
-- KEYS: circuit, window, probes, cooldown, events
-- ARGV: now_ms
-- REPLY: verdict (seen), then the circuit, of a closed one only what the reply to an
--        admitted call tells; until_ms is the end of the open period

-- The common case first, before the prelude costs anything.
local held = redis.call('HMGET', KEYS[1], 'state', 'generation', 'epoch')
if not held[1] or (held[1] == 'closed' and string.find(held[2] or '', '^%d+$') and #held[2] < 16) then
  return 'seen\nclosed\n\n0\n' .. (held[2] or 0) .. '\n0\n0\n0\n0\n' .. (held[3] or '') .. '\n'
end

-- INCLUDE: clock, circuit, details

local circuit = read_circuit()
read_details(circuit)
return describe(circuit, 'seen', now, circuit.state == 'open' and circuit.open_until_ms or 0)
