"""The senders whose own packages are asked: what each sends, and how it is signed where a package cannot.

Of Box, Square and Telnyx an older version is asked: the present ones are several times its size.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ecdsa_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness import sign
from harness.sign import mac

ORIGIN = "https://hooks.example.com"
BODY = '{"order":42,"text":"héllo ✓"}'
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Request:
    """A delivery. The names of its headers are in lower case; what is signed with it goes beside them."""

    path: str
    headers: dict
    body: str
    method: str = "POST"

    @property
    def url(self) -> str:
        return ORIGIN + self.path


@dataclass(frozen=True)
class Sender:
    """A sender's requests, and the known differences of its package.

    `formula` makes the headers that sign a request, or is None if the package signs. The keys sign, and `secret` is the
    receiver's form of a key. `path` and `body` may contain `@ms`, the time, and `@sha256`, the hash of the body. `altered`
    lists the parts in which a changed character must be detected. `unseen` are cases that the package accepts and the
    guard rejects. `refused` are cases that the package rejects and the guard accepts.
    """

    formula: Callable | None = None
    preset: str | None = None
    keys: tuple = ("the-secret-of-the-sender", "another-secret")
    key_id: str | None = None
    secret: Callable = str
    path: str = "/webhook?a=1"
    headers: dict = field(default_factory=lambda: JSON)
    body: str = BODY
    altered: str | None = "body"
    alter: Callable = lambda text: text.replace("42", "43", 1)
    tolerance: int | None = None
    unseen: set = frozenset()
    refused: set = frozenset()

    def request(self, at: int) -> Request:
        """The delivery of this time, in ms, unsigned."""
        body = self.body.replace("@ms", str(at))
        return Request(self.path.replace("@sha256", sha256(body)), self.headers, body)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# How a text is signed: each is called with a key and the bytes.


def to_hex(key: str, data: bytes) -> str:
    return mac(key.encode(), data).hex()


def to_base64(key: str, data: bytes) -> str:
    return base64.b64encode(mac(key.encode(), data)).decode()


def sha1_base64(key: str, data: bytes) -> str:
    return base64.b64encode(mac(key.encode(), data, algorithm="sha1")).decode()


def by_hex_key(key: str, data: bytes) -> str:
    return base64.b64encode(mac(bytes.fromhex(key), data)).decode()


def ed25519_hex(key, data: bytes) -> str:
    return key.sign(data).hex()


def ed25519_base64(key, data: bytes) -> str:
    return base64.b64encode(key.sign(data)).decode()


def ecdsa_base64(key, data: bytes) -> str:
    return base64.b64encode(key.sign(data, ECDSA(SHA256()))).decode()


# The receiver's form of a private key.


def raw_hex(key) -> str:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def raw_base64(key) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def der_base64(key) -> str:
    return base64.b64encode(
        key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()


# Formulas: each is called with a key, a request and a time in ms, and returns headers.


def signed(header: str, by: Callable = to_hex, message="{body}", value="{signature}", **beside) -> Callable:
    """A header with the signature of a message, and others beside it, in whose names `_` is `-`.

    All of them may contain the body, the URL, and the time as `s`, `ms` or `rfc3339`.
    """

    def formula(key, request: Request, at: int) -> list:
        at_text = datetime.datetime.fromtimestamp(at // 1000, datetime.timezone.utc).isoformat()
        known = {"body": request.body, "url": request.url, "s": at // 1000, "ms": at, "rfc3339": at_text}
        signature = by(key, message.format(**known).encode())
        others = [(name.replace("_", "-"), text.format(**known)) for name, text in beside.items()]
        return [(header, value.format(signature=signature, **known)), *others]

    return formula


def standard(prefix: str) -> Callable:
    """Standard Webhooks, under the names that begin so."""

    def formula(key, request: Request, at: int) -> list:
        return sign.standard_webhooks(key, request.body.encode(), at // 1000, f"msg_{at}", prefix)

    return formula


def jwt(header: str, claims: Callable, value="{}") -> Callable:
    """A header with a token by HS256, with the claims of a request."""

    def formula(key, request: Request, at: int) -> list:
        parts = [{"alg": "HS256", "typ": "JWT"}, claims(request, at // 1000)]
        message = ".".join(base64url(json.dumps(each).encode()) for each in parts)
        return [(header, value.format(f"{message}.{base64url(mac(key.encode(), message.encode()))}"))]

    return formula


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def vonage_claims(request: Request, at: int) -> dict:
    return {"iss": "Vonage", "iat": at, "jti": f"j{at}", "payload_hash": sha256(request.body)}


def messagebird_claims(request: Request, at: int) -> dict:
    """The guard takes a token for a minute more on either side; the package for 5 seconds."""
    hashes = {"url_hash": sha256(request.url), "payload_hash": sha256(request.body)}
    return {"iss": "MessageBird", "nbf": at, "exp": at + 5, "jti": f"j{at}", **hashes}


def basic(key: str, _request: Request, _at: int) -> list:
    return [("authorization", "Basic " + base64.b64encode(key.encode()).decode())]


def in_payload(form: str) -> str:
    """Another character in the middle of Braintree's payload, which is base64."""
    at = form.index("bt_payload=") + 100
    return form[:at] + ("A" if form[at] != "A" else "B") + form[at + 1 :]


