//! Handshakes: each is answered as its sender wants it, nothing else is, and no answer can be used as a
//! signature.

use proptest::prelude::*;
use webhook_guard::policy::Policy;
use webhook_guard::verdict::{Outcome, Reason};
use webhook_guard::verify::Verdict;

use crate::support::{NOW, Request, base64, endpoint, hex, read, read_in, variable};

/// A policy with one endpoint that answers the handshakes of `provider`.
fn answering(provider: &str, fields: &str) -> Policy {
    endpoint(&format!(
        r#""provider": "{provider}", "answer_challenges": true{fields}"#
    ))
}

/// The media type and the body of a verdict's answer.
fn answer(verdict: &Verdict) -> Option<(&str, &str)> {
    let answer = verdict.answer()?;
    assert_eq!(verdict.outcome(), Outcome::Challenged);
    assert_eq!(verdict.reason(), Reason::ChallengeAnswered);
    Some((answer.content_type, &answer.body))
}

fn get(target: &str) -> Request {
    let mut request = Request::new(b"");
    request.method = "GET";
    request.path = Some(target.to_owned());
    request
}

/// A delivery signed as Slack and Zoom do it, under these headers.
fn signed_v0(time: &str, signature: &str, body: &str) -> Request {
    let signed = format!("v0:{NOW}:{body}");
    let mac = hex(variable("SECRET").as_bytes(), signed.as_bytes());
    Request::new(body.as_bytes())
        .with(time, NOW.to_string())
        .with(signature, format!("v0={mac}"))
}

fn slack(body: &str) -> Request {
    signed_v0("X-Slack-Request-Timestamp", "X-Slack-Signature", body)
}

fn zoom(body: &str) -> Request {
    signed_v0("x-zm-request-timestamp", "x-zm-signature", body)
}

fn twitch(kind: &str, body: &str) -> Request {
    let signed = format!("msg-1{}{body}", "2023-11-14T22:13:20Z");
    let signature = hex(variable("SECRET").as_bytes(), signed.as_bytes());
    Request::new(body.as_bytes())
        .with("Twitch-Eventsub-Message-Id", "msg-1")
        .with("Twitch-Eventsub-Message-Timestamp", "2023-11-14T22:13:20Z")
        .with("Twitch-Eventsub-Message-Type", kind)
        .with(
            "Twitch-Eventsub-Message-Signature",
            format!("sha256={signature}"),
        )
}

#[test]
fn a_query_is_echoed_as_plain_text() {
    for (provider, method, target) in [
        ("dropbox", "GET", "/webhook?challenge=a%20b%2B%3Cc%3E"),
        ("nylas", "GET", "/webhook?x=1&challenge=a+b%2B<c>"),
        (
            "microsoft-graph",
            "POST",
            "/webhook?validationToken=a%20b%2B%3Cc%3E",
        ),
    ] {
        let policy = answering(provider, "");
        let mut request = get(target);
        request.method = method;
        let verdict = request.judge(&policy);
        assert_eq!(
            answer(&verdict),
            Some(("text/plain", "a b+<c>")),
            "{provider}"
        );
    }
}

