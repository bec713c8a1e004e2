"""Values that the senders' deliveries may lack or write in another type, each signed as the sender signs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from senders import ADYEN_ITEM, SENDERS, Request, signed, to_base64

# A field that is not there.
ABSENT = object()


@dataclass(frozen=True)
class Variant:
    """A variant of a sender's request. `reason` is the guard's, and `refused` says that the package rejects it."""

    sender: str
    label: str
    change: Callable[[Request], Request]
    formula: Callable | None = None
    reason: str = "accepted"
    refused: bool = False

    @property
    def signer(self) -> Callable | None:
        return self.formula or SENDERS[self.sender].formula


def fields(item: dict, **values) -> dict:
    """The item with these fields changed."""
    return {name: value for name, value in {**item, **values}.items() if value is not ABSENT}


def adyen(label: str, amount: object = None, **values) -> Variant:
    """A notification, signed by Adyen's package. `amount` has the changed fields of the amount."""
    changed = fields(ADYEN_ITEM, **values)
    if amount is not None:
        changed["amount"] = fields(ADYEN_ITEM["amount"], **amount)
    body = json.dumps({"notificationItems": [{"NotificationRequestItem": changed}]})
    return Variant("adyen-payments", label, lambda request: replace(request, body=body))


def mercado(label: str, query: str, request_id: str | None, text: str, **more) -> Variant:
    """A notification of Mercado Pago, whose package does not sign."""
    named = {} if request_id is None else {"x_request_id": request_id}
    formula = signed("x-signature", message=text, value="ts={s},v1={signature}", **named)
    return Variant("mercado-pago", label, lambda request: replace(request, path=f"/webhook{query}"), formula, **more)


def body(sender: str, label: str, text: str, **more) -> Variant:
    return Variant(sender, label, lambda request: replace(request, body=text), **more)


def path(sender: str, target: str, **more) -> Variant:
    text = json.dumps({"target": target})
    return Variant(sender, target, lambda request: replace(request, path=target, body=text), **more)


def form(sender: str, text: str, **more) -> Variant:
    return body(sender, text or "no body", text, **more)


def plivo(target: str, text: str, message: str, **more) -> Variant:
    """A form of Plivo, whose package does not sign."""
    formula = signed("X-Plivo-Signature-V3", to_base64, message, X_Plivo_Signature_V3_Nonce="nonce")
    label = f"{target} {text}"
    return Variant("plivo-v3", label, lambda request: replace(request, path=target, body=text), formula, **more)


VALUES = {"absent": ABSENT, "null": None, "empty": "", "number": 7, "true": True, "false": False}
ADYEN = [
    adyen(f"{name} {kind}", **{name: value})
    for name in ("pspReference", "originalReference", "merchantAccountCode", "merchantReference", "eventCode", "success")
    for kind, value in VALUES.items()
]
AMOUNTS = [
    adyen(f"{name} {kind}", amount={name: value}) for name in ("value", "currency") for kind, value in VALUES.items()
]
MERCADO = [
    mercado("both", "?data.id=42", "r-1", "id:42;request-id:r-1;ts:{s};"),
    mercado("no id", "?type=payment", "r-1", "request-id:r-1;ts:{s};"),
    mercado("an empty id", "?data.id=", "r-2", "request-id:r-2;ts:{s};"),
    mercado("no request's id", "?data.id=42", None, "id:42;ts:{s};"),
    mercado("an empty request's id", "?data.id=43", "", "id:43;ts:{s};"),
    mercado("neither", "", None, "ts:{s};"),
]
IDS = [
    body(sender, f"the id is {kind}", before + written + after)
    for sender, before, after in (
        ("square", '{"order":42', "}"),
        ("coinbase-commerce", '{"order":42,"event":{"a":1', "}}"),
    )
    for name in ["event_id" if sender == "square" else "id"]
    for kind, written in {
        "absent": "",
        "null": f',"{name}":null',
        "empty": f',"{name}":""',
        "a number": f',"{name}":7',
        "a boolean": f',"{name}":true',
    }.items()
]
TIMES = [
    body("linear", "the time is a text", '{"id":"42","webhookTimestamp":"@ms"}', refused=True),
    body("linear", "the time is absent", '{"id":"42"}', reason="timestamp_missing", refused=True),
    body("pusher", "the time is a text", '{"time_ms":"@ms","events":[]}'),
    body("pusher", "the time is absent", '{"events":[]}', reason="timestamp_missing"),
    body("pusher", "the time is null", '{"time_ms":null,"events":[]}', reason="timestamp_missing"),
]
QUERIES = [
    path(sender, f"/webhook{query}")
    for sender in ("messagebird", "contentful", "hubspot")
    for query in ("", "?", "?a", "?a=", "?a=&b=", "?b&a=1")
]
FORMS = [
    *(form("twilio-form", text) for text in ("", "A=", "A", "A=&B=1", "A&B", "A=true&B=0")),
    plivo("/webhook?a=1", "A=&B=1", "{url}.AB1.nonce"),
    plivo("/webhook?a=1", "A&B=1", "{url}.AB1.nonce"),
    plivo("/webhook?a=1", "A=true", "{url}.Atrue.nonce"),
    plivo("/webhook?a=", "A=1", "{url}.A1.nonce"),
    plivo("/webhook?b=&a=", "A=1", "https://hooks.example.com/webhook?a=&b=.A1.nonce"),
    plivo("/webhook", "A=1", "{url}?A1.nonce"),
    plivo("/webhook?a=1", "", "{url}.nonce"),
    plivo("/webhook", "", "{url}.nonce"),
]

VARIANTS = [*ADYEN, *AMOUNTS, *MERCADO, *IDS, *TIMES, *QUERIES, *FORMS]
