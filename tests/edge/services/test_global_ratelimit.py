"""One limit for a fleet: Envoys with the reference rate limit service and a real Redis, and each of their faults."""

from __future__ import annotations

import subprocess
import time

import pytest
import yaml

from harness.client import post
from harness.edge import FOLDER
from harness.envoy import SECRET, Document, Envoy
from harness.full_config import endpoint
from harness.polling import until
from harness.ratelimit_service import LIMITS, RateLimitService, Redis
from harness.sign import default
from harness.tools import tool

BODY = b'{"order": 42}'
TEXT = (FOLDER / "global-ratelimit.yaml").read_text()
TWO = {"endpoints": [endpoint("orders", path="/webhook"), endpoint("other", path="/other")]}
FORGED = default("not the secret", BODY)
LIMIT = 100
MINUTE = 60
STATISTIC = "cluster.upstream.ratelimit.limit."


@pytest.fixture
def redis(tmp_path):
    with Redis(tmp_path) as running:
        yield running


@pytest.fixture
def service(tmp_path, redis):
    with RateLimitService(tmp_path, redis) as running:
        yield running


@pytest.fixture
def fleet(request, upstream, service):
    """Starts Envoys that ask the same service. They wait for its answer, so that a busy machine loses no count."""

    def start(configuration=None, timeout: str = "20s", deny: bool = False) -> Envoy:
        def ask(document):
            point_to(service, document)
            limit_of(document).update(timeout=timeout, failure_mode_deny=deny)
            cluster_of(document.data)["connect_timeout"] = "20s"

        running = Envoy(upstream.port, configuration, text=TEXT, patch=ask)
        request.addfinalizer(running.stop)
        return running.start()

    return start


def limit_of(document) -> dict:
    (found,) = [each for each in document.filters if each["name"] == "limit"]
    return found["typed_config"]


def cluster_of(document) -> dict:
    (found,) = [each for each in document["static_resources"]["clusters"] if each["name"] == "ratelimit"]
    return found


def point_to(service, document) -> None:
    (host,) = cluster_of(document.data)["load_assignment"]["endpoints"][0]["lb_endpoints"]
    host["endpoint"]["address"]["socket_address"]["port_value"] = service.port


def deliver(envoy, path: str = "/webhook", headers=None, **how):
    return post(envoy.port, path, default(SECRET, BODY) if headers is None else headers, BODY, **how)


def counted(envoy) -> dict:
    """The statistics of the filter `limit` that are above zero."""
    found = envoy.stats(f"^{STATISTIC}")
    return {name.removeprefix(STATISTIC): value for name, value in found.items() if value}


def increase(envoy, before: dict) -> dict:
    """How much the statistics have risen."""
    found = {name: value - before.get(name, 0) for name, value in counted(envoy).items()}
    return {name: value for name, value in found.items() if value}


def within_one_minute(attempt):
    """The result of an attempt that began and ended in the same minute. Each attempt gets an address of its own."""
    for number in range(1, 6):
        before = time.time() // MINUTE
        result = attempt(f"127.0.0.{number}")
        if time.time() // MINUTE == before:
            return result
    raise AssertionError("five attempts in a row took more than the rest of a minute")


def test_the_service_accepts_the_shipped_limits():
    command = [tool("config_check_cmd"), "-config_dir", LIMITS / "config"]
    checked = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout
    (limits,) = [yaml.safe_load(file.read_text()) for file in (LIMITS / "config").iterdir()]
    assert limits["domain"] == limit_of(Document(TEXT))["domain"]


def test_all_envoys_share_the_limit(fleet, upstream):
    envoys = [fleet(), fleet()]

    def attempt(source):
        before = len(upstream.requests)
        statuses = [deliver(envoys[number % 2], source=source).status for number in range(LIMIT + 2)]
        return statuses, len(upstream.requests) - before

    assert within_one_minute(attempt) == ([200] * LIMIT + [429] * 2, LIMIT)


def test_only_accepted_requests_use_up_the_limit(fleet, redis, upstream):
    envoy = fleet(TWO)

    def attempt(source):
        with upstream.nothing():
            assert {deliver(envoy, headers=FORGED, source=source).status for _ in range(LIMIT + 1)} == {401}
            assert deliver(envoy, "/elsewhere", source=source).status == 404
        return [deliver(envoy, source=source).status for _ in range(LIMIT)]

    assert within_one_minute(attempt) == [200] * LIMIT
    assert {key.split("_127.")[0] for key in redis.keys()} == {"webhooks_endpoint_orders_masked_remote_address"}


