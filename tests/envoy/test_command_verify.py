"""The command `webhook-guard verify` agrees with a real Envoy on every vector, whatever the form of the capture."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import hmac
import json
import re
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl

import pytest

from harness import client, command
from harness.clock import Clock
from harness.envoy import ROOT, Envoy
from harness.polling import until
from harness.raw_http import send_raw

FOLDER = ROOT / "tests" / "vectors"
# The time of vectors without one.
NOW = 1_700_000_000
# A handshake of this sender reveals MACs, so an endpoint next to it must not have its secret, as some vectors do.
ALONE = "x"
# The guard refuses the configurations of these vectors, because of the secret.
REFUSED = {"easypost-1": "the secret is not ASCII", "github-1": "the secret is blank"}


def load() -> dict:
    """The vectors by a name that can be a label and a host."""
    return {
        f"{file.stem}-{number}": vector
        for file in sorted(FOLDER.glob("*.json"))
        for number, vector in enumerate(json.loads(file.read_text()))
    }


VECTORS = load()
USABLE = {name: vector for name, vector in VECTORS.items() if name not in REFUSED}


def preset_of(name: str) -> str:
    return name.rpartition("-")[0]


def host_of(name: str) -> str:
    return f"{name}.test"


def split_url(vector: dict) -> tuple[str, str]:
    """The origin and the rest of the URL that was signed."""
    url = vector.get("url", "https://hooks.example.com/webhook")
    return re.fullmatch(r"(https?://[^/]+)(/.*)", url).groups()


def endpoint(name: str, vector: dict) -> dict:
    secret = {"version": "v1", "value": vector["secret"]}
    secret.update({"key_id": vector["key_id"]} if "key_id" in vector else {})
    scheme = {"signature": vector["signature"]} if "signature" in vector else {"provider": preset_of(name)}
    found = {
        "name": name,
        "match": {"prefix": "/", "host": host_of(name)},
        "public_url": split_url(vector)[0],
        "methods": [vector.get("method", "POST")],
        "secrets": [secret],
        **scheme,
    }
    return {**found, "query": vector["query"]} if "query" in vector else found


def configuration(names) -> dict:
    return {"environment": "test", "endpoints": [endpoint(name, VECTORS[name]) for name in names]}


def headers(name: str, vector: dict) -> list[tuple[str, str]]:
    """The headers of a vector. A list means several headers of one name."""
    listed = vector["headers"].items()
    pairs = [(header, each) for header, value in listed for each in (value if isinstance(value, list) else [value])]
    return [("Host", host_of(name)), *pairs]


def raw(name: str, vector: dict) -> bytes:
    """The bytes on the wire."""
    body, method = vector["body"].encode(), vector.get("method", "POST")
    return client.request(split_url(vector)[1], headers(name, vector), body, method)


def curl(name: str, vector: dict) -> bytes:
    """A command as a person writes it. Without a type, curl would add its own."""
    lines = [f"curl -X {vector.get('method', 'POST')} {shlex.quote('https://' + host_of(name) + split_url(vector)[1])}"]
    pairs = headers(name, vector)[1:]
    if not any(header.lower() == "content-type" for header, _ in pairs):
        lines.append("-H 'Content-Type:'")
    # A header without a value ends with a semicolon, because `Name:` removes one of curl's own.
    lines += ["-H " + shlex.quote(f"{header}: {value}" if value else f"{header};") for header, value in pairs]
    lines.append("--data-raw " + shlex.quote(vector["body"]))
    return " \\\n  ".join(lines).encode()


def har(name: str, vector: dict) -> bytes:
    """The file of a browser or of a proxy such as mitmproxy."""
    url = "https://" + host_of(name) + split_url(vector)[1]
    pairs = [{"name": header, "value": value} for header, value in headers(name, vector)]
    request = {
        "method": vector.get("method", "POST"),
        "url": url,
        "httpVersion": "HTTP/1.1",
        "headers": pairs,
        "queryString": [{"name": key, "value": value} for key, value in parse_qsl(url.partition("?")[2])],
        "postData": {"mimeType": "", "text": vector["body"]},
    }
    if len(vector["body"]) % 2:
        encoded = base64.b64encode(vector["body"].encode()).decode()
        request["postData"] = {"mimeType": "", "text": encoded, "encoding": "base64"}
    return json.dumps({"log": {"version": "1.2", "entries": [{"request": request}]}}).encode()


FORMS = {"raw": raw, "curl": curl, "har": har}


@pytest.fixture(scope="module")
def judged(upstream, tmp_path_factory):
    """The line of Envoy's access log about each vector, sent at the vector's own time."""
    clock = Clock(tmp_path_factory.mktemp("clock"))
    most = [name for name in USABLE if preset_of(name) != ALONE]
    rest = [name for name in USABLE if preset_of(name) == ALONE]
    lines = {}
    for names in (most, rest):
        with Envoy(upstream.port, configuration(names), clock=clock) as envoy:
            statuses = {name: send(envoy, clock, name) for name in names}
            clock.set(0)
            until(lambda: len(envoy.access_lines()) == len(names), what="a line of the access log for each request")
            lines |= {line["endpoint"]: line for line in envoy.access_lines()}
        assert {name: lines[name]["status"] for name in names} == statuses
    return lines


def send(envoy, clock, name: str) -> int:
    vector = VECTORS[name]
    clock.set(vector.get("now_unix", NOW) - int(time.time()))
    return client.ask(envoy.port, raw(name, vector)).status


def end_of(line: dict) -> str:
    """The time at which Envoy had answered the request."""
    start = datetime.datetime.fromisoformat(line["time"])
    return (start + datetime.timedelta(milliseconds=line["duration_ms"] + 1)).isoformat(timespec="milliseconds")


def verify(folder, name: str, form: str, at: str) -> tuple:
    """The exit status, the verdict, the reason, the version and the endpoint."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps(configuration([name])))
    capture = FORMS[form](name, VECTORS[name])
    arguments = ("--config", file, "--request", "-", "--at", at, "--format", "json")
    result = command.run("verify", *arguments, stdin=capture)
    assert result.status in (0, 1), (name, result.stderr)
    assert VECTORS[name]["secret"] not in result.stderr
    answer = result.json()
    return result.status, answer["verdict"], answer["reason"], answer["version"], answer["endpoint"]


