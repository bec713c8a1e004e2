//! Queries that no signature covers: what of them may come, and what the operator reads of the rest.

use serde_json::json;
use webhook_guard::verdict::{Outcome, Reason};

use crate::forgeries::genuine_with;
use crate::presets::accepted;
use crate::support::{Request, endpoint, hex, read, variable};

const BODY: &[u8] = br#"{"order": 42, "amount": 10}"#;

fn sent(query: &str) -> Request {
    let mut request = Request::signed(variable("SECRET"), BODY);
    request.path = Some(format!("/webhook{query}"));
    request
}

#[test]
fn a_parameter_that_no_signature_covers_is_rejected() {
    let policy = endpoint("");
    for query in ["", "?", "?&", "?&&"] {
        let reason = sent(query).reason(&policy);
        assert_eq!(reason, Reason::Accepted, "{query}");
    }
    for query in ["?order=43", "?a", "?=", "?;", "?%", "??", "?&a=1"] {
        let verdict = sent(query).judge(&policy);
        assert_eq!(verdict.reason(), Reason::QueryNotSigned, "{query}");
        assert_eq!(verdict.outcome(), Outcome::Denied, "{query}");
        let response = verdict.response().unwrap();
        assert_eq!((response.status, response.body), (400, "Bad request"));
    }
    // A client without a secret gets the same answer as any other.
    let mut forged = sent("?order=43");
    forged.headers.clear();
    assert_eq!(forged.reason(&policy), Reason::QueryNotSigned);
}

