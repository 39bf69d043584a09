-- Which of the stored fields is not what it should be.

local function damaged(names, values)
  for i = 1, #names do
    local number = tonumber(values[i] or 0)
    if names[i] ~= 'state' and not (number and number >= 0 and number % 1 == 0 and number <= GREATEST) then
      error('BB5DATA field "' .. names[i] .. '" of ' .. KEYS[1] .. ' holds "' .. values[i]
        .. '", not a whole number; correct it or delete the key', 0)
    end
  end
  error('BB5DATA field "state" of ' .. KEYS[1] .. ' holds "' .. tostring(values[1])
    .. '"; set it to closed, open or half_open, or delete the key', 0)
end
