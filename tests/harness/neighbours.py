"""Filters next to the guard that forward a body in pieces, hold it, or wait for an answer."""

from __future__ import annotations

import contextlib
import copy

from harness.grpc import ExternalProcessor, RateLimitService
from harness.upstream import Upstream

TYPES = "type.googleapis.com/envoy.extensions.filters.http"
# How long a service takes to answer. Bodies are on their way in pieces by then.
DELAY = 0.02
# Between the pieces of one body.
PIECE_DELAY = 0.005
PATIENT = "20s"
LUA = """
function envoy_on_request(handle)
  handle:httpCall("lua", {[":method"] = "GET", [":path"] = "/", [":authority"] = "lua"}, "", 20000)
end
"""

# The effect of each kind on a request.
IN_PIECES = {"streamed", "duplex", "bandwidth"}
WAITS_AT_HEADERS = {"authz", "ratelimit", "lua", "streamed", "duplex"}
HOLDS_BODY = {"authz-body", "buffered", "buffer", "guard"}
KINDS = sorted(IN_PIECES | WAITS_AT_HEADERS | HOLDS_BODY)


def is_unsafe(order) -> bool:
    """Whether a filter that waits follows one that forwards in pieces. A filter between them that holds the body helps."""
    in_pieces = False
    for kind in order:
        if in_pieces and kind in WAITS_AT_HEADERS:
            return True
        in_pieces = kind in IN_PIECES or (in_pieces and kind not in HOLDS_BODY)
    return False


def filters(document, limit: int) -> dict:
    """The filters' configurations by kind. `limit` is the size of the largest body."""
    return {
        "authz": authz(),
        "authz-body": {**authz(), "with_request_body": {"max_request_bytes": limit}},
        "bandwidth": {
            "@type": f"{TYPES}.bandwidth_limit.v3.BandwidthLimit",
            "stat_prefix": "bandwidth",
            "enable_mode": "REQUEST",
            # One second of it passes at once.
            "limit_kbps": 600,
            "fill_interval": "0.02s",
        },
        "buffer": {"@type": f"{TYPES}.buffer.v3.Buffer", "max_request_bytes": limit},
        "buffered": processor("streamed", "BUFFERED"),
        "duplex": processor("duplex", "FULL_DUPLEX_STREAMED", "SEND"),
        "guard": second_guard(document),
        "lua": {"@type": f"{TYPES}.lua.v3.Lua", "default_source_code": {"inline_string": LUA}},
        "ratelimit": {
            "@type": f"{TYPES}.ratelimit.v3.RateLimit",
            "domain": "webhooks",
            "failure_mode_deny": True,
            "timeout": PATIENT,
            "rate_limit_service": {"transport_api_version": "V3", "grpc_service": grpc_service("ratelimit")},
        },
        "streamed": processor("streamed", "STREAMED"),
    }


def authz() -> dict:
    uri = {"uri": "http://authorizer", "cluster": "authorizer", "timeout": PATIENT}
    return {
        "@type": f"{TYPES}.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "http_service": {"server_uri": uri},
    }


def processor(cluster: str, body: str, trailers: str = "SKIP") -> dict:
    return {
        "@type": f"{TYPES}.ext_proc.v3.ExternalProcessor",
        "grpc_service": grpc_service(cluster),
        "message_timeout": PATIENT,
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": body,
            "request_trailer_mode": trailers,
            "response_header_mode": "SKIP",
        },
    }


def grpc_service(cluster: str) -> dict:
    return {"envoy_grpc": {"cluster_name": cluster}, "timeout": PATIENT}


def second_guard(document) -> dict:
    """Another guard in a VM of its own."""
    second = copy.deepcopy(document.guard_config)
    second["config"]["name"] = second["config"]["root_id"] = "second"
    second["config"]["vm_config"]["vm_id"] = "second"
    return second


def insert(http_filters: list, configurations: dict, before, behind) -> None:
    """Inserts filters of these kinds before the guard, and behind it and its gate."""
    guard = next(place for place, each in enumerate(http_filters) if each["name"] == "webhook_guard")
    http_filters[-1:-1] = [{"name": f"behind-{kind}", "typed_config": configurations[kind]} for kind in behind]
    http_filters[guard:guard] = [{"name": f"before-{kind}", "typed_config": configurations[kind]} for kind in before]


@contextlib.contextmanager
def services():
    """The services that the filters ask. Yields their ports by the names of their clusters."""
    with contextlib.ExitStack() as stack:
        started = {
            "authorizer": Upstream(delay=DELAY, on_request=lambda _: None),
            "duplex": ExternalProcessor(duplex=True, delay=PIECE_DELAY),
            "lua": Upstream(delay=DELAY, on_request=lambda _: None),
            # The reference service answers too soon for these tests.
            "ratelimit": RateLimitService(delay=DELAY),
            "streamed": ExternalProcessor(delay=PIECE_DELAY),
        }
        yield {name: stack.enter_context(each).port for name, each in started.items()}
