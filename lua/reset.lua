-- PURPOSE: close the circuit by hand and forget its current failures, its window
--          and the calls that still run; lifetime totals stay.
-- KEYS: circuit, window, probes, cooldown, events, sender
-- ARGV: now_ms, service, owner, sequence, policy
-- REPLY: verdict (reset, unchanged, repeat), then the circuit

-- INCLUDE: arguments, policy, clock, calendar, circuit, details, transition, repeats, notice

local circuit = read_circuit()
read_details(circuit)
local policy = read_policy(ARGV[5])
local sequence = whole('sequence', ARGV[4], 1)
if not circuit.exists then
  return describe(circuit, 'unchanged', now)
end
redis.call('XLEN', KEYS[5])
-- A reset delivered late must not close a circuit that tripped since.
if was_seen(KEYS[6], sequence) then
  return describe(circuit, 'repeat', now)
end

if circuit.state == 'closed' then
  -- No transition, but a new life: calls that still run are of the one before.
  circuit.epoch = string.format('%s@%.0f.%.0f', ARGV[3], now, sequence)
  call_for_a_look(ARGV[2], policy)
else
  move(circuit, 'closed', { service = ARGV[2], owner = ARGV[3], reason = 'reset' }, now, policy)
end
is_repeat(KEYS[6], sequence)
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], 'window_failures', 'last_outcome')
redis.call('HSET', KEYS[1], 'failures', 0, 'streak_ms', 0, 'window_from', circuit.calls, 'epoch', circuit.epoch)
circuit.failures = 0
keep_alive(circuit, now, policy.idle_ms)
return describe(circuit, 'reset', now)
