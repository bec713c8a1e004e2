"""Requests that were signed correctly and then changed, by chance but repeatably."""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness import client, sign
from harness.full_config import NEW, PRESETS, SECRET

METHODS = ["GET", "PUT", "PATCH", "OPTIONS", "DELETE", "POSTX", "post", "HEAD", "CONNECT"]
PATH_PIECES = ["//", "/..", "/.", "%2f", "%2e%2e/", "%00", "%", "%zz", "%c0%af", "\\", ";x=1", "?", "?a=%2f"]
PATH_PIECES += ["/", "#", "%252f", "\x7f", "\xe9", "%e2%84%aa", "A" * 300, "*", " "]
VALUES = [b"", b",", b"v1,", b"t=,v1=", b"sha256=", b"=" * 44, b"0" * 64, b"\xff" * 32, b"A" * 9000]
NAMES = ["x-webhook-guard-endpoint", "x_webhook_guard_verdict", "x-\xe9", "x-forwarded-for", "cookie"]
NAMES += ["expect", "upgrade", "x-webhook-signature", "stripe-signature", "webhook-id", "x-request-id"]

# Where to, by which secret, and how it is signed.
SIGNED = {
    "/webhook": (SECRET, sign.default),
    "/any": (SECRET, sign.default),
    "/rotated": (NEW, sign.default),
    **{f"/hooks/{name}": preset for name, preset in PRESETS.items()},
}


@dataclass
class Request:
    """A request that is still to be written."""

    method: str
    path: str
    headers: list
    body: bytes
    chunked: bool
    trailers: list

    def pieces(self, chance: random.Random) -> list:
        if not self.chunked:
            return [client.request(self.path, self.headers, self.body, self.method)]
        cuts = sorted(chance.randrange(len(self.body) + 1) for _ in range(chance.randrange(4)))
        bounds = zip([0, *cuts], [*cuts, len(self.body)])
        chunks = [self.body[start:end] for start, end in bounds if start < end]
        return client.chunked(self.path, self.headers, chunks, self.trailers, self.method)


def signed_request(chance: random.Random) -> Request:
    path = chance.choice(list(SIGNED))
    secret, signer = SIGNED[path]
    body = bytes(chance.randrange(256) for _ in range(chance.choice([0, 1, 20, 200])))
    trailers = [("x-checksum", "1")] if chance.random() < 0.2 else []
    return Request("POST", path, list(signer(secret, body)), body, chance.random() < 0.5, trailers)


def mutated_request(chance: random.Random) -> Request:
    """A signed request with up to three changes that keep its framing intact."""
    request = signed_request(chance)
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
        chance.choice(MUTATIONS)(request, chance)
    return request


def change_value(request, chance):
    if not request.headers:
        return
    at = chance.randrange(len(request.headers))
    name, value = request.headers[at]
    value = bytearray(client.as_bytes(value))
    if value:
        value[chance.randrange(len(value))] = chance.choice([*range(0x20, 0x7F), *range(0x80, 0x100)])
    request.headers[at] = (name, bytes(value))


def replace_value(request, chance):
    if request.headers:
        at = chance.randrange(len(request.headers))
        request.headers[at] = (request.headers[at][0], chance.choice(VALUES))


def repeat_header(request, chance):
    if request.headers:
        request.headers.append(chance.choice(request.headers))


def drop_header(request, chance):
    if request.headers:
        request.headers.pop(chance.randrange(len(request.headers)))


def shuffle_headers(request, chance):
    chance.shuffle(request.headers)
    request.headers = [(recase(name, chance), value) for name, value in request.headers]


def recase(name: str, chance) -> str:
    return "".join(chance.choice([char.lower(), char.upper()]) for char in name)


def add_header(request, chance):
    value = bytes(chance.choice([*range(0x20, 0x7F), *range(0x80, 0x100)]) for _ in range(8))
    request.headers.append((chance.choice(NAMES), chance.choice([*VALUES, value])))


def add_trailer(request, chance):
    request.chunked = True
    request.trailers.append((chance.choice(NAMES), chance.choice(VALUES)))


def change_path(request, chance):
    at = chance.randrange(len(request.path) + 1)
    request.path = request.path[:at] + chance.choice(PATH_PIECES) + request.path[at:]


def change_method(request, chance):
    request.method = chance.choice(METHODS)


def change_body(request, chance):
    if request.body:
        at = chance.randrange(len(request.body))
        request.body = request.body[:at] + bytes([chance.randrange(256)]) + request.body[at + 1 :]


def cut_body(request, chance):
    request.body = request.body[: chance.randrange(len(request.body) + 1)]


def extend_body(request, chance):
    request.body += request.body[:50] or b"x"


MUTATIONS = [
    change_value,
    change_value,
    replace_value,
    repeat_header,
    drop_header,
    shuffle_headers,
    add_header,
    add_header,
    add_trailer,
    change_path,
    change_method,
    change_body,
    cut_body,
    extend_body,
]


def broken_bytes(chance: random.Random) -> bytes:
    """A signed request in which any byte may have changed, also in its framing."""
    data = bytearray(b"".join(signed_request(chance).pieces(chance)))
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data))
        change = chance.randrange(4)
        if change == 0:
            data[at] = chance.randrange(256)
        elif change == 1:
            del data[at : at + chance.randrange(1, 20)]
        elif change == 2:
            data[at:at] = data[chance.randrange(len(data)) :][: chance.randrange(60)]
        else:
            data[at:at] = chance.choice([b"\r\n", b"\0", b": ", b"0\r\n\r\n", b"\xff\xff", b" "])
        if not data:
            return b"\r\n"
    return bytes(data[: chance.randrange(len(data))] if chance.random() < 0.3 else data)
