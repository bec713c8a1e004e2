"""No way of writing a guarded path gets past the guard, where all other paths pass."""

from __future__ import annotations

import random
import re
import urllib.parse
from collections import Counter

import pytest

from harness.client import head, request
from harness.envoy import SECRET
from harness.full_config import endpoint
from harness.http1 import Closed
from harness.polling import until
from harness.sign import default

BODY = b'{"order": 42}'
GUARDED = "/hooks/github"
PARTNER = "the-secret-of-a-partner"
PASSING = {
    "unmatched": {"pass": ["/"]},
    "endpoints": [
        endpoint("github", path=GUARDED),
        {**endpoint("hosted"), "match": {"path": "/hosted", "host": "hooks.test"}},
    ],
}

TRICKS = [
    "/hooks/github/",
    "/hooks/github//",
    "//hooks/github",
    "/hooks//github",
    "/hooks///github",
    "/./hooks/github",
    "/hooks/./github",
    "/x/../hooks/github",
    "/hooks/x/../github",
    "/../hooks/github",
    "/hooks/github/.",
    "/hooks/github/x/..",
    "/%2e/hooks/github",
    "/x/%2e%2e/hooks/github",
    "/x/%2E%2e/hooks/github",
    "/x/..%2fhooks/github",
    "/x/%252e%252e/hooks/github",
    "/hooks%2fgithub",
    "/hooks%2Fgithub",
    "/hooks%5cgithub",
    "/hooks\\github",
    "/hooks%252fgithub",
    "/%68ooks/github",
    "/hooks/%67ithub",
    "/hooks/%2567ithub",
    "/hooks/github;x",
    "/hooks;x/github",
    "/hooks/..;/hooks/github",
    "/HOOKS/GITHUB",
    "/Hooks/GitHub",
    "/hooks/github%00",
    "/hooks/github%00.png",
    "/hooks/github%20",
    "/hooks/github.",
    "/hooks/github%09",
    "/hooks/github%0a",
    "/hooks/github%3fx",
    "/hooks/github%23x",
    "/hooks/github#x",
    "/hooks/github?x",
    "/hooks/github?/../y",
    "/hooks/%67%69%74%68%75%62",
    "/hooks/github%2f",
    "/hooks/g%C4%B1thub",
    "/%EF%BD%88ooks/github",
    "/hooks/%u0067ithub",
    "/hooks/git%0ahub",
    "/hooks/git%09hub",
    "/hooks%c0%afgithub",
    "/hooks/%c1%a7ithub",
    "/hooks%EF%BC%8Fgithub",
    "http://hooks.test/hooks/github",
    "http://hooks.test//hooks/github",
    "http://elsewhere.test/hooks/github",
    "https://hooks.test/%68ooks/github",
    "hooks/github",
    "%2fhooks/github",
    "\\hooks\\github",
    "/" + "x/../" * 1000 + "hooks/github",
    "/hooks/github" + "/" * 3000,
    "/hooks/github;" + "x" * 5000,
    "/hooks/github;" + "x" * 40000,
    "/" + "%2e/" * 2000 + "hooks/github",
    "/hosted/",
    "//hosted",
    "/HOSTED",
    "/host%65d;x",
]
# Those that an upstream takes for a guarded path only by a standard of its own.
BEYOND = [
    "/%EF%BD%88ooks/github",
    "/hooks/%u0067ithub",
    "/hooks%c0%afgithub",
    "/hooks/%c1%a7ithub",
    "/hooks%EF%BC%8Fgithub",
]
# Bytes that a client may send and no URL has.
RAW = [
    b"/hooks/github\x00",
    b"/hooks\x00/github",
    b"/hooks/github\x7f",
    b"/hooks/git\thub",
    b"/hooks/g\xc4\xb1thub",
    b"/hooks/github\xa0",
    b"/hooks\xc0\xafgithub",
]
ORDINARY = ["/", "/hooks", "/hooks/", "/hooks/gitlab", "/github", "/a.b/c", "/x?y=/hooks/github"]
# Paths for which some application runs the handler of an endpoint.
TAKEN_FOR = {
    "/webhook": [
        "/webhook.json",
        "/webhook.x",
        "/webhook/x",
        "/webhook.php",
        "/webhook.php/x",
        "/index.php/webhook",
        "/webhook::$DATA",
        "/webhook~",
        "/webhook%EF%BC%9Bx",
        "/webhook%EF%BC%8E",
        "/x/%EF%BC%8E%EF%BC%8E/webhook",
        "/webhook%E2%80%8B",
        "/webhook%EF%BB%BF",
        "/web%C2%ADhook",
    ],
    "/webhook.php": ["/webhook.php/x", "/webhook", "/webhook/x", "/webhook.phtml", "/index.php/webhook.php"],
}