WHSEC = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
HEX = ("0123456789abcdef" * 4, "fedcba9876543210" * 4)
ED25519 = (Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate())
ECDSA_P256 = (ecdsa_key(SECP256R1()), ecdsa_key(SECP256R1()))
FUTURE = {"future"}
TIMELESS = {"stale", "future"}

ADYEN_ITEM = {
    "pspReference": "7914073381342284",
    "merchantAccountCode": "Merchant",
    "merchantReference": "order",
    "amount": {"value": 42, "currency": "EUR"},
    "eventCode": "AUTHORISATION",
    "success": "true",
}
SHOPIFY = {
    "x-shopify-topic": "orders/create",
    "x-shopify-shop-domain": "example.myshopify.com",
    "x-shopify-api-version": "2024-01",
    "x-shopify-webhook-id": "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
}
BOX = {"box_signature_version": "1", "box_signature_algorithm": "HmacSHA256"}
PLIVO_V3_URL = "https://hooks.example.com/webhook?a=1&b=2"

SENDERS = {
    "adyen": Sender(signed("HmacSignature", by_hex_key), keys=HEX),
    "adyen-payments": Sender(
        keys=HEX, body=json.dumps({"notificationItems": [{"NotificationRequestItem": ADYEN_ITEM}]})
    ),
    "box": Sender(
        signed(
            "box-signature-primary", to_base64, "{body}{rfc3339}", box_delivery_timestamp="{rfc3339}", **BOX
        ),
        unseen=FUTURE,
    ),
    "braintree": Sender(key_id="public_key", headers=FORM, alter=in_payload),
    "chargebee": Sender(basic, keys=("hooks:password", "hooks:another"), altered=None),
    "coinbase-commerce": Sender(signed("X-CC-Webhook-Signature"), body='{"order":42,"event":{"id":"e1"}}'),
    "contentful": Sender(keys=HEX, path="/webhook?a=b%20c", unseen=FUTURE),
    "discord": Sender(
        signed("X-Signature-Ed25519", ed25519_hex, "{s}{body}", X_Signature_Timestamp="{s}"),
        keys=ED25519,
        secret=raw_hex,
        unseen=TIMELESS,
    ),
    "easypost": Sender(signed("X-Hmac-Signature", value="hmac-sha256-hex={signature}")),
    "github": Sender(),
    "gocardless": Sender(signed("Webhook-Signature"), body='{"events":[{"id":"EV42"}]}'),
    "hubspot": Sender(unseen=FUTURE),
    "hubspot-v1": Sender(),
    "hubspot-v2": Sender(),
    "line": Sender(signed("x-line-signature", to_base64)),
    "linear": Sender(
        signed("Linear-Signature"), body='{"id":"42","webhookTimestamp":@ms}', refused={"late"}
    ),
    "lithic": Sender(standard("webhook"), keys=WHSEC),
    "mercado-pago": Sender(
        signed(
            "x-signature",
            message="id:ORD42;request-id:r-1;ts:{s};",
            value="ts={s},v1={signature}",
            x_request_id="r-1",
        ),
        path="/webhook?data.id=ORD42&type=order",
        altered="path",
        unseen=TIMELESS,
    ),
    "messagebird": Sender(path="/webhook?b=2&a=x%20y", unseen=FUTURE),
    "messagebird-jwt": Sender(
        jwt("MessageBird-Signature-JWT", messagebird_claims), tolerance=60, refused={"late", "early"}
    ),
    "mux": Sender(signed("Mux-Signature", to_hex, "{s}.{body}", "t={s},v1={signature}"), unseen=FUTURE),
    "notion": Sender(),
    "openai": Sender(standard("webhook"), keys=WHSEC),
    "paddle": Sender(
        signed("Paddle-Signature", to_hex, "{s}:{body}", "ts={s};h1={signature}"),
        unseen=FUTURE,
        refused={"late"},
    ),
    "plivo": Sender(
        signed(
            "X-Plivo-Signature-V2",
            to_base64,
            "https://hooks.example.com/webhook/42nonce",
            X_Plivo_Signature_V2_Nonce="nonce",
        ),
        path="/webhook/42?a=1",
        altered="path",
    ),
    "plivo-v3": Sender(
        signed(
            "X-Plivo-Signature-V3",
            to_base64,
            PLIVO_V3_URL + ".From42Texth iTo1.nonce",
            X_Plivo_Signature_V3_Nonce="nonce",
        ),
        path="/webhook?b=2&a=1",
        headers=FORM,
        body="To=1&From=42&Text=h%20i",
    ),
    "pusher": Sender(
        signed("X-Pusher-Signature", X_Pusher_Key="key"),
        key_id="key",
        body='{"time_ms":@ms,"events":[{"channel":"42"}]}',
        unseen=TIMELESS,
    ),
    "getstream": Sender(signed("X-Signature")),
    "razorpay": Sender(signed("X-Razorpay-Signature")),
    "replicate": Sender(standard("webhook"), keys=WHSEC, unseen=TIMELESS),
    "resend": Sender(standard("svix"), keys=WHSEC),
    "sanity": Sender(unseen=TIMELESS),
    "sendgrid": Sender(
        signed(
            "X-Twilio-Email-Event-Webhook-Signature",
            ecdsa_base64,
            "{s}{body}",
            X_Twilio_Email_Event_Webhook_Timestamp="{s}",
        ),
        keys=ECDSA_P256,
        secret=der_base64,
        unseen=TIMELESS,
    ),
    "shopify": Sender(signed("X-Shopify-Hmac-Sha256", to_base64), headers=SHOPIFY),
    "slack": Sender(
        signed(
            "X-Slack-Signature",
            to_hex,
            "v0:{s}:{body}",
            "v0={signature}",
            X_Slack_Request_Timestamp="{s}",
        ),
        unseen=FUTURE,
    ),
    "square": Sender(
        signed("x-square-hmacsha256-signature", to_base64, "{url}{body}"),
        body='{"order":42,"event_id":"e1"}',
    ),
    "standard-webhooks": Sender(keys=WHSEC),
    "stripe": Sender(keys=WHSEC, unseen=FUTURE),
    "svix": Sender(keys=WHSEC),
    "telnyx": Sender(
        signed("telnyx-signature-ed25519", ed25519_base64, "{s}|{body}", telnyx_timestamp="{s}"),
        keys=ED25519,
        secret=raw_base64,
        unseen=FUTURE,
    ),
    "twilio-form": Sender(preset="twilio", headers=FORM, body="From=%2B42&Body=h%C3%A9llo+%26+w&Empty="),
    "twilio-port": Sender(
        signed("X-Twilio-Signature", sha1_base64, "https://hooks.example.com:443/webhook?a=1Bodyx 42"),
        preset="twilio",
        headers=FORM,
        body="Body=x+42",
    ),
    "twilio-apostrophe": Sender(
        signed("X-Twilio-Signature", sha1_base64, "https://hooks.example.com/webhook?a=it'sBodyx 42"),
        preset="twilio",
        path="/webhook?a=it%27s",
        headers=FORM,
        body="Body=x+42",
    ),
    "twilio-rule": Sender(
        preset="twilio",
        headers={**FORM, "x-twilio-webhooks-signature-settings": "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"},
        body="From=%2B42",
    ),
    "twilio-json": Sender(preset="twilio", path="/webhook?a=1&bodySHA256=@sha256"),
    "vonage": Sender(jwt("Authorization", vonage_claims, "Bearer {}"), unseen={"changed", "stale", "future"}),
    "workos": Sender(unseen=FUTURE),
    "zoom": Sender(
        signed(
            "x-zm-signature",
            to_hex,
            "v0:{s}:{body}",
            "v0={signature}",
            x_zm_request_timestamp="{s}",
        ),
        # The handshake reveals MACs, so another endpoint must not share this secret.
        keys=("the-secret-of-zoom-alone", "another-secret"),
        body='{"event":"meeting.started","payload":{"account_id":"42"}}',
        unseen=TIMELESS,
    ),
}
