"""A copy of the module that asks Envoy for the log level, and then goes by another one."""

from __future__ import annotations

from harness import wasm
from harness.failing_host import call, constant, local, redirected

INFO, WARNING = 2, 3
IMPORT = "proxy_get_log_level"
STORE = b"\x36\x02\x00"


def at_log_level(module: bytes, level: int) -> bytes:
    """The module, which makes every call to Envoy as before, but reads `level` as the result of `proxy_get_log_level`."""
    sections = wasm.read(module)
    names, types = zip(*wasm.imported(sections[wasm.IMPORT_SECTION]))
    place = names.index(IMPORT)
    kinds = [*wasm.numbers(sections[wasm.FUNCTION_SECTION]), types[place]]
    wrapper = {place: len(names) + len(kinds) - 1}
    bodies = [redirected(each, wrapper) for each in wasm.items(sections[wasm.CODE_SECTION])]
    bodies.append(wasm.body(call(place, 1) + local(0) + constant(level) + STORE))
    sections[wasm.FUNCTION_SECTION] = wasm.vector(map(wasm.number, kinds))
    sections[wasm.CODE_SECTION] = wasm.vector(map(wasm.sized, bodies))
    return wasm.write(module, sections)
