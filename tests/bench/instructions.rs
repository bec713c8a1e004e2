//! Requests whose instructions `make instructions` counts, from the head to the verdict.
//!
//! tests/bench/instructions.py runs this program in callgrind, which counts from a call of [`start_count`] to the next
//! one of [`stop_count`].

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may panic"
)]

use std::env::VarError;
use std::hint::black_box;
use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::Sha256;
use webhook_guard::policy::endpoint::unwanted_headers;
use webhook_guard::policy::{Policy, Route};
use webhook_guard::replay::EMPTY;
use webhook_guard::request::headers::{Headers, join_pairs, split_pairs};
use webhook_guard::time::{Moment, UnixMillis};
use webhook_guard::verify::{Finish, Head, Verdict, Verification};

const NOW: i64 = 1_700_000_000;
const SECRET: &str = "a secret of the tests, long enough";
/// The bytes of [`SECRET`], as Standard Webhooks writes them.
const WHSEC: &str = "whsec_YSBzZWNyZXQgb2YgdGhlIHRlc3RzLCBsb25nIGVub3VnaA==";
const OTHER_SECRET: &str = "another secret, which signs nothing";
/// The size in which the shell reads a body.
const CHUNK: usize = 64 * 1024;
const HEADER: &str = "x-webhook-signature";
const HOST: &str = "hooks.example.com";
const CLIENT: &[u8] = b"203.0.113.7:4711";

/// A request, and what the guard must decide on it.
struct Case {
    name: &'static str,
    policy: Policy,
    /// The headers in the host's encoding.
    map: Vec<u8>,
    body: Vec<u8>,
    reason: &'static str,
}

fn main() {
    for case in cases() {
        // The first request of an endpoint makes its keyring.
        judge(&case);
        let reason = judge(start_count(&case));
        stop_count(case.name);
        assert_eq!(reason, case.reason, "{}", case.name);
    }
}

#[inline(never)]
fn start_count(case: &Case) -> &Case {
    black_box(case)
}

#[inline(never)]
fn stop_count(name: &str) {
    println!("{name}");
}

/// The reason of the verdict. Does with a request what the shell does with it, without the host.
fn judge(case: &Case) -> &'static str {
    let pairs = split_pairs(&case.map).expect("a header map");
    let headers = Headers::new(&pairs);
    let method = headers.method().expect("one method");
    let target = headers.target().expect("one path");
    let authority = headers.authority().expect("one authority");
    let route = case.policy.route(
        method.expect("a method"),
        target,
        authority.expect("an authority"),
        headers.upgrades(),
    );
    let Route::Guarded(_, endpoint) = route else {
        return "no endpoint";
    };
    black_box(unwanted_headers(&headers, Some(endpoint)));
    let (keyring, _) = endpoint.keyring(Vec::new());
    let head = Head {
        headers,
        client: endpoint.client_address.client(Some(CLIENT)),
        now: UnixMillis(NOW * 1_000),
        published: &[],
        keyring: &keyring,
    };
    let verdict = match Verification::begin(endpoint, &head) {
        Ok(verification) => read(verification, &case.body),
        Err(verdict) => verdict,
    };
    if let Some(check) = verdict.replay_check(endpoint) {
        let now = Moment {
            monotonic: 1_000_000,
            wall: head.now,
        };
        let change = check
            .replay
            .acquire(EMPTY, check.delivery, check.fresh_until, now);
        black_box(change.expect("a new delivery"));
    }
    verdict.reason().name()
}

fn read(mut verification: Box<Verification>, body: &[u8]) -> Verdict {
    for chunk in body.chunks(CHUNK) {
        if let Err(verdict) = verification.body(chunk) {
            return verdict;
        }
    }
    match verification.finish(UnixMillis(NOW * 1_000)) {
        Finish::Done(verdict) => verdict,
        Finish::NeedsBody(mut again) => {
            for chunk in body.chunks(CHUNK) {
                again.body(chunk);
            }
            again.finish()
        }
    }
}

