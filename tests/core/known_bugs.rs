//! Bugs of other verifiers that no other file here covers. tests/core/README.md has the whole list.

use proptest::prelude::*;
use webhook_guard::verdict::{Outcome, Reason};

use crate::presets::accepted;
use crate::support::{NOW, Request, base64, endpoint, hex, mac, read_in, variable};

const BODY: &[u8] = br#"{"order": 1}"#;

/// Parsing and serializing a body changes it. Each of these pairs has two different bodies.
#[test]
fn a_body_is_its_bytes_and_not_what_they_mean() {
    let policy = endpoint("");
    for (sent, other) in [
        (
            r#"{"a":1,"b":2}"#.as_bytes(),
            r#"{"a": 1, "b": 2}"#.as_bytes(),
        ),
        (br#"{"a":1,"b":2}"#, br#"{"b":2,"a":1}"#),
        (br#"{"a":1.0}"#, br#"{"a":1}"#),
        (
            br#"{"a":12345678901234567890}"#,
            br#"{"a":12345678901234567000}"#,
        ),
        (br#"{"a":1,"a":2}"#, br#"{"a":2}"#),
        (
            "{\"a\":\"😀 é\"}".as_bytes(),
            br#"{"a":"\ud83d\ude00 \u00e9"}"#,
        ),
        (
            "{\"a\":\"é\"}".as_bytes(),
            "{\"a\":\"e\u{301}\"}".as_bytes(),
        ),
        (b"\xef\xbb\xbf{}", b"{}"),
        (b"{}\r\n", b"{}\n"),
        (b"{}\0", b"{}"),
        (b"a=1&b=+", b"a=1&b=%20"),
        (b"\xff\xfe", "\u{fffd}\u{fffd}".as_bytes()),
    ] {
        for (body, changed) in [(sent, other), (other, sent)] {
            let request = Request::signed(variable("SECRET"), body);
            assert_eq!(request.reason(&policy), Reason::Accepted, "{body:?}");
            let changed = Request {
                body: changed.to_vec(),
                ..request
            };
            assert_eq!(changed.reason(&policy), Reason::SignatureInvalid);
        }
    }
}

#[test]
fn a_blank_after_a_prefix_is_written_into_the_format() {
    let signature = hex(variable("SECRET").as_bytes(), BODY);
    let value = format!("sha256= {signature}");
    for (format, reason) in [
        (r#"["sha256= {signature}"]"#, Reason::Accepted),
        (
            r#"["sha256= {signature}", "sha256={signature}"]"#,
            Reason::Accepted,
        ),
        (r#"["sha256={signature}"]"#, Reason::SignatureMalformed),
    ] {
        let policy = endpoint(&format!(
            r#""signature": {{"header": "X-S", "format": {format}}}"#
        ));
        let request = Request::new(BODY).with("X-S", value.as_str());
        assert_eq!(request.reason(&policy), reason, "{format}");
    }
}

/// A sender that changes how its secrets are read: for a while some of its requests are signed in either way.
#[test]
fn two_ways_to_read_a_key_are_tried_at_once() {
    let secret = "a2V5IG9mIHRoZSB0ZXN0cyE=";
    let configuration = format!(
        r#"{{"endpoints": [{{"name": "orders", "match": {{"path": "/webhook"}},
            "signature": {{"header": "X-Webhook-Signature", "key": ["base64", "utf8"]}},
            "secrets": [{{"version": "v1", "value": "{secret}"}}]}}]}}"#
    );
    let (policy, _) = read_in("test", &configuration).unwrap();
    for (key, reason) in [
        ("key of the tests!", Reason::Accepted),
        (secret, Reason::Accepted),
        ("key of the tests", Reason::SignatureInvalid),
        ("", Reason::SignatureInvalid),
    ] {
        assert_eq!(Request::signed(key, BODY).reason(&policy), reason, "{key}");
    }
}