def expected(name: str, line: dict) -> tuple:
    return 0 if line["status"] == 200 else 1, line["verdict"], line["reason"], line.get("secret_version"), name


@pytest.mark.parametrize("form", FORMS)
def test_the_command_agrees_with_envoy_on_every_vector(form, judged, tmp_path):
    def difference(name: str) -> tuple | None:
        line = judged[name]
        wanted = expected(name, line)
        # The guard read its clock between the two times of the line. A limit may lie between them.
        found = verify(tmp_path, name, form, line["time"])
        if found != wanted and verify(tmp_path, name, form, end_of(line)) != wanted:
            return found, wanted
        return None

    with ThreadPoolExecutor(4) as pool:
        differences = dict(zip(USABLE, pool.map(difference, USABLE)))
    assert {name: each for name, each in differences.items() if each} == {}


def test_the_vectors_have_many_reasons(judged):
    """The test above compares more than two answers."""
    reasons = {line["reason"] for line in judged.values()}
    assert len(judged) == len(VECTORS) - 2 and len(reasons) >= 8, reasons


def test_the_command_reports_an_id_that_envoy_adds(judged, tmp_path):
    """The sender signed no x-request-id, and Envoy adds one."""
    name = next(f"mercado-pago-{n}" for n in range(20) if VECTORS[f"mercado-pago-{n}"]["id"].endswith("no-request-id"))
    assert VECTORS[name]["valid"] and judged[name]["reason"] == "signature_invalid"
    file = tmp_path / "guard.json"
    file.write_text(json.dumps(configuration([name])))
    arguments = ("--config", file, "--request", "-", "--at", judged[name]["time"])
    found = command.run("verify", *arguments, stdin=raw(name, VECTORS[name]))
    assert found.status == 1 and b"the sender signs x-request-id" in found.stdout


