-- Reading of ARGV. Every argument is checked before the first write, because
-- Redis does not roll a script back.

local function refuse(message)
  error('BB5ARG ' .. message, 0)
end

local function whole(name, text, least)
  local number = tonumber(text)
  if not number or number ~= math.floor(number) or number < least or number > 9007199254740991 then
    refuse(name .. ' must be a whole number of at least ' .. least .. ', got "' .. tostring(text) .. '"')
  end
  return number
end
