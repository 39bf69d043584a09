-- PURPOSE: give a circuit back to a store that lost it or fell behind (emptied, restarted,
--          failed over): what a process knows of it holds on, as it was; once, whoever
--          comes first. A circuit that was forgotten on purpose stays so.
-- KEYS: circuit, window, probes, cooldown, events, forgotten
-- ARGV: now_ms, service, owner, policy, generation, epoch, state, remaining_ms,
--       known_ms, failures, error
-- REPLY: verdict (restored, unchanged), then the circuit; until_ms is the end of the
--        open period

-- INCLUDE: arguments, policy, clock, calendar, circuit, details, transition

-- No open period is longer, see config.py.
local LONGEST_MS = 7 * 86400000
local circuit = read_circuit()
read_details(circuit)
local policy = read_policy(ARGV[4])
local generation, epoch, state = whole('generation', ARGV[5], 1, GREATEST - 1), ARGV[6], ARGV[7]
local remaining_ms, known_ms = whole('remaining_ms', ARGV[8], 0, LONGEST_MS), whole('known_ms', ARGV[9], 0)
local failures = whole('failures', ARGV[10], 0)
if not ENTRIES[state] then
  refuse('state must be closed, open or half_open, got "' .. tostring(state) .. '"')
end
if not epoch or epoch == '' or not ARGV[11] then
  refuse('a circuit to give back needs an epoch and an error, which may be empty')
end

local function answer(verdict)
  return describe(circuit, verdict, now, circuit.state == 'open' and circuit.open_until_ms or 0)
end

if circuit.exists and circuit.generation >= generation then
  return answer('unchanged')
end
-- Calls are let through by a later life only while it is closed; a closed circuit is news
-- only where it follows what the store has.
if circuit.epoch ~= epoch and (circuit.state ~= 'closed' or state == 'closed') then
  return answer('unchanged')
end
local forgotten_ms = tonumber(redis.call('GET', KEYS[6]) or 0)
if not forgotten_ms or now - known_ms <= forgotten_ms then
  return answer('unchanged')
end
redis.call('ZCARD', KEYS[2])
redis.call('XLEN', KEYS[5])

-- The same state again, so under its own number: under the next one it could be taken for
-- a later state that others know of.
circuit.generation, circuit.epoch, circuit.open_until_ms = generation - 1, epoch, now + remaining_ms
circuit.failures, circuit.last_error = failures, ARGV[11]
move(circuit, state, { service = ARGV[2], owner = ARGV[3], reason = 'restored' }, now, policy)
if not circuit.exists then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'window_failures', 0, 'total_successes', 0, 'renew_ms', 0,
    'total_failures', 0, 'service', ARGV[2])
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'failures', circuit.failures, 'last_error', ARGV[11])
keep_alive(circuit, now, policy.idle_ms)
return answer('restored')
