-- Runs were deleted by hand. Where none is left, all calls since ended as the last
-- one; where some are, those before the first of them ended the other way, or no run
-- would begin there. So the figures are right again once a whole window came in.
local function count_again(circuit, start, at)
  local runs = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
  if #runs == 0 or tonumber(runs[2]) > start then
    local outcome = circuit.last_outcome
    if #runs > 0 then
      outcome = string.match(runs[1], ':(%a+):') == 'failure' and 'success' or 'failure'
    end
    begin_run(circuit, start, outcome, at)
    runs = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
  end
  circuit.window_failures = 0
  for i = 1, #runs, 2 do
    local first = math.max(tonumber(runs[i + 1]), start)
    local next_first = tonumber(runs[i + 3] or circuit.calls)
    if next_first > first and string.match(runs[i], ':(%a+):') == 'failure' then
      circuit.window_failures = circuit.window_failures + next_first - first
    end
  end
end
