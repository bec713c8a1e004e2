"""Each delivery once: copies, retries, crashes and changes in between, over two workers."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time

import pytest
from h2.events import ResponseReceived

from harness import client, full_config, sign
from harness.clock import Clock
from harness.concurrently import at_once
from harness.envoy import MODULE, Envoy
from harness.failing_upstream import BEHAVIOURS, FailingUpstream
from harness.full_config import WHSEC, endpoint
from harness.http2_client import Http2Client
from harness.polling import in_both_workers, until
from harness.trapping_module import trapping
from harness.upstream import Upstream
from harness.verdict import assert_answer, verdict

BODY = b'{"order": 42}'
SLACK = "secret-of-slack-1"
# How long the claim of a lost worker lasts, in seconds.
LEASE = 8
# A lease that ends while a request is still under way, if the guard does not renew it.
SHORT = 2
FRESH = itertools.count()
# DATA on no stream, or a window that grows by nothing.
BREACHES = pytest.mark.parametrize("frame", ["000001000000000000", "00000408000000000000000000"], ids=["data", "window"])


def ids(**more) -> dict:
    """An endpoint whose sender signs ids."""
    secret = {"version": "v1", "value": WHSEC}
    return endpoint("ids", secret, provider="standard-webhooks", **more)


def times(**more) -> dict:
    """An endpoint whose sender signs times, but no ids."""
    return endpoint("times", {"version": "v1", "value": SLACK}, provider="slack", query=["a"], **more)


def configuration(*endpoints) -> dict:
    return {"environment": "test", "endpoints": list(endpoints) or [ids(), times()]}


def new(body: bytes = BODY) -> tuple:
    """A delivery that was never sent: path, headers and body."""
    return "/ids", sign.standard_webhooks(WHSEC, body, identity=f"msg_{next(FRESH)}"), body


def new_time() -> tuple:
    body = b'{"order": %d}' % next(FRESH)
    return "/times", sign.slack(SLACK, body), body


def send(envoy, delivery, **how):
    return client.post(envoy.port, *delivery, **how)


@pytest.fixture(scope="module")
def healthy():
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def remembering(healthy):
    """An Envoy whose upstream accepts everything."""
    with Envoy(healthy.port, configuration()) as running:
        yield running


@pytest.fixture
def watched(upstream_alone):
    """An Envoy with its own upstream, and the file that configures its guard."""
    running = Envoy(upstream_alone.port, configuration())
    file = running.document.discover_guard(running.folder / "watched")
    with running:
        yield running, file


@pytest.fixture
def failing():
    with FailingUpstream() as server:
        yield server


class TestACopy:
    def test_of_an_id_is_a_success_to_its_sender(self, remembering, healthy):
        delivery = new()
        assert send(remembering, delivery).status == 200
        with healthy.nothing():
            again = send(remembering, delivery)
        assert (again.status, again.body) == (200, b"Already delivered")
        assert again.get("x-envoy-upstream-service-time") is None

    def test_of_an_id_with_another_time_and_body_is_a_copy(self, remembering, healthy):
        """Senders repeat a delivery like this."""
        _, headers, body = delivery = new()
        assert send(remembering, delivery).status == 200
        identity = dict(headers)["webhook-id"]
        later = sign.standard_webhooks(WHSEC, b"{}", at=int(time.time()) + 60, identity=identity)
        with healthy.nothing():
            assert send(remembering, ("/ids", later, b"{}")).body == b"Already delivered"

    def test_of_an_id_beside_a_provider(self, start, upstream_alone):
        secret = {"version": "v1", "value": SLACK}
        envoy = start(upstream_alone, configuration(endpoint("hub", secret, provider="github", id={"json": "/id"})))

        def signed(body):
            return "/hub", sign.github(SLACK, body), body

        assert send(envoy, signed(b'{"id": "e1", "attempt": 1}')).body == b"hello"
        assert send(envoy, signed(b'{"id": "e1", "attempt": 2}')).body == b"Already delivered"
        assert send(envoy, signed(b'{"id": "e2"}')).body == b"hello"
        with verdict(envoy, "hub", "denied", "signature_malformed"):
            assert_answer(send(envoy, signed(b'{"id": null}')), "signature_malformed")
        assert len(upstream_alone.requests) == 2

    def test_of_another_senders_id_is_another_delivery(self, start, upstream_alone):
        theirs = {"version": "v2", "value": full_config.PRESETS["svix"][0], "sender": "theirs"}
        shared = ids()
        shared["secrets"] = [{**shared["secrets"][0], "sender": "ours"}, theirs]
        envoy = start(upstream_alone, configuration(shared))

        def signed(secret, identity):
            return "/ids", sign.standard_webhooks(secret["value"], BODY, identity=identity), BODY

        for secret in shared["secrets"]:
            assert send(envoy, signed(secret, "msg_1001")).body == b"hello"
        for secret in shared["secrets"]:
            assert send(envoy, signed(secret, "msg_1001")).body == b"Already delivered"
        assert len(upstream_alone.requests) == 2

    def test_of_a_time_is_a_conflict(self, remembering, healthy):
        delivery = new_time()
        with verdict(remembering, "times", "accepted", "accepted") as first:
            assert send(remembering, delivery).status == 200
        with verdict(remembering, "times", "denied", "replayed") as second, healthy.nothing():
            assert_answer(send(remembering, delivery), "replayed")
        assert first["line"]["delivery"] == second["line"]["delivery"]
        assert second["line"]["secret_version"] == "v1"

    def test_in_another_spelling_is_a_copy(self, remembering, healthy):
        path, headers, body = delivery = new_time()
        assert send(remembering, delivery).status == 200
        named = dict(headers)
        signature = named["X-Slack-Signature"]
        dressed = [
            ("X-Slack-Signature", "v0=" + signature[3:].upper()),
            ("x-slack-request-timestamp", named["X-Slack-Request-Timestamp"]),
            ("x-more", "1"),
        ]
        with healthy.nothing():
            assert send(remembering, (path + "?a=1", dressed, body)).status == 409
            pieces = client.chunked(path, dressed, [body[:3], body[3:]])
            assert client.ask(remembering.port, *pieces).status == 409
            with Http2Client(remembering.port) as http2:
                assert http2.ask(path, [(k.lower(), v) for k, v in dressed], body)[0] == 409

    def test_a_second_signature_makes_no_second_delivery(self, remembering, healthy):
        path, headers, body = delivery = new()
        assert send(remembering, delivery).status == 200
        named = dict(headers)
        named["webhook-signature"] = "v1,AAAA " + named["webhook-signature"]
        with healthy.nothing():
            assert send(remembering, (path, list(named.items()), body)).body == b"Already delivered"

    def test_forged_copies_do_not_block_the_delivery(self, remembering):
        path, headers, body = delivery = new()
        forged = [*headers[:-1], ("webhook-signature", "v1," + "A" * 43 + "=")]
        assert at_once(lambda _: send(remembering, (path, forged, body)).status, range(20)) == [401] * 20
        assert send(remembering, delivery).body == b"hello"

    def test_the_upstream_learns_which_delivery_it_is(self, remembering, healthy):
        path, headers, body = new()
        before = len(healthy.requests)
        assert send(remembering, (path, [*headers, ("X-Webhook_Guard-Delivery", "mine")], body)).status == 200
        request = healthy.next(before)
        assert request.names("x-webhook-guard-") == [
            "x-webhook-guard-delivery",
            "x-webhook-guard-endpoint",
            "x-webhook-guard-secret-version",
        ]
        assert len(bytes.fromhex(request.get("x-webhook-guard-delivery"))) == 16

    def test_of_an_empty_delivery(self, remembering, healthy):
        delivery = "/times", sign.slack(SLACK, b"", at=int(time.time()) - next(FRESH)), b""
        assert send(remembering, delivery).body == b"hello"
        with healthy.nothing():
            assert send(remembering, delivery).status == 409

    def test_of_a_large_delivery(self, remembering, healthy):
        body = bytes([next(FRESH) % 256]) * 1_000_000
        delivery = "/times", sign.slack(SLACK, body), body
        assert send(remembering, delivery).body == b"hello"
        with healthy.nothing():
            assert send(remembering, delivery).status == 409


class TestNotDelivered:
    """The delivery may be sent again, because losing an event is as bad as processing it twice."""

    BEHAVIOURS = ["failing", "resetting", "closing", "garbled", "moved", "refused"]

    @pytest.mark.parametrize("behaviour", BEHAVIOURS)
    def test_it_may_come_again(self, behaviour, start, failing):
        BEHAVIOURS["moved"] = b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"
        BEHAVIOURS["refused"] = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"
        envoy = start(failing, configuration())
        for delivery in (new(), new_time()):
            failing.behaviour = behaviour
            for _ in range(3):
                assert send(envoy, delivery).status not in (200, 409)
            failing.behaviour = "healthy"
            assert send(envoy, delivery).body == b"hello"
            assert b"Already delivered" in send(envoy, delivery).body
        assert not any(envoy.replay("evictions_total", name) for name in ("ids", "times"))

    def test_after_a_timeout(self, start, failing):
        failing.delay, failing.behaviour = 3, "slow"

        def patch(document):
            document.virtual_host["routes"][0]["route"]["timeout"] = "0.3s"

        envoy = start(failing, configuration(), patch=patch)
        delivery = new()
        assert send(envoy, delivery).status == 504
        failing.behaviour = "healthy"
        assert send(envoy, delivery).body == b"hello"

    def test_without_an_upstream(self, start, failing):
        envoy = start(failing, configuration())
        failing.stop()
        delivery = new()
        assert [send(envoy, delivery).status for _ in range(3)] == [503] * 3
        with FailingUpstream(port=failing.port):
            assert send(envoy, delivery).body == b"hello"

    def test_after_its_client_left_and_the_lease_ended(self, start, failing):
        """The answer is unknown then. Copies whose clients leave at once do not go upstream one after the other."""
        failing.delay, failing.behaviour = 1.5, "slow"
        envoy = start(failing, configuration(ids(replay={"lease": f"{LEASE}s"})))
        delivery = new()
        for _ in range(5):
            with client.Client(envoy.port) as leaving:
                leaving.send(client.request(*delivery))
                failing.next(0)
        assert_answer(send(envoy, delivery), "in_flight")
        assert len(failing.requests) == 1
        failing.behaviour = "healthy"
        until(lambda: send(envoy, delivery).body == b"hello", LEASE + 5)
        assert send(envoy, delivery).body == b"Already delivered"

    @pytest.mark.parametrize("http", [1, 2])
    def test_a_client_that_leaves_during_a_good_answer_changes_nothing(self, http, start, failing):
        """The upstream has already accepted the delivery."""
        BEHAVIOURS["begun"] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"
        failing.behaviour = "begun"
        envoy = start(failing, configuration(ids(replay={"lease": f"{LEASE}s"})))
        delivery = new()
        with client.Client(envoy.port) if http == 1 else Http2Client(envoy.port) as leaving:
            if http == 1:
                leaving.send(client.request(*delivery))
                leaving.socket.recv(10)
            else:
                stream = deliver(leaving, delivery)
                until(lambda: any(isinstance(each, ResponseReceived) for each in received(leaving)))
                leaving.reset(stream)
        failing.behaviour = "healthy"
        for _ in range(3):
            assert until(lambda: settled(send(envoy, delivery))).body == b"Already delivered"
        assert len(failing.requests) == 1

    @BREACHES
    def test_copies_whose_clients_break_the_protocol_do_not_multiply(self, frame, start, failing):
        """Envoy does not show which side broke off a good answer. The claim stays until its lease ends."""
        BEHAVIOURS["begun"] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"
        failing.behaviour = "begun"
        envoy = start(failing, configuration(ids(replay={"lease": f"{LEASE}s"})))
        delivery = new()
        for _ in range(5):
            with Http2Client(envoy.port) as leaving:
                deliver(leaving, delivery)
                until(lambda: any(isinstance(each, ResponseReceived) for each in received(leaving)))
                break_protocol(leaving, frame)
        assert len(failing.requests) == 1
        failing.behaviour = "healthy"
        until(lambda: settled(send(envoy, delivery)), LEASE + 5)
        assert send(envoy, delivery).body == b"Already delivered"

    def test_after_another_filter_answered(self, start, upstream_alone):
        """For example the rate limit, which follows the guard."""
        limit = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
        always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
        config = {
            "@type": limit,
            "stat_prefix": "limit",
            "token_bucket": {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1s"},
            "filter_enabled": always,
            "filter_enforced": always,
        }

        def patch(document):
            document.filters.insert(-1, {"name": "limit", "typed_config": config})

        envoy = start(upstream_alone, configuration(), patch=patch)
        assert send(envoy, new()).status == 200
        delivery = new()
        assert send(envoy, delivery).status == 429
        until(lambda: send(envoy, delivery).body == b"hello")
        assert len(upstream_alone.requests) == 2

    @pytest.mark.parametrize("behaviour", ["refusing", "calling"])
    def test_after_a_failure_that_looks_like_success(self, behaviour, start, failing):
        """The content type is not signed. Envoy answers 200 to what looks like a gRPC call, even if the call failed."""
        BEHAVIOURS["calling"] = b"HTTP/1.1 200 OK\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n"
        envoy = start(failing, configuration())
        path, headers, body = delivery = new()
        if behaviour == "refusing":
            failing.stop()
        failing.behaviour = behaviour
        send(envoy, (path, [*headers, ("content-type", "application/grpc")], body))
        if behaviour == "refusing":
            with FailingUpstream(port=failing.port):
                assert send(envoy, delivery).body == b"hello"
        else:
            failing.behaviour = "healthy"
            assert send(envoy, delivery).body == b"hello"

    @pytest.mark.parametrize("behaviour", ["half", "half in chunks"])
    def test_after_an_answer_that_broke_off(self, behaviour, start, failing):
        """The sender saw the failure, and retries."""
        envoy = start(failing, configuration())
        failing.behaviour = behaviour
        delivery = new()
        with pytest.raises(Exception):
            send(envoy, delivery)
        failing.behaviour = "healthy"
        assert until(lambda: settled(send(envoy, delivery))).body == b"hello"
        assert send(envoy, delivery).body == b"Already delivered"


class TestInFlight:
    def test_a_second_copy_waits_for_the_first(self, start, failing):
        failing.delay, failing.behaviour = 1, "slow"
        envoy = start(failing, configuration())
        delivery = new_time()
        with client.Client(envoy.port) as first:
            first.send(client.request(*delivery))
            failing.next(0)
            with verdict(envoy, "times", "denied", "in_flight"):
                assert_answer(send(envoy, delivery), "in_flight")
            assert first.response().body == b"hello"
        assert_answer(send(envoy, delivery), "replayed")
        assert len(failing.requests) == 1

    def test_a_copy_waits_for_a_slow_upstream_longer_than_the_lease(self, start, failing):
        """The guard renews the lease while Envoy has the request."""
        failing.delay, failing.behaviour = 3 * SHORT, "slow"
        envoy = start(failing, configuration(ids(replay={"lease": f"{SHORT}s"})))
        delivery = new()
        with client.Client(envoy.port) as first:
            first.send(client.request(*delivery))
            failing.next(0)
            for _ in range(5):
                time.sleep(SHORT / 2)
                assert_answer(send(envoy, delivery), "in_flight")
            assert first.response().body == b"hello"
        assert send(envoy, delivery).body == b"Already delivered"
        assert len(failing.requests) == 1

    def test_a_client_that_reads_no_answer_lets_no_copy_through(self, start, failing):
        """The request ends when the client reads the answer, or leaves."""
        envoy = start(failing, configuration(ids(replay={"lease": f"{SHORT}s"})))
        delivery = new()
        with Http2Client(envoy.port, window=0) as reader:
            deliver(reader, delivery)
            failing.next(0)
            for _ in range(5):
                time.sleep(SHORT / 2)
                assert_answer(send(envoy, delivery), "in_flight")
        assert until(lambda: settled(send(envoy, delivery))).body == b"Already delivered"
        assert len(failing.requests) == 1

    @BREACHES
    def test_a_client_that_reads_no_answer_and_breaks_the_protocol_lets_no_copy_through(self, frame, start, failing):
        """The answer of the upstream was whole."""
        envoy = start(failing, configuration(ids(replay={"lease": f"{SHORT}s"})))
        delivery = new()
        with Http2Client(envoy.port, window=0) as reader:
            deliver(reader, delivery)
            failing.next(0)
            until(lambda: any(isinstance(each, ResponseReceived) for each in received(reader)))
            break_protocol(reader, frame)
        assert until(lambda: settled(send(envoy, delivery))).body == b"Already delivered"
        assert len(failing.requests) == 1

    def test_a_client_that_leaves_a_failure_unread_blocks_no_retry(self, start, failing):
        BEHAVIOURS["large failure"] = BEHAVIOURS["large"].replace(b"200 OK", b"500 Internal Server Error", 1)
        failing.behaviour = "large failure"
        envoy = start(failing, configuration(ids(replay={"lease": f"{SHORT}s"})))
        delivery = new()
        with client.Client(envoy.port) as leaving:
            leaving.send(client.request(*delivery))
            assert leaving.socket.recv(12) == b"HTTP/1.1 500"
            failing.behaviour = "healthy"
            assert until(lambda: settled(send(envoy, delivery))).body == b"hello"

    def test_of_copies_at_once_one_goes_upstream(self, start, upstream_alone):
        """Two hundred of them over both workers, ten times."""
        upstream_alone.delay = 0.05
        envoy = start(upstream_alone, configuration())
        for turn in range(1, 11):
            delivery = new() if turn % 2 else new_time()
            statuses = all_at_once(envoy, client.request(*delivery), 200)
            until(lambda: len(upstream_alone.requests) >= turn)
            assert len(upstream_alone.requests) == turn
            assert {status for status, _ in statuses} <= {200, 409}
            assert sum(body == b"hello" for _, body in statuses) == 1
        for worker in (0, 1):
            taken = envoy.stats(f"^listener.127.*worker_{worker}.downstream_cx_total")
            assert sum(taken.values()) > 200, taken

    def test_distinct_deliveries_at_once_all_arrive(self, start, upstream_alone):
        """Three thousand, held by Envoy at the same time."""

        def patch(document):
            limits = {"max_connections": 100, "max_pending_requests": 5000, "max_requests": 5000}
            document.cluster["circuit_breakers"] = {"thresholds": [limits]}
            document.manager["http2_protocol_options"]["max_concurrent_streams"] = 100

        envoy = start(upstream_alone, configuration(), patch=patch)
        # A worker that has seen a body waits for others as long as it takes, and a busy machine may need seconds.
        assert in_both_workers(lambda: send(envoy, new()).status == 200)
        before = envoy.count("ids", "accepted", "accepted")
        connections = [Http2Client(envoy.port) for _ in range(30)]
        held = []
        for connection in connections:
            for _ in range(100):
                path, headers, body = new()
                stream = connection.headers(path, [(k.lower(), v) for k, v in headers])
                held.append((connection, stream, body))
        until(lambda: envoy.stats("downstream_rq_active")["http.webhooks.downstream_rq_active"] >= 3000)
        for connection, stream, body in held:
            connection.data(stream, body, end=True)
        assert {connection.answer(stream) for connection, stream, _ in held} == {(200, b"hello")}
        assert envoy.count("ids", "accepted", "accepted") == before + 3000
        for connection in connections:
            connection.close()


def all_at_once(envoy, request: bytes, count: int) -> list:
    """Status and body of each of so many copies, whose last bytes go off together."""
    barrier = threading.Barrier(count)

    def one(_):
        with client.Client(envoy.port) as connection:
            connection.send(request[:-1])
            barrier.wait(60)
            response = connection.ask(request[-1:])
            return response.status, response.body

    return at_once(one, range(count))


class TestMemory:
    def test_it_outlives_a_change_of_configuration(self, watched, upstream_alone):
        """The new one has another first secret, another size and other endpoints."""
        envoy, file = watched
        delivery, timed = new(), new_time()
        assert [send(envoy, each).status for each in (delivery, timed)] == [200, 200]
        secrets = [{"version": "v2", "value": "a-new-secret-of-slack"}, {"version": "v1", "value": SLACK}]
        changed = [
            endpoint("more"),
            {**times(tolerance="10m", replay={"max_memory_bytes": 65536}), "secrets": secrets},
            ids(replay={"window": "24h"}),
        ]
        envoy.discover(file, configuration(*changed))
        until(lambda: in_both_workers(lambda: client.post(envoy.port, "/more").status == 401), what="the new configuration")
        with upstream_alone.nothing():
            assert send(envoy, delivery).body == b"Already delivered"
            assert send(envoy, timed).status == 409
        assert send(envoy, new()).body == b"hello"

    def test_it_outlives_its_workers(self, start, upstream_alone, tmp_path):
        envoy = start(upstream_alone, configuration(), patch=trap_on_trailers(tmp_path))
        delivery = new()
        assert send(envoy, delivery).body == b"hello"
        trap(envoy, times=2)
        for _ in range(20):
            assert until(lambda: served(send(envoy, delivery))).body == b"Already delivered"
        assert len(upstream_alone.requests) == 1

    def test_a_delivery_of_a_lost_worker_may_be_sent_again_after_the_lease(self, start, failing, tmp_path):
        failing.delay, failing.behaviour = 2 * LEASE, "slow"
        leased = ids(replay={"lease": f"{LEASE}s"})
        # With two workers, the other one could trap twice, and this one would renew its lease.
        envoy = start(failing, configuration(leased), patch=trap_on_trailers(tmp_path), workers=1)
        delivery = new()
        with client.Client(envoy.port) as first:
            first.send(client.request(*delivery))
            failing.next(0)
            failing.behaviour = "healthy"
            trap(envoy, times=1)
            assert until(lambda: served(send(envoy, delivery))).status == 409
            until(lambda: send(envoy, delivery).body == b"hello", LEASE + 5)
        assert send(envoy, delivery).body == b"Already delivered"

    def test_workers_do_not_undo_each_others_changes(self, start, upstream):
        """Both workers change the same bucket, for hundreds of deliveries, as fast as they can."""
        envoy = start(upstream, configuration(), patch=answer_directly)
        identities = (f"msg_{number}" for number in itertools.count())
        crowded = (each for each in identities if sign.mac(b"ids", each.encode(), algorithm="sha512")[0] == 0)
        deliveries = [
            ("/ids", sign.standard_webhooks(WHSEC, BODY, identity=each), BODY)
            for each in itertools.islice(crowded, 250)
        ]
        pour(envoy, deliveries)
        until(lambda: envoy.replay("memory_bytes", "ids") == 28 * len(deliveries), what="the gauge to show all deliveries")
        assert {send(envoy, each).body for each in deliveries} == {b"Already delivered"}

    def test_it_is_bounded_and_counts_what_it_forgot(self, start, upstream):
        """Sends 100,000 deliveries. The memory holds about 74,000 of them."""
        count = 100_000
        envoy = start(upstream, configuration(), patch=answer_directly)
        pour(envoy, [new() for _ in range(2_000)])
        deliveries = [new() for _ in range(count)]
        before, began = envoy.resident(), time.monotonic()
        pour(envoy, deliveries)
        took, after = time.monotonic() - began, envoy.resident()
        held, forgotten = (envoy.replay(each, "ids") for each in ("memory_bytes", "evictions_total"))
        print(
            f"{count} deliveries in {took:.0f} s: memory {held} bytes, {forgotten} forgotten, "
            f"RSS {before / 1e6:.1f} -> {after / 1e6:.1f} MB"
        )
        assert 1_900_000 < held <= 2_097_152
        assert forgotten == 2_000 + count - held // 28
        assert after - before < 64_000_000
        # The youngest are known.
        for delivery in deliveries[-10:]:
            assert send(envoy, delivery).body == b"Already delivered"

    def test_it_does_not_follow_a_clock_that_is_set(self, start, upstream_alone, tmp_path):
        clock = Clock(tmp_path)
        envoy = start(upstream_alone, configuration(), clock=clock)
        path, headers, body = delivery = new_time()
        stamp = int(dict(headers)["X-Slack-Request-Timestamp"])
        assert send(envoy, delivery).body == b"hello"

        def bucket(at: int, body: bytes) -> int:
            return sign.mac(b"times", b"v0:%d:%s" % (at, body), algorithm="sha512")[0]

        for shift, status in [(3600, 401), (0, 409), (-3600, 401), (250, 409), (0, 409)]:
            clock.set(shift)
            with upstream_alone.nothing():
                assert send(envoy, delivery).status == status, shift
            # A delivery of the same bucket makes the guard drop what has expired there.
            stamped = int(time.time()) + shift
            others = (b'{"order": %d}' % next(FRESH) for _ in range(10_000))
            other = next(each for each in others if bucket(stamped, each) == bucket(stamp, body))
            assert send(envoy, (path, sign.slack(SLACK, other, at=stamped), other)).status == 200

    def test_a_slow_copy_is_judged_by_its_end(self, start, upstream_alone):
        """The headers arrive while the copy is fresh, and the last byte after the entry has lapsed."""
        short = times(tolerance="2s", replay={"window": "4s"})
        envoy = start(upstream_alone, configuration(short))
        path, headers, body = delivery = new_time()
        began = time.monotonic()
        assert send(envoy, delivery).body == b"hello"
        with client.Client(envoy.port) as slow, upstream_alone.nothing():
            until(lambda: time.monotonic() - began > 1)
            slow.send(client.request(path, headers, body)[: -len(body)], body[:5])
            until(lambda: time.monotonic() - began > 5.5)
            slow.send(body[5:])
            assert slow.response().status == 401
        assert envoy.count("times", "denied", "timestamp_expired") == 1

    @pytest.mark.parametrize("step", [-2, -60, -3600, -86400 * 365])
    def test_a_clock_set_back_lets_no_copy_through(self, step, start, upstream_alone, tmp_path):
        """The tolerance is 5 s and the window 10 s, so the memory of the delivery has expired."""
        clock = Clock(tmp_path)
        short = times(tolerance="5s", replay={"window": "10s"})
        envoy = start(upstream_alone, configuration(short), clock=clock)
        # By the true time this delivery is 4 s ahead.
        path, _, body = new_time()
        delivery = (path, sign.slack(SLACK, body, at=int(time.time()) + 4), body)
        assert send(envoy, delivery).body == b"hello"
        time.sleep(10.5)
        with upstream_alone.nothing():
            for shift in (0, step, -8, -12, -6):
                clock.set(shift)
                assert send(envoy, delivery).status in (401, 409), shift

    def test_a_window_that_is_over(self, start, upstream_alone):
        short = ids(tolerance="5s", replay={"window": "10s"})
        envoy = start(upstream_alone, configuration(short))
        identity = f"msg_{next(FRESH)}"

        def stamped():
            return "/ids", sign.standard_webhooks(WHSEC, BODY, identity=identity), BODY

        assert send(envoy, stamped()).body == b"hello"
        assert send(envoy, stamped()).body == b"Already delivered"
        until(lambda: send(envoy, stamped()).body == b"hello", what="the end of the window")


class TestModes:
    def test_monitor_remembers_nothing(self, watched):
        """Mode `monitor` reads the memory: it reports deliveries that `enforce` remembered."""
        envoy, file = watched
        known = new()
        assert send(envoy, known).body == b"hello"
        envoy.discover(file, configuration(endpoint("more"), ids(mode="monitor")))
        until(lambda: in_both_workers(lambda: client.post(envoy.port, "/more").status == 401), what="the new configuration")
        with verdict(envoy, "ids", "monitored", "replayed"):
            assert send(envoy, known).body == b"hello"
        unknown = new()
        for _ in range(3):
            with verdict(envoy, "ids", "accepted", "accepted"):
                assert send(envoy, unknown).body == b"hello"

    def test_a_configured_status(self, start, upstream_alone):
        envoy = start(upstream_alone, configuration(ids(replay={"status": 410})))
        delivery = new()
        assert send(envoy, delivery).status == 200
        assert send(envoy, delivery).status == 410

    def test_without_a_memory(self, start, upstream_alone):
        envoy = start(upstream_alone, configuration(ids(replay={"window": "0s"})))
        delivery = new()
        assert [send(envoy, delivery).body for _ in range(3)] == [b"hello"] * 3
        assert upstream_alone.requests[0].get("x-webhook-guard-delivery") is None
        digests = {request.get("x-webhook-guard-message") for request in upstream_alone.requests}
        assert len(digests) == 1 and None not in digests


def settled(response):
    """The response, unless it reports that another copy is in flight."""
    return response if response.body != b"Already being delivered" else None


def deliver(connection: Http2Client, delivery: tuple) -> int:
    """Sends a whole delivery; returns its stream."""
    path, headers, body = delivery
    stream = connection.headers(path, [(name.lower(), value) for name, value in headers])
    connection.data(stream, body, end=True)
    return stream


def break_protocol(connection: Http2Client, frame: str) -> None:
    """Sends a frame of `BREACHES`, and reads until Envoy closes the connection."""
    connection.socket.sendall(bytes.fromhex(frame) + b"x" * int(frame[:6] == "000001"))
    with contextlib.suppress(OSError):
        connection.read_to_end()


def received(connection: Http2Client) -> list:
    """The bytes of a connection, after a short wait for more."""
    connection.ends(0, 0.1)
    return connection.events()


def served(response):
    """The response, unless a worker without a module gave it."""
    return response if response.status != 503 else None


def trap_on_trailers(folder):
    """A patch: a copy of the module that traps on trailers, and otherwise is the guard."""
    module = folder / "trap.wasm"
    module.write_bytes(trapping(MODULE.read_bytes(), "proxy_on_request_trailers"))

    def patch(document):
        document.guard["vm_config"]["code"]["local"]["filename"] = str(module)
        document.trailers()

    return patch


def trap(envoy, times: int) -> None:
    """Has workers trap, with requests that have trailers, until Envoy has loaded the module again so many times."""

    def reloads() -> int:
        return envoy.stats("vm_reload_success")["wasm.webhook_guard.vm_reload_success"]

    def has_trapped() -> bool:
        path, headers, body = new()
        client.ask(envoy.port, *client.chunked(path, headers, [body], [("x-a", "b")]))
        return reloads() >= times

    until(has_trapped, what="the workers to trap")


def answer_directly(document) -> None:
    """A patch: Envoy itself is the upstream, which is faster than ours."""
    answer = {"status": 200, "body": {"inline_string": "hello"}}
    document.virtual_host["routes"] = [{"match": {"prefix": "/"}, "direct_response": answer}]


def pour(envoy, deliveries: list, connections: int = 50) -> None:
    """Sends them all, one at a time over each of the connections."""
    opened = [client.Client(envoy.port, timeout=60) for _ in range(connections)]
    for at in range(0, len(deliveries), connections):
        busy = list(zip(opened, deliveries[at : at + connections]))
        for connection, delivery in busy:
            connection.send(client.request(*delivery))
        for connection, _ in busy:
            assert connection.response().body == b"hello"
    for connection in opened:
        connection.close()
