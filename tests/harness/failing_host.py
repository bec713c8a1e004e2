"""Copies of the module in which chosen calls to the host fail.

A request chooses the call by the number of its headers, and a configuration by its size.
"""

from __future__ import annotations

from harness.wasm import (
    CODE_SECTION,
    END,
    EXPORT_SECTION,
    FUNCTION_SECTION,
    GLOBAL_SECTION,
    IMPORT_SECTION,
    TYPE_SECTION,
    UNREACHABLE,
    body,
    exported,
    functions,
    imported,
    items,
    number,
    numbers,
    parameters,
    read,
    sized,
    unsigned,
    vector,
    write,
)

# Of a request with one header more than these the first call fails, with two more the second.
HEADERS = 20
# The remainder of a configuration's size, divided by this: 0, or the number of the import that fails, from 1 on.
REMAINDERS = 64
# The log line of a failure names the import by a letter. This is the first one.
FIRST_LETTER = 33
# The lowest address of the stack, which is never that deep.
SCRATCH = 64
ERROR = 4

I32 = 0x7F
IF, ELSE, CALL, DROP = b"\x04\x7f", b"\x05", b"\x10", b"\x1a"
EQ, GREATER, SUBTRACT, REMAINDER, OR = b"\x46", b"\x4a", b"\x6b", b"\x70", b"\x72"
STORE_BYTE = b"\x3a\x00\x00"


def failing(module: bytes, status, lasting: bool = False) -> bytes:
    """The module with one failing call for each request. The call returns `status`, or traps if it is None. No tick fails.

    With `lasting`, all later calls of the request fail too, except the answer.
    """
    sections = read(module)
    imports = list(imported(sections[IMPORT_SECTION]))
    types = list(parameters(sections[TYPE_SECTION]))
    kinds = list(numbers(sections[FUNCTION_SECTION]))
    variables, _ = unsigned(sections[GLOBAL_SECTION], 0)
    left, which, kept = (number(variables + place) for place in range(3))
    wrappers = {place: len(imports) + len(kinds) + place for place in range(len(imports))}
    bodies = [redirected(each, wrappers) for each in items(sections[CODE_SECTION])]
    names = [name for name, _ in imports]
    log = CALL + number(names.index("proxy_log")) + DROP
    failure = UNREACHABLE if status is None else constant(status)
    for place, (name, kind) in enumerate(imports):
        done = call(place, types[kind])
        keeps = lasting and name == "proxy_send_local_response"
        fails = get(which) + constant(place + 1) + EQ
        fails += b"" if keeps else get(left) + constant(1) + EQ + OR
        count = get(left) + get(left) + constant(1 if lasting else 0) + GREATER + SUBTRACT + put(left)
        letter = constant(SCRATCH) + constant(FIRST_LETTER + place) + STORE_BYTE
        logs = letter + constant(ERROR) + constant(SCRATCH) + constant(1) + log
        kinds.append(kind)
        # A call without a status cannot fail.
        bodies.append(body(done if name == "proc_exit" else fails + count + IF + logs + failure + ELSE + done + END))
    exports = functions(sections[EXPORT_SECTION])
    beyond = local(1) + constant(HEADERS)
    headers = beyond + GREATER + IF + beyond + SUBTRACT + ELSE + constant(0) + END + put(left)
    chosen = local(1) + constant(REMAINDERS) + REMAINDER + put(which)
    # A tick can come between two callbacks of a request, at any time.
    tick = (get(left) + put(kept) + constant(0) + put(left), get(kept) + put(left))
    hooks = {
        "proxy_on_request_headers": (headers, b""),
        "proxy_on_configure": (chosen, constant(0) + put(which)),
        "proxy_on_tick": tick,
    }
    places = {}
    for name, (before, after) in hooks.items():
        places[name] = len(imports) + len(kinds)
        kind = kinds[exports[name] - len(imports)]
        kinds.append(kind)
        bodies.append(body(before + call(exports[name], types[kind]) + after))
    zero = bytes([I32, 1]) + constant(0) + END
    sections[FUNCTION_SECTION] = vector(map(number, kinds))
    sections[GLOBAL_SECTION] = number(variables + 3) + sections[GLOBAL_SECTION][1:] + 3 * zero
    sections[EXPORT_SECTION] = hooked(sections[EXPORT_SECTION], places)
    sections[CODE_SECTION] = vector(map(sized, bodies))
    return write(module, sections)


def letters(module: bytes) -> dict:
    """The names of the imports by the letters that log lines use for them."""
    names = imported(read(module)[IMPORT_SECTION])
    return {chr(FIRST_LETTER + place): name for place, (name, _) in enumerate(names)}


# Instructions.


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


def hooked(section: bytes, hooks: dict) -> bytes:
    """The exports, with other functions under some names."""
    found = ((name, kind, hooks.get(name, index)) for name, kind, index in exported(section))
    return vector(sized(name.encode()) + bytes([kind]) + number(index) for name, kind, index in found)


# Where instructions end: how many numbers follow each, how many bytes, or both.
NUMBERS = {code: 1 for code in [*range(0x02, 0x05), 0x0C, 0x0D, 0x10, *range(0x20, 0x27), *range(0x3F, 0x43)]}
NUMBERS |= {0x11: 2, 0xD0: 1, 0xD2: 1} | {code: 2 for code in range(0x28, 0x3F)}
BYTES = {0x43: 4, 0x44: 8}
NUMBERS_FC = {8: 2, 9: 1, 10: 2, 11: 1, 12: 2, 13: 1, 14: 2, 15: 1, 16: 1, 17: 1}
NUMBERS_FD = {code: 2 for code in [*range(12), *range(84, 94)]}
BYTES_FD = {12: 16, 13: 16} | {code: 1 for code in [*range(21, 35), *range(84, 92)]}
BR_TABLE, SELECT_OF, FC, FD = 0x0E, 0x1C, 0xFC, 0xFD


def redirected(body: bytes, wrappers: dict) -> bytes:
    """A function's body that calls, in place of each function with a wrapper, that wrapper."""
    pieces, kept = [], 0
    groups, at = unsigned(body, 0)
    for _ in range(groups):
        _, at = unsigned(body, at)
        at += 1
    while at < len(body):
        code, at = body[at], at + 1
        if code == CALL[0]:
            function, after = unsigned(body, at)
            if function in wrappers:
                pieces += [body[kept:at], number(wrappers[function])]
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
