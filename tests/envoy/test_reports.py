"""Genuine deliveries that receivers of webhooks reported as lost: each one arrives here, byte for byte.

Each report names its source, an issue or a pull request, and builds the request that was lost there.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import time
from dataclasses import dataclass
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from harness import client, sign

ORIGIN = "https://hooks.example.com"
FORM = ("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
HUB = "X-Hub-Signature-256"
RAW_KEY = b"thirty-three bytes of a raw key.."
WHSEC = "whsec_" + base64.b64encode(RAW_KEY).decode()
ENDPOINTS: list = []
REPORTS: list = []
HANDSHAKES: list = []


@dataclass
class Request:
    """A signed request to the endpoint of a report. Without a body, it has no length either."""

    body: bytes | None
    headers: list
    query: str = ""
    method: str = "POST"


def report(source: str, provider: str = "", secret: str = "", answer: tuple = (), **endpoint):
    """Registers a report with an endpoint of its own. The function that builds the request gets the MAC by the secret.

    `answer` is the status and the body with which the guard answers a handshake.
    """

    def register(build):
        name = build.__name__.replace("_", "-")
        key = secret or f"secret of {name}"
        ENDPOINTS.append({
            "name": name,
            "match": {"path": f"/{name}"},
            "secrets": [{"version": "v1", "value": key}],
            **({"provider": provider} if provider else {}),
            **endpoint,
        })
        make = functools.partial(build, functools.partial(code, key.encode()))
        if answer:
            HANDSHAKES.append(pytest.param(name, make, answer, id=f"{name}-{source}"))
        else:
            REPORTS.append(pytest.param(name, make, id=f"{name}-{source}"))
        return build

    return register


def code(key: bytes, *parts, algorithm: str = "sha256") -> bytes:
    """The MAC of these parts, texts or bytes."""
    return sign.mac(key, *map(as_bytes, parts), algorithm=algorithm)


def as_bytes(text) -> bytes:
    return text.encode() if isinstance(text, str) else text


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def now(scale: int = 1) -> str:
    return str(int(time.time() * scale))


# Bodies: the signature covers the bytes on the wire, however they are escaped or formatted.


@report("octokit/webhooks.js#1155", "github")
def characters_of_several_bytes(mac):
    """GitHub: payloads with an emoji were rejected by receivers that decoded the body first."""
    body = '{"title": "\U0001f60a \u00e9 \u2026"}'.encode()
    return Request(body, [(HUB, f"sha256={mac(body).hex()}")])


@report("octokit/webhooks.js#71", "github")
def escapes_in_capitals(mac):
    """GitHub: the escape 001B became 001b when a receiver serialized the body again."""
    body = rb'{"log": "\u001B[0m \u2028 \/"}'
    return Request(body, [(HUB, f"sha256={mac(body).hex()}")])


@report("tawn33y/whatsapp-cloud-api#60", "meta")
def escapes_of_plain_characters(mac):
    """WhatsApp: messages with `@` were rejected. Meta also sends the old SHA-1 header."""
    body = rb'{"object": "page", "text": "a\u0040b.example \ud83d\ude00 \u003c"}'
    return Request(body, [("X-Hub-Signature", "sha1=" + "0" * 40), (HUB, f"sha256={mac(body).hex()}")])


@report("line/line-bot-sdk-nodejs#922", "line")
def emoji_that_a_platform_escaped(mac):
    """LINE: some emoji were rejected behind a platform that parsed the body."""
    body = '{"events": [{"message": {"text": "\U0001f928\u270b"}}]}'.encode()
    return Request(body, [("x-line-signature", b64(mac(body)))])


@report("slackapi/java-slack-sdk#1306", "slack")
def a_form_with_stars(mac):
    """Slack: interactions with bold text were rejected by receivers that encoded the form again."""
    body = b"payload=%7B%22text%22%3A%22*bold*+%F0%9F%92%A4+%26%22%7D"
    at = now()
    signature = f"v0={mac(f'v0:{at}:', body).hex()}"
    return Request(body, [FORM, ("X-Slack-Request-Timestamp", at), ("X-Slack-Signature", signature)])


SENDGRID = ec.generate_private_key(ec.SECP256R1())
SENDGRID_KEY = b64(
    SENDGRID.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
)


@report("sendgrid/sendgrid-nodejs#1238", "sendgrid", SENDGRID_KEY)
def several_events_with_line_breaks(mac):
    """SendGrid: only batches of one event were accepted, because receivers dropped the line breaks."""
    body = b'[{"event":"processed"},\r\n{"event":"delivered"}]\r\n'
    at = now()
    signature = b64(SENDGRID.sign(at.encode() + body, ec.ECDSA(hashes.SHA256())))
    header = "X-Twilio-Email-Event-Webhook"
    return Request(body, [(f"{header}-Signature", signature), (f"{header}-Timestamp", at)])


@report("box/box-python-sdk-gen#596", "box")
def a_body_that_a_package_escaped(mac):
    """Box: its package escaped the body before it hashed it. Only one of two keys is set."""
    body = '{"name": "\u00fc/\U0001f600"}'.encode()
    at = time.strftime("%Y-%m-%dT%H:%M:%S-00:00", time.gmtime())
    given = {
        "box-delivery-timestamp": at,
        "box-signature-algorithm": "HmacSHA256",
        "box-signature-version": "1",
        "box-signature-primary": b64(mac(body, at)),
    }
    return Request(body, list(given.items()))


@report("n8n-io/n8n#35933", "microsoft-graph", "state of a subscription")
def a_byte_order_mark(mac):
    """SharePoint: notifications that begin with a byte order mark were rejected."""
    body = b'\xef\xbb\xbf{"value": [{"clientState": "state of a subscription"}]}'
    return Request(body, [("Content-Type", "application/json; charset=utf8")])


FORM_OF_GITEA = {"header": "X-Gitea-Signature", "message": "{form:payload}", "body": "unsigned"}


@report("drone/go-scm#24", signature=FORM_OF_GITEA)
def a_form_whose_payload_is_signed(mac):
    """Gitea, Gogs, Forgejo: of a form, the sender signs the JSON in `payload` and not the body."""
    payload = '{"ref": "refs/heads/m\u00e4ster"}'
    return Request(urlencode({"payload": payload}).encode(), [FORM, ("X-Gitea-Signature", mac(payload).hex())])


@report("twilio/twilio-php#458", "twilio")
def a_form_with_json_in_a_field(mac):
    """Twilio: messages with an add-on have JSON in a field, and others an empty field."""
    fields = {"AddOns": '{"status": "successful"}', "Body": "a' \u00fc+&", "Empty": ""}
    url = f"{ORIGIN}/a-form-with-json-in-a-field"
    signed = url + "".join(name + value for name, value in sorted(fields.items()))
    return Request(urlencode(fields).encode(), [FORM, ("X-Twilio-Signature", b64(mac(signed, algorithm="sha1")))])


@report("twilio/twilio-node#657", "twilio")
def a_call_without_a_body(mac):
    """Twilio: a POST without parameters has no body, no content type and no hash of the body."""
    url = f"{ORIGIN}/a-call-without-a-body"
    return Request(b"", [("X-Twilio-Signature", b64(mac(url, algorithm="sha1")))])


@report("Asana/devrel-examples#65", "asana")
def a_heartbeat_without_events(mac):
    """Asana: a heartbeat every eight hours has no events. Two that fail end the webhook."""
    body = b'{"events":[]}'
    return Request(body, [("X-Hook-Signature", mac(body).hex())])


# Headers: proxies and senders write them in several ways.


@report("brefphp/bref#1691", "mollie")
def signatures_that_a_proxy_joined(mac):
    """Mollie sends a header for each active key. Gateways join headers of one name with commas (RFC 9110, 5.3)."""
    body = b'{"id": "event_1"}'
    return Request(body, [("X-Mollie-Signature", f"sha256={'0' * 64}, sha256={mac(body).hex()}")])


@report("svix/svix-docs#330", "svix", WHSEC.rstrip("="))
def both_families_of_headers(mac):
    """Svix: the headers svix-* and webhook-* mean the same. The pasted secret lacks its padding."""
    body = b'{"type": "invoice.paid"}'
    twins = [sign.standard_webhooks(WHSEC, body, prefix=prefix) for prefix in ("svix", "webhook")]
    return Request(body, [*twins[0], *twins[1]])


WEBSUB = {"header": "X-Hub-Signature", "format": ["sha1={signature}"], "algorithm": "hmac-sha1"}


@report("mastodon/ostatus2#5", signature=WEBSUB)
def a_code_in_capitals(mac):
    """WebSub: some publishers write the hexadecimal code in capitals."""
    body = b"<feed/>"
    return Request(body, [("X-Hub-Signature", "sha1=" + mac(body, algorithm="sha1").hex().upper())])


ORB = {
    "header": "X-Orb-Signature",
    "format": ["v1={signature}"],
    "message": "v1:{timestamp}:{body}",
    "timestamp": {"header": "X-Orb-Timestamp", "unit": "rfc3339"},
}


@report("orbcorp/orb-node#157", signature=ORB)
def a_time_without_a_zone(mac):
    """Orb: the signed time has no zone, and its package took it for local time."""
    body = b'{"id": "1"}'
    at = time.strftime("%Y-%m-%dT%H:%M:%S.551", time.gmtime())
    return Request(body, [("X-Orb-Timestamp", at), ("X-Orb-Signature", f"v1={mac('v1:', at, ':', body).hex()}")])


@report("workos/workos-node#1579", "workos")
def milliseconds_and_a_blank(mac):
    """WorkOS: the time is in milliseconds, and a blank follows the comma."""
    body = b'{"id": "wh_1"}'
    at = now(1000)
    return Request(body, [("WorkOS-Signature", f"t={at}, v1={mac(at, '.', body).hex()}")])


LIVEKIT = {
    "header": "Authorization",
    "format": ["{token}"],
    "claims": {"iss": "a key of LiveKit"},
    "body_hash": {"claim": "sha256", "encoding": "base64"},
}


@report("livekit/protocol#1145", signature=LIVEKIT)
def a_token_with_the_hash_of_the_body(mac):
    """LiveKit: the body's hash did not match behind a load balancer. Its clock is 50 s ahead."""
    body = b'{"event": "room_started"}'
    hashed = b64(hashlib.sha256(body).digest())
    claims = {"iss": "a key of LiveKit", "nbf": int(now()) + 50, "exp": int(now()) + 350, "sha256": hashed}
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    signed = ".".join(unpadded(json.dumps(part).encode()) for part in parts)
    token = f"{signed}.{unpadded(mac(signed))}"
    return Request(body, [("Authorization", token), ("Content-Type", "application/webhook+json")])


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# URLs: senders add parameters, and proxies show another origin.


