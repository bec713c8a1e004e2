"""Rotates secrets repeatedly while eight senders deliver: no delivery is rejected, and no memory leaks."""

from __future__ import annotations

import pytest

from harness import client
from harness.envoy import Envoy, reads_secrets
from harness.full_config import endpoint, signed
from harness.polling import in_both_workers, until
from harness.secret_sources import Sources
from harness.senders import Senders, identities

BODY = b'{"order": 42}'
WARM, COUNTED = 10, 50
# The allowed growth of Envoy during 50 rotations under load. Caches may grow, but secrets must not accumulate.
MAX_GROWTH = 4 * 1024 * 1024


def value(number: int) -> str:
    return f"value-{number}-of-a-secret-that-rotates"


def status(envoy, key: str) -> int:
    return client.post(envoy.port, "/webhook", signed(BODY, key), BODY).status


def settles(envoy, key: str, wanted: int) -> None:
    """Waits until both workers answer a request that is signed by `key` like this."""
    until(lambda: in_both_workers(lambda: status(envoy, key) == wanted), what=f"{wanted} for {key}")


class ByFiles:
    """Two secrets. Each rotation replaces the older one."""

    def __init__(self, source: str) -> None:
        self.sources = Sources(source, value(0), value(0))

    def envoy(self, upstream_port: int) -> Envoy:
        return self.sources.envoy(upstream_port)

    def rotate(self, _, number: int) -> None:
        self.sources.put("ab"[number % 2], value(number))


class ByConfiguration:
    """A list of secrets that each rotation replaces. Their values are in environment variables."""

    def envoy(self, upstream_port: int) -> Envoy:
        env = {f"SECRET_{number}": value(number) for number in range(WARM + COUNTED + 1)}
        envoy = Envoy(upstream_port, self.configuration(0), env=env)
        self.file = envoy.document.discover_guard(envoy.folder / "watched")
        return envoy

    def configuration(self, number: int) -> dict:
        numbers = [each for each in (number, number - 1) if each >= 0]
        secrets = [{"version": f"v{each}", "env": f"SECRET_{each}"} for each in numbers]
        return {"endpoints": [endpoint("orders", *secrets, path="/webhook")]}

    def rotate(self, envoy, number: int) -> None:
        envoy.discover(self.file, self.configuration(number))


WAYS = {"configuration": ByConfiguration}
if reads_secrets():
    WAYS |= {"file": lambda: ByFiles("file"), "sds": lambda: ByFiles("sds")}


@pytest.mark.parametrize("way", WAYS)
def test_rotation_under_load(way, upstream_alone):
    way = WAYS[way]()
    with way.envoy(upstream_alone.port) as envoy, Senders(envoy.port, value(0)) as senders:
        for number in range(1, WARM + COUNTED + 1):
            way.rotate(envoy, number)
            settles(envoy, value(number), 200)
            # The senders get the new secret after the guard has, and stop using the old one before it is removed.
            senders.use(value(number))
            if number > 1:
                settles(envoy, value(number - 2), 401)
            if number == WARM:
                before = envoy.resident()
        senders.progress()
        after = envoy.resident()
    assert senders.failures == []
    assert set(senders.answers) == {200}, senders.answers
    assert senders.begun == senders.arrived
    assert senders.arrived <= identities(each for each in upstream_alone.requests if each.body != BODY)
    print(f"{sum(senders.answers.values())} deliveries; {before / 2**20:.1f} MiB, then {after / 2**20:.1f} MiB")
    assert after - before < MAX_GROWTH, (before, after)
