-- PURPOSE: delete the circuit with all that belongs to it, whatever the types of
--          its keys: this is also the way out when a foreign key is in the way.
-- KEYS: circuit, window, probes, cooldown, events, forgotten
-- ARGV: now_ms, service, policy
-- REPLY: verdict (forgotten, unchanged), then the circuit as it is now: none

-- INCLUDE: arguments, policy, clock, circuit, notice

local policy = read_policy(ARGV[3])
local deleted = redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
if deleted > 0 then
  -- A process that heard nothing of this must not take it for a loss, see restore.lua.
  redis.call('SET', KEYS[6], string.format('%.0f', now), 'PX', policy.idle_ms)
  call_for_a_look(ARGV[2], policy)
end
return describe(read_circuit(), deleted > 0 and 'forgotten' or 'unchanged', now)