def test_a_handshake_without_its_token_is_not_checked(tmp_path):
    endpoint = {
        "name": "meta",
        "match": {"path": "/meta"},
        "provider": "meta",
        "answer_challenges": True,
        "verify_token": {"env": "META_TOKEN"},
        "secrets": [{"version": "v1", "value": "a-secret-that-is-long-enough"}],
    }
    file = tmp_path / "guard.json"
    file.write_text(json.dumps({"environment": "test", "endpoints": [endpoint]}))
    query = "hub.mode=subscribe&hub.challenge=1&hub.verify_token=a-token-of-the-owner"
    capture = client.request(f"/meta?{query}", [], None, "GET")
    arguments = ("verify", "--config", file, "--request", "-")
    unset = command.run(*arguments, stdin=capture)
    assert unset.status == 1 and b"handshakes are not checked" in unset.stdout
    known = command.run(*arguments, stdin=capture, env={"META_TOKEN": "a-token-of-the-owner"})
    assert known.status == 0 and known.stdout.startswith(b"challenged: challenge_answered")
    assert b"not checked" not in known.stdout


GENUINE = ("--config", ROOT / "envoy" / "envoy.yaml", "--request", ROOT / "tests" / "cli" / "requests" / "genuine.http")


@pytest.mark.parametrize("name", ["verify", "explain"])
@pytest.mark.parametrize(
    "typed, status, verdict",
    [("dev-only-webhook-secret", 0, "accepted"), ("not-the-secret-of-the-sender", 1, "denied: signature_invalid")],
)
def test_a_terminal_asks_for_a_secret_without_echo(name, typed, status, verdict):
    found, text = command.run_on_terminal(name, *GENUINE, answer=typed, env={"NO_COLOR": "1"})
    assert found == status, text
    question, _, rest = text.partition(": ")
    assert question == "Secret v1 of endpoint orders" and verdict in rest
    assert typed not in text


def test_a_missing_secret_is_an_error_without_a_terminal():
    found = command.run("verify", *GENUINE)
    assert (found.status, found.stdout) == (2, b"")
    assert "set the environment variable WEBHOOK_SECRET, name a file by `--secret-file orders/v1=PATH`" in found.stderr


@pytest.mark.parametrize("name", REFUSED)
def test_neither_takes_a_configuration_that_the_guard_refuses(name, upstream, tmp_path):
    file = tmp_path / "guard.json"
    file.write_text(json.dumps(configuration([name])))
    result = command.run("verify", "--config", file, "--request", "-", stdin=raw(name, VECTORS[name]))
    assert (result.status, result.stdout) == (2, b"")
    envoy = Envoy(upstream.port, configuration([name]))
    assert envoy.start_refused() != 0
    assert REFUSED[name] in result.stderr and REFUSED[name] in envoy.log()


SECRET = "a-secret-that-is-long-enough"
GOOD = b'{"order": 42}'
ENDPOINTS = [
    {"name": "orders", "match": {"path": "/webhook"}},
    {"name": "hosted", "match": {"path": "/hosted", "host": "hooks.test"}},
    {"name": "underscore", "match": {"path": "/underscore"}, "signature": {"header": "X_Signature"}},
]
ODD = {
    "environment": "test",
    "endpoints": [{**each, "secrets": [{"version": "v1", "value": SECRET}]} for each in ENDPOINTS],
}
CODE = hmac.new(SECRET.encode(), GOOD, hashlib.sha256).hexdigest().encode()
SIGNED = b"X-Webhook-Signature: " + CODE
LENGTH, CHUNKED = b"Content-Length: 13", b"Transfer-Encoding: chunked"
CHUNKS = b"5\r\n" + GOOD[:5] + b"\r\n8;a=b\r\n" + GOOD[5:] + b"\r\n0\r\n\r\n"


