"""A copy of the module that traps in one of its callbacks, and is the guard in all others."""

from __future__ import annotations

UNREACHABLE, NOP, END = 0x00, 0x01, 0x0B
IMPORT_SECTION, EXPORT_SECTION, CODE_SECTION = 2, 7, 10
FUNCTION = 0


def trapping(module: bytes, export: str) -> bytes:
    """The module with nothing but a trap in the function that it exports by this name."""
    sections = dict(read_sections(module))
    at, _ = sections[IMPORT_SECTION]
    imports = sum(kind == FUNCTION for kind in import_kinds(module, at))
    index = exported(module, sections[EXPORT_SECTION][0], export) - imports
    start, size = function_body(module, sections[CODE_SECTION][0], index)
    # No locals, the trap, and nothing in the place of all the rest.
    body = bytes([0, UNREACHABLE]) + bytes([NOP]) * (size - 3) + bytes([END])
    return module[:start] + body + module[start + size :]


def read_sections(module: bytes):
    """The number of each section, with where its contents begin and their size."""
    at = 8
    while at < len(module):
        number = module[at]
        size, at = unsigned(module, at + 1)
        yield number, (at, size)
        at += size


def import_kinds(module: bytes, at: int):
    count, at = unsigned(module, at)
    for _ in range(count):
        _, at = text(module, at)
        _, at = text(module, at)
        kind = module[at]
        assert kind == FUNCTION, "the module imports functions alone"
        _, at = unsigned(module, at + 1)
        yield kind


def exported(module: bytes, at: int, wanted: str) -> int:
    count, at = unsigned(module, at)
    for _ in range(count):
        name, at = text(module, at)
        index, next_at = unsigned(module, at + 1)
        if name == wanted.encode() and module[at] == FUNCTION:
            return index
        at = next_at
    raise AssertionError(f"the module has no {wanted}")


def function_body(module: bytes, at: int, index: int) -> tuple:
    """Where the body of the module's own function with this index begins, and its size."""
    _, at = unsigned(module, at)
    for _ in range(index):
        size, at = unsigned(module, at)
        at += size
    size, at = unsigned(module, at)
    return at, size


def text(module: bytes, at: int) -> tuple:
    size, at = unsigned(module, at)
    return module[at : at + size], at + size


def unsigned(module: bytes, at: int) -> tuple:
    """A number as LEB128 has it, and what follows it."""
    value = shift = 0
    while True:
        byte = module[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
