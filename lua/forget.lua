-- PURPOSE: delete the circuit with all that belongs to it, whatever the types of
--          its keys: this is also the way out when a foreign key is in the way.
-- KEYS: circuit, window, probes, cooldown, events
-- ARGV: now_ms
-- REPLY: verdict (forgotten, unchanged), then the circuit as it is now: none

-- INCLUDE: clock, circuit

local deleted = redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return describe(read_circuit(), deleted > 0 and 'forgotten' or 'unchanged', now)
