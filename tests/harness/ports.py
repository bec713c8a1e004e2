"""Ports for servers that have to be told theirs."""

from __future__ import annotations

import contextlib
import random
import socket

# Below those that Linux gives to clients, of which there may be thousands at any time.
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