# All that an unsigned request may be answered; 0 is a connection that is closed without an answer.
REFUSALS = {0, 400, 401, 404, 405, 414, 431}
# Characters that become a letter of ASCII in upper or in lower case.
ALIKE = {"i": "%C4%B1", "k": "%E2%84%AA", "s": "%C5%BF"}


def lenient(target: str) -> str:
    """The path that the most lenient upstream could read from a request's target."""
    path = re.sub(r"^https?://[^/]*", "", target)
    for _ in range(4):
        path = urllib.parse.unquote(path.split("?")[0].split("#")[0])
    path = re.sub("[\t\r\n\x7f]", "", path.replace("\\", "/").split("\0")[0])
    segments = [each.split(";")[0].strip() for each in path.upper().lower().split("/")]
    kept = []
    for each in segments:
        if each == ".." and kept:
            kept.pop()
        elif each not in ("", ".", ".."):
            kept.append(each.rstrip("."))
    return "/" + "/".join(kept)


def means_guarded(target: str) -> bool:
    """Whether an application could run an endpoint's handler: for its path, a suffix, or all of it below another one."""
    return re.search(f"{GUARDED}|/hosted", lenient(target)) is not None


def unlimited(document) -> None:
    """Without the rate limits, for which this would be a flood; connections that are at fault end sooner."""
    document.remove_filters("shield", "copies", "limit")
    document.manager["delayed_close_timeout"] = "0.1s"


def normalised(document) -> None:
    """With what Envoy can do to paths, for operators who add it."""
    unlimited(document)
    document.manager.update(normalize_path=True, merge_slashes=True, path_with_escaped_slashes_action="REJECT_REQUEST")


@pytest.fixture
def edge(start, upstream):
    return start(upstream, PASSING, patch=unlimited)


class PathSender:
    """Sends requests with a path over one HTTP/1.1 connection, as long as Envoy keeps it."""

    def __init__(self, edge) -> None:
        self.edge, self.client = edge, None

    def unsigned(self, target, host: str = "hooks.test") -> int:
        """The status; 0 where Envoy closed the connection without one."""
        return self.ask(head(target, [("content-length", "2")], host=host) + b"{}")

    def ask(self, sent: bytes) -> int:
        self.client = self.client or self.edge.client()
        try:
            answer = self.client.ask(sent)
            if answer.all("connection") != ["close"]:
                return answer.status
            status = answer.status
        except (Closed, OSError):
            status = 0
        self.client.close()
        self.client = None
        return status


class Http2PathSender:
    """The same over HTTP/2."""

    def __init__(self, edge) -> None:
        self.edge, self.client = edge, None

    def unsigned(self, target, host: str = "hooks.test") -> int:
        self.client = self.client or self.edge.http2_client()
        try:
            return self.client.ask(target, [], b"{}", host=host)[0] or 0
        except AssertionError as closed:
            assert "closed the connection" in str(closed)
        self.client.close()
        self.client = None
        return 0


@pytest.fixture
def senders(edge) -> list:
    """Over HTTP/1.1 and over HTTP/2."""
    return [PathSender(edge), Http2PathSender(edge)]


def test_the_lenient_upstream_of_this_test_is_lenient():
    assert [each for each in TRICKS if not means_guarded(each)] == BEYOND
    assert not any(map(means_guarded, ORDINARY))


