-- The rules of the circuit, packed by the caller into one argument: one string is
-- cheaper to send than eleven. What a report needs most often stands first, see
-- record.lua; the whole is read only where more is needed.

-- Far above what a configuration may say, far below what a time or a count can hold.
local MOST = 1e12

local function read_policy(text)
  local window, threshold, idle, timeout, successes, places, pause, lease, history, age, format, prefix =
    string.match(text or '', '^(%d+),(%d+),(%d+),(%d+),(%d+),(%d+),(%d+),(%d+),(%d+),(%d+),(%a+),(%S+)$')
  if not threshold or (format ~= 'msgpack' and format ~= 'json') then
    refuse('policy must be ten numbers, an event format and a prefix, got "' .. tostring(text) .. '"')
  end
  return {
    failure_threshold = whole('failure_threshold', threshold, 1, MOST),
    sliding_window_size = whole('sliding_window_size', window, 1, MOST),
    idle_ms = whole('idle_ms', idle, 1000, MOST),
    timeout_ms = whole('timeout_ms', timeout, 0, MOST),
    success_threshold = whole('success_threshold', successes, 1, MOST),
    half_open_max_calls = whole('half_open_max_calls', places, 1, MOST),
    reset_timeout_ms = whole('reset_timeout_ms', pause, 0, MOST),
    lease_ms = whole('lease_ms', lease, 1, MOST),
    history = whole('history', history, 1, MOST),
    history_ms = whole('history_ms', age, 1, MOST),
    format = format,
    prefix = prefix,
  }
end
