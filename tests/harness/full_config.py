"""A configuration with an endpoint of every kind, which most tests share, and how each is signed."""

from __future__ import annotations

import base64

from harness import sign
from harness.envoy import SECRET

NEW = "the-new-secret-in-use"
OLD = "the-old-secret-of-last-year"
LEAKED = "the-secret-that-leaked"
COMING = "the-secret-of-next-century"
FAR_AWAY = {"past": "2001-01-01T00:00:00Z", "future": "2901-01-01T00:00:00Z"}
WHSEC = "whsec_" + base64.b64encode(b"thirty-two bytes for one webhook").decode()

# Each preset: its secret, and a function of (secret, body) that signs.
PRESETS = {
    "github": ("secret-of-github", sign.github),
    "shopify": ("secret-of-shopify", sign.shopify),
    "slack": ("secret-of-slack-1", sign.slack),
    "standard-webhooks": (WHSEC, sign.standard_webhooks),
    "stripe": ("whsec_secret-of-stripe", sign.stripe),
    "svix": ("whsec_" + base64.b64encode(b"another thirty-two bytes for svix").decode(), sign.svix),
}


# Tests send the same again and again; what is remembered is test_replay.py's.
FORGETFUL = {"window": "0s"}


def endpoint(name: str, *secrets, path: str | None = None, **more) -> dict:
    """An endpoint at /name, by default with the one secret in WEBHOOK_SECRET."""
    secrets = list(secrets) or [{"version": "v1", "env": "WEBHOOK_SECRET"}]
    return {"name": name, "match": {"path": path or f"/{name}"}, "secrets": secrets, **more}


def preset(name: str) -> dict:
    secret, _ = PRESETS[name]
    inline = {"version": "v1", "value": secret}
    return endpoint(name, inline, path=f"/hooks/{name}", provider=name, replay=FORGETFUL)


ACME = {
    "name": "acme",
    "match": {"prefix": "/hooks/acme/"},
    "signature": {
        "header": "X-Acme-Signature",
        "separator": ",",
        "format": ["t={timestamp}", "v1={signature}"],
        "message": "{id}.{timestamp}.{body}",
        "timestamp": {"unit": "s", "tolerance": {"past": "4m", "future": "2m"}},
        "id": {"header": "X-Acme-Id"},
    },
    "secrets": [{"version": "v1", "value": "secret-of-acme-corp"}],
    "query": ["x"],
    "replay": FORGETFUL,
}

ROTATED = endpoint(
    "rotated",
    {"version": "new", "value": NEW},
    {"version": "old", "value": OLD, "not_after": FAR_AWAY["past"]},
    {"version": "coming", "value": COMING, "not_before": FAR_AWAY["future"]},
    {"version": "leaked", "value": LEAKED, "revoked": True},
)

UNSET = {"client_address": {"filter_state": "webhook_guard.nothing"}, "allow": ["127.0.0.0/8"]}

CONFIGURATION = {
    "environment": "development",
    "endpoints": [
        endpoint("orders", path="/webhook", query=["a", "b"]),
        *map(preset, sorted(PRESETS)),
        ACME,
        ROTATED,
        endpoint("any", methods=["GET", "POST", "PUT", "DELETE", "HEAD"]),
        endpoint("off", mode="disabled"),
        endpoint("watched", mode="monitor", max_body_bytes=1000, allow=["127.0.0.0/8"]),
        endpoint("small", max_body_bytes=1000),
        endpoint("local", allow=["127.0.0.0/8", "2001:db8::/32"]),
        endpoint("elsewhere", allow=["192.0.2.0/24", "198.51.100.7"]),
        endpoint("forwarded", client_address="forwarded", allow=["127.0.0.0/8"]),
        endpoint("peer", client_address={"filter_state": "webhook_guard.peer"}, allow=["127.0.0.1"]),
        endpoint("unset", **UNSET),
        endpoint("unset-watched", mode="monitor", **UNSET),
        {**endpoint("hosted"), "match": {"path": "/hosted", "host": "hooks.test"}},
    ],
}


def patch(document) -> None:
    """Lets through to the guard what the shipped configuration keeps from it."""
    manager = document.manager
    document.trailers()
    manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    manager["common_http_protocol_options"]["headers_with_underscores_action"] = "ALLOW"


def signed(body: bytes, secret: str = SECRET) -> list:
    """The headers of a request signed in the default scheme."""
    return sign.default(secret, body)