def odd(path: bytes = b"/webhook", *lines: bytes, host=b"Host: hooks.test", method=b"POST", body=GOOD) -> bytes:
    """A request with these lines in its head. Each has a signature and a length, unless `lines` replace these."""
    lengths = () if any(line.startswith((LENGTH[:15], CHUNKED[:18])) for line in lines) else (LENGTH,)
    signatures = () if any(CODE in line for line in lines) else (SIGNED,)
    start = method + b" " + path + b" HTTP/1.1"
    return b"\r\n".join([start, *([host] if host else []), *signatures, *lengths, *lines, b"", b""]) + body


# The requests that Envoy changes, or that its guard must judge with care.
REQUESTS = {
    "plain": odd(),
    "absolute form": odd(b"http://hooks.test/hosted", host=b"Host: other.test"),
    "absolute form of another host": odd(b"http://other.test/hosted"),
    "two hosts": odd(b"/webhook", b"Host: other.test"),
    "host with a port": odd(b"/hosted", host=b"Host: hooks.test:443"),
    "host in capitals": odd(b"/hosted", host=b"Host: HOOKS.test"),
    "dot segments": odd(b"/a/../webhook"),
    "two slashes": odd(b"//webhook"),
    "query": odd(b"/webhook?a=1"),
    "another path": odd(b"/other"),
    "underscore": odd(b"/underscore", b"X_Signature: " + CODE),
    "folded value": odd(b"/webhook", b"X-Webhook-Signature:\r\n " + CODE),
    "blanks": odd(b"/webhook", b"X-WEBHOOK-SIGNATURE: \t " + CODE + b"\t "),
    "two signatures": odd(b"/webhook", SIGNED, SIGNED),
    "signature about the connection": odd(b"/webhook", b"Connection: x-webhook-signature"),
    "lookalike": odd(b"/webhook", b"X-Webhook.Signature: x"),
    "own header": odd(b"/webhook", b"X-Webhook-Guard-Endpoint: x"),
    "upgrade without connection": odd(b"/webhook", b"Upgrade: websocket"),
    "upgrade to h2c": odd(b"/webhook", b"Connection: upgrade, http2-settings", b"Upgrade: h2c", b"HTTP2-Settings: x"),
    "two lengths": odd(b"/webhook", LENGTH, LENGTH),
    "length with a zero": odd(b"/webhook", b"Content-Length: 013"),
    "chunks": odd(b"/webhook", CHUNKED, body=CHUNKS),
    "chunks and a length": odd(b"/webhook", CHUNKED, LENGTH, body=CHUNKS),
    "method": odd(method=b"PUT"),
    "connect": b"CONNECT hooks.test:443 HTTP/1.1\r\nHost: hooks.test\r\n\r\n",
    "latin-1": odd(b"/webhook", b"X-Other: \xe9"),
    "too many headers": odd(b"/webhook", *(b"X-%d: a" % number for number in range(120))),
}


@pytest.fixture(scope="module")
def odd_guard(upstream):
    with Envoy(upstream.port, ODD) as running:
        yield running


@pytest.mark.parametrize("name", REQUESTS)
def test_the_command_changes_a_request_as_envoy_does(name, odd_guard, tmp_path):
    before = len(odd_guard.access_lines())
    send_raw(odd_guard.port, REQUESTS[name], patience=60)
    line = until(lambda: odd_guard.access_lines()[before:], what="a line of the access log")[0]
    file = tmp_path / "guard.json"
    file.write_text(json.dumps(ODD))
    found = command.run("verify", "--config", file, "--request", "-", "--format", "json", stdin=REQUESTS[name])
    assert found.status == (0 if line["status"] == 200 else 1), found.stderr
    answer = found.json()
    endpoint = None if line["endpoint"] == "-" else line["endpoint"]
    assert (answer["endpoint"], answer["verdict"], answer["reason"]) == (endpoint, line["verdict"], line["reason"])


