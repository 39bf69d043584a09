-- PURPOSE: count calls that a process rejected by its own view of the circuit, and
--          show it how the circuit is now.
-- KEYS: circuit, window, probes, cooldown, events, sender
-- ARGV: now_ms, sequence, epoch, count
-- REPLY: verdict (counted, stale, repeat), then the circuit; until_ms is the end of
--        the open period

-- INCLUDE: arguments, clock, circuit, details, repeats

local circuit = read_circuit()
read_details(circuit)
local sequence = whole('sequence', ARGV[2], 1)
local count = whole('count', ARGV[4], 1, 1e9)
local until_ms = circuit.state == 'open' and circuit.open_until_ms or 0
-- The view was of another life of the circuit: its rejections are not of this one.
if not circuit.exists or circuit.epoch ~= ARGV[3] then
  return describe(circuit, 'stale', now, until_ms)
end
if is_repeat(KEYS[6], sequence) then
  return describe(circuit, 'repeat', now, until_ms)
end
-- Counted without an EXPIRE: a rejected call never prolongs a key's life.
redis.call('HSET', KEYS[1], 'rejections', circuit.rejections + count)
return describe(circuit, 'counted', now, until_ms)
