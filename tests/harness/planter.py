"""A module that only writes shared data: into the memory of a guard with the same `vm_id`."""

from __future__ import annotations

from harness.failing_host import CALL, DROP, END, I32
from harness.wasm import body, number, sized, vector

FUNCTION_TYPE, FUNCTION, MEMORY = b"\x60", b"\x00", b"\x02"
DATA_SECTION, MEMORY_SECTION = 11, 5
# Where the module keeps what it writes, and where the host may write.
START, FREE = 1024, 512 * 1024
PAGES = 16
INFO = 2


def planting(values: dict) -> bytes:
    """A module that writes these values under their keys when it is configured, and then logs `planted`."""
    data, writes = b"planted", b""
    log = constant(INFO) + constant(START) + constant(len(data)) + CALL + number(1) + DROP
    for key, value in values.items():
        at = START + len(data)
        data += key + value
        arguments = (at, len(key), at + len(key), len(value), 0)
        writes += b"".join(map(constant, arguments)) + CALL + number(0) + DROP
    types = [function(5, 1), function(3, 1), function(0, 0), function(1, 1), function(2, 1), function(2, 0)]
    imports = [("proxy_set_shared_data", 0), ("proxy_log", 1)]
    # Each function: its name, its type, and its code.
    functions = [
        ("proxy_abi_version_0_2_1", 2, b""),
        ("proxy_on_memory_allocate", 3, constant(FREE)),
        ("proxy_on_context_create", 5, b""),
        ("proxy_on_vm_start", 4, constant(1)),
        ("proxy_on_configure", 4, writes + log + constant(1)),
    ]
    exports = [(name, FUNCTION, len(imports) + place) for place, (name, _, _) in enumerate(functions)]
    sections = {
        1: vector(types),
        2: vector(text("env") + text(name) + FUNCTION + number(kind) for name, kind in imports),
        3: vector(number(kind) for _, kind, _ in functions),
        MEMORY_SECTION: vector([b"\x00" + number(PAGES)]),
        7: vector(text(name) + kind + number(index) for name, kind, index in [*exports, ("memory", MEMORY, 0)]),
        10: vector(sized(body(code)) for _, _, code in functions),
        DATA_SECTION: vector([b"\x00" + constant(START) + END + sized(data)]),
    }
    header = b"\0asm\x01\0\0\0"
    return header + b"".join(bytes([kind]) + sized(content) for kind, content in sections.items())


def function(parameters: int, results: int) -> bytes:
    return FUNCTION_TYPE + vector([bytes([I32])] * parameters) + vector([bytes([I32])] * results)


def constant(value: int) -> bytes:
    """A number as signed LEB128."""
    written = b""
    while value > 0x3F:
        written += bytes([value & 0x7F | 0x80])
        value >>= 7
    return b"\x41" + written + bytes([value])


def text(value: str) -> bytes:
    return sized(value.encode())