#[test]
fn an_endpoint_names_the_parameters_of_its_url() {
    let named = endpoint(r#""query": ["token", "a b"]"#);
    for query in ["?token=x", "?a+b=1&token=x", "?%74oken=x", ""] {
        assert_eq!(sent(query).reason(&named), Reason::Accepted, "{query}");
    }
    for query in [
        "?token=x&order=43",
        "?Token=x",
        "?token[]=x",
        "?[token]=x",
        "?token=x;order=43",
        "?token%00=x",
    ] {
        let reason = sent(query).reason(&named);
        assert_eq!(reason, Reason::QueryNotSigned, "{query}");
    }
    let none = endpoint(r#""query": "none""#);
    assert_eq!(sent("?a=1").reason(&none), Reason::QueryNotSigned);
    let any = endpoint(r#""query": "any""#);
    assert_eq!(sent("?a=1;b&c").reason(&any), Reason::Accepted);
    let monitored = endpoint(r#""mode": "monitor""#);
    let verdict = sent("?a=1").judge(&monitored);
    assert_eq!(verdict.reason(), Reason::QueryNotSigned);
    assert_eq!(verdict.outcome(), Outcome::Monitored);
}

#[test]
fn an_open_query_is_warned_of_unless_it_is_signed() {
    let warnings = |fields: &str| {
        let configuration = format!(
            r#"{{"endpoints": [{{"name": "o", "match": {{"path": "/webhook"}}, "public_url": "https://x", "secrets": [{{"version": "v1", "env": "SECRET"}}], {fields}}}]}}"#
        );
        let (_, warnings) = read(&configuration).unwrap();
        let paths = warnings.iter().map(|warning| warning.path.clone());
        paths.collect::<Vec<_>>()
    };
    assert_eq!(warnings(r#""query": "any""#), ["endpoints[0].query"]);
    assert!(warnings(r#""query": "any", "provider": "trello""#).is_empty());
    assert!(warnings(r#""query": ["a"]"#).is_empty());
}

#[test]
fn a_query_that_is_signed_may_hold_anything() {
    let request = |message: &str, query: &str, signed: &str| {
        let policy = endpoint(&format!(
            r#""public_url": "https://x", "signature": {{"header": "X-S", "message": "{message}"}}"#
        ));
        let mut request = sent(query);
        let signature = hex(variable("SECRET").as_bytes(), signed.as_bytes());
        request = request.with("x-s", signature);
        request.reason(&policy)
    };
    let body = std::str::from_utf8(BODY).unwrap();
    for (message, signed) in [
        ("{url}{body}", format!("https://x/webhook?b=2&a=1{body}")),
        ("{query}:{body}", format!("b=2&a=1:{body}")),
        ("{sorted_query}:{body}", format!("a=1&b=2:{body}")),
    ] {
        let reason = request(message, "?b=2&a=1", &signed);
        assert_eq!(reason, Reason::Accepted, "{message}");
        let reason = request(message, "?b=2&a=1&c", &signed);
        assert_eq!(reason, Reason::SignatureInvalid, "{message}");
    }
    // A signed parameter is not an unsigned one.
    let one = "{query:a}:{body}";
    let signed = format!("1:{body}");
    assert_eq!(request(one, "?a=1", &signed), Reason::Accepted);
    assert_eq!(request(one, "?a=1&b", &signed), Reason::QueryNotSigned);
    let path = "{url_without_query}{body}";
    let signed = format!("https://x/webhook{body}");
    assert_eq!(request(path, "?a=1", &signed), Reason::QueryNotSigned);
}

#[test]
fn every_preset_refuses_a_parameter_that_its_sender_does_not_sign() {
    let mut signing = Vec::new();
    for (name, _, policy, request) in accepted() {
        let mut request = request;
        let path = request.path.unwrap();
        let mark = if path.contains('?') { '&' } else { '?' };
        request.path = Some(format!("{path}{mark}amount=999999"));
        match request.reason(&policy) {
            Reason::QueryNotSigned => {}
            reason => {
                assert_ne!(reason, Reason::Accepted, "{name}");
                signing.push(name);
            }
        }
    }
    signing.sort();
    assert_eq!(
        signing,
        [
            "contentful",
            "hubspot",
            "hubspot-v2",
            "messagebird",
            "messagebird-jwt",
            "monday",
            "plivo-v3",
            "square",
            "trello",
            "twilio",
        ]
    );
}

/// A list of the endpoint's own adds to what is known of the sender.
#[test]
fn what_a_sender_adds_may_come_beside_what_the_endpoint_names() {
    let (policy, mut request) =
        genuine_with(json!({"provider": "mercado-pago", "query": ["token"]}));
    request.path = request.path.map(|path| path + "&token=1");
    assert_eq!(request.reason(&policy), Reason::Accepted);
    request.path = request.path.map(|path| path + "&topic=1");
    assert_eq!(request.reason(&policy), Reason::QueryNotSigned);
}

/// Nothing of a handshake goes upstream, so its query may hold anything; a delivery's may not, though it may look like
/// a handshake.
#[test]
fn a_handshake_may_have_a_query() {
    let policy = endpoint(r#""provider": "microsoft-graph", "answer_challenges": true"#);
    let mut ask = Request::new(b"");
    ask.path = Some("/webhook?a=1&validationToken=x".to_owned());
    assert_eq!(ask.reason(&policy), Reason::ChallengeAnswered);

    let block = r#""signature": {"header": "X-Webhook-Signature", "challenge": {"text": {"json": "/challenge"}, "signed": true}}, "answer_challenges": true"#;
    let policy = endpoint(block);
    let judge = |body: &[u8], query: &str| {
        let mut request = Request::signed(variable("SECRET"), body);
        request.path = Some(format!("/webhook{query}"));
        request.reason(&policy)
    };
    let ask = br#"{"challenge": "abc"}"#;
    assert_eq!(judge(ask, "?a=1"), Reason::ChallengeAnswered);
    assert_eq!(judge(BODY, ""), Reason::Accepted);
    assert_eq!(judge(BODY, "?a=1"), Reason::QueryNotSigned);
    let large = format!("{{\"a\": \"{}\"}}", "b".repeat(20_000));
    assert_eq!(judge(large.as_bytes(), "?a=1"), Reason::QueryNotSigned);
}

#[test]
fn the_operator_reads_the_name_and_no_value() {
    let policy = endpoint(r#""query": ["token"]"#);
    let named = |query: &str| {
        let verdict = sent(query).judge(&policy);
        let name = verdict.parameter();
        name.map(|name| String::from_utf8_lossy(name).into_owned())
    };
    assert_eq!(named("?token=1&amount=5").as_deref(), Some("amount"));
    assert_eq!(named("?dG9rZW4="), None);
    assert_eq!(named("?s3cret"), None);
    assert_eq!(named("?token=1"), None);
}
