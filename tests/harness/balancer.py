"""A load balancer before an edge: another Envoy, which hands on connections or requests."""

from __future__ import annotations

from pathlib import Path

from harness.edge import Edge
from harness.envoy import Envoy

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
PROXY_PROTOCOL = "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3"
TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3"


class Balancer(Envoy):
    """An Envoy that the test's clients talk to instead of the edge."""

    def __init__(self, edge: Edge, patch) -> None:
        super().__init__(edge.port, patch=patch)


def over_http(edge: Edge, http2: bool = False) -> Balancer:
    """Takes HTTP, and hands requests on over TLS with the client's address in X-Forwarded-For.

    Over HTTP/2 the requests of different clients share a connection.
    """

    def patch(document):
        document.filters[:] = [{"name": "router", "typed_config": {"@type": f"{ROUTER}.Router"}}]
        if http2:
            document.negotiated_upstream()
        document.cluster["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": f"{TLS}.UpstreamTlsContext",
                "common_tls_context": {
                    "validation_context": {"trusted_ca": {"filename": str(Path(edge.certificates) / "ca.crt")}}
                },
            },
        }

    return Balancer(edge, patch)


def over_tcp(edge: Edge, version: str) -> Balancer:
    """Hands connections on with a PROXY protocol header, of version V1 or V2."""

    def patch(document):
        proxy = {"@type": f"{TCP_PROXY}.TcpProxy", "stat_prefix": "balancer", "cluster": "upstream"}
        document.listener["filter_chains"] = [{"filters": [{"name": "tcp", "typed_config": proxy}]}]
        document.cluster["transport_socket"] = {
            "name": "proxy_protocol",
            "typed_config": {
                "@type": f"{PROXY_PROTOCOL}.ProxyProtocolUpstreamTransport",
                "config": {"version": version},
                "transport_socket": {
                    "name": "raw",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
                    },
                },
            },
        }

    return Balancer(edge, patch)
