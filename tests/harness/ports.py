"""Free ports for servers that cannot choose their own."""

from __future__ import annotations

import contextlib
import functools
import random
import socket

# Below the ephemeral ports of Linux, which clients use.
PORTS = range(20000, 32000)
# A free port is in use only once a server has started. So each process has its own ports, and suites can run at once.
SHARE = 500


def free_ports(count: int) -> list:
    """Ports of the loopback address on which nothing listens."""
    _, ports = share()
    found: list = []
    for port in random.sample(ports, len(ports)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no port is free")


@functools.lru_cache(maxsize=None)
def share() -> tuple:
    """The socket that keeps other processes off these ports, and the ports. The process holds its first one until it ends."""
    firsts = PORTS[::SHARE]
    for first in random.sample(firsts, len(firsts)):
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", first)), range(first + 1, first + SHARE)
    raise AssertionError(f"{len(firsts)} processes have a share of the ports: end those of earlier tests")
