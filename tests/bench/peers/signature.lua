-- Verifies HMAC-SHA-256 over the body, as hex in one header, in Envoy's Lua filter.
-- The filter has no HMAC, so this is SHA-256 for LuaJIT, with its library `bit`.

local bit = require("bit")
local band, bor, bxor = bit.band, bit.bor, bit.bxor
local ror, lshift, rshift, tobit, tohex = bit.ror, bit.lshift, bit.rshift, bit.tobit, bit.tohex
local byte, char = string.byte, string.char

local SECRET = os.getenv("WEBHOOK_SECRET")
local HEADER = "x-webhook-signature"

local K = {}
for i, word in ipairs({
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}) do
  K[i - 1] = tobit(word)
end

local START = {
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
}

local W = {}
for i = 0, 63 do
  W[i] = 0
end

-- Adds blocks of 64 bytes to the state, up to the end of the last whole block.
local function compress(state, data)
  local s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
  local s4, s5, s6, s7 = state[4], state[5], state[6], state[7]
  for at = 1, #data - 63, 64 do
    for i = 0, 15 do
      local a, b, c, d = byte(data, at + 4 * i, at + 4 * i + 3)
      W[i] = bor(lshift(a, 24), lshift(b, 16), lshift(c, 8), d)
    end
    for i = 16, 63 do
      local x, y = W[i - 15], W[i - 2]
      local s = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
      local t = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
      W[i] = tobit(W[i - 16] + s + W[i - 7] + t)
    end
    local a, b, c, d, e, f, g, h = s0, s1, s2, s3, s4, s5, s6, s7
    for i = 0, 63 do
      local t = tobit(h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(g, band(e, bxor(f, g))) + K[i] + W[i])
      local u = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bor(band(a, b), band(c, bor(a, b)))
      h, g, f, e, d, c, b, a = g, f, e, tobit(d + t), c, b, a, tobit(t + u)
    end
    s0, s1, s2, s3 = tobit(s0 + a), tobit(s1 + b), tobit(s2 + c), tobit(s3 + d)
    s4, s5, s6, s7 = tobit(s4 + e), tobit(s5 + f), tobit(s6 + g), tobit(s7 + h)
  end
  state[0], state[1], state[2], state[3] = s0, s1, s2, s3
  state[4], state[5], state[6], state[7] = s4, s5, s6, s7
end

local function bytes(word)
  return char(rshift(word, 24), band(rshift(word, 16), 255), band(rshift(word, 8), 255), band(word, 255))
end

-- Copies a state that has the first 64 bytes of a message, and adds the rest.
local function finish(start, data)
  local state = {}
  for i = 0, 7 do
    state[i] = start[i]
  end
  compress(state, data)
  local rest = data:sub(#data - #data % 64 + 1)
  local bits = (#data + 64) * 8
  compress(state, rest .. "\128" .. ("\0"):rep((55 - #rest) % 64 + 4) .. bytes(bits))
  return state
end

local function keyed(pad)
  assert(#SECRET <= 64, "a longer secret would have to be hashed")
  local state = {}
  for i, word in ipairs(START) do
    state[i - 1] = tobit(word)
  end
  local block = (SECRET .. ("\0"):rep(64 - #SECRET)):gsub(".", function(c) return char(bxor(byte(c), pad)) end)
  compress(state, block)
  return state
end

-- The key is expanded once.
local INNER, OUTER = keyed(0x36), keyed(0x5c)

local function joined(state, form)
  return form(state[0]) .. form(state[1]) .. form(state[2]) .. form(state[3])
    .. form(state[4]) .. form(state[5]) .. form(state[6]) .. form(state[7])
end

local function hmac(body)
  return joined(finish(OUTER, joined(finish(INNER, body), bytes)), tohex)
end

-- Compares in constant time.
local function equal(one, other)
  if #one ~= #other then
    return false
  end
  local difference = 0
  for i = 1, #one do
    difference = bor(difference, bxor(one:byte(i), other:byte(i)))
  end
  return difference == 0
end

local function deny(handle)
  handle:respond({[":status"] = "401"}, "Invalid signature\n")
end

function envoy_on_request(handle)
  local signature = handle:headers():get(HEADER)
  if signature == nil then
    return deny(handle)
  end
  local buffer = handle:body()
  local body = buffer and buffer:getBytes(0, buffer:length()) or ""
  if not equal(hmac(body), signature:lower()) then
    return deny(handle)
  end
end
