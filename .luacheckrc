-- Lua 5.1 as Redis runs it: no io, no os beyond os.clock, no require, no print.
stds.redis = {
  read_globals = {
    "KEYS", "ARGV", "_VERSION",
    "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget",
    "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall",
    bit = { other_fields = true },
    cjson = { other_fields = true },
    cmsgpack = { other_fields = true },
    math = { other_fields = true },
    os = { fields = { "clock" } },
    redis = { other_fields = true },
    string = { other_fields = true },
    struct = { other_fields = true },
    table = { other_fields = true },
  },
}

-- A script is the prelude and one operation, joined: what a prelude file declares
-- at its top level is known to the prelude files and operations after it.
local function prelude_names()
  local names = {}
  for file in require("lfs").dir("lua/prelude") do
    if file:match("%.lua$") then
      for line in io.lines("lua/prelude/" .. file) do
        names[#names + 1] = line:match("^local function ([%w_]+)")
        names[#names + 1] = line:match("^local ([%w_]+)$")
        for name in (line:match("^local ([%w_, ]+)=") or ""):gmatch("[%w_]+") do
          names[#names + 1] = name
        end
      end
    end
  end
  return names
end

std = "redis"
max_line_length = 120
files["lua/**/*.lua"].read_globals = prelude_names()
-- Unused in its own file: its callers stand in others.
files["lua/prelude/*.lua"].ignore = { "211", "231", "311" }
