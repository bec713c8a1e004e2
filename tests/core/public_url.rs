//! A `public_url` with a path: the sender signs another path than Envoy sees.

use serde_json::{Value, json};
use webhook_guard::verdict::Reason;

use crate::support::{Request, base64, endpoint, policy, read, read_in, variable};
use crate::vectors::{folder, request, split_url};

/// The presets whose senders sign the URL, its path or its hash.
const SIGNERS: [&str; 10] = [
    "contentful",
    "hubspot",
    "hubspot-v2",
    "messagebird-jwt",
    "monday",
    "plivo",
    "plivo-v3",
    "square",
    "trello",
    "twilio",
];

/// The reason of a vector at an endpoint for `matched`, where Envoy gets `received` in place of the path that was signed.
fn judge(preset: &str, vector: &Value, matched: &Value, public: &str, received: &str) -> Reason {
    let (origin, _) = split_url(vector);
    let configuration = json!({"environment": "test", "endpoints": [{
        "name": "vector", "match": matched, "provider": preset, "public_url": format!("{origin}{public}"), "query": "any",
        "methods": [vector["method"].as_str().unwrap_or("POST")],
        "secrets": [{"version": "v1", "value": vector["secret"]}],
    }]});
    let mut request = request(vector);
    request.path = Some(received.to_owned());
    request.reason(&policy(&configuration.to_string()))
}

#[test]
fn a_vector_of_each_signer_verifies_at_each_mapping() {
    for (preset, vectors) in folder("tests/vectors") {
        if !SIGNERS.contains(&preset.as_str()) {
            continue;
        }
        let vectors = vectors.as_array().unwrap().iter();
        for vector in vectors.filter(|vector| vector["signature"].is_null()) {
            let (_, signed) = split_url(vector);
            let is_valid = vector["valid"] == true;
            let path = signed.split('?').next().unwrap();
            let query = signed.strip_prefix(path).unwrap();
            let accepts = |matched: &Value, public: &str, received: &str| {
                judge(&preset, vector, matched, public, received) == Reason::Accepted
            };
            let id = &vector["id"];
            let exact = |at: &str, public: &str| {
                accepts(&json!({ "path": at }), public, &format!("{at}{query}"))
            };
            assert_eq!(
                exact("/internal/hook", path),
                is_valid,
                "{preset} {id}: replaced"
            );
            assert_eq!(exact(path, ""), is_valid, "{preset} {id}: unchanged");
            let prefix = json!({"prefix": "/internal/"});
            let received = format!("/internal{signed}");
            assert_eq!(
                accepts(&prefix, "/", &received),
                is_valid,
                "{preset} {id}: added"
            );
            assert!(
                !accepts(&prefix, "", &received),
                "{preset} {id}: as received"
            );
            assert!(
                !exact("/internal/hook", "/other"),
                "{preset} {id}: another path"
            );
        }
    }
}

/// A proxy that removes a prefix: the sender calls /public/hooks/NAME, and Envoy gets /hooks/NAME.
#[test]
fn a_removed_prefix_is_signed_again() {
    let policy = policy(
        r#"{"endpoints": [{"name": "orders", "match": {"prefix": "/hooks/"}, "provider": "square",
            "public_url": "https://x/public/hooks/", "secrets": [{"version": "v1", "env": "SECRET"}]}]}"#,
    );
    let body = br#"{"event_id":"e1"}"#;
    let reason = |signed: &str, received: &str| {
        let message = [signed.as_bytes(), body].concat();
        let signature = base64(variable("SECRET").as_bytes(), &message);
        let mut request = Request::new(body).with("x-square-hmacsha256-signature", signature);
        request.path = Some(received.to_owned());
        request.reason(&policy)
    };
    assert_eq!(
        reason("https://x/public/hooks/a?b=1", "/hooks/a?b=1"),
        Reason::Accepted
    );
    for (signed, received) in [
        ("https://x/hooks/a", "/hooks/a"),
        ("https://x/public/hooks/a", "/hooks/b"),
        ("https://x/public/hooks/a?b=1", "/hooks/a"),
        ("https://x/public/hooks/a", "/hooks/a?b=1"),
        ("https://x/public/hooks/hooks/a", "/hooks/a"),
    ] {
        assert_eq!(
            reason(signed, received),
            Reason::SignatureInvalid,
            "{signed} {received}"
        );
    }
}

