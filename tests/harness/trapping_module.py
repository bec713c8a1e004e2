"""A copy of the module that traps in one of its callbacks, and is the guard in all others."""

from __future__ import annotations

from harness import wasm


def trapping(module: bytes, export: str) -> bytes:
    """The module with nothing but a trap in the function that it exports by this name."""
    sections = wasm.read(module)
    imports = len(list(wasm.imported(sections[wasm.IMPORT_SECTION])))
    bodies = list(wasm.items(sections[wasm.CODE_SECTION]))
    bodies[wasm.functions(sections[wasm.EXPORT_SECTION])[export] - imports] = wasm.body(wasm.UNREACHABLE)
    sections[wasm.CODE_SECTION] = wasm.vector(map(wasm.sized, bodies))
    return wasm.write(module, sections)
