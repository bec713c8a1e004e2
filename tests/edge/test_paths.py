"""No way of writing a guarded path gets past the guard, where all other paths pass."""

from __future__ import annotations

import random
import re
import urllib.parse
from collections import Counter

import pytest
from harness.client import head, request
from harness.client2 import Client2
from harness.envoy import SECRET
from harness.http1 import Closed
from harness.sign import default
from rich import endpoint

BODY = b'{"order": 42}'
GUARDED = "/hooks/github"
PASSING = {
    "unmatched": "pass",
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
    "http://hooks.test/hooks/github",
    "http://hooks.test//hooks/github",
    "http://elsewhere.test/hooks/github",
    "https://hooks.test/%68ooks/github",
    "hooks/github",
    "/" + "x/../" * 1000 + "hooks/github",
    "/hooks/github" + "/" * 3000,
    "/hooks/github;" + "x" * 5000,
    "/" + "%2e/" * 2000 + "hooks/github",
]
# Bytes that a client of HTTP/1.1 may send and no URL has.
RAW = [b"/hooks/github\x00", b"/hooks\x00/github", b"/hooks/github\x7f", b"/hooks/git\xc4\xb1hub", b"/hooks/github\xa0"]
ORDINARY = ["/", "/other", "/hooks", "/hooks/", "/hooks/gitlab", "/hooks/github2", "/a.b/c", "/x?y=/hooks/github"]


def lenient(target: str) -> str:
    """What the most lenient of upstreams might make of a request's target."""
    path = re.sub(r"^https?://[^/]*", "", target)
    for _ in range(4):
        path = urllib.parse.unquote(path.split("?")[0].split("#")[0])
    path = path.replace("\\", "/").split("\0")[0].lower()
    segments = [each.split(";")[0].strip() for each in path.split("/")]
    kept = []
    for each in segments:
        if each == ".." and kept:
            kept.pop()
        elif each not in ("", ".", ".."):
            kept.append(each.rstrip("."))
    return "/" + "/".join(kept)


def means_guarded(target: str) -> bool:
    return lenient(target) in (GUARDED, "/hosted")


@pytest.fixture
def edge(start, upstream):
    """Without the shield, for which this would be a flood."""

    def unshielded(document):
        document.filters[:] = [each for each in document.filters if each["name"] not in ("shield", "limit")]

    return start(upstream, PASSING, patch=unshielded)


class Asker:
    """Asks over one connection for as long as Envoy keeps it."""

    def __init__(self, edge) -> None:
        self.edge, self.client = edge, None

    def ask(self, sent: bytes) -> int:
        """The status; 0 where Envoy closed the connection without one."""
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


def unsigned(target, host: str = "hooks.test") -> bytes:
    return head(target, [("content-length", "2")], host=host) + b"{}"


def assert_none_guarded(upstream, since: int = 0) -> None:
    for each in upstream.requests[since:]:
        assert not means_guarded(each.path), each.path


def test_the_lenient_upstream_of_this_test_is_lenient():
    # What folds only by tables of Unicode, or by no standard at all, is beyond it.
    beyond = [each for each in TRICKS if not means_guarded(each)]
    assert beyond == ["/hooks/g%C4%B1thub", "/%EF%BD%88ooks/github", "/hooks/%u0067ithub"]
    assert not any(map(means_guarded, ORDINARY))


def test_ordinary_paths_pass(edge, upstream):
    asker = Asker(edge)
    assert [asker.ask(unsigned(each)) for each in ORDINARY] == [200] * len(ORDINARY)
    assert [each.path for each in upstream.requests] == ORDINARY


def test_tricks_over_http1(edge, upstream):
    asker = Asker(edge)
    statuses = Counter()
    for target in [*TRICKS, *RAW]:
        status = asker.ask(unsigned(target))
        statuses[status] += 1
        assert status in (0, 400, 401, 404, 414, 431), target
    assert upstream.requests == []
    assert statuses[401] and statuses[404] and statuses[400]


def test_tricks_over_http2(edge, upstream):
    for target in [each for each in TRICKS if each.startswith("/")]:
        with edge.client2() as client:
            try:
                status, _ = client.ask(target, [], b"{}")
            except AssertionError as closed:
                assert "closed" in str(closed)
                continue
        assert status in (None, 400, 401, 404, 414, 431), target
    assert upstream.requests == []


def test_another_host_is_no_way_past_it(edge, upstream):
    asker = Asker(edge)
    for host in ("elsewhere.test", "HOOKS.test", "hooks.test:443", "hooks.test.", "127.0.0.1"):
        assert asker.ask(unsigned("/hosted", host)) in (401, 404), host
        assert asker.ask(unsigned(GUARDED, host)) == 401, host
    assert upstream.requests == []


def test_2000_combinations_of_tricks(edge, upstream):
    """Each passes and then means another path even to the most lenient, or does not pass."""
    choose = random.Random(20261124)
    pieces = ["/", "//", "/./", "/x/../", "%2f", "/%2e/", "\\", "/.;/", "/x/%2e%2e/"]
    ends = ["", "/", ";a", "%00", ".", "%20", "?q", "#f", "%2f", "//", "/.", "/x/.."]

    def spell(word: str) -> str:
        return "".join(
            choose.choice([letter, letter, letter, letter.upper(), f"%{ord(letter):02x}", f"%25{ord(letter):02X}"])
            for letter in word
        )

    asker = Asker(edge)
    statuses = Counter()
    for _ in range(2000):
        words = choose.choice([("hooks", "github"), ("hooks", "github"), ("hosted",), ("hooks", "other")])
        target = "".join(choose.choice(pieces) + spell(word) for word in words) + choose.choice(ends)
        before = len(upstream.requests)
        statuses[asker.ask(unsigned(target))] += 1
        assert_none_guarded(upstream, before)
    assert statuses[200] > 20, "some do pass"
    assert statuses[401] and statuses[404] and statuses[400]


def test_what_envoy_normalises_is_guarded(edge, upstream):
    """It is the normal form that is matched, and that goes upstream once it is signed."""
    asker = Asker(edge)
    for target in ("/x/../hooks/github", "//hooks//github", "/hooks/%67ithub", "/./hooks/github?a=b"):
        assert asker.ask(unsigned(target)) == 401, target
        assert asker.ask(request(target, default(SECRET, BODY), BODY)) == 200, target
    assert {each.path.split("?")[0] for each in upstream.requests} == {GUARDED}


def test_what_envoy_leaves_is_refused_by_the_guard(start, upstream):
    """Without the normalisation of edge.yaml the guard alone is enough."""

    def as_it_came(document):
        document.filters[:] = [each for each in document.filters if each["name"] not in ("shield", "limit")]
        document.manager.update(
            normalize_path=False, merge_slashes=False, path_with_escaped_slashes_action="KEEP_UNCHANGED"
        )

    edge = start(upstream, PASSING, patch=as_it_came)
    asker = Asker(edge)
    for target in TRICKS:
        status = asker.ask(unsigned(target))
        assert status in (0, 400, 401, 404, 414, 431), target
    assert upstream.requests == []
    assert edge.count("-", "denied", "path_ambiguous") > 20


def test_http2_is_no_different_for_the_client_of_the_tests(edge):
    """A signed delivery over HTTP/2 does get through, so that the refusals above mean something."""
    with Client2(edge.port, tls=edge.authority.context(alpn=["h2"])) as client:
        signed = [(name.lower(), value) for name, value in default(SECRET, BODY)]
        assert client.ask(GUARDED, signed, BODY)[0] == 200
