"""WebAssembly modules, read and written: as much as the changed copies of the guard need."""

from __future__ import annotations

CUSTOM_SECTION = 0
TYPE_SECTION, IMPORT_SECTION, FUNCTION_SECTION, MEMORY_SECTION, GLOBAL_SECTION, EXPORT_SECTION = 1, 2, 3, 5, 6, 7
CODE_SECTION, DATA_SECTION = 10, 11
FUNCTION = 0
NAMES_OF_FUNCTIONS = 1
UNREACHABLE, END = b"\x00", b"\x0b"


def read(module: bytes) -> dict:
    """The contents of the sections by their numbers, in their order."""
    return dict(sections(module))


def sections(module: bytes):
    """The number and the content of each section."""
    at = 8
    while at < len(module):
        kind = module[at]
        size, at = unsigned(module, at + 1)
        yield kind, module[at : at + size]
        at += size


def custom(module: bytes, name: str) -> list:
    """The contents of the custom sections of this name."""
    contents = [content for kind, content in sections(module) if kind == CUSTOM_SECTION]
    named = [(*text(content, 0), content) for content in contents]
    return [content[at:] for found, at, content in named if found.decode() == name]


def write(module: bytes, sections: dict) -> bytes:
    """A module like this one, with these sections."""
    return module[:8] + b"".join(bytes([kind]) + sized(data) for kind, data in sections.items())


# The contents of sections.


def numbers(section: bytes):
    count, at = unsigned(section, 0)
    for _ in range(count):
        value, at = unsigned(section, at)
        yield value


def items(section: bytes):
    """The items of a section, each with its size before it."""
    count, at = unsigned(section, 0)
    for _ in range(count):
        size, at = unsigned(section, at)
        yield section[at : at + size]
        at += size


def parameters(section: bytes):
    """How many parameters each type of function has."""
    count, at = unsigned(section, 0)
    for _ in range(count):
        size, at = unsigned(section, at + 1)
        yield size
        results, at = unsigned(section, at + size)
        at += results


def imported(section: bytes):
    """Each imported function's name and type."""
    count, at = unsigned(section, 0)
    for _ in range(count):
        _, at = text(section, at)
        name, at = text(section, at)
        assert section[at] == FUNCTION, "the module imports functions alone"
        kind, at = unsigned(section, at + 1)
        yield name.decode(), kind


def exported(section: bytes):
    """The name, the kind and the number of all that is exported."""
    count, at = unsigned(section, 0)
    for _ in range(count):
        name, at = text(section, at)
        kind = section[at]
        index, at = unsigned(section, at + 1)
        yield name.decode(), kind, index


def functions(section: bytes) -> dict:
    """The numbers of the exported functions, by name."""
    return {name: index for name, kind, index in exported(section) if kind == FUNCTION}


def function_names(module: bytes) -> dict:
    """The names of the functions by their numbers, if the module has them."""
    names: dict = {}
    for section in custom(module, "name"):
        at = 0
        while at < len(section):
            kind = section[at]
            size, at = unsigned(section, at + 1)
            if kind == NAMES_OF_FUNCTIONS:
                names.update(named(section[at : at + size]))
            at += size
    return names


def named(section: bytes):
    """The number and the name of each item."""
    count, at = unsigned(section, 0)
    for _ in range(count):
        index, at = unsigned(section, at)
        name, at = text(section, at)
        yield index, name.decode()


# How they are written.


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


def number(value: int) -> bytes:
    """A number as LEB128 has it."""
    written = b""
    while value > 0x7F:
        written += bytes([value & 0x7F | 0x80])
        value >>= 7
    return written + bytes([value])


def sized(data: bytes) -> bytes:
    return number(len(data)) + data


def vector(each) -> bytes:
    each = list(each)
    return number(len(each)) + b"".join(each)


def body(code: bytes) -> bytes:
    """A function's body without locals."""
    return b"\x00" + code + END
