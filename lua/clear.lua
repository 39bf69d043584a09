-- PURPOSE: start the statistics anew (totals, window, rejections); the state and
--          its generation stay as they are.
-- KEYS: circuit, window, probes, cooldown, events, sender
-- ARGV: now_ms, sequence
-- REPLY: verdict (cleared, unchanged, repeat), then the circuit

-- INCLUDE: arguments, clock, circuit, repeats

local circuit = read_circuit()
local sequence = whole('sequence', ARGV[2], 1)
if not circuit.exists then
  return describe(circuit, 'unchanged', now)
end
if is_repeat(KEYS[6], sequence) then
  return describe(circuit, 'repeat', now)
end

redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], 'last_failure_ms', 'last_error', 'last_success_ms',
  'rejections', 'transitions', 'window_failures', 'last_outcome')
if circuit.state == 'closed' then
  circuit.failures, circuit.streak_ms = 0, 0
end
redis.call('HSET', KEYS[1], 'failures', circuit.failures, 'streak_ms', circuit.streak_ms,
  'total_successes', 0, 'total_failures', 0, 'window_from', 0)
return describe(circuit, 'cleared', now)
