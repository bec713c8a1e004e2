"""An upstream that is not well: slow, failing, or breaking off."""

from __future__ import annotations

import contextlib
import socket
import struct
import time

from harness.upstream import Upstream

WELL = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
MOODS = {
    "well": WELL,
    "failing": b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops",
    # Half an answer, after which the connection breaks off.
    "half": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe",
    "resetting": b"",
    "closing": b"",
    "large": b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n" + b"x" * 3000000,
}


class Unwell(Upstream):
    """Answers every request as its mood is; `slow` answers well after `delay` seconds."""

    def __init__(self, mood: str = "well", **how) -> None:
        self.mood = mood
        super().__init__(**how)

    def _answer(self, peer: socket.socket) -> None:
        mood = self.mood
        if mood == "slow":
            time.sleep(self.delay)
        peer.sendall(MOODS.get(mood, WELL))
        if mood in ("half", "resetting"):
            # Without waiting for what was sent: a reset instead of an end.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if mood in ("half", "resetting", "closing"):
            with contextlib.suppress(OSError):
                peer.close()
