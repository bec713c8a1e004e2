"""A pod with applications and a sidecar, and attempts to reach an application without the guard."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import sys
import time

from harness.envoy import ROOT
from harness.istio import MANAGER, NAMESPACE, listeners
from harness.pod import POD, Pod
from harness.polling import LIMIT, in_both_workers, until
from harness.sidecar import PORT, Sidecar, mount_module, shipped

APPLICATIONS = ROOT / "tests" / "istio_root"
# The application's port in sidecar.yaml, and one that is in no Service.
LISTED, OTHER = PORT, 9090
# One that the annotation `traffic.sidecar.istio.io/excludeInboundPorts` would take out of the redirection.
EXCLUDED = 7070
# One whose application listens on every address, as Node does by default.
IPV6 = 6060

ORDINARY = b"POST %s HTTP/1.1\r\nhost: hooks.test\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
EMPTY_LINE = "an empty line before the request"
# Each is what a client sends after it has connected. `%s` is the path that the application logs.
ATTEMPTS = {
    "an ordinary request": ORDINARY,
    EMPTY_LINE: b"\r\n" + ORDINARY,
    "HTTP/1.2": ORDINARY.replace(b"HTTP/1.1", b"HTTP/1.2"),
    "HTTP/0.9": b"GET %s\r\n\r\n",
    "a malformed method": ORDINARY.replace(b"POST", b"P@ST"),
    "silence before the request": ORDINARY,
    "mutual TLS with the protocol istio": ORDINARY,
}


class AttackedPod:
    """The pod of sidecar-example.yaml, with an application on Node's http and one on Python's http.server.

    The first ignores an empty line before a request. The second takes other versions and every method.
    """

    _numbers = itertools.count()

    def __init__(self, pod: Pod, istiod) -> None:
        self.pod = pod
        self.cluster = istiod.cluster
        mount_module(pod)
        self.shipped = shipped(pod)
        istiod.apply(self.shipped)
        pod.redirect(f"--istio-local-exclude-ports=15090,15021,15020,{EXCLUDED}")
        pod.start("listed", "node", APPLICATIONS / "application.js", str(LISTED), "0.0.0.0")
        pod.start("other", sys.executable, APPLICATIONS / "application.py", str(OTHER))
        pod.start("excluded", "node", APPLICATIONS / "application.js", str(EXCLUDED), "0.0.0.0")
        pod.start("ipv6", "node", APPLICATIONS / "application.js", str(IPV6), "::")
        self.sidecar = Sidecar(pod, istiod).start()
        until(lambda: self.sidecar.status() == 200, what="an answer to a signed request")
        self._certificate = pod.folder / "client"
        self.sidecar.authority.write_identity(self._certificate, f"spiffe://cluster.local/ns/{NAMESPACE}/sa/other")

    def transports(self) -> set:
        """The transports that the listener's chains match: `tls`, `raw_buffer`, or both."""
        matches = [each.get("filter_chain_match", {}) for each in self.listener()["filter_chains"]]
        return {each["transport_protocol"] for each in matches if "transport_protocol" in each}

    def use(self, *changed: dict, without: str = "", tcp: set, passes: bool = False) -> None:
        """Applies sidecar.yaml with changed documents, and waits until Envoy has these `tcp_chains`.

        `passes` is whether the application then receives a request after an empty line.
        """
        changes = {each["kind"]: each for each in changed}
        for each in self.shipped:
            if each["kind"] == without:
                with contextlib.suppress(AssertionError):
                    self.cluster.delete(self.cluster.path(each))
            else:
                self.cluster.apply([changes.get(each["kind"], each)])
        until(lambda: self.tcp_chains() == tcp, what=f"a listener with {tcp}")
        until(lambda: in_both_workers(lambda: self.sidecar.status() == 200), what="a signed request at the application")
        # Workers take a listener over a moment later.
        until(lambda: in_both_workers(lambda: self.reaches(LISTED, EMPTY_LINE) == passes), what="that in both workers")

    def tcp_chains(self) -> set:
        """The port of each chain that passes TCP on, 0 for every other port, and the actions of its policies."""
        found = set()
        for each in self.listener()["filter_chains"]:
            if each["name"].endswith("blackhole") or MANAGER in [one["name"] for one in each["filters"]]:
                continue
            policies = [one["typed_config"]["rules"] for one in each["filters"] if one["name"] == "envoy.filters.network.rbac"]
            actions = " ".join(sorted(one.get("action", "ALLOW") for one in policies))
            found.add((each["filter_chain_match"].get("destination_port", 0), actions))
        return found

    def listener(self) -> dict:
        """The listener of port 15006, to which the iptables rules redirect."""
        return next((each for each in listeners(self.sidecar.dump()) if each["name"] == "virtualInbound"), {"filter_chains": []})

    def check(self) -> str:
        """The output of check.py in the pod."""
        return self.sidecar.check()

    def reaches(self, port: int, attempt: str, address: str = POD) -> bool:
        """Whether an application receives what this attempt sends."""
        path = f"/attempt-{next(self._numbers)}."
        end = time.monotonic() + LIMIT
        with contextlib.suppress(OSError), self._connect(port, attempt, address) as connection:
            connection.sendall(ATTEMPTS[attempt] % path.encode())
            connection.settimeout(0.1)
            # Some applications neither answer nor close.
            while not self.received(path):
                assert time.monotonic() < end, f"{attempt} at {port} was neither answered nor received"
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(65536):
                        break
        return self.received(path)

    def reaches_from_inside(self, port: int) -> bool:
        """Whether an application receives what another process of the pod sends to the loopback address."""
        path = f"/attempt-{next(self._numbers)}."
        self.pod.run(sys.executable, "-c", f"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}{path}', b'')")
        return self.received(path)

    def received(self, path: str) -> bool:
        """Whether an application has logged this path."""
        return any(path in self.pod.output(each) for each in ("listed", "other", "excluded", "ipv6"))

    def _connect(self, port: int, attempt: str, address: str) -> socket.socket:
        connection = socket.create_connection((address, port), timeout=LIMIT)
        if "silence" in attempt:
            time.sleep(1)
        if "TLS" not in attempt:
            return connection
        context = self.sidecar.authority.context(alpn=["istio"], certificate=self._certificate / "tls")
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(connection)