fn cases() -> Vec<Case> {
    // Small, so that the hash of the body does not hide other work.
    let small = body(128);
    let signature = sign(SECRET, &[&small]);
    let by_default = [(HEADER, &*signature)];
    let is_accepted = |name, policy, path, headers: &[(&str, &str)]| {
        Case::new(name, policy, path, headers, &small, "accepted")
    };
    let is_denied = |name, policy, headers: &[(&str, &str)], reason| {
        Case::new(name, policy, "/hooks/0", headers, &small, reason)
    };
    let of_size = |name, size| {
        let body = body(size);
        let headers = [(HEADER, &*sign(SECRET, &[&body]))];
        Case::new(
            name,
            one(&json!({})),
            "/hooks/0",
            &headers,
            &body,
            "accepted",
        )
    };
    let rotated = json!({"secrets": [secret("v2", OTHER_SECRET), secret("v1", SECRET)]});
    let with_id = json!({"signature": {"header": HEADER, "id": {"json": "/id"}}});
    let by_path = |number| json!({"path": format!("/hooks/{number}")});
    let by_host = |number| match number {
        999 => json!({"path": "/hooks/0", "host": HOST}),
        _ => json!({"path": "/hooks/0", "host": format!("hooks-{number}.example.com")}),
    };
    let by_prefix = |number| json!({"prefix": format!("/hooks/{number}/")});
    let mut cases = vec![
        of_size("128 B", 128),
        of_size("1 KiB", 1024),
        of_size("64 KiB", 64 * 1024),
        is_denied(
            "forged",
            one(&json!({})),
            &[(HEADER, &sign(OTHER_SECRET, &[&small]))],
            "signature_invalid",
        ),
        is_denied(
            "without a signature",
            one(&json!({})),
            &[],
            "signature_missing",
        ),
        is_denied(
            "address not allowed",
            one(&json!({"allow": ["192.0.2.0/24"]})),
            &by_default,
            "client_address_denied",
        ),
        is_accepted(
            "the second of two secrets",
            one(&rotated),
            "/hooks/0",
            &by_default,
        ),
        is_accepted(
            "an id in a JSON body",
            one(&with_id),
            "/hooks/0",
            &by_default,
        ),
        is_accepted(
            "the last of 1,000 paths",
            many(by_path),
            "/hooks/999",
            &by_default,
        ),
        is_accepted(
            "the last of 1,000 prefixes",
            many(by_prefix),
            "/hooks/999/orders",
            &by_default,
        ),
        is_accepted(
            "the last of 1,000 hosts",
            many(by_host),
            "/hooks/0",
            &by_default,
        ),
        is_accepted(
            "50,000 allowed prefixes",
            one(&json!({"allow": prefixes(50_000)})),
            "/hooks/0",
            &by_default,
        ),
    ];
    let presets = presets().into_iter().chain(public_keys());
    cases.extend(presets.map(|(name, key, headers)| {
        let fields = json!({"provider": name, "secrets": [secret("v1", &key)]});
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        is_accepted(name, one(&fields), "/hooks/0", &headers)
    }));
    cases
}

/// The name of a preset, a secret, and the headers of a request.
type Preset = (&'static str, String, Vec<(&'static str, String)>);

fn presets() -> [Preset; 5] {
    let body = body(128);
    let time = NOW.to_string();
    let signed = |parts: &[&str]| {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| part.as_bytes())
            .chain([&*body])
            .collect();
        sign(SECRET, &parts)
    };
    let base64 = STANDARD.encode(mac(SECRET, &[b"msg_1.", time.as_bytes(), b".", &body]));
    let mut sha1: Hmac<Sha1> = Hmac::new_from_slice(SECRET.as_bytes()).expect("a key");
    sha1.update(&body);
    let sha1 = sha1.finalize().into_bytes();
    [
        (
            "github",
            SECRET.to_owned(),
            vec![("x-hub-signature-256", format!("sha256={}", signed(&[])))],
        ),
        (
            "github-sha1",
            SECRET.to_owned(),
            vec![("x-hub-signature", format!("sha1={}", digits(&sha1)))],
        ),
        (
            "stripe",
            SECRET.to_owned(),
            vec![(
                "stripe-signature",
                format!("t={time},v1={}", signed(&[&time, "."])),
            )],
        ),
        (
            "slack",
            SECRET.to_owned(),
            vec![
                (
                    "x-slack-signature",
                    format!("v0={}", signed(&["v0:", &time, ":"])),
                ),
                ("x-slack-request-timestamp", time.clone()),
            ],
        ),
        (
            "standard-webhooks",
            WHSEC.to_owned(),
            vec![
                ("webhook-id", "msg_1".to_owned()),
                ("webhook-timestamp", time.clone()),
                ("webhook-signature", format!("v1,{base64}")),
            ],
        ),
    ]
}

