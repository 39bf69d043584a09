-- Reading of ARGV. Every argument is checked before the first write, because
-- Redis does not roll a script back.

local function refuse(message)
  error('BB5ARG ' .. message, 0)
end

-- Without a greatest value the number may be a count or a time up to the year 9999.
local function whole(name, text, least, most)
  local number = tonumber(text)
  if not number or number ~= math.floor(number) or number < least or number > (most or 253402300799999) then
    refuse(name .. ' must be a whole number of at least ' .. least
      .. (most and ' and at most ' .. most or '') .. ', got "' .. tostring(text) .. '"')
  end
  return number
end