def test_ordinary_paths_pass(senders, upstream):
    for sender in senders:
        upstream.requests.clear()
        assert [sender.unsigned(each) for each in ORDINARY] == [200] * len(ORDINARY)
        assert [each.path for each in upstream.requests] == ORDINARY


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/2"])
def test_tricks(protocol, senders, edge, upstream):
    """Envoy refuses some for their form, and the guard refuses the others, behind the shield."""
    sender = senders[protocol == "HTTP/2"]
    for target in [*TRICKS, *RAW]:
        assert sender.unsigned(target) in REFUSALS, target
        assert upstream.requests == [], target
    for endpoint_, reason, least in [
        ("github", "query_not_signed", 2),
        ("-", "unmatched", 6),
        ("-", "path_ambiguous", 20),
    ]:
        assert edge.count(endpoint_, "denied", reason) >= least
    # Envoy writes the access log in order, so no line before this request's is missing.
    sender.unsigned("/last")
    until(lambda: "/last" in [each.get("path") for each in edge.access_lines()], what="the access log")
    before = [each["path"] for each in edge.access_lines() if each["details"] == "path_normalization_failed"]
    assert before == ["/hooks/github#x"], "of all others the guard judges, behind the shield"


@pytest.mark.parametrize("path", TAKEN_FOR)
def test_paths_that_applications_take_for_an_endpoints(path, start, upstream):
    """Unsigned where other paths pass, and signed by the secret of a prefix behind the endpoint."""
    passing = start(upstream, {"unmatched": {"pass": ["/"]}, "endpoints": [endpoint("strict", path=path)]}, patch=unlimited)
    strict = endpoint("strict", path=path, allow=["192.0.2.1"])
    partner = {"name": "partner", "match": {"prefix": "/"}, "secrets": [{"version": "v1", "value": PARTNER}]}
    sharing = start(upstream, {"environment": "test", "endpoints": [strict, partner]}, patch=unlimited)
    for target in TAKEN_FOR[path]:
        assert passing.post(target, [], BODY).status in (400, 404), target
        assert sharing.post(target, default(PARTNER, BODY), BODY).status in (400, 404), target
    assert passing.post(path, [], BODY).status == 401
    assert sharing.post(path, default(PARTNER, BODY), BODY).status == 403
    assert upstream.requests == []
    assert passing.post("/other", [], BODY).status == 200
    assert sharing.post("/other", default(PARTNER, BODY), BODY).status == 200


def test_only_listed_paths_pass(start, upstream):
    listed = {"unmatched": {"pass": ["/app/", "/hooks/docs/", "/logo.png"]}, "endpoints": [endpoint("github", path=GUARDED)]}
    edge = start(upstream, listed, patch=unlimited)
    for target, status in {
        "/app/x?y": 200,
        "/hooks/docs/x.json": 200,
        "/logo.png": 200,
        "/": 404,
        "/app": 404,
        "/logo.png/x": 404,
        "/hooks/x": 404,
        "/app/hooks/github": 404,
        "/app/index.php/hooks/github/x": 404,
    }.items():
        assert edge.post(target, [], BODY).status == status, target
    assert [each.path for each in upstream.requests] == ["/app/x?y", "/hooks/docs/x.json", "/logo.png"]


def test_other_methods(edge, upstream):
    sender = PathSender(edge)
    wholes = [("OPTIONS", "*"), ("CONNECT", "hooks.test:443")]
    for method, target in [*wholes, ("OPTIONS", GUARDED), ("get", GUARDED)]:
        assert sender.ask(head(target, [("content-length", "0")], method)) in REFUSALS, (method, target)
    assert upstream.requests == []


def test_another_host_does_not_bypass_the_guard(senders, upstream):
    for sender in senders:
        for host in ("elsewhere.test", "HOOKS.test", "hooks.test:443", "hooks.test.", "127.0.0.1"):
            for path in ("/hosted", "/hosted/", "/Hosted;x"):
                assert sender.unsigned(path, host) in (401, 404), (path, host)
            assert sender.unsigned(GUARDED, host) == 401, host
    assert upstream.requests == []


