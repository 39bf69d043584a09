-- A change of state: its fields, its cooldown, and its one event.

local EVENTS = { closed = 'circuit.closed', open = 'circuit.opened', half_open = 'circuit.half_open' }

local function envelope(circuit, event, at)
  return {
    metadata = {
      event_id = event.id,
      event_type = EVENTS[circuit.state],
      timestamp = iso(at),
      priority = 'high',
      source = event.channel,
      correlation_id = cjson.null,
      causation_id = cjson.null,
      version = '1.0',
    },
    data = {
      service = event.service,
      state = circuit.state,
      failure_count = circuit.failures,
      last_failure = circuit.last_failure_ms > 0 and iso(circuit.last_failure_ms) or cjson.null,
      previous_state = circuit.moved_from,
      reason = event.reason,
      changed_by = event.owner,
      generation = circuit.generation,
      epoch = circuit.epoch,
      last_error = circuit.last_error,
      open_until_ms = circuit.state == 'open' and circuit.open_until_ms or 0,
    },
  }
end

-- The id of the next entry: time and generation, so that the id in the message leads to
-- the entry. Where a clock was set back, or a new life begins in the same moment, it
-- follows the last one: who has read up to an id must never miss what comes after.
local function next_id(at, generation)
  local last = redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)[1]
  local ms, number = string.match(last and last[1] or '0-0', '^(%d+)-(%d+)$')
  ms, number = tonumber(ms), tonumber(number)
  if ms > GREATEST or number > GREATEST then
    error('BB5DATA ' .. KEYS[5] .. ' ends with the entry ' .. last[1]
      .. ', which is in no history of ours; delete that key', 0)
  end
  if at < ms or (at == ms and generation <= number) then
    at, generation = ms, number + 1
  end
  return string.format('%.0f-%.0f', at, generation)
end

-- The message goes out before anything is written: a user who may not publish is
-- refused there, with nothing halved. Nobody can act on it before the script ends. A
-- server that takes no writes (out of memory, a replica, a failed save) would publish all
-- the same: it is asked before, by a write that changes nothing.
local function announce(circuit, event, at, policy)
  redis.call('ZADD', KEYS[3], 'XX', 0, '')
  local id = next_id(at, circuit.generation)
  event.channel = policy.prefix .. '.' .. event.service
  event.id = id .. ':' .. event.service
  local message = envelope(circuit, event, at)
  -- cmsgpack is named only when it is asked for: some servers come without it.
  message = policy.format == 'json' and cjson.encode(message) or cmsgpack.pack(message)
  redis.call('PUBLISH', event.channel, message)
  local entry = { KEYS[5], 'MAXLEN', '~', policy.history, id,
    'event_type', EVENTS[circuit.state],
    'event_id', event.id,
    'service', event.service,
    'state', circuit.state,
    'previous_state', circuit.moved_from,
    'generation', circuit.generation,
    'epoch', circuit.epoch,
    'reason', event.reason,
    'changed_by', event.owner,
    'failure_count', circuit.failures,
    'last_failure', circuit.last_failure_ms > 0 and iso(circuit.last_failure_ms) or '',
    'last_error', circuit.last_error,
    'open_until_ms', circuit.state == 'open' and circuit.open_until_ms or 0,
    'at', iso(at) }
  if type(redis.pcall('XADD', unpack(entry))) == 'table' then
    -- Later entries than the last one were deleted by hand: the stream keeps count of them.
    entry[5] = '*'
    local added = redis.pcall('XADD', unpack(entry))
    if type(added) == 'table' and string.find(added.err, 'exhausted', 1, true) then
      error('BB5DATA ' .. KEYS[5] .. ' takes no more entries; delete that key', 0)
    elseif type(added) == 'table' then
      -- Once more, as only an error of its own names its command.
      redis.call('XADD', unpack(entry))
    end
  end
  redis.call('XTRIM', KEYS[5], 'MINID', string.format('%.0f', math.max(0, at - policy.history_ms)))
end

-- Leases outlive the state they were given in, as their calls do: they still take
-- up places when the circuit is half-open again.
local ENTRIES = {
  open = function(circuit, at)
    redis.call('SET', KEYS[4], circuit.generation, 'PX', math.max(1, circuit.open_until_ms - at))
    redis.call('HSET', KEYS[1], 'opened_ms', at, 'opened_at', iso(at),
      'open_until_ms', circuit.open_until_ms, 'open_until_at', iso(circuit.open_until_ms))
  end,
  half_open = function(circuit, at)
    circuit.successes, circuit.half_open_ms = 0, at
    redis.call('DEL', KEYS[4])
    redis.call('HSET', KEYS[1], 'successes', 0, 'half_open_ms', at, 'half_open_at', iso(at))
  end,
  closed = function(circuit)
    circuit.successes = 0
    redis.call('DEL', KEYS[4])
    redis.call('HDEL', KEYS[1], 'opened_ms', 'opened_at', 'open_until_ms', 'open_until_at')
    redis.call('HSET', KEYS[1], 'failures', 0, 'streak_ms', 0, 'successes', 0)
  end,
}

-- To be called before any other write. Scripts check the types of the history (XLEN)
-- and of the window (ZCARD) before, so that a foreign key halves no change either.
local function move(circuit, state, event, at, policy)
  circuit.moved_from = circuit.state
  circuit.state = state
  circuit.generation = circuit.generation + 1
  circuit.transitions = circuit.transitions + 1
  if state == 'closed' then
    circuit.failures = 0
  end
  announce(circuit, event, at, policy)
  redis.call('HSET', KEYS[1], 'state', state, 'generation', circuit.generation,
    'transitions', circuit.transitions, 'changed_ms', at, 'changed_at', iso(at),
    'changed_by', event.owner, 'reason', event.reason)
  ENTRIES[state](circuit, at)
end

-- The first opening after calls were let through is never delayed by
-- reset_timeout; a reopening after a failed probe may be, so that two entries
-- into half-open are at least reset_timeout apart.
local function trip(circuit, event, at, policy)
  circuit.open_until_ms = at + policy.timeout_ms
  if circuit.state == 'half_open' then
    circuit.open_until_ms = math.max(circuit.open_until_ms,
      circuit.half_open_ms + policy.reset_timeout_ms)
  end
  move(circuit, 'open', event, at, policy)
end