#[test]
fn metas_needs_the_token_that_its_owner_chose() {
    let policy = answering("meta", r#", "verify_token": {"env": "OTHER_SECRET"}"#);
    let token = variable("OTHER_SECRET").replace(' ', "%20");
    let ask = |query: &str| get(&format!("/webhook?{query}")).judge(&policy);
    let right = format!("hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158201444");
    assert_eq!(answer(&ask(&right)), Some(("text/plain", "1158201444")));
    for wrong in [
        right.replace("another", "other"),
        right.replace("hub.verify_token", "verify_token"),
        right.replace("subscribe", "unsubscribe"),
        right.replace("hub.mode=subscribe&", ""),
        right.replace("&hub.challenge=1158201444", ""),
        format!("{right}&hub.verify_token={token}"),
        format!("{right}&hub.challenge=2"),
        "hub.mode=subscribe&hub.verify_token=&hub.challenge=1".to_owned(),
    ] {
        assert_eq!(ask(&wrong).reason(), Reason::MethodNotAllowed, "{wrong}");
    }
}

#[test]
fn xs_and_oktas() {
    let verdict = get("/webhook?crc_token=abc-DEF_12=").judge(&answering("x", ""));
    let mac = base64(variable("SECRET").as_bytes(), b"abc-DEF_12=");
    let expected = format!(r#"{{"response_token":"sha256={mac}"}}"#);
    assert_eq!(answer(&verdict), Some(("application/json", &*expected)));

    let asked = get("/webhook").with("X-Okta-Verification-Challenge", "a\"b\\c");
    let verdict = asked.judge(&answering("okta", ""));
    assert_eq!(
        answer(&verdict),
        Some(("application/json", r#"{"verification":"a\"b\\c"}"#))
    );
}

/// A vector of frain-dev/convoy's internal/pkg/crc/crc_test.go.
#[test]
fn xs_is_answered_as_another_project_answers_it() {
    let configuration = r#"{"endpoints": [{"name": "x", "match": {"path": "/webhook"}, "provider": "x", "answer_challenges": true, "secrets": [{"version": "v1", "value": "Convoy"}]}]}"#;
    let (policy, _) = read_in("test", configuration).unwrap();
    let verdict = get("/webhook?crc_token=uzwcfYtzr9").judge(&policy);
    let expected = r#"{"response_token":"sha256=HXvxTdsfShG6k2zC9NVANwFquJBdOugRYHax2vNiiOo="}"#;
    assert_eq!(answer(&verdict), Some(("application/json", expected)));
}

#[test]
fn probes_without_a_question() {
    for provider in ["trello", "intercom"] {
        let policy = endpoint(&format!(
            r#""provider": "{provider}", "answer_challenges": true, "public_url": "https://hooks.example.com""#
        ));
        let mut request = get("/webhook");
        assert_eq!(request.reason(&policy), Reason::MethodNotAllowed);
        request.method = "HEAD";
        assert_eq!(answer(&request.judge(&policy)), Some(("text/plain", "")));
    }
}

#[test]
fn signed_ones_are_answered_once_their_signature_verified() {
    let policy = answering("slack", "");
    let body = r#"{"type":"url_verification","token":"t","challenge":"3eZbrw1a"}"#;
    assert_eq!(
        answer(&slack(body).judge(&policy)),
        Some(("text/plain", "3eZbrw1a"))
    );
    let mut forged = slack(body);
    forged.body = body.replace("3eZ", "4eZ").into_bytes();
    assert_eq!(forged.reason(&policy), Reason::SignatureInvalid);
    assert_eq!(
        Request::new(body.as_bytes()).reason(&policy),
        Reason::SignatureMissing
    );
    for delivery in [
        r#"{"type":"event_callback","challenge":"3eZbrw1a"}"#,
        r#"{"type":"url_verification"}"#,
        r#"{"type":"url_verification","challenge":""}"#,
        r#"{"type":"url_verification","type":"event","challenge":"x"}"#,
        "no json",
        "",
    ] {
        assert_eq!(
            slack(delivery).reason(&policy),
            Reason::Accepted,
            "{delivery}"
        );
    }

    let policy = answering("twitch", "");
    let body = r#"{"challenge":"pogchamp-kappa-360noscope-vohiyo"}"#;
    let verdict = twitch("webhook_callback_verification", body).judge(&policy);
    assert_eq!(
        answer(&verdict),
        Some(("text/plain", "pogchamp-kappa-360noscope-vohiyo"))
    );
    assert_eq!(
        twitch("notification", body).reason(&policy),
        Reason::Accepted
    );
}

#[test]
fn zooms_hands_out_a_mac_of_a_token_and_of_nothing_else() {
    let policy = answering("zoom", "");
    let body =
        r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    let mac = hex(variable("SECRET").as_bytes(), b"qgg8vlvZRS6UYooatFL8Aw");
    let expected = format!(r#"{{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"{mac}"}}"#);
    assert_eq!(
        answer(&zoom(body).judge(&policy)),
        Some(("application/json", &*expected))
    );
    for token in ["v0:1700000000:x", "a b", "", &"x".repeat(129)] {
        let body = body.replace("qgg8vlvZRS6UYooatFL8Aw", token);
        assert_eq!(zoom(&body).reason(&policy), Reason::Accepted, "{token}");
    }
}

#[test]
fn mondays_needs_no_signature_and_goes_nowhere() {
    let policy = endpoint(
        r#""provider": "monday", "answer_challenges": true, "public_url": "https://hooks.example.com""#,
    );
    let verdict = Request::new(br#"{"challenge":"3eZ\u0022w1a"}"#).judge(&policy);
    assert_eq!(
        answer(&verdict),
        Some(("application/json", r#"{"challenge":"3eZ\"w1a"}"#))
    );
    assert!(verdict.verified().is_none());
    for other in [r#"{"event":1}"#, "", r#"{"challenge":{}}"#] {
        assert_eq!(
            Request::new(other.as_bytes()).reason(&policy),
            Reason::SignatureMissing
        );
    }
    let long = format!(r#"{{"challenge":"x","y":"{}"}}"#, "z".repeat(20_000));
    assert_eq!(
        Request::new(long.as_bytes()).reason(&policy),
        Reason::SignatureMissing
    );
}

#[test]
fn nothing_is_answered_unless_it_is_asked_for() {
    let dropbox = r#""provider": "dropbox""#;
    let ask = get("/webhook?challenge=x");
    for (fields, reason) in [
        (dropbox.to_owned(), Reason::MethodNotAllowed),
        (
            format!(r#"{dropbox}, "answer_challenges": false"#),
            Reason::MethodNotAllowed,
        ),
        (
            format!(r#"{dropbox}, "answer_challenges": true, "mode": "monitor""#),
            Reason::MethodNotAllowed,
        ),
        (
            format!(r#"{dropbox}, "answer_challenges": true, "mode": "disabled""#),
            Reason::EndpointDisabled,
        ),
        (
            format!(r#"{dropbox}, "answer_challenges": true, "allow": ["192.0.2.1"]"#),
            Reason::ClientAddressDenied,
        ),
    ] {
        assert_eq!(ask.reason(&endpoint(&fields)), reason, "{fields}");
    }
    let mut upgrade = ask.clone();
    upgrade = upgrade.with("upgrade", "websocket");
    assert_eq!(
        upgrade.reason(&answering("dropbox", "")),
        Reason::UpgradeRefused
    );
}

#[test]
fn faults_of_handshakes() {
    let fault = |fields: &str| {
        let configuration = format!(
            r#"{{"endpoints": [{{"name": "orders", "match": {{"path": "/webhook"}}, {fields}, "secrets": [{{"version": "v1", "env": "SECRET"}}]}}]}}"#
        );
        read(&configuration).expect_err(fields)[0].to_string()
    };
    assert!(fault(r#""provider": "github", "answer_challenges": true"#).contains("no handshake"));
    assert!(fault(r#""provider": "asana", "answer_challenges": true"#).contains("no handshake"));
    assert!(
        fault(r#""provider": "meta", "answer_challenges": true"#)
            .contains("`verify_token` is missing")
    );
    assert!(
        fault(r#""provider": "x", "answer_challenges": true, "verify_token": {"env": "SECRET"}"#)
            .contains("checks a token")
    );
    let own = |challenge: &str| {
        fault(&format!(
            r#""signature": {{"header": "X-S", "challenge": {challenge}}}"#
        ))
    };
    assert!(
        own(r#"{"text": {"query": "a"}, "reply": "b"}"#).contains("does not contain {challenge}")
    );
    assert!(own(r#"{"text": {"json": "/a"}, "reply": "{mac}"}"#).contains("signed: true"));
    assert!(
        own(r#"{"when": {"json": "/a"}, "text": {"query": "b"}}"#).contains("both for the body")
    );
}

proptest! {
    /// The guard never accepts a text whose MAC it reveals in a handshake as a signed message.
    #[test]
    fn no_answer_is_a_signature(text in "[A-Za-z0-9_=-]{1,140}|[ -~]{1,60}") {
        let policy = answering("x", "");
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let asked = get(&format!("/webhook?crc_token={encoded}")).judge(&policy);
        if let Some((_, reply)) = answer(&asked) {
            let signature = reply.trim_start_matches(r#"{"response_token":""#).trim_end_matches("\"}");
            let replayed = Request::new(text.as_bytes()).with("X-Twitter-Webhooks-Signature", signature);
            prop_assert_eq!(replayed.reason(&policy), Reason::SignatureInvalid);
        }
    }

    /// Bodies of any other form are taken as they are without the handshake.
    #[test]
    fn other_bodies_are_taken(body in "[{\\[ ][ -~]{0,200}|[A-Za-z0-9]{129,200}|") {
        let policy = answering("x", "");
        let signature = format!("sha256={}", base64(variable("SECRET").as_bytes(), body.as_bytes()));
        let request = Request::new(body.as_bytes()).with("X-Twitter-Webhooks-Signature", signature);
        prop_assert_eq!(request.reason(&policy), Reason::Accepted);
    }
}
