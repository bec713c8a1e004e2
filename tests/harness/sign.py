"""Signs as the senders do: each function returns the headers of a signed request."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time


def mac(key: bytes, *parts: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(key, b"".join(parts), getattr(hashlib, algorithm)).digest()


def default(secret: str, body: bytes) -> list:
    """The scheme of an endpoint that names neither a provider nor a signature."""
    return [("X-Webhook-Signature", mac(secret.encode(), body).hex())]


def github(secret: str, body: bytes) -> list:
    return [("X-Hub-Signature-256", "sha256=" + mac(secret.encode(), body).hex())]


def shopify(secret: str, body: bytes) -> list:
    return [("X-Shopify-Hmac-Sha256", base64.b64encode(mac(secret.encode(), body)).decode())]


def stripe(secret: str, body: bytes, at: int | None = None) -> list:
    at = stamp(at)
    signature = mac(secret.encode(), at, b".", body).hex()
    return [("Stripe-Signature", f"t={at.decode()},v1={signature}")]


def slack(secret: str, body: bytes, at: int | None = None) -> list:
    at = stamp(at)
    signature = mac(secret.encode(), b"v0:", at, b":", body).hex()
    return [("X-Slack-Request-Timestamp", at.decode()), ("X-Slack-Signature", f"v0={signature}")]


def standard_webhooks(secret, body: bytes, at=None, identity="msg_1", prefix="webhook") -> list:
    """`secret` is written as senders give it out: whsec_ and base64."""
    at = stamp(at)
    key = base64.b64decode(secret[len("whsec_") :])
    signature = base64.b64encode(mac(key, identity.encode(), b".", at, b".", body)).decode()
    return [
        (f"{prefix}-id", identity),
        (f"{prefix}-timestamp", at.decode()),
        (f"{prefix}-signature", f"v1,{signature}"),
    ]


def svix(secret: str, body: bytes, at: int | None = None, identity: str = "msg_1") -> list:
    return standard_webhooks(secret, body, at, identity, "svix")


def stamp(at: int | None) -> bytes:
    """A time as senders write it, the present one by default."""
    return str(int(time.time()) if at is None else at).encode()