# How much of a body the tap filter keeps.
KEPT = 4096
LONG = b'{"text": "' + b"x" * KEPT + b'"}'


@pytest.fixture(scope="module", params=["JSON_BODY_AS_BYTES", "JSON_BODY_AS_STRING"])
def tapped(request, upstream, tmp_path_factory):
    """An Envoy with the tap filter before its guard, and the folder of the traces."""
    folder = tmp_path_factory.mktemp("taps")
    sink = {"format": request.param, "file_per_tap": {"path_prefix": str(folder / "tap")}}
    output = {"max_buffered_rx_bytes": KEPT, "sinks": [sink]}
    tap = {
        "name": "envoy.filters.http.tap",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap",
            "common_config": {"static_config": {"match": {"any_match": True}, "output_config": output}},
        },
    }

    def patch(document) -> None:
        document.filters.insert(0, tap)
        document.trailers()

    with Envoy(upstream.port, ODD, patch=patch) as running:
        yield running, folder


def trace_of(tapped, body: bytes, signed: bytes, trailers=()) -> bytes:
    """Sends a request, and returns the trace of the tap filter."""
    running, folder = tapped
    before = set(folder.glob("*.json"))
    code = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    headers = [("X-Webhook-Signature", code)]
    plain = [client.request("/webhook", headers, body)]
    client.ask(running.port, *(client.chunked("/webhook", headers, [body], trailers) if trailers else plain))

    def complete() -> bytes | None:
        for file in set(folder.glob("*.json")) - before:
            with contextlib.suppress(json.JSONDecodeError):
                json.loads(file.read_bytes())
                return file.read_bytes()
        return None

    return until(complete, what="the trace")


@pytest.mark.parametrize(
    "body, signed, status, reason",
    [
        (GOOD, GOOD, 0, "accepted"),
        (GOOD + b" ", GOOD, 1, "signature_invalid"),
        ('{"text": "h\u00e9llo\\n\u2713"}\n'.encode(),) * 2 + (0, "accepted"),
        (LONG, LONG, 1, "signature_invalid"),
    ],
    ids=["signed", "changed", "not ascii", "longer than the filter keeps"],
)
def test_a_trace_of_the_tap_filter_is_a_request(body, signed, status, reason, tapped, tmp_path):
    file = tmp_path / "guard.json"
    file.write_text(json.dumps(ODD))
    trace = trace_of(tapped, body, signed)
    found = command.run("verify", "--config", file, "--request", "-", "--format", "json", stdin=trace)
    answer = found.json()
    assert (found.status, answer["reason"], answer["endpoint"]) == (status, reason, "orders")
    assert ("max_buffered_rx_bytes" in str(answer["notes"])) == (body == LONG)


def test_a_trace_with_trailers_is_refused_as_by_the_guard(tapped, tmp_path):
    file = tmp_path / "guard.json"
    file.write_text(json.dumps(ODD))
    running, _ = tapped

    # Lines of the requests before may arrive late.
    def refused() -> list:
        return [line for line in running.access_lines() if line["reason"] == "trailers_refused"]

    before = len(refused())
    trace = trace_of(tapped, GOOD, GOOD, [("x-t", "1")])
    line = until(lambda: refused()[before:], what="a line of the access log about trailers")[0]
    arguments = ("--config", file, "--request", "-", "--format", "json")
    for name in ("verify", "explain"):
        found = command.run(name, *arguments, stdin=trace)
        answer = found.json()
        assert (found.status, answer["verdict"], answer["reason"]) == (1, line["verdict"], "trailers_refused")
        assert answer.get("causes", []) == []
