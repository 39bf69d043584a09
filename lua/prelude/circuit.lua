-- The circuit as one table: read once, decided on, written back at the end.

-- Counts and times up to the year 9999.
local GREATEST = 253402300799999

-- What a report in the closed state needs; read_details() adds the rest.
local function read_circuit()
  local f = redis.call('HMGET', KEYS[1], 'state', 'generation', 'failures', 'total_successes',
    'total_failures', 'window_from', 'window_failures', 'window_size', 'renew_ms', 'streak_ms',
    'last_outcome', 'epoch')
  local state = f[1] or 'closed'
  local generation, failures = tonumber(f[2] or 0), tonumber(f[3] or 0)
  local total_successes, total_failures = tonumber(f[4] or 0), tonumber(f[5] or 0)
  local window_from, window_failures = tonumber(f[6] or 0), tonumber(f[7] or 0)
  local window_size, renew_ms = tonumber(f[8] or 0), tonumber(f[9] or 0)
  local streak_ms = tonumber(f[10] or 0)
  if not (generation and failures and total_successes and total_failures and window_from
      and window_failures and window_size and renew_ms and streak_ms)
    or (state ~= 'closed' and state ~= 'open' and state ~= 'half_open')
    -- Whole and not negative, all of them; NaN is neither.
    or not (generation % 1 + failures % 1 + total_successes % 1 + total_failures % 1 + window_from % 1
      + window_failures % 1 + window_size % 1 + renew_ms % 1 + streak_ms % 1 == 0
      and math.min(generation, failures, total_successes, total_failures, window_from,
        window_failures, window_size, renew_ms, streak_ms) >= 0
      and math.max(generation, failures, total_successes, total_failures, window_from,
        window_failures, window_size, renew_ms, streak_ms) <= GREATEST) then
    -- INCLUDE: damage
    damaged({ 'state', 'generation', 'failures', 'total_successes', 'total_failures',
      'window_from', 'window_failures', 'window_size', 'renew_ms', 'streak_ms' }, f)
  end
  local calls = total_successes + total_failures
  return {
    exists = f[1] and true or false,
    state = state,
    generation = generation,
    failures = failures,
    streak_ms = streak_ms,
    total_successes = total_successes,
    total_failures = total_failures,
    calls = calls,
    -- A healthy circuit does not write how its window moved on, see record.lua.
    window_from = math.max(window_from, calls - window_size),
    window_failures = window_failures,
    renew_ms = renew_ms,
    last_outcome = f[11] or '',
    epoch = f[12] or '',
    last_error = '',
    last_failure_ms = 0,
    moved_from = '',
    renewed = 0,
  }
end

-- A report is of another life of the circuit when its generation is not the
-- present one, or when the hash was lost and made anew meanwhile.
local function is_stale(circuit, generation, epoch)
  return circuit.exists and (circuit.generation ~= generation
    or (epoch ~= circuit.epoch and epoch ~= '' and circuit.epoch ~= ''))
end

-- What every caller learns, whatever it asked. One string, because clients read
-- a list of eleven several times slower; free text comes last.
local function describe(circuit, verdict, at, until_ms)
  return string.format('%s\n%s\n%s\n%d\n%.0f\n%.0f\n%.0f\n%.0f\n%.0f\n%s\n%s', verdict,
    circuit.state, circuit.moved_from, circuit.renewed, circuit.generation, at, until_ms or 0,
    circuit.failures, circuit.last_failure_ms, circuit.epoch, circuit.last_error)
end

-- The hash, its window and its history live for one and a half idle times and
-- are renewed once half of one has gone, so a call costs no EXPIRE and yet
-- nothing stays for ever. An open circuit outlives its open period.
local function keep_alive(circuit, at, idle_ms)
  local life = idle_ms + math.floor(idle_ms / 2)
  if circuit.moved_from == '' and at < circuit.renew_ms then
    if circuit.run_added then
      redis.call('PEXPIRE', KEYS[2], circuit.renew_ms + idle_ms - at)
    end
    return
  end
  if circuit.state == 'open' then
    life = life + math.max(0, circuit.open_until_ms - at)
  end
  circuit.renewed = 1
  redis.call('HSET', KEYS[1], 'renew_ms', at + math.floor(idle_ms / 2))
  redis.call('PEXPIRE', KEYS[1], life)
  redis.call('PEXPIRE', KEYS[2], life)
  redis.call('PEXPIRE', KEYS[5], life)
end