/// `{path}` and `{url_without_query}` follow the mapping. The sender does not sign the query here.
#[test]
fn every_placeholder_with_a_path_follows_the_mapping() {
    for (placeholder, signed) in [
        ("{path}", "/public"),
        ("{encoded_path}", "/public?a%253D1"),
        ("{url}", "https://x:8443/public?a=1"),
        ("{url_without_query}", "https://x:8443/public"),
        ("{url_decoded}", "https://x:8443/public?a=1"),
    ] {
        let policy = endpoint(&format!(
            r#""public_url": "https://x:8443/public", "query": "any", "signature": {{"header": "X-S", "encoding": "base64", "message": "{placeholder}\n{{body}}"}}"#
        ));
        let message = [signed.as_bytes(), b"\nbody"].concat();
        let signature = base64(variable("SECRET").as_bytes(), &message);
        let mut request = Request::new(b"body").with("x-s", signature);
        request.path = Some("/webhook?a=1".to_owned());
        assert_eq!(request.reason(&policy), Reason::Accepted, "{placeholder}");
    }
}

/// Contentful signs the path without an origin, so the operator need not write a `public_url` for all endpoints.
#[test]
fn an_endpoint_without_a_path_has_the_url_of_all() {
    let policy = policy(
        r#"{"public_url": "https://x", "endpoints": [
            {"name": "a", "match": {"path": "/a"}, "provider": "square", "secrets": [{"version": "v1", "env": "SECRET"}]},
            {"name": "b", "match": {"path": "/b"}, "provider": "square", "public_url": "https://y/c",
             "secrets": [{"version": "v1", "env": "OTHER_SECRET"}]}]}"#,
    );
    let body = br#"{"event_id":"e1"}"#;
    for (secret, signed, received) in [
        ("SECRET", "https://x/a", "/a"),
        ("OTHER_SECRET", "https://y/c", "/b"),
    ] {
        let message = [signed.as_bytes(), body].concat();
        let signature = base64(variable(secret).as_bytes(), &message);
        let mut request = Request::new(body).with("x-square-hmacsha256-signature", signature);
        request.path = Some(received.to_owned());
        assert_eq!(request.reason(&policy), Reason::Accepted, "{signed}");
    }
}

#[test]
fn a_path_without_effect_is_reported() {
    let warnings = |fields: &str| {
        let configuration = format!(
            r#"{{"endpoints": [{{"name": "a", "match": {{"path": "/a"}}, "secrets": [{{"version": "v1", "env": "SECRET"}}], {fields}}}]}}"#
        );
        let (_, warnings) = read(&configuration).unwrap();
        warnings
            .into_iter()
            .map(|each| each.message)
            .collect::<Vec<_>>()
    };
    let no_effect = "the sender signs no URL and no path, so `public_url` has no effect: remove it";
    let github = r#""provider": "github", "public_url": "https://x"#;
    assert_eq!(warnings(&format!(r#"{github}/b""#)), [no_effect]);
    assert_eq!(warnings(&format!(r#"{github}""#)), [""; 0]);
    let square = r#""provider": "square", "public_url": "https://x"#;
    assert_eq!(warnings(&format!(r#"{square}/b""#)), [""; 0]);
    assert_eq!(
        warnings(&format!(r#"{square}/""#)),
        [
            "the sender must call the path / for this: remove the slash if it calls the path in `match`"
        ]
    );
    let contentful = r#""provider": "contentful", "public_url": "https://x/b""#;
    assert_eq!(warnings(contentful), [""; 0]);
}

/// Without an origin, clients would choose the host that is signed.
#[test]
fn a_signed_url_still_needs_an_origin() {
    let configuration = r#"{"endpoints": [{"name": "a", "match": {"path": "/a"}, "provider": "square",
        "public_url": "/b", "secrets": [{"version": "v1", "env": "SECRET"}]}]}"#;
    assert!(read_in("development", configuration).is_err());
}