@report("Jira Cloud", "jira")
def a_parameter_that_the_sender_adds(mac):
    """Jira Cloud appends the user to the registered URL."""
    body = b'{"webhookEvent": "jira:issue_updated"}'
    signature = f"sha256={mac(body).hex()}"
    return Request(body, [("X-Hub-Signature", signature)], "?triggeredByUser=712020%3A5a54709d")


@report("twilio/twilio-node#42", "twilio", methods=["GET"])
def a_call_by_get(mac):
    """Twilio: a call by GET has its parameters in the URL, with `+` for blanks (bmlt-enabled/yap#1629)."""
    query = "?RetryMessage=Couldn%27t+find+it.&From=%2B1415"
    signed = f"{ORIGIN}/a-call-by-get{query}"
    return Request(None, [("X-Twilio-Signature", b64(mac(signed, algorithm="sha1")))], query, "GET")


@report("HubSpot/hubspot-api-php#226", "hubspot", methods=["GET"])
def a_card_by_get(mac):
    """HubSpot: cards are fetched by GET, and HubSpot decodes some escapes before it signs."""
    at = now(1000)
    signed = f"GET{ORIGIN}/a-card-by-get?userEmail=a@b.example&q=a%20b{at}"
    given = [("X-HubSpot-Request-Timestamp", at), ("X-HubSpot-Signature-v3", b64(mac(signed)))]
    return Request(None, given, "?userEmail=a%40b.example&q=a%20b", "GET")


