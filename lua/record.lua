-- PURPOSE: count a batch of outcomes of calls admitted while closed; trip when
--          the fleet's consecutive failures reach the threshold.
-- KEYS: circuit, window, probes, cooldown, events, sender
-- ARGV: now_ms, service, owner, sequence, policy, generation, epoch, error, age_ms,
--       outcome, count, ...
-- REPLY: verdict (recorded, stale, repeat), then the circuit; its last error and
--        failure only when it tripped

-- INCLUDE: clock

-- The common case first, before the rest of the prelude costs anything: more
-- successes of a closed circuit without a failure in its window. Nothing changes
-- but the total; what leaves the window are successes.
local sequence, age, count = tonumber(ARGV[4]), tonumber(ARGV[9]), tonumber(ARGV[11])
if ARGV[10] == 'success' and not ARGV[12] then
  local held = redis.call('HMGET', KEYS[1], 'generation', 'epoch', 'window_failures',
    'total_successes', 'renew_ms', 'window_size', 'state')
  if held[7] == 'closed' and held[3] == '0' and held[1] == ARGV[6]
    and (held[2] == ARGV[7] or ARGV[7] == '') and count and count >= 1 and count <= 1e9 and count % 1 == 0
    and age and age >= 0 and age <= now and age % 1 == 0
    and sequence and sequence >= 1 and sequence % 1 == 0 and now < (tonumber(held[5]) or 0) and tonumber(held[4])
    and string.find(ARGV[5], (held[6] or '') .. ',', 1, true) == 1 then
    local seen = redis.call('SET', KEYS[6], sequence, 'PX', 600000, 'GET')
    if not seen or sequence > (tonumber(seen) or 0) then
      redis.call('HSET', KEYS[1], 'total_successes', held[4] + count, 'last_success_ms', now)
      return 'recorded\nclosed\n\n0\n' .. held[1] .. '\n0\n0\n0\n0\n' .. held[2] .. '\n'
    end
    -- A repeat: the general case below finds that out by itself, see prelude/repeats.lua.
    redis.call('SET', KEYS[6], seen, 'PX', 600000)
  end
end

-- INCLUDE: arguments, circuit, window, repeats

local MOST_RUNS = 1000
local circuit = read_circuit()
if #ARGV < 11 or #ARGV > 9 + 2 * MOST_RUNS then
  refuse('a report needs ten arguments and an outcome and count for each of 1 to ' .. MOST_RUNS .. ' runs')
end
local size, threshold, idle_ms = string.match(ARGV[5], '^([1-9]%d*),([1-9]%d*),([1-9]%d*),')
size, threshold, idle_ms = tonumber(size), tonumber(threshold), tonumber(idle_ms)
if not size or math.max(size, threshold, idle_ms) > 1e12 then
  refuse('policy must begin with three whole numbers from 1 to 1e12, got "' .. ARGV[5] .. '"')
end
local generation = whole('generation', ARGV[6], 0)
sequence = whole('sequence', ARGV[4], 1)
age = whole('age_ms', ARGV[9], 0)
if age > now or (age > 0 and ARGV[10] ~= 'success') then
  refuse('age_ms must be at most the time, and 0 where failures come first, got "' .. ARGV[9] .. '"')
end

-- First what the runs come to, without writing. What follows the tripping failure
-- in the batch was admitted before the trip: it is left out. A success that ended
-- before the present streak of failures began does not end it, however late it is
-- told; it counts where it arrives, so the window is in the order of arrival. A streak
-- that began after now is of a clock that was set back: then the age tells nothing.
local failures, streak_ms, last, surplus = circuit.failures, circuit.streak_ms, #ARGV, 0
local tripping = false
local first_is_late = streak_ms <= now and now - age < streak_ms
for i = 10, #ARGV, 2 do
  count = whole('count', ARGV[i + 1], 1, 1e9)
  if ARGV[i] == 'success' then
    if i > 10 or not first_is_late then
      failures, streak_ms = 0, 0
    end
  elseif ARGV[i] == 'failure' then
    streak_ms = failures == 0 and now or streak_ms
    surplus = math.min(count - 1, math.max(0, failures + count - threshold))
    failures = failures + count - surplus
    if failures >= threshold then
      tripping, last = true, i + 1
      break
    end
  else
    refuse('outcome must be success or failure, got "' .. ARGV[i] .. '"')
  end
end

if circuit.state ~= 'closed' or is_stale(circuit, generation, ARGV[7]) then
  return describe(circuit, 'stale', now)
end
redis.call('ZCARD', KEYS[2])
local created = not circuit.exists
circuit.streak_moved = circuit.streak_ms ~= streak_ms
circuit.failures, circuit.streak_ms = failures, streak_ms
if created then
  -- A caller that knows a later generation than an emptied store keeps it.
  circuit.generation = generation
  circuit.epoch = string.format('%s@%.0f.%.0f', ARGV[3], now, sequence)
end

if tripping then
  -- INCLUDE: policy, calendar, details, transition

  local policy = read_policy(ARGV[5])
  read_details(circuit)
  redis.call('XLEN', KEYS[5])
  if was_seen(KEYS[6], sequence) then
    return describe(read_circuit(), 'repeat', now)
  end
  circuit.last_error, circuit.last_failure_ms = ARGV[8], now
  local event = { service = ARGV[2], owner = ARGV[3], reason = 'failure_threshold' }
  trip(circuit, event, now, policy)
end

-- A repeat is told the circuit as it is, not as this report would have left it.
if is_repeat(KEYS[6], sequence) then
  return describe(read_circuit(), 'repeat', now)
end
if created then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'generation', circuit.generation, 'epoch', circuit.epoch,
    'window_failures', 0, 'total_successes', 0, 'renew_ms', 0, 'window_size', size,
    'total_failures', 0, 'state', circuit.state, 'service', ARGV[2])
end
for i = 10, last, 2 do
  add_run(circuit, ARGV[i], tonumber(ARGV[i + 1]) - (i + 1 == last and tripping and surplus or 0), now)
end
slide_window(circuit, size, now)
write_counts(circuit, size, ARGV[8], now)
keep_alive(circuit, now, idle_ms)
return describe(circuit, 'recorded', now, tripping and circuit.open_until_ms or 0)
