"""Writes archives whose bytes depend on the files alone: not on the versions of Python and zlib, on times, or on users."""

from __future__ import annotations

import struct
import zlib

# The header of a file in a POSIX tar archive, as in `man 5 tar`. Its fields are name, mode, owner, group, size, time,
# checksum, type, linked name, format and version. The others stay empty.
HEADER = struct.Struct("100s 8s8s8s 12s12s 8s c 100s 6s2s 247x")
BLOCK = 512
# The longest stored block of deflate.
LONGEST = 0xFFFF


def tar(files: dict, executables: tuple = ()) -> bytes:
    """A tar archive of these files, each a path and its content. Root owns them, and all users can read them."""
    parts = []
    for name, content in files.items():
        parts += [tar_header(name, len(content), 0o755 if name in executables else 0o644), content]
        parts.append(bytes(-len(content) % BLOCK))
    return b"".join([*parts, bytes(2 * BLOCK)])


def tar_header(name: str, size: int, mode: int) -> bytes:
    path = name.encode()
    if len(path) > 100:
        raise ValueError(f"the path {name} has more than 100 bytes: shorten it to what a tar header holds")

    def header(checksum: bytes) -> bytes:
        return HEADER.pack(
            path, b"%07o" % mode, b"%07o" % 0, b"%07o" % 0, b"%011o" % size, b"%011o" % 0, checksum, b"0", b"",
            b"ustar", b"00",
        )

    # The sum counts its own field as spaces.
    return header(b"%06o\0 " % sum(header(b" " * 8)))


def gzipped(content: bytes) -> bytes:
    """A gzip file of this content, which is stored and not compressed.

    Compressed bytes differ between zlib, zlib-ng and their versions, so that a second build would not equal the first.
    """
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # without name and time, and of an unknown system
    blocks = [content[start:start + LONGEST] for start in range(0, len(content), LONGEST)] or [b""]
    stored = [
        struct.pack("<BHH", index == len(blocks) - 1, len(block), len(block) ^ LONGEST) + block
        for index, block in enumerate(blocks)
    ]
    return b"".join([header, *stored, struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)])
