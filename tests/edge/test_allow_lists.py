"""edge-allow-lists.patch with a sender whose list is missing, late or malformed."""

from __future__ import annotations

import json
import time

import pytest

from harness import client
from harness.concurrently import at_once
from harness.envoy import MODULE, Envoy, encoded
from harness.polling import in_both_workers, until
from harness.sign import default
from harness.tls import Authority, server, write_self_signed
from harness.trapping_module import trapping
from harness.upstream import Upstream

BODY = b'{"order": 42}'
HERE = {"hooks": ["127.0.0.1", "2001:db8::/32"]}
ELSEWHERE = {"hooks": ["192.0.2.0/24"]}
NAME = "api.github.com"


class Sender(Upstream):
    """Answers with what `publish` was given last, over HTTPS."""

    def __init__(self, **how) -> None:
        self.answer = b""
        self.broken = False
        super().__init__(**how)

    def publish(self, body, status: str = "200 OK") -> None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answer = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body

    def _answer(self, peer) -> None:
        if self.broken:
            peer.close()
        else:
            peer.sendall(self.answer)


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def sender(authority, tmp_path):
    with Sender(tls=authority.server(tmp_path / "sender", NAME)) as running:
        running.publish(HERE)
        yield running


@pytest.fixture
def begin(start, upstream, authority, tmp_path):
    """Starts an edge that asks this sender, each second."""

    def begin(sender, fields=None, patch=None):
        authority.write(tmp_path / "ca", "unused")

        def change(document):
            cluster = next(each for each in clusters(document) if each["name"] == "sender_addresses")
            hosts = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
            hosts[0]["endpoint"]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": sender.port}
            validation = cluster["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
            validation["trusted_ca"] = {"filename": str(tmp_path / "ca" / "ca.crt")}
            (endpoint,) = document.guard["configuration"]["value"]["endpoints"]
            (list_,) = endpoint["allow_from"]
            list_["refresh"] = "1s"
            endpoint.update(fields or {})
            if patch:
                patch(document)

        return start(upstream, variant_name="allow-lists", patch=change)

    return begin


def clusters(document) -> list:
    return document.data["static_resources"]["clusters"]


def fetches(edge, result: str) -> int:
    return edge.stats("wasmcustom")[f"wasmcustom.webhook_guard_allow_list_fetches_total.endpoint=orders.result={result}"]


def gauge(edge, name: str) -> int:
    return edge.stats("wasmcustom")[f"wasmcustom.webhook_guard_allow_list_{name}.endpoint=orders"]


def deliver(edge, source: str = "127.0.0.1"):
    return edge.deliver(source=source)


def all_answer(edge, status: int, source: str = "127.0.0.1") -> None:
    """Waits until every worker answers with `status`. Each worker takes or drops a list at its own tick.

    The pauses keep the number of requests below the rate limit of one address.
    """

    def is_settled() -> bool:
        time.sleep(1)
        return in_both_workers(lambda: deliver(edge, source).status == status)

    until(is_settled, what=f"{status} from every worker")


def listed(edge) -> None:
    """Waits until every worker has the list. A worker without one answers 503 to an address that is not on it."""
    until(lambda: deliver(edge).status == 200)
    all_answer(edge, 403, "127.0.0.2")


def test_the_fetched_list_decides(begin, sender):
    edge = begin(sender)
    listed(edge)
    assert deliver(edge, "127.0.0.2").status == 403
    asked = sender.requests[0]
    assert (asked.method, asked.path, asked.get("host")) == ("GET", "/meta", NAME)
    assert fetches(edge, "taken") >= 1
    assert gauge(edge, "prefixes") == 2


def test_senders_get_503_until_the_first_list_arrives(begin, sender, upstream):
    sender.broken = True
    edge = begin(sender)
    with upstream.nothing():
        response = deliver(edge)
        assert (response.status, response.body) == (503, b"Unavailable")
        assert response.get("retry-after") == "5"
    assert edge.count("orders", "denied", "allow_list_pending") == 1
    until(lambda: fetches(edge, "failed") >= 1)
    sender.broken = False
    until(lambda: deliver(edge).status == 200)


def test_beside_an_own_list(begin, sender):
    """Until the fetched list has arrived, an address outside the own list may be on it, so the sender must retry."""
    sender.broken = True
    edge = begin(sender, {"allow": ["127.0.0.5"]})
    assert deliver(edge, "127.0.0.5").status == 200
    assert deliver(edge).status == 503
    assert edge.count("orders", "denied", "allow_list_pending") == 1
    sender.broken = False
    listed(edge)
    assert deliver(edge, "127.0.0.5").status == 200
    assert deliver(edge, "127.0.0.6").status == 403


NO_LISTS = {
    "an error": (b"oops", "500 Internal Server Error", "failed"),
    "another place": (b"", "302 Found", "failed"),
    "no JSON": (b"<html></html>", "200 OK", "refused"),
    "nothing": (b"", "200 OK", "refused"),
    "an empty list": ({"hooks": []}, "200 OK", "refused"),
    "no list": ({"web": ["127.0.0.1"]}, "200 OK", "refused"),
    "everybody": ({"hooks": ["127.0.0.1", "0.0.0.0/0"]}, "200 OK", "refused"),
    "all of IPv6": ({"hooks": ["::/0"]}, "200 OK", "refused"),
    "names": ({"hooks": ["localhost"]}, "200 OK", "refused"),
    "too much": (b'{"hooks": ["127.0.0.1"], "x": "' + b"x" * 4_200_000 + b'"}', "200 OK", "refused"),
    "half of it": (b'{"hooks": ["127.0.', "200 OK", "refused"),
}


def test_an_answer_that_is_not_a_list_changes_nothing(begin, sender):
    edge = begin(sender)
    listed(edge)
    for name, (body, status, result) in NO_LISTS.items():
        before = fetches(edge, result)
        sender.publish(body, status)
        until(lambda: fetches(edge, result) > before, what=name)
        assert (deliver(edge).status, deliver(edge, "127.0.0.2").status) == (200, 403), name
    assert gauge(edge, "prefixes") == 2
    # The age of the list grows, and the guard takes the next good list.
    until(lambda: gauge(edge, "age_seconds") >= 5)
    sender.publish(ELSEWHERE)
    until(lambda: deliver(edge).status == 403)
    until(lambda: gauge(edge, "age_seconds") <= 2)
    refusal = "the allow list at api.github.com/meta was not taken"
    refusals = [line for line in edge.log().splitlines() if refusal in line]
    assert len({line.rsplit(": ", 1)[1] for line in refusals}) >= 6


@pytest.mark.parametrize("which", ["another name", "another authority", "self-signed"])
def test_only_the_sender_itself_is_believed(which, begin, authority, tmp_path):
    folder = tmp_path / "other"
    if which == "another name":
        authority.write(folder, "other.example.com")
    elif which == "another authority":
        Authority().write(folder, NAME)
    else:
        write_self_signed(folder, NAME)
    with Sender(tls=server(folder)) as other:
        other.publish(HERE)
        edge = begin(other)
        until(lambda: fetches(edge, "failed") >= 2)
        assert deliver(edge).status == 503
        assert other.requests == []


def test_a_list_that_is_too_old_no_longer_counts(begin, sender):
    """Each failed fetch says for how long it still does; then senders have to retry, until a fetch succeeds."""

    def patch(document):
        (endpoint,) = document.guard["configuration"]["value"]["endpoints"]
        endpoint["allow_from"][0]["max_age"] = "8s"

    edge = begin(sender, patch=patch)
    listed(edge)
    sender.broken = True
    until(lambda: "The last good list counts for " in edge.log())
    assert (deliver(edge).status, deliver(edge, "127.0.0.2").status) == (200, 403)
    all_answer(edge, 503)
    assert "the allow list at api.github.com/meta no longer counts" in edge.log()
    assert gauge(edge, "age_seconds") >= 8
    sender.broken = False
    listed(edge)


def test_both_workers_agree_on_a_new_list(begin, sender):
    edge = begin(sender)
    listed(edge)
    for published, status in [(ELSEWHERE, 403), (HERE, 200)] * 2:
        before = fetches(edge, "taken")
        sender.publish(published)
        until(lambda: fetches(edge, "taken") >= before + 2)
        until(lambda: agreed(edge, status))


def agreed(edge, status: int) -> bool:
    """Whether all workers answer so. A second passes first, because few deliveries pass the limit."""
    time.sleep(1)
    # So many connections that each worker has some.
    return {each.status for each in at_once(lambda _: deliver(edge), range(12))} == {status}


def test_one_worker_fetches_for_all(begin, sender):
    edge = begin(sender)
    until(lambda: deliver(edge).status == 200)
    before, began = len(sender.requests), time.monotonic()
    time.sleep(5)
    asked = until(lambda: (count := len(sender.requests) - before) >= 2 and count)
    assert asked <= (time.monotonic() - began) + 1


def test_a_cluster_that_does_not_exist(begin, sender):
    def patch(document):
        document.data["static_resources"]["clusters"] = [
            each for each in clusters(document) if each["name"] != "sender_addresses"
        ]

    edge = begin(sender, patch=patch)
    until(lambda: fetches(edge, "failed") >= 1)
    assert deliver(edge).status == 503
    until(lambda: "Envoy has no cluster of the name in `cluster`" in edge.log(), what="the explanation")


class TestWhatStays:
    """With an Envoy of the guard alone, whose configuration is watched and whose module traps on trailers."""

    @pytest.fixture
    def envoy(self, request, upstream, tmp_path):
        self.sender = Sender()
        self.sender.publish(HERE)
        request.addfinalizer(self.sender.stop)
        module = tmp_path / "trap.wasm"
        module.write_bytes(trapping(MODULE.read_bytes(), "proxy_on_request_trailers"))

        def patch(document):
            document.guard["vm_config"]["code"]["local"]["filename"] = str(module)
            document.trailers()
            host = {"address": "127.0.0.1", "port_value": self.sender.port}
            cluster = {"name": "lists", "connect_timeout": "1s", "type": "STATIC"}
            endpoints = [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": host}}}]}]
            cluster["load_assignment"] = {"cluster_name": "lists", "endpoints": endpoints}
            clusters(document).append(cluster)

        envoy = Envoy(upstream.port, self.configured(), patch=patch)
        self.file = envoy.document.discover_guard(envoy.folder / "watched")
        with envoy:
            until(lambda: in_both_workers(lambda: self.status(envoy) == 200))
            until(lambda: in_both_workers(lambda: self.status(envoy, "127.0.0.2") == 403))
            self.sender.stop()
            yield envoy

    def test_another_authority_drops_it(self, envoy):
        """The guard drops the list of another authority at once. The sender is unreachable here, so no list replaces it."""
        envoy.discover(self.file, self.configured(authority="another"))
        until(lambda: in_both_workers(lambda: self.status(envoy) == 503))
        assert self.status(envoy, "127.0.0.2") == 503

    def test_another_cluster_drops_it(self, envoy):
        envoy.discover(self.file, self.configured(cluster="upstream"))
        until(lambda: in_both_workers(lambda: self.status(envoy) == 503))

    def configured(self, authority="a", cluster="lists", **more) -> dict:
        published = {"cluster": cluster, "authority": authority, "path": "/", "pointer": "/hooks", "refresh": "1h"}
        secret = {"version": "v1", "env": "WEBHOOK_SECRET"}
        endpoint = {"name": "orders", "match": {"path": "/webhook"}, "secrets": [secret], "allow_from": [published]}
        return {"endpoints": [{**endpoint, **more}]}

    def status(self, envoy, source: str = "127.0.0.1") -> int:
        secret = envoy.env["WEBHOOK_SECRET"]
        return client.post(envoy.port, "/webhook", default(secret, BODY), BODY, source=source).status

    def test_through_another_configuration(self, envoy):
        envoy.discover(self.file, self.configured(max_body_bytes=len(BODY) - 1))
        until(lambda: in_both_workers(lambda: self.status(envoy) == 413))
        envoy.discover(self.file, self.configured())
        until(lambda: in_both_workers(lambda: self.status(envoy) != 413))
        assert (self.status(envoy), self.status(envoy, "127.0.0.2")) == (200, 403)

    def test_through_the_loss_of_the_module(self, envoy):
        def reloads() -> int:
            return envoy.stats("vm_reload_success")["wasm.webhook_guard.vm_reload_success"]

        def trap() -> bool:
            headers = default(envoy.env["WEBHOOK_SECRET"], BODY)
            client.ask(envoy.port, *client.chunked("/webhook", headers, [BODY], [("x-a", "b")]))
            return reloads() >= 2

        until(trap)
        # So many that each worker has some.
        until(lambda: {self.status(envoy) for _ in range(20)} == {200})
        assert self.status(envoy, "127.0.0.2") == 403


def test_fifty_thousand_prefixes(begin, sender):
    numbers = range(50_000)
    many = [f"{10 + number // 65536}.{number // 256 % 256}.{number % 256}.0/25" for number in numbers]
    sender.publish({"hooks": [*many, "127.0.0.1"]})
    edge = begin(sender)
    listed(edge)
    assert gauge(edge, "prefixes") == 50_001


def test_the_documented_configuration_can_be_text(begin, sender):
    def patch(document):
        value = document.guard["configuration"]["value"]
        document.guard["configuration"] = encoded(value, as_text=True)

    edge = begin(sender, patch=patch)
    until(lambda: deliver(edge).status == 200)
