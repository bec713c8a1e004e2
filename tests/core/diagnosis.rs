//! The evidence in the log line of a rejection: it names causes, and shows neither a secret nor a signature.

use serde_json::Value;
use webhook_guard::diagnosis::{self, FIELDS, Seen};
use webhook_guard::policy::{Policy, Route};
use webhook_guard::request::headers::Headers;
use webhook_guard::time::UnixMillis;
use webhook_guard::verify::Verdict;

use crate::support::{NOW, Request, endpoint, hex};
use crate::vectors::{folder, policy, request};

/// The evidence for a rejection after the whole body, or `None` if the request is not rejected for its signature.
fn diagnose(request: &Request, policy: &Policy) -> Option<String> {
    let Verdict::Fail(rejection) = request.judge(policy) else {
        return None;
    };
    if !diagnosis::explains(rejection.denial) {
        return None;
    }
    let pairs = request.pairs();
    let headers = Headers::new(&pairs);
    let path = request.path.as_deref().map(str::as_bytes);
    let method = request.method.as_bytes();
    let Route::Guarded(_, endpoint) = policy.route(method, path, b"hooks.example.com", false)
    else {
        panic!("the request has no endpoint");
    };
    let seen = Seen {
        headers,
        has_length: headers.values("content-length").next().is_some(),
        body: Some(u64::try_from(request.body.len()).unwrap()),
        now: UnixMillis(request.now),
    };
    Some(diagnosis::diagnose(endpoint, &rejection, &seen))
}

fn fields(request: &Request, policy: &Policy) -> Value {
    let fields = diagnose(request, policy).expect("a rejection");
    serde_json::from_str(&format!("{{\"a\":0{fields}}}")).expect("JSON")
}

fn hint(request: &Request, policy: &Policy) -> String {
    let fields = fields(request, policy);
    fields["hint"].as_str().unwrap_or_default().to_owned()
}

/// The parts of a text that could be a signature, a token or a secret.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "+/_-".contains(letter);
    text.split(move |letter| !is_part(letter))
        .filter(|word| word.len() >= 16)
}

#[test]
fn no_vector_shows_its_secret_or_its_signature() {
    let mut count = 0;
    for (provider, vectors) in folder("tests/vectors") {
        for vector in vectors.as_array().unwrap() {
            let scheme = match &vector["signature"] {
                Value::Null => serde_json::json!({"provider": provider}),
                signature => serde_json::json!({"signature": signature}),
            };
            let Ok(policy) = policy(vector, scheme) else {
                continue;
            };
            let sent = request(vector);
            let mut other_body = sent.clone();
            other_body.body.push(b' ');
            let mut late = sent.clone();
            late.now += 1_000_000_000;
            let mut cut = sent.clone();
            for (_, value) in &mut cut.headers {
                value.truncate(value.len() - value.len().min(3));
            }
            for request in [sent, other_body, late, cut] {
                let Some(line) = diagnose(&request, &policy) else {
                    continue;
                };
                count += 1;
                assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')));
                assert!(line.len() < 2_000, "{line}");
                let secret = vector["secret"].as_str().unwrap();
                assert!(secret.len() < 8 || !line.contains(secret), "{line}");
                let query = request.path.as_deref().unwrap_or_default();
                let query = query.split_once('?').map_or("", |(_, query)| query);
                for word in words(query) {
                    assert!(!line.contains(word), "{provider}: {word} in {line}");
                }
                // Contentful lists names of headers.
                let is_name = |word: &str| request.headers.iter().any(|(name, _)| name == word);
                for (name, value) in &request.headers {
                    let value = String::from_utf8_lossy(value);
                    let is_shown = name.starts_with("content-");
                    for word in words(&value).filter(|word| !is_shown && !is_name(word)) {
                        assert!(!line.contains(word), "{provider}: {word} in {line}");
                    }
                }
            }
        }
    }
    assert!(count > 1_000, "{count}");
}

