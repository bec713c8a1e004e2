//! Forgeries: from one genuine delivery, requests that an application would read as something else than what
//! was signed. Each was once accepted.

use serde_json::json;
use sha2::{Digest, Sha256};
use webhook_guard::policy::Policy;
use webhook_guard::verdict::{Outcome, Reason};

use crate::support::{NOW, Request, base64, endpoint, hex, mac, read, read_in, variable};
use crate::vectors::{folder, policy, request};

const URL: &str = r#""public_url": "https://hooks.example.com""#;
const FORM: &str = "application/x-www-form-urlencoded";

fn secret() -> &'static [u8] {
    variable("SECRET").as_bytes()
}

/// A preset's first valid vector: its policy and its request.
fn genuine(provider: &str) -> (Policy, Request) {
    let all = folder("tests/vectors");
    let vectors = &all.iter().find(|(name, _)| name == provider).unwrap().1;
    let mut vectors = vectors.as_array().unwrap().iter();
    let vector = vectors.find(|vector| vector["valid"] == true).unwrap();
    let policy = policy(vector, json!({"provider": provider})).unwrap();
    let request = request(vector);
    assert_eq!(request.reason(&policy), Reason::Accepted, "{provider}");
    (policy, request)
}

/// One endpoint with a `signature` block of its own, or its faults.
fn own(signature: &str) -> Result<(Policy, Vec<String>), Vec<String>> {
    let texts = |faults: Vec<webhook_guard::config::Fault>| -> Vec<String> {
        faults.iter().map(ToString::to_string).collect()
    };
    let configuration = format!(
        r#"{{{URL}, "endpoints": [{{"name": "o", "match": {{"path": "/webhook"}}, "signature": {{"header": "X-S", {signature}}}, "secrets": [{{"version": "v1", "env": "SECRET"}}]}}]}}"#
    );
    read(&configuration)
        .map(|(policy, warnings)| (policy, texts(warnings)))
        .map_err(texts)
}

fn warnings(signature: &str) -> String {
    own(signature).expect(signature).1.join("\n")
}