@report("chobbledotcom/tickets#381", "square")
def an_url_behind_a_proxy_that_ends_tls(mac):
    """Square signs the public URL with https, and the receiver saw http."""
    body = b'{"type": "payment.updated", "event_id": "1"}'
    signed = mac(f"{ORIGIN}/an-url-behind-a-proxy-that-ends-tls", body)
    return Request(body, [("x-square-hmacsha256-signature", b64(signed))])


APPWRITE = {
    "header": "X-Appwrite-Webhook-Signature",
    "message": "{url}{body}",
    "algorithm": "hmac-sha1",
    "encoding": "base64",
}


@report("appwrite/appwrite#13196", signature=APPWRITE)
def a_registered_query_with_escapes(mac):
    """Appwrite: an URL with escapes was signed decoded. Newer versions sign it as it is registered."""
    body = b'{"$id": "1"}'
    query = "?token=a%20b%2Bc"
    signed = mac(f"{ORIGIN}/a-registered-query-with-escapes{query}", body, algorithm="sha1")
    return Request(body, [("X-Appwrite-Webhook-Signature", b64(signed))], query)


@report("mercadopago/sdk-nodejs#439", "mercado-pago")
def an_id_in_capitals(mac):
    """Mercado Pago: packages wrote the order's id in lower case, and newer ones sign it as it is."""
    at = now()
    signature = f"ts={at},v1={mac(f'id:ORD01;request-id:r-1;ts:{at};').hex()}"
    return Request(b"{}", [("x-signature", signature), ("x-request-id", "r-1")], "?data.id=ORD01&type=order")


