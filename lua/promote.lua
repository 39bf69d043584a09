-- PURPOSE: end an open period that is over, without a call; once, whoever asks.
-- KEYS: circuit, window, probes, cooldown, events
-- ARGV: now_ms, service, owner, policy
-- REPLY: verdict (promoted, unchanged), then the circuit

-- INCLUDE: arguments, policy, clock, calendar, circuit, details, transition

local circuit = read_circuit()
read_details(circuit)
local policy = read_policy(ARGV[4])
if circuit.state ~= 'open' or now < circuit.open_until_ms then
  return describe(circuit, 'unchanged', now, circuit.open_until_ms)
end
redis.call('XLEN', KEYS[5])

-- Deleting the cooldown, as move() does, looks at it first: a server removes an expired
-- key only when somebody looks, or when chance has it looked at, perhaps much later. So
-- those who listen for its expiry hear of it now.
local event = { service = ARGV[2], owner = ARGV[3], reason = 'timeout_elapsed' }
move(circuit, 'half_open', event, now, policy)
keep_alive(circuit, now, policy.idle_ms)
return describe(circuit, 'promoted', now)
