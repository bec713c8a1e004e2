"""Configurations in both encodings, faulty ones at start and on an update, and their errors."""

from __future__ import annotations

import json
import threading
import time

import pytest

from harness import client
from harness.concurrently import at_once
from harness.envoy import Envoy, version
from harness.full_config import CONFIGURATION, NEW, OLD, endpoint, patch, signed
from harness.polling import in_both_workers, until
from harness.verdict import assert_answer

BODY = b'{"order": 42}'
# Eight faults; the inline secret in it must never be repeated.
INLINE = "inline-secret-in-production"
FAULTY = {
    "unmached": "pass",
    "endpoints": [
        {
            "name": "Orders",
            "match": {"path": "/orders"},
            "secrets": [{"version": "v1", "env": "WEBHOOK_SECRET"}],
            "allow": ["10.0.0.0/33"],
        },
        {
            "name": "events",
            "match": {"path": "/events"},
            "provider": "gihub",
            "secrets": [{"version": "v1", "value": INLINE}],
            "max_body_bytes": 1.5,
        },
        {
            "name": "more",
            "match": {"path": "/more"},
            "secrets": [{"version": "v1", "env": "NOWHERE"}],
            "methods": [],
            "mode": "enforced",
        },
    ],
}
PATHS = [
    "endpoints[0].name",
    "endpoints[0].allow[0]",
    "endpoints[1].provider",
    "endpoints[1].secrets[0].value",
    "endpoints[1].max_body_bytes",
    "endpoints[2].secrets[0].env",
    "endpoints[2].methods",
    "endpoints[2].mode",
    "unmached",
]


def refusals(envoy) -> list:
    """The faults that the guard logged for a refused configuration."""
    marker = "webhook-guard: configuration refused: "
    return [line.split(marker)[1] for line in envoy.log().splitlines() if marker in line]


def unique(items) -> list:
    return list(dict.fromkeys(items))


@pytest.mark.parametrize("as_text", [False, True], ids=["Struct", "StringValue"])
class TestEncoding:
    def test_it_is_read(self, as_text, start, upstream):
        """The configuration has numbers, lists, booleans and every kind of block."""
        envoy = start(upstream, CONFIGURATION, as_text=as_text, patch=patch)
        assert client.post(envoy.port, "/webhook", signed(BODY), BODY).status == 200
        assert client.post(envoy.port, "/rotated", signed(BODY, NEW), BODY).status == 200
        assert client.post(envoy.port, "/small", signed(b"x" * 1000), b"x" * 1000).status == 200
        assert client.post(envoy.port, "/small", signed(b"x" * 1001), b"x" * 1001).status == 413

    def test_a_faulty_one_keeps_envoy_from_starting(self, as_text, upstream):
        envoy = Envoy(upstream.port, FAULTY, as_text=as_text)
        assert envoy.start_refused() == 1
        errors = unique(refusals(envoy))
        assert sorted(line.split(": ")[0] for line in errors) == sorted(PATHS)
        by_path = dict(line.split(": ", 1) for line in errors)
        assert "did you mean `unmatched`?" in by_path["unmached"]
        assert "did you mean `github`?" in by_path["endpoints[1].provider"]
        assert "did you mean `enforce`?" in by_path["endpoints[2].mode"]
        assert "the length is at most 32" in by_path["endpoints[0].allow[0]"]
        assert "NOWHERE" in by_path["endpoints[2].secrets[0].env"]
        assert INLINE not in envoy.log()
        assert envoy.env["WEBHOOK_SECRET"] not in envoy.log()


@pytest.mark.parametrize(
    "configuration",
    [
        "",
        "{",
        "[]",
        "nonsense",
        "\n{}",
        {},
        {"endpoints": []},
        json.dumps({"endpoints": [endpoint("a")]}) + "x",
        '{"endpoints": [], "endpoints": []}',
        "[" * 100_000,
        '{"a":' * 200 + "1" + "}" * 200,
        {"endpoints": [endpoint("a"), endpoint("a", path="/b")]},
        {"endpoints": [endpoint("a"), endpoint("b", path="/a")]},
        {"endpoints": [endpoint("a", {"version": "v1", "env": "BLANK"})]},
        {"endpoints": [endpoint("a", {"version": "v1", "env": "DASH"})]},
        {"endpoints": [endpoint("a", {"version": "v1", "value": "some-inline-secret"})]},
        {"endpoints": [endpoint("a", replay={"window": "10m"})]},
        {"endpoints": [endpoint("a", provider="slack", id={"form": "trigger_id", "optional": True})]},
    ],
    ids=lambda value: (value if isinstance(value, str) else json.dumps(value))[:30] or "empty",
)
def test_a_faulty_configuration_is_refused(configuration, upstream):
    env = {"BLANK": "  ", "DASH": "-"}
    envoy = Envoy(upstream.port, configuration, env=env)
    assert envoy.start_refused() == 1
    assert refusals(envoy) != []
    assert len(envoy.log()) < 20_000


def test_an_inline_secret_needs_an_environment_that_allows_it(start, upstream):
    inline = {"version": "v1", "value": "some-inline-secret"}
    configuration = {"endpoints": [endpoint("orders", inline)]}
    envoy = start(upstream, configuration, env={"ENVIRONMENT": "development"})
    headers = signed(BODY, "some-inline-secret")
    assert client.post(envoy.port, "/orders", headers, BODY).status == 200
    for name in ("production", "staging", "Development", ""):
        refused = Envoy(upstream.port, configuration, env={"ENVIRONMENT": name})
        assert refused.start_refused() == 1, name