/// Senders with a private key: of Ed25519, and of ECDSA.
fn public_keys() -> [Preset; 2] {
    let time = NOW.to_string();
    let message = [time.as_bytes(), &body(128)].concat();
    let discord = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let sendgrid = p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a key");
    let point = sendgrid.verifying_key().to_sec1_point(false);
    let signature: p256::ecdsa::Signature = sendgrid.sign(&message);
    let twilio = "x-twilio-email-event-webhook-signature";
    [
        (
            "discord",
            digits(discord.verifying_key().as_bytes()),
            vec![
                (
                    "x-signature-ed25519",
                    digits(&discord.sign(&message).to_bytes()),
                ),
                ("x-signature-timestamp", time.clone()),
            ],
        ),
        (
            "sendgrid",
            STANDARD.encode(point),
            vec![
                (twilio, STANDARD.encode(signature.to_der())),
                ("x-twilio-email-event-webhook-timestamp", time),
            ],
        ),
    ]
}

impl Case {
    fn new(
        name: &'static str,
        policy: Policy,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        reason: &'static str,
    ) -> Self {
        Self {
            name,
            policy,
            map: head(path, headers, body.len()),
            body: body.to_vec(),
            reason,
        }
    }
}

/// A policy with 1,000 endpoints, each with its own `match`.
fn many(wanted: impl Fn(u32) -> Value) -> Policy {
    policy((0..1000).map(|number| endpoint(number, &wanted(number), &json!({}))))
}

/// A policy with one endpoint.
fn one(fields: &Value) -> Policy {
    policy([endpoint(0, &json!({"path": "/hooks/0"}), fields)])
}

fn endpoint(number: u32, wanted: &Value, fields: &Value) -> Value {
    let mut endpoint = json!({
        "name": format!("endpoint-{number}"),
        "match": wanted,
        "secrets": [secret("v1", SECRET)],
    });
    for (name, value) in fields.as_object().expect("an object") {
        endpoint[name] = value.clone();
    }
    endpoint
}

fn secret(version: &str, value: &str) -> Value {
    json!({"version": version, "value": value})
}

fn policy(endpoints: impl IntoIterator<Item = Value>) -> Policy {
    let endpoints: Vec<_> = endpoints.into_iter().collect();
    let configuration = json!({"environment": "test", "endpoints": endpoints}).to_string();
    let variable = |_: &str| Err(VarError::NotPresent);
    let (policy, _) = Policy::read(configuration.as_bytes(), &variable).expect("a policy");
    policy
}

/// The network of the client, and others. No two of them merge.
fn prefixes(count: u32) -> Vec<String> {
    let other = |number: u32| format!("{}/24", Ipv4Addr::from_bits((16 << 24) + (number << 9)));
    let others = (1..count).map(other);
    others.chain(["203.0.113.0/24".to_owned()]).collect()
}

/// A JSON body of this size.
fn body(size: usize) -> Vec<u8> {
    let start = r#"{"id": "evt_1", "items": ["#;
    let item = r#"{"sku": "A-1000", "count": 2, "note": null}, "#;
    let end = r#"{"sku": "the last"}]}"#;
    let count = (size - start.len() - end.len()) / item.len();
    let mut body = [start, &item.repeat(count), end].concat().into_bytes();
    body.resize(size, b' ');
    body
}

/// The headers that Envoy passes on for a webhook over HTTP/1.1.
fn head(path: &str, signature: &[(&str, &str)], length: usize) -> Vec<u8> {
    let length = length.to_string();
    let mut pairs = vec![
        (":authority", HOST),
        (":path", path),
        (":method", "POST"),
        (":scheme", "https"),
        (
            "user-agent",
            "Sender-Webhooks/1.0 (+https://sender.example/webhooks)",
        ),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, deflate"),
        ("content-type", "application/json"),
        ("content-length", &length),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-envoy-expected-rq-timeout-ms", "15000"),
        ("x-request-id", "7f2c5f1e-3e0b-4d7a-9a57-0d6f3f1f4f6b"),
    ];
    pairs.extend(signature);
    join_pairs(&pairs).expect("a header map")
}

/// The signature in hexadecimal digits.
fn sign(secret: &str, parts: &[&[u8]]) -> String {
    digits(&mac(secret, parts))
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(secret: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(secret.as_bytes()).expect("a key");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}
