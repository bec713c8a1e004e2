"""Free ports for servers that cannot choose their own."""

from __future__ import annotations

import contextlib
import random
import socket

# Below the ephemeral ports of Linux, which clients use.
PORTS = range(20000, 32000)


def free_ports(count: int) -> list:
    """Ports of the loopback address on which nothing listens."""
    found: list = []
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no port is free")