def test_a_secret_for_another_environment_is_skipped(start, upstream):
    secrets = [
        {"version": "v1", "env": "WEBHOOK_SECRET"},
        {"version": "dev", "value": OLD, "environment": "development"},
        {"version": "none", "env": "NOWHERE", "environment": "development"},
    ]
    envoy = start(upstream, {"endpoints": [endpoint("orders", *secrets)]})
    assert client.post(envoy.port, "/orders", signed(BODY), BODY).status == 200
    assert client.post(envoy.port, "/orders", signed(BODY, OLD), BODY).status == 401


def test_an_expired_last_secret_is_not_a_fault(start, upstream):
    """A configuration is accepted or refused whatever the clock shows."""
    secret = {"version": "v1", "env": "WEBHOOK_SECRET", "not_after": "2001-01-01T00:00:00Z"}
    envoy = start(upstream, {"endpoints": [endpoint("orders", secret)]})
    assert_answer(client.post(envoy.port, "/orders", signed(BODY), BODY), "secret_expired")


def test_a_warning_about_a_short_secret_does_not_show_it(start, upstream):
    envoy = start(upstream, {"endpoints": [endpoint("orders")]}, env={"WEBHOOK_SECRET": "tiny#secret"})
    warnings = [line for line in envoy.log().splitlines() if "webhook-guard: endpoints[0]" in line]
    assert warnings and all("[warning]" in line and "shorter than 16" in line for line in warnings)
    assert client.post(envoy.port, "/orders", signed(BODY, "tiny#secret"), BODY).status == 200


class TestUpdate:
    """The guard's filter in a watched file, which is replaced while requests come in."""

    def configured(self, secret: str) -> dict:
        inline = {"version": secret[4:7], "value": secret}
        return {"environment": "test", "endpoints": [endpoint("orders", inline)]}

    @pytest.fixture
    def watched(self, upstream):
        envoy = Envoy(upstream.port, self.configured(OLD))
        file = envoy.document.discover_guard(envoy.folder / "watched")
        with envoy:
            yield envoy, file

    def stat(self, envoy, name: str) -> int:
        found = envoy.stats("extension_config_discovery")
        return sum(value for key, value in found.items() if key.endswith(name))

    def status(self, envoy, secret: str) -> int:
        return client.post(envoy.port, "/orders", signed(BODY, secret), BODY).status

    def test_a_good_one_takes_over(self, watched):
        envoy, file = watched
        assert (self.status(envoy, OLD), self.status(envoy, NEW)) == (200, 401)
        for as_text, new, old in ((False, NEW, OLD), (True, OLD, NEW)):
            envoy.discover(file, self.configured(new), as_text)
            until(lambda: in_both_workers(lambda: self.status(envoy, new) == 200))
            assert self.status(envoy, old) == 401

    def test_a_faulty_one_changes_nothing(self, watched):
        envoy, file = watched
        done = threading.Event()

        def refused() -> int:
            return self.stat(envoy, "config_fail") + self.stat(envoy, "update_rejected")

        def update(_) -> set:
            for count, as_text in ((1, False), (2, True)):
                time.sleep(0.2)
                envoy.discover(file, FAULTY, as_text)
                until(lambda: refused() >= count)
            time.sleep(0.2)
            done.set()
            return {200}

        def keep_sending(_) -> set:
            seen = set()
            for _ in range(50_000):
                if done.is_set():
                    return seen
                seen.add(self.status(envoy, OLD))
            raise AssertionError("the updates never ended")

        assert at_once(lambda each: each(None), [update, keep_sending, keep_sending]) == [{200}] * 3
        assert self.status(envoy, NEW) == 401
        assert sorted({line.split(": ")[0] for line in refusals(envoy)}) == sorted(PATHS)
        for secret in (OLD, INLINE):
            assert secret not in envoy.log()

    def test_a_request_ends_on_the_configuration_it_began_with(self, watched):
        envoy, file = watched
        first, *rest = client.chunked("/orders", signed(BODY, OLD), [BODY[:5], BODY[5:]])
        with client.Client(envoy.port) as connection:
            connection.send(first, rest[0], pause=0.05)
            envoy.discover(file, self.configured(NEW))
            until(lambda: in_both_workers(lambda: self.status(envoy, NEW) == 200))
            assert connection.ask(*rest[1:]).status == 200
        assert self.status(envoy, OLD) == 401

    def test_variables_that_change(self, upstream):
        """Up to Envoy 1.37, a VM keeps the variables that it started with. Another `vm_id` starts another VM."""

        def configured(path: str) -> dict:
            return {"endpoints": [endpoint("orders", {"version": "v1", "env": "CHANGING"}, path=path)]}

        def variables(secret: str) -> dict:
            return {"environment_variables": {"key_values": {"CHANGING": secret}}}

        def status(path: str, secret: str) -> int:
            return client.post(envoy.port, path, signed(BODY, secret), BODY).status

        def give_secret(document) -> None:
            document.guard["vm_config"].update(variables(OLD))

        envoy = Envoy(upstream.port, configured("/first"), patch=give_secret)
        file = envoy.document.discover_guard(envoy.folder / "watched")
        used, unused = (OLD, NEW) if version() < (1, 38) else (NEW, OLD)
        with envoy:
            assert status("/first", OLD) == 200
            envoy.discover(file, configured("/second"), **variables(NEW))
            until(lambda: in_both_workers(lambda: status("/second", used) == 200))
            assert status("/second", unused) == 401
            envoy.discover(file, configured("/third"), vm_id="another", **variables(NEW))
            until(lambda: in_both_workers(lambda: status("/third", NEW) == 200))
            assert status("/third", OLD) == 401
