-- The same as signature.lua, with the arrays of LuaJIT's FFI, which are faster than its tables.

local bit, ffi = require("bit"), require("ffi")
local band, bor, bxor = bit.band, bit.bor, bit.bxor
local ror, rshift, bswap, tobit, tohex = bit.ror, bit.rshift, bit.bswap, bit.tobit, bit.tohex

local SECRET = os.getenv("WEBHOOK_SECRET")
local HEADER = "x-webhook-signature"

local K = ffi.new("int32_t[64]")
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

local W = ffi.new("int32_t[64]")
local tail = ffi.new("uint8_t[128]")
local words = ffi.typeof("const int32_t *")

-- Adds `blocks` blocks of 64 bytes to the state.
local function compress(state, data, blocks)
  local s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
  local s4, s5, s6, s7 = state[4], state[5], state[6], state[7]
  local input = ffi.cast(words, data)
  for block = 0, blocks - 1 do
    for i = 0, 15 do
      W[i] = bswap(input[block * 16 + i])
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

local State = ffi.typeof("int32_t[8]")

-- Hashes the rest of a message whose first 64 bytes are in the state already.
local function finish(state, data, length)
  local whole = rshift(length, 6)
  compress(state, data, whole)
  local rest = length - whole * 64
  ffi.fill(tail, 128)
  ffi.copy(tail, ffi.cast("const uint8_t *", data) + whole * 64, rest)
  tail[rest] = 0x80
  local blocks = rest < 56 and 1 or 2
  local bits = (length + 64) * 8
  for i = 0, 6 do
    tail[blocks * 64 - 1 - i] = bits % 256
    bits = math.floor(bits / 256)
  end
  compress(state, tail, blocks)
end

local function keyed(pad)
  local block = ffi.new("uint8_t[64]")
  assert(#SECRET <= 64, "a longer secret would have to be hashed")
  ffi.copy(block, SECRET, #SECRET)
  for i = 0, 63 do
    block[i] = bxor(block[i], pad)
  end
  local state = State()
  for i, word in ipairs(START) do
    state[i - 1] = tobit(word)
  end
  compress(state, block, 1)
  return state
end

-- The key is expanded once.
local INNER, OUTER = keyed(0x36), keyed(0x5c)
local inner, outer = State(), State()
local digest = ffi.new("int32_t[8]")

local function hmac(body)
  ffi.copy(inner, INNER, 32)
  finish(inner, body, #body)
  for i = 0, 7 do
    digest[i] = bswap(inner[i])
  end
  ffi.copy(outer, OUTER, 32)
  finish(outer, digest, 32)
  local hex = ""
  for i = 0, 7 do
    hex = hex .. tohex(outer[i])
  end
  return hex
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
