"""The peers of `make bench`: Envoys side by side, each with one filter before the router, and otherwise the same."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import load

from harness import sign
from harness.client import post
from harness.envoy import MODULE, ROOT, SECRET, STRING, Document, Envoy
from harness.polling import until
from harness.ports import free_ports
from harness.process import end, listens

PEERS = ROOT / "tests" / "bench" / "peers"
BUILT = ROOT / "target" / "peers"
WASM = "wasm32-wasip1"
SIGNATURE = BUILT / WASM / "release" / "signature.wasm"
FLOOR, GUARD = "floor", "guard"
EXTENSIONS = "type.googleapis.com/envoy.extensions.filters.http"
# Chooses the answer that the floor gives without a filter that verifies.
CHOICE = "x-bench"
HEADER = "x-webhook-signature"
WARNING = ("-l", "warning")
INFO = ("-l", "info")


@dataclass(frozen=True)
class Peer:
    """How an Envoy of the benchmark differs from the others."""

    name: str
    patch: object
    log_levels: tuple = WARNING
    # The protocol of the ext_authz service, if there is one.
    service: str = ""


class Worker(Envoy):
    """An Envoy with one worker, and its ext_authz service if it has one."""

    workers = 1

    def __init__(self, upstream_port: int, peer: Peer) -> None:
        self.log_levels = peer.log_levels
        self._service = Authorizer(peer.service) if peer.service else None

        def patch(document: Document) -> None:
            reduce(document)
            peer.patch(document)
            if self._service:
                document.add_cluster("authorizer", self._service.port, http2=peer.service == "grpc")

        super().__init__(upstream_port, GUARDED, patch=patch)

    def start(self) -> "Worker":
        if self._service:
            self._service.start()
        return super().start()

    def stop(self) -> None:
        super().stop()
        if self._service:
            self._service.stop()

    def pids(self) -> list:
        """The processes that serve requests."""
        return [self.process.pid, *([self._service.process.pid] if self._service else [])]


class Authorizer:
    """The native service that ext_authz asks."""

    def __init__(self, protocol: str) -> None:
        build("--package", "authorizer")
        (self.port,) = free_ports(1)
        self._command = [str(BUILT / "release" / "authorizer"), protocol, f"127.0.0.1:{self.port}"]
        self.process = None

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, env={"WEBHOOK_SECRET": SECRET}, stdin=subprocess.DEVNULL)
        until(self._listens, what="the ext_authz service to listen")

    def stop(self) -> None:
        if self.process is not None:
            end(self.process, 5)

    def _listens(self) -> bool:
        return listens(self.process, self.port, "the ext_authz service")


# The filter of envoy.yaml with the default scheme and an allow list. Like the other peers, the guard passes on nothing: no
# access log and no application reads it here.
GUARDED = {
    "upstream_headers": [],
    "filter_states": [],
    "endpoints": [{
        "name": "orders",
        "match": {"path": load.PATH},
        "secrets": [{"version": "v1", "env": "WEBHOOK_SECRET"}],
        "allow": ["192.0.2.0/24", "198.51.100.0/24", "127.0.0.0/8", "2001:db8::/32"],
    }],
}


def reduce(document: Document) -> None:
    """Leaves the guard and the router."""
    document.filters[:] = [each for each in document.filters if each["name"] in ("webhook_guard", "envoy.filters.http.router")]
    document.manager["access_log"] = []
    # Otherwise a load that exceeds them would be rejected.
    del document.data["overload_manager"]
    document.manager["http2_protocol_options"]["max_concurrent_streams"] = 100


def replace_guard(document: Document, filter_: dict) -> None:
    document.filters[document.filters.index(document.guard_filter)] = filter_


def floor(document: Document) -> None:
    """Envoy's buffer filter. Two routes reject without a filter that verifies: after the body, and at the headers."""
    buffer = {"@type": f"{EXTENSIONS}.buffer.v3.Buffer", "max_request_bytes": 1048576}
    replace_guard(document, {"name": "buffer", "typed_config": buffer})
    off = {"buffer": {"@type": f"{EXTENSIONS}.buffer.v3.BufferPerRoute", "disabled": True}}
    document.virtual_host["routes"][:0] = [rejecting("forged"), {**rejecting("denied"), "typed_per_filter_config": off}]


