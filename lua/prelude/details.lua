-- What only the open and half-open states, and transitions, need to know.

local function read_details(circuit)
  local names = { 'successes', 'open_until_ms', 'half_open_ms', 'last_failure_ms', 'transitions',
    'rejections' }
  local f = redis.call('HMGET', KEYS[1], 'successes', 'open_until_ms', 'half_open_ms',
    'last_failure_ms', 'transitions', 'rejections', 'last_error')
  for i = 1, #names do
    local number = tonumber(f[i] or 0)
    if not (number and number >= 0 and number % 1 == 0 and number <= GREATEST) then
      -- INCLUDE: damage
      damaged(names, f)
    end
    circuit[names[i]] = number
  end
  circuit.last_error = f[7] or ''
end
