//! Schemes: how timestamps, ids, keys and encodings decide.

use sha2::{Digest, Sha256};
use webhook_guard::verdict::Reason;

use crate::support::{NOW, Request, base64, endpoint, hex, read, read_in, variable};

const BODY: &[u8] = br#"{"order": 1}"#;

#[test]
fn seventeen_signatures_are_too_many() {
    let policy = endpoint(r#""signature": {"header": "X-S", "separator": " "}"#);
    let value = |count: usize| {
        let mut items = vec!["0".repeat(64); count - 1];
        items.push(hex(variable("SECRET").as_bytes(), BODY));
        items.join(" ")
    };
    assert_eq!(
        Request::new(BODY).with("x-s", value(16)).reason(&policy),
        Reason::Accepted
    );
    assert_eq!(
        Request::new(BODY).with("x-s", value(17)).reason(&policy),
        Reason::SignatureMalformed
    );
}

#[test]
fn timestamps_are_fresh_in_both_directions() {
    let policy = endpoint(r#""provider": "stripe""#);
    let sent = |timestamp: &str, items: &str| {
        let mut message = format!("{timestamp}.").into_bytes();
        message.extend(BODY);
        let signature = hex(variable("SECRET").as_bytes(), &message);
        Request::new(BODY)
            .with("stripe-signature", format!("{items}v1={signature}"))
            .reason(&policy)
    };
    let at = |timestamp: i64| sent(&timestamp.to_string(), &format!("t={timestamp},"));
    assert_eq!(at(NOW), Reason::Accepted);
    assert_eq!(at(NOW - 300), Reason::Accepted);
    assert_eq!(at(NOW - 301), Reason::TimestampExpired);
    assert_eq!(at(NOW + 300), Reason::Accepted);
    assert_eq!(at(NOW + 301), Reason::TimestampFuture);
    assert_eq!(at(i64::MAX), Reason::TimestampFuture);
    assert_eq!(sent("1", ""), Reason::TimestampMissing);
    assert_eq!(sent("1", "t=,"), Reason::TimestampMalformed);
    let now = NOW.to_string();
    assert_eq!(
        sent(&now, &format!("t={now},t={now},")),
        Reason::TimestampMalformed
    );
    assert_eq!(sent(&now, &format!("T={now},")), Reason::TimestampMissing);
}

#[test]
fn a_tolerance_of_the_endpoint_overrides_the_schemes() {
    let policy = endpoint(r#""provider": "slack", "tolerance": "1m""#);
    let at = |timestamp: i64| {
        let mut message = format!("v0:{timestamp}:").into_bytes();
        message.extend(BODY);
        Request::new(BODY)
            .with("x-slack-request-timestamp", timestamp.to_string())
            .with(
                "x-slack-signature",
                format!("v0={}", hex(variable("SECRET").as_bytes(), &message)),
            )
            .reason(&policy)
    };
    assert_eq!(at(NOW - 60), Reason::Accepted);
    assert_eq!(at(NOW - 61), Reason::TimestampExpired);
    assert_eq!(at(NOW + 61), Reason::TimestampFuture);
}

#[test]
fn a_tolerance_may_differ_between_past_and_future() {
    let at = |provider: &str, tolerance: &str, timestamp: i64| {
        let message = [format!("v0:{timestamp}:").as_bytes(), BODY].concat();
        Request::new(BODY)
            .with("x-slack-request-timestamp", timestamp.to_string())
            .with(
                "x-slack-signature",
                format!("v0={}", hex(variable("SECRET").as_bytes(), &message)),
            )
            .reason(&endpoint(&format!("{provider}{tolerance}")))
    };
    let preset = r#""provider": "slack""#;
    let own = |tolerance: &str| {
        format!(
            r#""signature": {{"header": "x-slack-signature", "format": ["v0={{signature}}"],
                "message": "v0:{{timestamp}}:{{body}}",
                "timestamp": {{"header": "x-slack-request-timestamp"{tolerance}}}}}"#
        )
    };
    for (tolerance, past, future) in [
        (
            r#", "tolerance": {"past": "8h", "future": "1m"}"#,
            28_800,
            60,
        ),
        // A side that is absent is the scheme's.
        (r#", "tolerance": {"past": "8h"}"#, 28_800, 300),
        (r#", "tolerance": {"future": "1m"}"#, 300, 60),
        (r#", "tolerance": {}"#, 300, 300),
    ] {
        for (provider, of_endpoint) in [(preset, tolerance), (own(tolerance).as_str(), "")] {
            let reason = |timestamp| at(provider, of_endpoint, timestamp);
            assert_eq!(reason(NOW - past), Reason::Accepted, "{tolerance}");
            assert_eq!(reason(NOW - past - 1), Reason::TimestampExpired);
            assert_eq!(reason(NOW + future), Reason::Accepted, "{tolerance}");
            assert_eq!(reason(NOW + future + 1), Reason::TimestampFuture);
        }
    }
}

#[test]
fn a_signed_id_must_occur_once_and_is_reported_after_verification() {
    let policy = endpoint(r#""provider": "svix", "secrets": [{"version": "v1", "env": "WHSEC"}]"#);
    let key = whsec();
    let message = [format!("msg_1.{NOW}.").as_bytes(), BODY].concat();
    let bare = Request::new(BODY)
        .with("svix-timestamp", NOW.to_string())
        .with("svix-signature", format!("v1,{}", base64(&key, &message)));
    assert_eq!(bare.reason(&policy), Reason::SignatureMissing);
    let request = bare.clone().with("svix-id", "msg_1");
    let verdict = request.judge(&policy);
    assert_eq!(verdict.reason(), Reason::Accepted);
    assert_eq!(
        verdict.verified().unwrap().delivery_id(),
        Some(&b"msg_1"[..])
    );
    let other = bare.clone().with("svix-id", "msg_2").judge(&policy);
    assert_eq!(
        (other.reason(), other.verified()),
        (Reason::SignatureInvalid, None)
    );
    assert_eq!(
        request.clone().with("svix-id", "msg_1").reason(&policy),
        Reason::SignatureDuplicated
    );
    let twice = request.with("svix-timestamp", NOW.to_string());
    assert_eq!(twice.reason(&policy), Reason::TimestampMalformed);
}

#[test]
fn a_signed_message_cannot_be_split_differently() {
    let policy = endpoint(r#""provider": "svix", "secrets": [{"version": "v1", "env": "WHSEC"}]"#);
    let key = whsec();
    // Signed long ago, with a text that an attacker chose.
    let (id, body) = ("msg_1.1600000000.{\"note\":\"", "{}\"}");
    let message = format!("{id}.{NOW}.{body}");
    let cut_anew = Request::new(body.as_bytes())
        .with("svix-id", id)
        .with("svix-timestamp", NOW.to_string())
        .with(
            "svix-signature",
            format!("v1,{}", base64(&key, message.as_bytes())),
        );
    assert_eq!(cut_anew.reason(&policy), Reason::SignatureMalformed);
}

#[test]
fn a_timestamp_has_a_length() {
    let policy = endpoint(r#""provider": "slack""#);
    let timestamp = format!("{}{NOW}", "0".repeat(90));
    let request = Request::new(BODY)
        .with("x-slack-signature", format!("v0={}", "0".repeat(64)))
        .with("x-slack-request-timestamp", timestamp);
    assert_eq!(request.reason(&policy), Reason::TimestampMalformed);
}

/// The key in the variable WHSEC.
fn whsec() -> Vec<u8> {
    use ::base64::Engine as _;
    let text = variable("WHSEC").strip_prefix("whsec_").unwrap();
    ::base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

#[test]
fn a_scheme_may_sign_method_and_url() {
    let fields = |url: &str| {
        format!(
            r#"{url} "methods": ["PUT"], "signature": {{"header": "X-S", "message": "{{method}} {{url}}\n{{body}}!"}}"#
        )
    };
    let policy = endpoint(&fields(r#""public_url": "https://hooks.example.org","#));
    let message = [b"PUT https://hooks.example.org/webhook?a=1\n", BODY, b"!"].concat();
    let mut request = Request::new(BODY).with("x-s", hex(variable("SECRET").as_bytes(), &message));
    request.method = "PUT";
    request.path = Some("/webhook?a=1".into());
    assert_eq!(request.reason(&policy), Reason::Accepted);
    request.path = Some("/webhook?a=2".into());
    assert_eq!(request.reason(&policy), Reason::SignatureInvalid);
}

#[test]
fn every_algorithm_and_encoding_verifies() {
    // Made by `printf body | openssl dgst -sha1 -hmac "$SECRET" -binary | base64`, and so on.
    for (algorithm, encoding, signature) in [
        (
            "hmac-sha1",
            "hex",
            "55f0c8ad47388dac4b9fcca62b7f6639fa3d0c5b",
        ),
        ("hmac-sha1", "base64", "VfDIrUc4jaxLn8ymK39mOfo9DFs="),
        (
            "hmac-sha384",
            "base64",
            "DM3HI9N6/9HF6vghmXXiCs3OcgoP3csG8DXnx6oBAevKgjQ/dgU9R9Bd1BOYAosi",
        ),
        (
            "hmac-sha512",
            "base64url",
            "Ict6FGCvmBwT5UMcg2-E54PsZEyzAHWA0oGCugQmXjVsKyl8y58s93GlTu-mXjQvE93Nq9y0peccD1vjhvjnrA",
        ),
    ] {
        let policy = endpoint(&format!(
            r#""signature": {{"header": "X-S", "algorithm": "{algorithm}", "encoding": "{encoding}"}}"#
        ));
        let sent = |body: &[u8]| Request::new(body).with("x-s", signature).reason(&policy);
        assert_eq!(sent(b"body"), Reason::Accepted, "{algorithm}");
        assert_eq!(sent(b"Body"), Reason::SignatureInvalid, "{algorithm}");
    }
}

#[test]
fn every_encoding_of_a_key_verifies() {
    for (encoding, key) in [
        ("utf8", "6b6579206f662074686520746573747321"),
        ("hex", "6b6579206f662074686520746573747321"),
        ("base64", "a2V5IG9mIHRoZSB0ZXN0cyE="),
        ("base64url", "a2V5IG9mIHRoZSB0ZXN0cyE"),
        ("whsec", "whsec_a2V5IG9mIHRoZSB0ZXN0cyE"),
        ("whsec", "a2V5IG9mIHRoZSB0ZXN0cyE="),
    ] {
        let configuration = format!(
            r#"{{"endpoints": [{{"name": "orders", "match": {{"path": "/webhook"}},
                "signature": {{"header": "X-Webhook-Signature", "key": "{encoding}"}},
                "secrets": [{{"version": "v1", "value": "{key}"}}]}}]}}"#
        );
        let (policy, _) = read_in("test", &configuration).unwrap();
        let meant = if encoding == "utf8" {
            key
        } else {
            "key of the tests!"
        };
        assert_eq!(
            Request::signed(meant, BODY).reason(&policy),
            Reason::Accepted,
            "{encoding}"
        );
    }
}

/// Each of these schemes looks like protection without being one, and was once accepted.
#[test]
fn schemes_that_protect_nothing_are_refused() {
    let fault = |signature: &str| {
        let configuration = format!(
            r#"{{"endpoints": [{{"name": "orders", "match": {{"path": "/webhook"}}, "signature": {{{signature}}}, "public_url": "https://x", "secrets": [{{"version": "v1", "env": "SECRET"}}]}}]}}"#
        );
        let faults = read(&configuration).expect_err(signature);
        faults.iter().map(ToString::to_string).collect::<String>()
    };
    for (signature, said) in [
        (
            r#""header": "X-S", "timestamp": {"header": "X-T"}, "message": "{timestamp}", "body_hash": {"query": "h"}"#,
            "hash is not signed",
        ),
        (
            r#""header": "X-S", "message": "{url_without_query}", "body_hash": {"query": "h"}"#,
            "hash is not signed",
        ),
        (
            r#""header": "X-S", "format": ["{token}"], "body_hash": {"query": "h"}"#,
            "hash is not signed",
        ),
        (
            r#""header": "X-S", "message": "{url}", "body_hash": {"header": "Digest"}"#,
            "hash is not signed",
        ),
        (
            r#""header": "X-S", "message": "{url}", "body_hash": {"json": "/h"}"#,
            "hash is not signed",
        ),
        (
            r#""header": "X-S", "algorithm": "token", "body_hash": {"query": "h"}"#,
            "hash is not signed",
        ),
        (
            r#""header": "X-S", "algorithm": "token", "message": "{body}""#,
            "`token` signs nothing",
        ),
        (
            r#""header": "X-S", "id": {"claim": "jti"}"#,
            "only a token has claims",
        ),
        (r#""header": "X-S", "challenge": {}"#, "every delivery"),
        (
            r#""header": "X-S", "challenge": {"reply": "ok"}"#,
            "every delivery",
        ),
        (
            r#""header": "X-S", "challenge": {"when": {"is": "a"}}"#,
            "no source is set",
        ),
        (r#""header": "X-*-Sig""#, "not a header name"),
        (
            r#""query": "t", "format": ["{token}"], "body": "unsigned""#,
            "only from a header",
        ),
        (
            r#""header": "X-S", "message": "{body_sha256_hex}", "challenge": {"method": "GET", "text": {"query": "c"}, "reply": "{mac}"}"#,
            "could be a valid signature",
        ),
    ] {
        assert!(
            fault(signature).contains(said),
            "{signature}: {}",
            fault(signature)
        );
    }
    let policy = read(
        r#"{"endpoints": [{"name": "orders", "match": {"path": "/webhook"}, "max_body_bytes": 8388608, "signature": {"header": "X-S", "algorithm": "ed25519", "key": "hex"}, "secrets": [{"version": "v1", "value": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"}]}]}"#,
    );
    assert!(
        policy.expect_err("whole")[0]
            .message
            .contains("at most 4194304")
    );
}

/// Messages that contain only the hash of the body.
#[test]
fn values_in_a_hashed_body_are_read_and_checked() {
    let policy = |id: &str| {
        endpoint(&format!(
            r#""signature": {{"header": "X-S", "message": "{{body_sha256_hex}}", "timestamp": {{"json": "/at"}}{id}}}"#
        ))
    };
    let (timed, named) = (policy(""), policy(r#", "id": {"json": "/id"}"#));
    let signed = |body: &str| {
        let hash = Sha256::digest(body.as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let signature = hex(variable("SECRET").as_bytes(), hash.as_bytes());
        Request::new(body.as_bytes()).with("X-S", signature)
    };
    let body = |at: i64, id: &str| signed(&format!(r#"{{"at": {at}, "id": "{id}"}}"#));
    for policy in [&timed, &named] {
        assert_eq!(
            body(NOW - 301, "a").reason(policy),
            Reason::TimestampExpired
        );
        assert_eq!(body(NOW + 301, "a").reason(policy), Reason::TimestampFuture);
        assert_eq!(body(NOW, "a").reason(policy), Reason::Accepted);
        let forged = Request::new(b"{}").with("X-S", "0".repeat(64));
        assert_eq!(forged.reason(policy), Reason::SignatureInvalid);
    }
    assert_eq!(signed("{}").reason(&timed), Reason::TimestampMissing);
    assert_eq!(body(NOW, "").reason(&named), Reason::SignatureMalformed);
}