def rejecting(kind: str) -> dict:
    choice = {"name": CHOICE, "string_match": {"exact": kind}}
    answer = {"status": 401, "body": {"inline_string": "Invalid signature\n"}}
    return {"match": {"prefix": "/", "headers": [choice]}, "direct_response": answer}


def module_at(path: Path):
    """The guard, of another file."""
    def patch(document: Document) -> None:
        document.guard["vm_config"]["code"]["local"]["filename"] = str(path)
    return patch


def with_events(document: Document) -> None:
    """The guard, and an event for each request where the shipped files have it: in the access log."""
    (log,) = Document().manager["access_log"]
    # `reduce` has removed a filter that this one needs.
    del log["filter"]
    document.manager["access_log"] = [log]
    # The access log reads all filter states, and the application gets the headers that it gets by default.
    document.configure({"log": {"accepted": "debug"}, "endpoints": GUARDED["endpoints"]}, as_text=False)
    module_at(MODULE)(document)


def signature(document: Document) -> None:
    """A filter that verifies the signature alone."""
    build("--target", WASM, "--package", "signature")
    document.guard["vm_config"]["code"]["local"]["filename"] = str(SIGNATURE)
    document.guard["configuration"] = {"@type": STRING, "value": SECRET}


def lua(file: str):
    """Envoy's Lua filter."""
    code = {"filename": str(PEERS / file)}
    settings = {"@type": f"{EXTENSIONS}.lua.v3.Lua", "default_source_code": code}
    return lambda document: replace_guard(document, {"name": "lua", "typed_config": settings})


def ext_authz_http(document: Document) -> None:
    server = {"uri": "http://authorizer", "cluster": "authorizer", "timeout": "5s"}
    ext_authz(document, {"http_service": {"server_uri": server}, "allowed_headers": {"patterns": [{"exact": HEADER}]}})


def ext_authz_grpc(document: Document) -> None:
    service = {"envoy_grpc": {"cluster_name": "authorizer"}, "timeout": "5s"}
    ext_authz(document, {"grpc_service": service, "allowed_headers": {"patterns": [{"exact": HEADER}]}})


def ext_authz(document: Document, service: dict) -> None:
    """Envoy's ext_authz filter, which passes the body to a service."""
    body = {"max_request_bytes": 1048576, "pack_as_bytes": "grpc_service" in service}
    settings = {"@type": f"{EXTENSIONS}.ext_authz.v3.ExtAuthz", "transport_api_version": "V3", "with_request_body": body}
    replace_guard(document, {"name": "ext_authz", "typed_config": {**settings, **service}})


def build(*arguments: str) -> None:
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", str(BUILT), *arguments]
    # In place of the guard's flags, which keep a large module small.
    flags = {"RUSTFLAGS": "-C target-feature=+simd128"} if WASM in arguments else {}
    subprocess.run(command, cwd=PEERS, env={**os.environ, **flags}, check=True)


ALL = {
    each.name: each
    for each in (
        Peer(FLOOR, floor),
        Peer(GUARD, module_at(MODULE)),
        Peer("guard-info", with_events, INFO),
        Peer("guard-lines", module_at(MODULE), INFO),
        Peer("signature", signature),
        Peer("lua", lua("signature.lua")),
        Peer("lua-ffi", lua("signature_ffi.lua")),
        Peer("ext_authz-http", ext_authz_http, service="http"),
        Peer("ext_authz-grpc", ext_authz_grpc, service="grpc"),
    )
}


def verify(peer: Peer, envoy: Worker, choose: bool = True) -> None:
    """Fails unless the peer accepts a genuine request and rejects others. `choose` says so to the floor."""
    body = b'{"order": 42}'
    genuine = sign.default(SECRET, body)
    forged = sign.default("another secret", body)
    for headers, sent, statuses in (
        (genuine, body, (200,)),
        (genuine, b'{"order": 43}', (401,)),
        (genuine, b"", (401,)),
        (forged, body, (401,)),
        ([], body, (401,)),
    ):
        kind = "forged" if sent != body or headers == forged else "denied" if not headers else "accepted"
        answer = post(envoy.port, load.PATH, [*headers, *([(CHOICE, kind)] if choose else [])], sent)
        if answer.status not in statuses:
            raise AssertionError(f"{peer.name} answers {answer.status} to a request that is {kind}")