# Secrets: several of one URL, and characters that shells and editors change.

ROTATED = [
    {"version": "new", "value": "a client secret of this month"},
    {"version": "old", "value": "a client secret of last month"},
]


@report("Shopify/shopify-app-js#3183", "shopify", "a client secret of last month", secrets=ROTATED)
def a_secret_that_the_sender_still_uses(mac):
    """Shopify signs with the previous secret for half an hour after it was revoked."""
    body = b'{"id": 1}'
    return Request(body, [("X-Shopify-Hmac-Sha256", b64(mac(body)))])


ACCOUNTS = [
    {"version": "platform", "value": "whsec_of_the_platform"},
    {"version": "connect", "value": "whsec_of_the_accounts"},
]


@report("tansengming/stripe-rails#161", "stripe", "whsec_of_the_accounts", secrets=ACCOUNTS)
def two_webhooks_of_one_url(mac):
    """Stripe Connect: events of connected accounts have another secret than those of the platform."""
    body = b'{"id": "evt_1", "account": "acct_1"}'
    at = now()
    other = "0" * 64
    return Request(body, [("Stripe-Signature", f"t={at},v1={other},v1={mac(at, '.', body).hex()},v0={other}")])


@report("woocommerce/woocommerce#22500", "woocommerce", r">Zx3Rb)87d/X|J~<x`s-7:5!s1}F!$PATH %s \u00fc##&")
def a_secret_with_special_characters(mac):
    """WooCommerce: a secret with `<`, `&` or `;` was stored in another form than it was shown."""
    body = b'{"id": 1}'
    return Request(body, [("X-WC-Webhook-Signature", b64(mac(body)))])


# Handshakes: what a sender asks before it delivers is answered, and what looks like it is delivered.

DISCORD = ed25519.Ed25519PrivateKey.generate()
RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw
DISCORD_KEY = DISCORD.public_key().public_bytes(*RAW).hex()


def discord(body: bytes) -> Request:
    at = now()
    signature = DISCORD.sign(at.encode() + body).hex()
    return Request(body, [("X-Signature-Timestamp", at), ("X-Signature-Ed25519", signature)])


@report("elizaOS/eliza#19504", "discord", DISCORD_KEY, answer_challenges=True)
def an_event_with_the_type_of_a_ping(_):
    """Discord: type 1 is an event of a webhook, and the check of an URL for interactions."""
    return discord(b'{"version": 1, "type": 1, "event": {"type": "APPLICATION_AUTHORIZED"}}')


