"""Copies of the module whose calls to the host fail where a test wants them to: a request says which one by the
number of its headers, a configuration by its size."""

from __future__ import annotations

from harness.trap import (
    CODE_SECTION,
    EXPORT_SECTION,
    FUNCTION,
    IMPORT_SECTION,
    read_sections,
    text,
    unsigned,
)

TYPE_SECTION, FUNCTION_SECTION, GLOBAL_SECTION = 1, 3, 6
# Of a request with one header more than these the first call fails, with two more the second.
HEADERS = 20
# The remainder of a configuration's size, divided by this: 0, or the number of the import that fails, from 1 on.
REMAINDERS = 64
# In the line that tells of a failure stands the letter of the import's place, from this one on.
FIRST_LETTER = 33
# The lowest address of the stack, which is never that deep.
SCRATCH = 64
ERROR = 4

I32 = 0x7F
IF, ELSE, END, CALL, DROP = b"\x04\x7f", b"\x05", b"\x0b", b"\x10", b"\x1a"
EQ, GREATER, SUBTRACT, REMAINDER, OR = b"\x46", b"\x4a", b"\x6b", b"\x70", b"\x72"
STORE_BYTE, UNREACHABLE = b"\x3a\x00\x00", b"\x00"


def failing(module: bytes, status, lasting: bool = False) -> bytes:
    """The module whose calls fail with this status, or trap where that is None: one of a request's, or with
    `lasting` all from that one on but the answer."""
    sections = {kind: module[at : at + size] for kind, (at, size) in read_sections(module)}
    imports = list(imported(sections[IMPORT_SECTION]))
    types = list(parameters(sections[TYPE_SECTION]))
    functions = list(numbers(sections[FUNCTION_SECTION]))
    variables, _ = unsigned(sections[GLOBAL_SECTION], 0)
    left, which = number(variables), number(variables + 1)
    wrappers = len(imports) + len(functions)
    bodies = [redirected(each, len(imports), wrappers) for each in items(sections[CODE_SECTION])]
    names = [name for name, _ in imports]
    tell = CALL + number(names.index("proxy_log")) + DROP
    failure = UNREACHABLE if status is None else constant(status)
    for place, (name, kind) in enumerate(imports):
        done = call(place, types[kind])
        keeps = lasting and name == "proxy_send_local_response"
        fails = get(which) + constant(place + 1) + EQ
        fails += b"" if keeps else get(left) + constant(1) + EQ + OR
        count = get(left) + get(left) + constant(1 if lasting else 0) + GREATER + SUBTRACT + put(left)
        letter = constant(SCRATCH) + constant(FIRST_LETTER + place) + STORE_BYTE
        told = letter + constant(ERROR) + constant(SCRATCH) + constant(1) + tell
        functions.append(kind)
        # What gives no status back cannot fail.
        bodies.append(body(done if name == "proc_exit" else fails + count + IF + told + failure + ELSE + done + END))
    exports = dict(exported(sections[EXPORT_SECTION]))
    beyond = local(1) + constant(HEADERS)
    headers = beyond + GREATER + IF + beyond + SUBTRACT + ELSE + constant(0) + END + put(left)
    chosen = local(1) + constant(REMAINDERS) + REMAINDER + put(which)
    hooks = {"proxy_on_request_headers": (headers, b""), "proxy_on_configure": (chosen, constant(0) + put(which))}
    places = {}
    for name, (before, after) in hooks.items():
        places[name] = len(imports) + len(functions)
        kind = functions[exports[name] - len(imports)]
        functions.append(kind)
        bodies.append(body(before + call(exports[name], types[kind]) + after))
    zero = bytes([I32, 1]) + constant(0) + END
    sections[FUNCTION_SECTION] = vector(map(number, functions))
    sections[GLOBAL_SECTION] = number(variables + 2) + sections[GLOBAL_SECTION][1:] + 2 * zero
    sections[EXPORT_SECTION] = hooked(sections[EXPORT_SECTION], places)
    sections[CODE_SECTION] = vector(map(sized, bodies))
    return module[:8] + b"".join(bytes([kind]) + sized(data) for kind, data in sections.items())