/// A sender that renames its headers sends both for a while.
#[test]
fn a_header_may_have_two_names_but_one_value_under_each() {
    let policy = endpoint(r#""signature": {"header": ["X-New", "X-Old"]}"#);
    let right = hex(variable("SECRET").as_bytes(), BODY);
    let wrong = "0".repeat(64);
    let sent = |headers: &[(&str, &str)]| {
        let mut request = Request::new(BODY);
        for (name, value) in headers {
            request = request.with(name, *value);
        }
        request.reason(&policy)
    };
    assert_eq!(sent(&[("X-New", &right)]), Reason::Accepted);
    assert_eq!(sent(&[("X-Old", &right)]), Reason::Accepted);
    assert_eq!(
        sent(&[("X-New", &right), ("X-Old", &right)]),
        Reason::Accepted
    );
    assert_eq!(
        sent(&[("X-New", &wrong), ("X-Old", &right)]),
        Reason::Accepted
    );
    assert_eq!(
        sent(&[("X-New", &wrong), ("X-Old", &wrong)]),
        Reason::SignatureInvalid
    );
    assert_eq!(
        sent(&[("X-Old", &right), ("X-Old", &right)]),
        Reason::SignatureDuplicated
    );
    assert_eq!(sent(&[("X-Older", &right)]), Reason::SignatureMissing);
}

/// A hash that a sender signs instead of the body must be present, and correct.
#[test]
fn a_hash_of_the_body_cannot_be_left_out() {
    let policy = endpoint(
        r#""public_url": "https://x", "signature": {"header": "X-S", "message": "{url}", "body_hash": {"query": "hash"}}"#,
    );
    let sent = |query: &str, body: &[u8]| {
        let url = format!("https://x/webhook{query}");
        let mut request =
            Request::new(body).with("X-S", hex(variable("SECRET").as_bytes(), url.as_bytes()));
        request.path = Some(format!("/webhook{query}"));
        request.reason(&policy)
    };
    let right = sha256_of_body();
    assert_eq!(sent(&format!("?hash={right}"), BODY), Reason::Accepted);
    assert_eq!(sent("", BODY), Reason::SignatureMissing);
    assert_eq!(sent("?hash=", BODY), Reason::SignatureMalformed);
    assert_eq!(
        sent(&format!("?hash={right}"), b"{}"),
        Reason::SignatureInvalid
    );
    assert_eq!(
        sent(&format!("?hash={right}&hash={right}"), BODY),
        Reason::SignatureDuplicated
    );
}

fn sha256_of_body() -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(BODY)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// With several secrets, the guard answers a handshake with the first valid one.
#[test]
fn a_handshake_is_answered_with_a_secret_that_is_in_use() {
    let secrets = r#""secrets": [
        {"version": "leaked", "env": "OTHER_SECRET", "revoked": true},
        {"version": "coming", "env": "OLD_SECRET", "not_before": "2900-01-01T00:00:00Z"},
        {"version": "now", "env": "SECRET"}]"#;
    let policy = endpoint(&format!(
        r#""provider": "x", "answer_challenges": true, {secrets}"#
    ));
    let mut request = Request::new(b"");
    request.method = "GET";
    request.path = Some("/webhook?crc_token=abc".to_owned());
    let verdict = request.judge(&policy);
    let answer = verdict.answer().unwrap();
    let right = base64(variable("SECRET").as_bytes(), b"abc");
    assert_eq!(
        answer.body,
        format!(r#"{{"response_token":"sha256={right}"}}"#)
    );
}

/// Only the signed bytes count. The guard does not rewrite a number before the check.
#[test]
fn a_timestamp_is_signed_as_it_is_written() {
    let policy = endpoint(r#""provider": "slack""#);
    for (written, signed, reason) in [
        (NOW.to_string(), NOW.to_string(), Reason::Accepted),
        (
            format!("{NOW}.0"),
            NOW.to_string(),
            Reason::TimestampMalformed,
        ),
        (
            "1.7e9".to_owned(),
            NOW.to_string(),
            Reason::TimestampMalformed,
        ),
        (
            format!("{NOW:#x}"),
            NOW.to_string(),
            Reason::TimestampMalformed,
        ),
        (
            NOW.to_string(),
            format!("{NOW}.0"),
            Reason::SignatureInvalid,
        ),
    ] {
        let message = [format!("v0:{signed}:").as_bytes(), BODY].concat();
        let request = Request::new(BODY)
            .with("X-Slack-Request-Timestamp", written.as_str())
            .with(
                "X-Slack-Signature",
                format!("v0={}", hex(variable("SECRET").as_bytes(), &message)),
            );
        assert_eq!(request.reason(&policy), reason, "{written}");
    }
}

/// Malformed bodies to the endpoint of each sender: none ends the worker, and none is accepted.
#[test]
fn no_body_without_its_signature_is_read_to_any_effect() {
    let mut accepted = accepted();
    // Schemes that do not sign the body accept other bodies by design, and warn about that.
    accepted.retain(|(_, signature, ..)| signature["body"] != "unsigned");
    assert!(accepted.len() > 80);
    proptest!(ProptestConfig::with_cases(64), |(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "[\\[\\]{}\",:a0.e+-]{0,300}".prop_map(String::into_bytes),
            "[a-z=&%+0-9;]{0,300}".prop_map(String::into_bytes),
        ],
    )| {
        for (name, _, policy, request) in &accepted {
            let changed = Request { body: body.clone(), ..request.clone() };
            let outcome = changed.judge(policy).outcome();
            prop_assert!(outcome == Outcome::Denied || body == request.body, "{}", name);
        }
    });
}

/// A code is compared whole: neither less of it nor more, nor none.
#[test]
fn no_part_of_a_code_is_the_code() {
    let policy = endpoint(
        r#""signature": {"header": "X-S", "separator": ",", "format": ["v1={signature}"], "encoding": "base64"}"#,
    );
    let code = mac(variable("SECRET").as_bytes(), BODY);
    let sent = |codes: &[&[u8]]| {
        use ::base64::Engine as _;
        let items = codes.iter().map(|code| {
            format!(
                "v1={}",
                ::base64::engine::general_purpose::STANDARD.encode(code)
            )
        });
        let value = items.collect::<Vec<_>>().join(",");
        Request::new(BODY).with("X-S", value).reason(&policy)
    };
    assert_eq!(sent(&[&code]), Reason::Accepted);
    for length in 0..32 {
        assert_eq!(sent(&[&code[..length]]), Reason::SignatureMalformed);
        assert_eq!(
            sent(&[&[&code[..], &code[..length + 1]].concat()]),
            Reason::SignatureMalformed
        );
    }
    // A signature of another length is ignored among several.
    assert_eq!(
        sent(&[b"", &code[..31], &[0; 32]]),
        Reason::SignatureInvalid
    );
    assert_eq!(sent(&[b"", &code[..31], &code]), Reason::Accepted);
}