#[test]
fn every_field_is_in_the_list() {
    let policy = endpoint(r#""provider": "github""#);
    let request = Request::new(b"{}")
        .with("X-Hub-Signature", "sha1=ab")
        .with("Content-Type", "application/json")
        .with("Content-Encoding", "gzip")
        .with("Content-Length", "2");
    let fields = fields(&request, &policy);
    let names = fields.as_object().unwrap().keys();
    for name in names.filter(|name| *name != "a") {
        assert!(FIELDS.contains(&name.as_str()), "{name}");
    }
    assert_eq!(fields["missing"], "x-hub-signature-256");
    assert_eq!(fields["other_signatures"], "x-hub-signature");
    assert_eq!(fields["content_length"], 2);
}

#[test]
fn a_hint_names_the_first_certain_cause() {
    let policy = endpoint("");
    let wrong = || Request::signed("another secret of somebody else", b"{}");
    assert_eq!(hint(&wrong(), &policy), "");
    let longer = wrong()
        .with("Content-Length", "3")
        .with("Content-Encoding", "gzip");
    assert!(hint(&longer, &policy).contains("content-length differs"));
    let compressed = wrong()
        .with("Content-Length", "2")
        .with("Content-Encoding", "gzip");
    assert!(hint(&compressed, &policy).contains("compressed"));
    assert_eq!(
        hint(&wrong().with("Content-Encoding", "identity"), &policy),
        ""
    );
    let empty = Request::signed("another secret of somebody else", b"");
    assert!(hint(&empty.clone().with("Content-Length", "0"), &policy).contains("is empty"));
    assert_eq!(hint(&empty, &policy), "");
}

#[test]
fn a_valid_signature_over_the_hash_of_another_body_has_a_hint() {
    let (_, vectors) = folder("tests/vectors")
        .into_iter()
        .find(|(provider, _)| provider == "twilio")
        .unwrap();
    let mut count = 0;
    for vector in vectors.as_array().unwrap() {
        let is_hashed = vector["url"]
            .as_str()
            .is_some_and(|url| url.contains("bodySHA256"));
        if vector["valid"] == true && is_hashed {
            let policy = policy(vector, serde_json::json!({"provider": "twilio"})).unwrap();
            let mut changed = request(vector);
            changed.body.push(b' ');
            assert!(hint(&changed, &policy).contains("for another body"));
            count += 1;
        }
    }
    assert!(count > 0);
}

#[test]
fn the_age_of_a_timestamp_and_its_unit() {
    let policy = endpoint(r#""provider": "stripe""#);
    let at = |time: i64| {
        let message = [time.to_string().as_bytes(), b".{}"].concat();
        let signature = hex(b"a secret of the tests, long enough", &message);
        Request::new(b"{}").with("Stripe-Signature", format!("t={time},v1={signature}"))
    };
    let late = fields(&at(NOW - 3_600), &policy);
    assert_eq!(late["timestamp_age_s"], 3_600);
    assert_eq!(late["hint"], Value::Null);
    assert!(hint(&at(NOW * 1_000), &policy).contains("another unit"));
    assert!(hint(&at(NOW / 1_000), &policy).contains("another unit"));
}

#[test]
fn each_tried_version_is_named_once() {
    let secrets = r#""secrets": [{"version": "new", "env": "SECRET"}, {"version": "old", "env": "OLD_SECRET"}]"#;
    let signature = r#""signature": {"header": "X-Signature", "key": ["utf8", "sha1"]}"#;
    let policy = endpoint(&format!("{secrets}, {signature}"));
    let request = Request::new(b"{}").with("X-Signature", "ab".repeat(32));
    let fields = fields(&request, &policy);
    assert_eq!(fields["versions_tried"], "new, old");
    assert_eq!(fields["signatures"], "x-signature: <64 hex>");
    assert_eq!(fields["signature_expected"], Value::Null);
}

#[test]
fn an_optional_value_is_not_missing() {
    let policy = endpoint(
        r#""signature": {"header": "X-Signature", "message": "{header:X-A?}.{header:X-B}.{body}"}"#,
    );
    let fields = fields(&Request::new(b"{}"), &policy);
    assert_eq!(fields["missing"], "x-signature, x-b");
}