def letters(module: bytes) -> dict:
    """The names of the imports by the letters that tell of their failure."""
    sections = dict(read_sections(module))
    at, size = sections[IMPORT_SECTION]
    names = [name for name, _ in imported(module[at : at + size])]
    return {chr(FIRST_LETTER + place): name for place, name in enumerate(names)}


# Instructions.


def number(value: int) -> bytes:
    """A number as LEB128 has it."""
    written = b""
    while value > 0x7F:
        written += bytes([value & 0x7F | 0x80])
        value >>= 7
    return written + bytes([value])


def constant(value: int) -> bytes:
    """A number below 8,192; the same way of writing is signed here, so it has two bytes."""
    return bytes([0x41, value & 0x7F | 0x80, value >> 7])


def get(variable: bytes) -> bytes:
    return b"\x23" + variable


def put(variable: bytes) -> bytes:
    return b"\x24" + variable


def local(index: int) -> bytes:
    return bytes([0x20, index])


def call(function: int, parameters: int) -> bytes:
    """A call with all of the caller's own parameters."""
    return b"".join(map(local, range(parameters))) + CALL + number(function)


def body(code: bytes) -> bytes:
    """A function's body without locals."""
    return b"\x00" + code + END


# Sections.


def sized(data: bytes) -> bytes:
    return number(len(data)) + data


def vector(each) -> bytes:
    each = list(each)
    return number(len(each)) + b"".join(each)


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
        kind, at = unsigned(section, at + 1)
        yield name.decode(), kind


def exported(section: bytes):
    """Each exported function's name and number."""
    count, at = unsigned(section, 0)
    for _ in range(count):
        name, at = text(section, at)
        index, next_at = unsigned(section, at + 1)
        if section[at] == FUNCTION:
            yield name.decode(), index
        at = next_at


def hooked(section: bytes, hooks: dict) -> bytes:
    """The exports, with other functions under some names."""
    count, at = unsigned(section, 0)
    exports = []
    for _ in range(count):
        name, at = text(section, at)
        index, next_at = unsigned(section, at + 1)
        index = hooks.get(name.decode(), index)
        exports.append(sized(name) + section[at : at + 1] + number(index))
        at = next_at
    return vector(exports)


# Where instructions end: how many numbers follow each, how many bytes, or both.
NUMBERS = {code: 1 for code in [*range(0x02, 0x05), 0x0C, 0x0D, 0x10, *range(0x20, 0x27), *range(0x3F, 0x43)]}
NUMBERS |= {0x11: 2, 0xD0: 1, 0xD2: 1} | {code: 2 for code in range(0x28, 0x3F)}
BYTES = {0x43: 4, 0x44: 8}
NUMBERS_FC = {8: 2, 9: 1, 10: 2, 11: 1, 12: 2, 13: 1, 14: 2, 15: 1, 16: 1, 17: 1}
NUMBERS_FD = {code: 2 for code in [*range(12), *range(84, 94)]}
BYTES_FD = {12: 16, 13: 16} | {code: 1 for code in [*range(21, 35), *range(84, 92)]}
BR_TABLE, SELECT_OF, FC, FD = 0x0E, 0x1C, 0xFC, 0xFD


def redirected(body: bytes, imports: int, wrappers: int) -> bytes:
    """A function's body that calls, in place of each import, its wrapper."""
    pieces, kept = [], 0
    groups, at = unsigned(body, 0)
    for _ in range(groups):
        _, at = unsigned(body, at)
        at += 1
    while at < len(body):
        code, at = body[at], at + 1
        if code == CALL[0]:
            function, after = unsigned(body, at)
            if function < imports:
                pieces += [body[kept:at], number(wrappers + function)]
                kept = after
            at = after
            continue
        if code in (BR_TABLE, SELECT_OF):
            count, at = unsigned(body, at)
            more, skipped = count + (code == BR_TABLE), 0
        elif code in (FC, FD):
            code_of, at = unsigned(body, at)
            more = (NUMBERS_FC if code == FC else NUMBERS_FD).get(code_of, 0)
            skipped = BYTES_FD.get(code_of, 0) if code == FD else 0
        else:
            more, skipped = NUMBERS.get(code, 0), BYTES.get(code, 0)
        for _ in range(more):
            while body[at] & 0x80:
                at += 1
            at += 1
        at += skipped
    return b"".join([*pieces, body[kept:]])
