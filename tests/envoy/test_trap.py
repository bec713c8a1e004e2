"""The cost of a trap under the shipped failure policy.

The guard itself does not trap, so the tests use a copy of the module that traps on purpose.
"""

from __future__ import annotations

import time

from harness import client
from harness.full_config import signed

BODY = b'{"order": 42}'
# The trapping module traps on a request with more headers than this, and lets others pass.
LIMIT = 20


def test_the_next_request_finds_a_new_worker(start, upstream, tmp_path):
    shipped = recovery(start, upstream, tmp_path)
    # Envoy's default backoff is a second.
    assert shipped < recovery(start, upstream, tmp_path, base_interval="1s") / 2


def recovery(start, upstream, tmp_path, base_interval=None) -> float:
    """The seconds from a trap until the next request passes."""
    module = tmp_path / "trap.wasm"
    module.write_bytes(trapping_module())

    def patch(document):
        document.guard["vm_config"]["code"]["local"]["filename"] = str(module)
        # The gate forwards only requests with the guard's verdict.
        document.remove_filters("gate")
        if base_interval:
            document.guard["reload_config"]["backoff"]["base_interval"] = base_interval

    envoy = start(upstream, patch=patch)
    many = [("X-Many", str(number)) for number in range(LIMIT)]
    assert send(envoy) == 200
    with upstream.nothing():
        assert send(envoy, many) == 503
    began = time.monotonic()
    # There are two workers, and only a request to the one that trapped makes it try again.
    while send(envoy) != 200 or not reloads(envoy):
        assert time.monotonic() - began < 60
        time.sleep(0.01)
    return time.monotonic() - began


def reloads(envoy) -> int:
    return envoy.stats("vm_reload_success")["wasm.webhook_guard.vm_reload_success"]


def send(envoy, more=()) -> int:
    return client.post(envoy.port, "/webhook", [*signed(BODY), *more], BODY).status


def trapping_module() -> bytes:
    """A wasm module, assembled by hand: proxy_on_request_headers(context, headers, end) -> action."""
    i32 = b"\x7f"
    types = vector([
        b"\x60" + vector([]) + vector([]),
        b"\x60" + vector([i32]) + vector([i32]),
        b"\x60" + vector([i32] * 3) + vector([i32]),
    ])
    functions = vector([b"\x00", b"\x01", b"\x02"])
    memory = vector([b"\x00\x01"])
    exports = vector([
        name(b"memory") + b"\x02\x00",
        name(b"proxy_abi_version_0_2_1") + b"\x00\x00",
        name(b"proxy_on_memory_allocate") + b"\x00\x01",
        name(b"proxy_on_request_headers") + b"\x00\x02",
    ])
    nothing = b"\x0b"
    address_1024 = b"\x41\x80\x08\x0b"
    # if headers > LIMIT { unreachable }; 0, which is Continue
    trap_or_continue = bytes([0x20, 1, 0x41, LIMIT, 0x4B, 0x04, 0x40, 0x00, 0x0B, 0x41, 0, 0x0B])
    code = vector([body(nothing), body(address_1024), body(trap_or_continue)])
    sections = [(1, types), (3, functions), (5, memory), (7, exports), (10, code)]
    return b"\0asm\x01\0\0\0" + b"".join(bytes([kind, len(data)]) + data for kind, data in sections)


def vector(items: list) -> bytes:
    return bytes([len(items)]) + b"".join(items)


def name(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def body(code: bytes) -> bytes:
    # No locals before the code.
    return bytes([len(code) + 1, 0]) + code
