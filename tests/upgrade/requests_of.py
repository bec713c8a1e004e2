"""A request to try with a guard, and how it is changed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

# When a request arrives if its vector names no time: 2026-11-18.
NOW = 1_795_000_000
# How many seconds later the variations of a request arrive. The default tolerance is five minutes.
LATE = (7, 239, 241, 299, 301, 400, 30 * 24 * 60 * 60, -299, -301, -400, -30 * 24 * 60 * 60)


@dataclass
class Request:
    path: str
    headers: list = field(default_factory=list)
    body: bytes = b""
    method: str = "POST"
    host: str = "hooks.test"
    source: str = "127.0.0.1"
    trailers: list = field(default_factory=list)
    at: int = NOW

    def data(self) -> dict:
        """As JSON, without the fields that have their defaults."""
        fields = dataclasses.asdict(self)
        fields["body"] = self.body.decode("latin-1")
        return {name: value for name, value in fields.items() if value != DEFAULTS[name]}

    @classmethod
    def of(cls, data: dict) -> "Request":
        return cls(**{**data, "body": data.get("body", "").encode("latin-1")})

    def but(self, **changed) -> "Request":
        return dataclasses.replace(self, **changed)

    def adding(self, *headers: tuple) -> "Request":
        return self.but(headers=[*self.headers, *headers])


DEFAULTS = {**dataclasses.asdict(Request("")), "body": "", "path": None}


def variations(genuine: Request) -> list:
    """A request, its copy, and the same with one thing changed."""
    return [*to_endpoint(genuine), genuine.but(path=f"/.{genuine.path}"), genuine.but(host="another.test")]


def to_endpoint(genuine: Request) -> list:
    """The variations that reach the endpoint. The guard logs only a hundred others at once."""
    path, query, rest = genuine.path.partition("?")
    found = [
        genuine,
        genuine,
        genuine.but(body=genuine.body + b" "),
        genuine.but(body=genuine.body[:-1] + b"~"),
        *(genuine.but(at=genuine.at + late) for late in LATE),
        genuine.but(method="PUT"),
        genuine.but(path=f"{path}x{query}{rest}"),
        genuine.but(path=genuine.path + ("&" if query else "?") + "added=1"),
    ]
    for place, (name, value) in enumerate(genuine.headers):
        before, after = genuine.headers[:place], genuine.headers[place + 1 :]
        for changed in ([], [(name, value)] * 2, [(name, value[:-1])], [(name, "")], [(name, f"{value}0")]):
            found.append(genuine.but(headers=[*before, *changed, *after]))
    return found
