-- PURPOSE: end a probe: free its place and, unless its call was neutral, count
--          its outcome; close after enough successes, reopen after a failure.
-- KEYS: circuit, window, probes, cooldown, events
-- ARGV: now_ms, service, owner, policy, generation, epoch, token, outcome, error
-- REPLY: verdict (settled, stale), then the circuit

-- INCLUDE: arguments, policy, clock, calendar, circuit, details, window, transition, probes

local circuit = read_circuit()
read_details(circuit)
local policy = read_policy(ARGV[4])
local generation = whole('generation', ARGV[5], 0)
local token, outcome = ARGV[7], ARGV[8]
if outcome ~= 'success' and outcome ~= 'failure' and outcome ~= 'neutral' then
  refuse('outcome must be success, failure or neutral, got "' .. tostring(outcome) .. '"')
end
if not ARGV[9] then
  refuse('error is missing')
end

-- A lease that ended may have been given to another: its holder's result is of the
-- past, whether anybody took the place back yet or not. A result from before the
-- last transition frees its place and counts nowhere.
if not lease_end(token, now) then
  return describe(circuit, 'stale', now)
end
if circuit.state ~= 'half_open' or is_stale(circuit, generation, ARGV[6]) then
  redis.call('ZREM', KEYS[3], token)
  return describe(circuit, 'stale', now)
end
if outcome == 'neutral' then
  redis.call('ZREM', KEYS[3], token)
  return describe(circuit, 'settled', now)
end
redis.call('ZCARD', KEYS[2])
redis.call('XLEN', KEYS[5])

local event = { service = ARGV[2], owner = ARGV[3] }
if outcome == 'failure' then
  circuit.failures = circuit.failures + 1
  circuit.last_error, circuit.last_failure_ms = ARGV[9], now
  event.reason = 'probe_failed'
  trip(circuit, event, now, policy)
else
  circuit.successes = circuit.successes + 1
  if circuit.successes >= policy.success_threshold then
    event.reason = 'success_threshold'
    move(circuit, 'closed', event, now, policy)
  else
    redis.call('HSET', KEYS[1], 'successes', circuit.successes)
  end
end
redis.call('ZREM', KEYS[3], token)
add_run(circuit, outcome, 1, now)
slide_window(circuit, policy.sliding_window_size, now)
write_counts(circuit, policy.sliding_window_size, ARGV[9], now)
keep_alive(circuit, now, policy.idle_ms)
return describe(circuit, 'settled', now, circuit.state == 'open' and circuit.open_until_ms or 0)