FIRST = ["/", "/", "/", "/index.php/", "/en/", "//", "/./", "/x/../", "/%2e/", "/.;/", "/;a/", "/x/%2e%2e/"]
NEXT = [*FIRST, "%2f", "\\", "%5c", "%252f"]
LAST = [*[""] * 10, "/", ".json", "/x", ".php/x", "::$DATA", "%EF%BC%8Ex", "%C2%AD", ";a", "%00", ".", "%20", "?q", "#f", "%2f", "//", "/.", "/x/.."]
WORDS = [("hooks", "github"), ("hooks", "github"), ("hosted",), ("hooks", "other")]
HOSTS = ["hooks.test", "hooks.test", "elsewhere.test"]


def spell(word: str, plain: int, choose: random.Random) -> str:
    """A word in letters that some server treats as equal. A higher `plain` keeps more letters unchanged."""

    def spellings(letter: str) -> list:
        code = ord(letter)
        ways = [letter.upper(), f"%{code:02x}", f"%25{code:02X}", ALIKE.get(letter, letter)]
        return [letter] * plain + ways

    return "".join(choose.choice(spellings(letter)) for letter in word)


def combination(choose: random.Random) -> tuple:
    """A target and a host."""
    first, *more = choose.choice(WORDS)
    plain = choose.choice([2, 20, 200])
    target = choose.choice(FIRST) + spell(first, plain, choose)
    target += "".join(choose.choice(NEXT) + spell(word, plain, choose) for word in more)
    return target + choose.choice(LAST), choose.choice(HOSTS)


@pytest.mark.parametrize(
    ("sender", "patch", "count"),
    [(PathSender, unlimited, 2000), (Http2PathSender, unlimited, 1000), (PathSender, normalised, 1000)],
    ids=["HTTP/1.1", "HTTP/2", "normalised"],
)
def test_combinations_of_tricks(sender, patch, count, start, upstream):
    """Each is refused, or means another path even to the most lenient."""
    edge = start(upstream, PASSING, patch=patch)
    sender, choose = sender(edge), random.Random(20261124)
    statuses: Counter = Counter()
    for _ in range(count):
        target, host = combination(choose)
        before = len(upstream.requests)
        status = sender.unsigned(target, host)
        statuses[status] += 1
        assert status in REFUSALS or status == 200 and not means_guarded(target), target
        for each in upstream.requests[before:]:
            assert not means_guarded(each.path), (target, each.path)
    for status in (200, 400, 401, 404):
        assert statuses[status] > 2, statuses


def test_a_path_that_envoy_normalises_is_guarded(start, upstream):
    """Where an operator adds it: the guard matches the normal form, which goes upstream once it is signed."""
    edge = start(upstream, PASSING, patch=normalised)
    sender = PathSender(edge)
    targets = ["/x/../hooks/github", "//hooks//github", "/hooks/%67ithub", "/./hooks/github"]
    targets.append("/hooks\\github")
    for target in targets:
        assert sender.unsigned(target) == 401, target
        assert sender.ask(request(target, default(SECRET, BODY), BODY)) == 200, target
    with edge.http2_client() as client:
        signed = [(name.lower(), value) for name, value in default(SECRET, BODY)]
        for target in targets:
            assert client.ask(target, signed, BODY)[0] == 200, target
    assert {each.path for each in upstream.requests} == {GUARDED}


def test_a_path_that_envoy_leaves_is_refused_by_the_guard(edge, upstream):
    """Envoy leaves all paths as they came: the guard alone is enough."""
    sender = PathSender(edge)
    for target in TRICKS:
        assert sender.unsigned(target) in REFUSALS, target
    assert upstream.requests == []
    assert edge.count("-", "denied", "path_ambiguous") > 20


def test_a_segment_of_parameters_alone_is_none(senders, upstream):
    """Servlet containers take the parameters off first, and then one of the two slashes."""
    for target in ("/;a/hooks/github", "/hooks/;a/github", "/hooks/%3b/github", "/;/hosted"):
        assert means_guarded(target)
        assert {sender.unsigned(target) for sender in senders} <= REFUSALS
    assert upstream.requests == []