def test_each_endpoint_and_each_address_has_a_limit(fleet, upstream):
    envoy = fleet(TWO)

    def attempt(source):
        for _ in range(LIMIT):
            assert deliver(envoy, source=source).status == 200
        with upstream.nothing():
            refused = deliver(envoy, source=source)
        others = deliver(envoy, "/other", source=source), deliver(envoy, source="127.0.1.1")
        return refused, [each.status for each in others]

    refused, others = within_one_minute(attempt)
    assert (refused.status, refused.all("retry-after")) == (429, ["10"])
    assert others == [200, 200]


def test_the_window_is_a_minute_of_the_clock(fleet, redis):
    """So the end of a minute and the begin of the next one have a limit each."""
    envoy = fleet()

    def attempt(source):
        begun = time.time()
        (left,) = deliver(envoy, source=source).all("x-ratelimit-reset")
        return MINUTE - begun % MINUTE, int(left), MINUTE - time.time() % MINUTE

    most, left, least = within_one_minute(attempt)
    assert least - 1 <= left <= most + 1
    assert {int(key.rpartition("_")[2]) % MINUTE for key in redis.keys()} == {0}


FAULTS = {
    "Redis killed": ("redis", "kill", "start"),
    "Redis hung": ("redis", "hang", "resume"),
    "service killed": ("service", "kill", "start"),
    "service hung": ("service", "hang", "resume"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("deny", [False, True], ids=["forwards", "denies"])
class TestFaults:
    """The service or its Redis fails, and returns. `failure_mode_deny` decides about verified requests alone."""

    @pytest.fixture
    def envoy(self, fleet, deny) -> Envoy:
        return fleet(timeout=limit_of(Document(TEXT))["timeout"], deny=deny)

    def test_what_a_sender_gets(self, fault, deny, envoy, request, upstream, capsys):
        server, cause, undo = FAULTS[fault]
        server = request.getfixturevalue(server)
        until(lambda: deliver(envoy).status == 200 and "ok" in counted(envoy), what="an answer of the service")
        getattr(server, cause)()
        before, counted_before = len(upstream.requests), counted(envoy)
        answers, cost = timed(lambda: deliver(envoy), 10)
        assert max(cost) < 10, "the service waits that long for Redis, and Envoy does not"
        if deny:
            assert {unavailable(each) for each in answers} == {(503, b"Unavailable\n", ("30",))}
            assert len(upstream.requests) == before
            assert increase(envoy, counted_before) == {"error": 10}
        else:
            assert {each.status for each in answers} == {200}
            assert len(upstream.requests) == before + 10
            assert increase(envoy, counted_before) == {"error": 10, "failure_mode_allowed": 10}
        with upstream.nothing():
            assert deliver(envoy, headers=FORGED).status == 401
        getattr(server, undo)()
        until(lambda: deliver(envoy).status == 200 and "ok" in increase(envoy, counted_before), what="the limit")
        with capsys.disabled():
            print(f"\n  {fault}, {'503' if deny else '200'} after {1000 * min(cost):.0f} to {1000 * max(cost):.0f} ms")


def timed(call, times: int) -> tuple:
    """The results of several calls, and the seconds that each took."""
    results, cost = [], []
    for _ in range(times):
        begun = time.monotonic()
        results.append(call())
        cost.append(time.monotonic() - begun)
    return results, cost


def unavailable(answer) -> tuple:
    return answer.status, answer.body, tuple(answer.all("retry-after"))


def test_edge_yaml_with_this_limit_answers_as_for_a_failed_upstream(start, upstream, service):
    """The page says what to copy: the filter `limit`, the cluster `ratelimit` and `rate_limits`."""
    shipped = Document(TEXT)

    def copy(document):
        limit_of(document).clear()
        limit_of(document).update(limit_of(shipped), failure_mode_deny=True)
        document.data["static_resources"]["clusters"].append(cluster_of(shipped.data))
        document.virtual_host["rate_limits"] = shipped.virtual_host["rate_limits"]
        point_to(service, document)

    edge = start(upstream, patch=copy)
    until(lambda: edge.deliver().status == 200 and "ok" in counted(edge), what="an answer of the service")
    before = counted(edge)
    service.kill()
    assert unavailable(edge.deliver()) == (503, b"Unavailable\n", ("30",))
    assert increase(edge, before) == {"error": 1}


def test_each_machine_has_its_own_shield(fleet, redis):
    envoy = fleet()
    statuses: list = []
    # Ten tokens come back each second, and a busy machine needs many seconds.
    while 429 not in statuses and len(statuses) < 12_000:
        statuses.append(deliver(envoy, headers=FORGED).status)
    assert statuses.index(429) >= 600
    assert redis.keys() == []
    until(lambda: deliver(envoy, source="127.0.0.7").status == 200)
