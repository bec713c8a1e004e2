"""The senders' own packages and the guard in a real Envoy, asked about the same requests, signed just now."""

from __future__ import annotations

import dataclasses
import json
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from senders import ORIGIN, SENDERS, Request, Sender
from variants import VARIANTS

from harness import client
from harness.envoy import ROOT, Envoy
from harness.polling import until
from harness.presets import tolerance_of
from harness.upstream import Upstream

HERE = Path(__file__).parent
# Where `make test-sdks` installs the packages.
PACKAGES = ROOT / ".tools" / "node-sdks"
# How near to the end of the tolerance a time is, on either side of it, in seconds.
NEAR = 10

# Each case, with the guard's reason for it.
REASONS = {
    "right": "accepted",
    "late": "accepted",
    "early": "accepted",
    "changed": "signature_invalid",
    "secret": "signature_invalid",
    "stale": "timestamp_expired",
    "future": "timestamp_future",
}


class Sdks:
    """The program with the senders' packages."""

    def __init__(self) -> None:
        node = shutil.which("node")
        assert node, "Node.js is not installed"
        assert (PACKAGES / "node_modules").exists(), "the packages are not installed: make test-sdks"
        # As text, so that packages are found from the working directory.
        command = [node, "--input-type=module", "--eval", (HERE / "sdk.mjs").read_text()]
        self._process = subprocess.Popen(
            command, cwd=PACKAGES, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)

    def ask(self, what: str, **request) -> dict:
        """The program's answer to one request."""
        self._process.stdin.write(json.dumps({"ask": what, **request}) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], 60)
        assert ready, f"no answer to {request}"
        answer = json.loads(self._process.stdout.readline() or '{"error": "the program has ended"}')
        assert "error" not in answer, answer["error"]
        return answer


@pytest.fixture(scope="module")
def sdks():
    running = Sdks()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def envoy(upstream):
    configuration = {
        "environment": "test",
        "public_url": ORIGIN,
        "endpoints": [endpoint(name, sender) for name, sender in SENDERS.items()],
    }
    with Envoy(upstream.port, configuration, patch=no_request_ids) as running:
        yield running


def no_request_ids(document) -> None:
    """Leaves a request without an x-request-id as it is."""
    document.manager["generate_request_id"] = False


def endpoint(name: str, sender: Sender) -> dict:
    secret = {"version": "v1", "value": sender.secret(sender.keys[0])}
    secret.update({"key_id": sender.key_id} if sender.key_id else {})
    match = {"prefix": "/", "host": f"{name}.test"}
    return {"name": name, "match": match, "provider": preset(name), "query": ["a", "b"], "secrets": [secret]}


def preset(name: str) -> str:
    return SENDERS[name].preset or name


def tolerance(name: str) -> tuple[int, int] | None:
    """The seconds in the past and in the future, where the sender signs a time."""
    own = SENDERS[name].tolerance
    return tolerance_of(preset(name)) or (own and (own, own))


def cases():
    for name, sender in SENDERS.items():
        yield name, "right"
        yield name, "secret"
        if sender.altered:
            yield name, "changed"
        if tolerance(name):
            yield from ((name, case) for case in ("late", "early", "stale", "future"))


def time_of(name: str, case: str) -> int:
    """When the request of this case is signed, in ms."""
    past, future = tolerance(name) or (0, 0)
    offsets = {"late": NEAR - past, "stale": -past - NEAR, "early": future - NEAR, "future": future + NEAR}
    offset = offsets.get(case, 0)
    return time.time_ns() // 1_000_000 + offset * 1000


def signed(sdks: Sdks, name: str, case: str) -> Request:
    """The request of this case, with what the sender signs it with."""
    sender, at = SENDERS[name], time_of(name, case)
    key = sender.keys[case == "secret"]
    request = with_signature(sdks, name, sender.request(at), key, at, sender.formula)
    return altered(sender, request) if case == "changed" else request


def with_signature(sdks: Sdks, name: str, request: Request, key, at: int, formula) -> Request:
    """The request with what the formula, or else the package, adds to sign it."""
    if formula:
        made = {"headers": dict(formula(key, request, at))}
    else:
        made = sdks.ask("sign", at=at, **described(name, request, SENDERS[name].secret(key)))["signed"]
    headers = {header.lower(): value for header, value in made.get("headers", {}).items()}
    return dataclasses.replace(
        request, headers={**request.headers, **headers}, body=made.get("body", request.body)
    )


def altered(sender: Sender, request: Request) -> Request:
    """The request with one character of what is signed changed."""
    before = getattr(request, sender.altered)
    after = sender.alter(before)
    assert len(before) == len(after) and sum(old != new for old, new in zip(before, after)) == 1
    return dataclasses.replace(request, **{sender.altered: after})


def described(name: str, request: Request, secret: str) -> dict:
    """A request as the program takes it."""
    fields = {"method": request.method, "url": request.url, "headers": request.headers, "body": request.body}
    return {"preset": preset(name), "secret": secret, "key_id": SENDERS[name].key_id, **fields}


def guard(envoy, upstream, name: str, request: Request) -> str:
    """The guard's reason; what it accepts has reached the upstream as it was, and nothing else has."""
    log, before = envoy.log_size(), len(upstream.requests)
    headers = [("host", f"{name}.test"), *request.headers.items()]
    body = request.body.encode()
    status = client.post(envoy.port, request.path, headers, body, request.method).status
    (line,) = until(lambda: envoy.guard_lines(log), what="the guard's line")
    assert line["endpoint"] == name
    assert (status == 200) == (line["reason"] == "accepted")
    assert [each.body for each in upstream.requests[before:]] == ([body] if status == 200 else [])
    return line["reason"]


@pytest.mark.parametrize("name, case", cases())
def test_package_and_guard_agree(name, case, sdks, envoy, upstream):
    """But for what the table says of a package, both accept the request, or both refuse it."""
    sender = SENDERS[name]
    request = signed(sdks, name, case)
    reason = guard(envoy, upstream, name, request)
    package = sdks.ask("verify", **described(name, request, sender.secret(sender.keys[0])))
    assert reason == REASONS[case]
    differs = case in sender.unseen | sender.refused
    assert package["accepted"] == ((reason == "accepted") != differs), package.get("why")


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: f"{variant.sender}: {variant.label}")
def test_package_and_guard_agree_on_values_that_are_absent_or_of_another_type(variant, sdks, envoy, upstream):
    """The table names each reason for which the guard rejects what the package accepts."""
    name, sender = variant.sender, SENDERS[variant.sender]
    at = time_of(name, "right")
    request = variant.change(sender.request(at))
    request = dataclasses.replace(request, body=request.body.replace("@ms", str(at)))
    request = with_signature(sdks, name, request, sender.keys[0], at, variant.signer)
    reason = guard(envoy, upstream, name, request)
    package = sdks.ask("verify", **described(name, request, sender.secret(sender.keys[0])))
    assert reason == variant.reason
    assert package["accepted"] == (not variant.refused), package.get("why")


def test_every_package_is_asked(sdks):
    """Nothing is installed or written that no sender needs."""
    assert sorted(sdks.ask("names")["names"]) == sorted(set(map(preset, SENDERS)))
    packages = json.loads((HERE / "package.json").read_text())["dependencies"]
    program = "".join(path.read_text() for path in HERE.glob("*.mjs"))
    assert [each for each in packages if f'"{each}' not in program] == []