@report("hookdeck/webhook-skills#41", "discord", DISCORD_KEY, (204, b""), answer_challenges=True)
def a_ping_of_webhook_events(_):
    """Discord: type 0 is the check of an URL for webhook events, and wants 204."""
    return discord(b'{"version": 1, "application_id": "1", "type": 0}')


PONG = (200, b'{"type":1}')


@report("discord/discord-api-docs#7311", "discord", DISCORD_KEY, PONG, answer_challenges=True)
def a_ping_of_interactions(_):
    """Discord: the check of an URL for interactions wants its answer in the response."""
    return discord(b'{"id": "1", "type": 1, "token": "t", "version": 1}')


@report("runatlantis/atlantis#474", "bitbucket", "", (200, b""), answer_challenges=True)
def an_unsigned_test_of_the_connection(_):
    """Bitbucket Data Center does not sign its test, and reports the webhook as broken unless it is answered 200."""
    return Request(b'{"test": true}', [("X-Event-Key", "diagnostics:ping")])


TOKEN = (200, b"Validation: Testing client application reachability for subscription Request-Id: 1")


@report("microsoftgraph/microsoft-graph-docs#21160", "microsoft-graph", "", TOKEN, answer_challenges=True)
def a_token_that_is_a_sentence(_):
    """Microsoft Graph: the token is a sentence, encoded as a form, and wanted back as plain text."""
    query = "?validationToken=Validation%3A+Testing+client+application+reachability+for+subscription+Request-Id%3A+1"
    return Request(b"", [("Content-Type", "text/plain; charset=utf-8")], query)


@pytest.fixture(scope="module")
def reported(start_module, upstream):
    """An Envoy with an endpoint for each report."""
    return start_module(upstream, {"environment": "test", "public_url": ORIGIN, "endpoints": ENDPOINTS})


def ask(reported, name: str, request: Request):
    path = f"/{name}{request.query}"
    return client.ask(reported.port, client.request(path, request.headers, request.body, request.method))


@pytest.mark.parametrize(("name", "build"), REPORTS)
def test_a_genuine_delivery_arrives(name, build, reported, upstream):
    before = len(upstream.requests)
    request = build()
    assert ask(reported, name, request).status == 200, reported.guard_lines()[-1]
    arrived = upstream.next(before)
    assert (arrived.method, arrived.path) == (request.method, f"/{name}{request.query}")
    assert arrived.body == (request.body or b"")


@pytest.mark.parametrize(("name", "build"), REPORTS)
def test_an_unsigned_request_does_not(name, build, reported, upstream):
    request = build()
    request.headers, request.body = [], b"{}"
    with upstream.nothing():
        assert ask(reported, name, request).status == 401


@pytest.mark.parametrize(("name", "build", "answer"), HANDSHAKES)
def test_a_handshake_is_answered(name, build, answer, reported, upstream):
    with upstream.nothing():
        response = ask(reported, name, build())
        assert (response.status, response.body) == answer


GITHUB = "characters-of-several-bytes"


def to_github(body: bytes) -> list:
    """The headers of another delivery to an endpoint of GitHub."""
    return [(HUB, f"sha256={code(f'secret of {GITHUB}'.encode(), body).hex()}")]


def test_a_redelivery_by_hand_arrives_again(reported, upstream):
    """GitHub: a redelivery has the id of the first delivery, and one receiver hid it (probot/smee-client#72)."""
    delivery = Request(b"{}", [*to_github(b"{}"), ("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")])
    for _ in range(2):
        before = len(upstream.requests)
        assert ask(reported, GITHUB, delivery).status == 200
        assert upstream.next(before).body == b"{}"


def test_a_body_in_pieces_without_a_length_arrives(reported, upstream):
    """Inngest: a chunked body has no content-length, and its package took it for empty (inngest/inngest-js#1267)."""
    body = b'{"id": 1}'
    before = len(upstream.requests)
    pieces = client.chunked(f"/{GITHUB}", to_github(body), [body[:5], body[5:]])
    assert client.ask(reported.port, *pieces).status == 200
    assert upstream.next(before).body == body
