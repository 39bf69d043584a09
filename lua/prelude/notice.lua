-- Views of a circuit that no transition makes old: every process looks again when it
-- hears the circuit's name. Nothing is lost without it but time, so a user who may not
-- publish there can change the circuit all the same.

local function call_for_a_look(service, policy)
  redis.pcall('PUBLISH', policy.prefix .. ':views', service)
end
