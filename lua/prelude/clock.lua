-- The server's clock. Only tests pass a time of their own, as ARGV[1].

local now = tonumber(ARGV[1])
if not now then
  if ARGV[1] ~= '' then
    error('BB5ARG now_ms must be a number or empty, got "' .. tostring(ARGV[1]) .. '"', 0)
  end
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
elseif not (now >= 0 and now <= 1e14 and now % 1 == 0) then
  error('BB5ARG now_ms must be a whole number up to 1e14, got "' .. ARGV[1] .. '"', 0)
end
