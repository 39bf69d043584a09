-- The sliding window: the last calls of the fleet as runs of equal outcomes.
-- A member "<index>:<outcome>:<ms>" scored by <index> says that the calls from
-- this index on, up to the next member's, had this outcome. Prolonging a run
-- therefore writes nothing here, and a batch of a thousand is one member at most.

local function begin_run(circuit, index, outcome, at)
  redis.call('ZADD', KEYS[2], index, string.format('%.0f:%s:%.0f', index, outcome, at))
  circuit.run_added = true
end

local function add_run(circuit, outcome, count, at)
  if circuit.last_outcome ~= outcome or circuit.calls == circuit.window_from then
    begin_run(circuit, circuit.calls, outcome, at)
    circuit.last_outcome = outcome
  end
  circuit.calls = circuit.calls + count
  if outcome == 'failure' then
    circuit.total_failures = circuit.total_failures + count
    circuit.window_failures = circuit.window_failures + count
    circuit.failed = true
  else
    circuit.total_successes = circuit.total_successes + count
    circuit.succeeded = true
  end
end

-- What leaves the window takes its failures with it: one range read of the runs
-- that begin before the new start, of which all but the last are over.
local function slide_window(circuit, size, at)
  local from, start = circuit.window_from, circuit.calls - size
  if start <= from then
    return
  end
  circuit.window_from = start
  if circuit.window_failures == 0 then
    return
  elseif circuit.window_failures == circuit.calls - from then
    circuit.window_failures = size
    return
  end
  local runs = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', start, 'WITHSCORES')
  if #runs == 0 or tonumber(runs[2]) > from then
    -- INCLUDE: recount
    count_again(circuit, start, at)
  else
    for i = 1, #runs, 2 do
      local first = math.max(tonumber(runs[i + 1]), from)
      local next_first = math.min(tonumber(runs[i + 3] or start), start)
      if next_first > first and string.match(runs[i], ':(%a+):') == 'failure' then
        circuit.window_failures = circuit.window_failures - (next_first - first)
      end
    end
  end
  if #runs > 2 then
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. runs[#runs])
  end
end

-- Times of calls are written in figures only: as text they would cost as much as
-- all the rest. Transitions have both.
local function write_counts(circuit, size, error_name, at)
  local totals = { 'failures', circuit.failures, 'window_failures', circuit.window_failures,
    'window_from', circuit.window_from, 'window_size', size, 'last_outcome', circuit.last_outcome }
  local n = #totals
  if circuit.streak_moved then
    totals[n + 1], totals[n + 2] = 'streak_ms', circuit.streak_ms
    n = n + 2
  end
  if circuit.failed then
    totals[n + 1], totals[n + 2] = 'total_failures', circuit.total_failures
    totals[n + 3], totals[n + 4] = 'last_failure_ms', at
    totals[n + 5], totals[n + 6] = 'last_error', error_name
    n = n + 6
  end
  if circuit.succeeded then
    totals[n + 1], totals[n + 2] = 'total_successes', circuit.total_successes
    totals[n + 3], totals[n + 4] = 'last_success_ms', at
  end
  redis.call('HSET', KEYS[1], unpack(totals))
  if circuit.window_failures == 0 and circuit.failures > 0 then
    -- Late successes pushed a streak that goes on out of the window. Without the field,
    -- record.lua does not take the next success for one of a healthy circuit.
    redis.call('HDEL', KEYS[1], 'window_failures')
  end
end