#[test]
fn a_nonce_swallows_no_signed_text() {
    let nonce = "X-Plivo-Signature-V3-Nonce";
    let (policy, mut request) = genuine("plivo-v3");
    let old = String::from_utf8(request.get(nonce).to_vec()).unwrap();
    // Signed: the URL, `.From1Texth iTo2`, `.` and the nonce.
    request.set(nonce, &format!("From1Texth iTo2.{old}"));
    request.body = Vec::new();
    assert_eq!(request.reason(&policy), Reason::SignatureMalformed);

    let policy = endpoint(&format!(r#""provider": "plivo-v3", {URL}"#));
    let message = b"https://hooks.example.com/webhook?From1TotalCost0.0065.123";
    let mut request = Request::new(b"From=1&TotalCost=0.0065")
        .with("content-type", FORM)
        .with("X-Plivo-Signature-V3", base64(secret(), message))
        .with(nonce, "123");
    assert_eq!(request.reason(&policy), Reason::Accepted);
    request.body = b"From=1&TotalCost=0".to_vec();
    request.set(nonce, "0065.123");
    assert_eq!(request.reason(&policy), Reason::SignatureMalformed);
}

/// Whatever stands beside a literal, wherever it comes from, may not hold it where the message could then be
/// cut in another way.
#[test]
fn no_value_holds_the_literal_that_delimits_it() {
    let reason = |signature: &str, message: &str, header: &str, path: &str, body: &str| {
        let (policy, _) = own(signature).expect(signature);
        let mut request = Request::new(body.as_bytes())
            .with("x-s", hex(secret(), message.as_bytes()))
            .with("x-a", header)
            .with("x-t", NOW.to_string());
        request.path = Some(path.to_owned());
        request.reason(&policy)
    };
    let time = r#""timestamp": {"header": "X-T"}"#;
    let accepted = |signature: &str, message: &str, header: &str, path: &str, body: &str| {
        let got = reason(signature, message, header, path, body);
        assert_eq!(got, Reason::Accepted, "{message}");
    };
    let refused = |signature: &str, message: &str, header: &str, path: &str, body: &str| {
        let got = reason(signature, message, header, path, body);
        assert_eq!(got, Reason::SignatureMalformed, "{message}");
    };
    let before = format!(r#""message": "{{header:X-A}}.{{timestamp}}.{{body}}", {time}"#);
    accepted(&before, &format!("a.{NOW}.b.c"), "a", "/webhook", "b.c");
    refused(&before, &format!("a.b.{NOW}.c"), "a.b", "/webhook", "c");
    // A literal that begins in the value and ends after it ends the value before its end.
    let double = r#""message": "{query:q}::{body}""#;
    accepted(double, "a::b", "-", "/webhook?q=a", "b");
    refused(double, "a:::b", "-", "/webhook?q=a:", "b");
    refused(double, "a::c::b", "-", "/webhook?q=a::c", "b");
    let after = r#""message": "{body}::{header:X-A}""#;
    accepted(after, "b::c::a", "a", "/webhook", "b::c");
    refused(after, "b:::a", ":a", "/webhook", "b");
    let between = r#""message": "{url}|{header:X-A}|{body}""#;
    let url = "https://hooks.example.com/webhook";
    accepted(between, &format!("{url}|a|b|c"), "a", "/webhook", "b|c");
    refused(between, &format!("{url}|a|b|c"), "a|b", "/webhook", "c");
    // The last of all ends where the message ends.
    let last = format!(r#""message": "{{timestamp}}.{{header:X-A}}", {time}, "body": "unsigned""#);
    accepted(&last, &format!("{NOW}.a.b"), "a.b", "/webhook", "");
    // An id in the body is known late, and is no exception.
    let late = r#""message": "{id}.{query:q}", "id": {"json": "/id"}, "body": "unsigned""#;
    accepted(late, "a.b.c", "-", "/webhook?q=b.c", r#"{"id": "a"}"#);
    refused(late, "a.b.c", "-", "/webhook?q=c", r#"{"id": "a.b"}"#);
}

#[test]
fn an_id_that_nothing_ends_is_of_a_few_letters() {
    let policy = endpoint(r#""provider": "twitch""#);
    let time = |text: &str| ("Twitch-Eventsub-Message-Timestamp", text.to_owned());
    let body =
        r#"{"event":{"started_at":"2023-11-14T22:13:20Z","ends_at":"2024-01-01T00:00:00Z"}}"#;
    let message = format!("msg-12023-11-14T22:13:20Z{body}");
    let signature = format!("sha256={}", hex(secret(), message.as_bytes()));
    let sent = |id: &str, timestamp: &str, body: &str| {
        let (name, timestamp) = time(timestamp);
        Request::new(body.as_bytes())
            .with("Twitch-Eventsub-Message-Id", id)
            .with(name, timestamp)
            .with("Twitch-Eventsub-Message-Signature", signature.clone())
    };
    let genuine = sent("msg-1", "2023-11-14T22:13:20Z", body);
    assert_eq!(genuine.reason(&policy), Reason::Accepted);
    // Weeks later, by a time that the event itself holds.
    let (id, rest) = message.split_once("2024-01-01T00:00:00Z").unwrap();
    let mut again = sent(id, "2024-01-01T00:00:00Z", rest);
    again.now = 1_704_067_200_000;
    assert_eq!(again.reason(&policy), Reason::SignatureMalformed);
    // However the message is cut at another place, id and time no longer parse.
    let mut cuts = 0;
    for begin in 1..message.len().min(150) {
        for end in (begin + 20)..(begin + 36).min(message.len()) {
            let mut cut = sent(&message[..begin], &message[begin..end], &message[end..]);
            for now in [NOW * 1_000, 1_704_067_200_000] {
                cut.now = now;
                cuts += usize::from(cut.reason(&policy) == Reason::Accepted);
            }
        }
    }
    assert_eq!(cuts, 1, "the genuine one alone");

    for (signature, touches) in [
        (
            r#""message": "{id}{timestamp}{body}", "id": {"header": "X-I"}, "timestamp": {"header": "X-T"}"#,
            true,
        ),
        (r#""message": "{header:X-A}{body}""#, true),
        (r#""message": "{url}{body}""#, true),
        (r#""message": "{query:a}{header:X-A}.{body}""#, true),
        (
            r#""message": "{timestamp}{body}", "timestamp": {"header": "X-T"}"#,
            false,
        ),
        (
            r#""message": "v0{body}{timestamp}", "timestamp": {"header": "X-T"}"#,
            false,
        ),
        (
            r#""message": "{method}{url}.{body}.{timestamp}", "timestamp": {"header": "X-T"}"#,
            false,
        ),
        (
            r#""message": "{id}.{timestamp}.{body}", "id": {"header": "X-I"}, "timestamp": {"header": "X-T"}"#,
            false,
        ),
    ] {
        assert_eq!(
            warnings(signature).contains("touch"),
            touches,
            "{signature}"
        );
    }
}

#[test]
fn a_zero_moves_from_an_url_into_no_timestamp() {
    let policy = endpoint(&format!(
        r#""provider": "hubspot", "methods": ["GET"], {URL}"#
    ));
    let time = NOW * 1_000;
    let message = format!("GEThttps://hooks.example.com/webhook?amount=1000{time}");
    let mut request = Request::new(b"")
        .with(
            "X-HubSpot-Signature-v3",
            base64(secret(), message.as_bytes()),
        )
        .with("X-HubSpot-Request-Timestamp", time.to_string());
    request.method = "GET";
    request.path = Some("/webhook?amount=1000".into());
    assert_eq!(request.reason(&policy), Reason::Accepted);
    request.path = Some("/webhook?amount=1".into());
    request.set("X-HubSpot-Request-Timestamp", &format!("000{time}"));
    assert_eq!(request.reason(&policy), Reason::TimestampMalformed);
}

#[test]
fn a_presets_unsigned_body_is_warned_of_too() {
    let warnings = |provider: &str| {
        let configuration = format!(
            r#"{{{URL}, "endpoints": [{{"name": "o", "match": {{"path": "/webhook"}}, "provider": "{provider}", "secrets": [{{"version": "v1", "env": "SECRET"}}]}}]}}"#
        );
        let (_, warnings) = read(&configuration).unwrap();
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for provider in ["mailgun", "mercado-pago", "plivo", "monday", "telegram"] {
        let warnings = warnings(provider);
        assert!(
            warnings[0].starts_with("endpoints[0].provider: the body is not signed"),
            "{warnings:?}"
        );
    }
    assert!(warnings("hubspot-v1")[0].contains("{secret}"));
    for provider in ["github", "stripe", "airwallex", "square", "twitch"] {
        assert!(warnings(provider).is_empty(), "{provider}");
    }
}
