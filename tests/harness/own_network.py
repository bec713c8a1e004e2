"""A network namespace of the tests' own, for servers that bind the wildcard address."""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path

import pytest

SIOCSIFFLAGS, SIOCSIFADDR = 0x8914, 0x8916
UP = 1


def enter() -> None:
    """Prepares the namespace that `unshare --map-root-user --net --mount` has made, or ends the tests with the reason."""
    if not own_namespace():
        pytest.exit(
            "these servers listen on every address, so the tests need a network namespace of their own: run them by `make`,"
            " or put `unshare --map-root-user --net --mount` before the command",
            returncode=2,
        )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", UP))


def add_address(address: str, number: int = 0) -> str:
    """Gives the loopback interface another address. Kubernetes refuses endpoints whose address is 127.0.0.1."""
    name = f"lo:{number}".encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        wanted = struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(control, SIOCSIFADDR, wanted)
    return address


def own_namespace() -> bool:
    """Whether the loopback interface is the only one."""
    lines = Path("/proc/self/net/dev").read_text().splitlines()[2:]
    return [line.split(":")[0].strip() for line in lines] == ["lo"]
