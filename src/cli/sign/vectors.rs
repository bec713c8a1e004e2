//! Signs what senders signed, and compares: the vectors in `tests/vectors` are from senders and their packages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};

use serde_json::{Value, json};

use super::formats::{Spelling, http};
use super::signer::Sender;
use crate::cli::request::Request;
use crate::crypto::Algorithm;
use crate::policy::Policy;
use crate::request::headers::Headers;
use crate::scheme::source::{self, Source};
use crate::scheme::spec::Spec;
use crate::scheme::timestamp::Unit;
use crate::time::UnixMillis;

/// The valid vectors of presets, with the names of the presets.
fn vectors() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let files = fs::read_dir(folder).expect("the folder");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let name = path.file_stem().expect("a name").to_string_lossy();
        let text = fs::read(&path).expect("a file");
        let vectors: Vec<Value> = serde_json::from_slice(&text).expect("JSON");
        let valid = vectors.into_iter().filter(|vector| vector["valid"] == true);
        found.extend(valid.map(|vector| (name.to_string(), vector)));
    }
    found
}

fn policy(provider: &str, vector: &Value) -> Policy {
    let mut endpoint = match &vector["signature"] {
        Value::Null => json!({"provider": provider}),
        signature => json!({"signature": signature}),
    };
    let mut secret = json!({"version": "v1", "value": vector["secret"]});
    if vector["key_id"].is_string() {
        secret["key_id"] = vector["key_id"].clone();
    }
    if vector["query"].is_array() {
        endpoint["query"] = vector["query"].clone();
    }
    endpoint["name"] = json!("vector");
    endpoint["match"] = json!({"prefix": "/"});
    endpoint["public_url"] = json!(split_url(vector).0);
    endpoint["methods"] = json!([vector["method"].as_str().unwrap_or("POST")]);
    endpoint["secrets"] = json!([secret]);
    let configuration = json!({"environment": "test", "endpoints": [endpoint]}).to_string();
    let unset = |_: &str| Err(env::VarError::NotPresent);
    Policy::read(configuration.as_bytes(), &unset)
        .expect(provider)
        .0
}

fn split_url(vector: &Value) -> (&str, &str) {
    let url = vector["url"].as_str();
    let url = url.unwrap_or("https://hooks.example.com/webhook");
    url.split_at(url.match_indices('/').nth(2).expect("a path").0)
}

/// The request of a vector, as the sender sent it.
fn sent(vector: &Value) -> Request {
    let (origin, target) = split_url(vector);
    let (scheme, authority) = origin.split_once("://").expect("a URL");
    let mut headers = Vec::new();
    for (name, values) in vector["headers"].as_object().expect("headers") {
        let values = match values {
            Value::Array(values) => values.clone(),
            value => vec![value.clone()],
        };
        for value in values {
            let value = value.as_str().expect("a text").as_bytes().to_vec();
            headers.push((name.to_ascii_lowercase(), value));
        }
    }
    Request {
        method: vector["method"].as_str().unwrap_or("POST").to_owned(),
        scheme: scheme.to_owned(),
        authority: authority.to_owned(),
        target: target.to_owned(),
        headers,
        body: vector["body"].as_str().expect("a body").as_bytes().to_vec(),
        trailers: Vec::new(),
    }
}

/// Vectors that differ from the signed request, each for a reason.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "braintree-sdk-2",
        "two keys signed, in one field of the body",
    ),
    ("fusionauth-computed-1", TOKEN),
    (
        "linkedin-computed-1",
        "the signature is written without its optional prefix",
    ),
    (
        "mercado-pago-computed-1",
        "the time is in milliseconds, where the sender also uses seconds",
    ),
    ("mercado-pago-sdk-neither", ABSENT),
    ("mercado-pago-sdk-no-request-id", ABSENT),
    ("messagebird-jwt-official-1", TOKEN),
    ("messagebird-jwt-official-2", TOKEN),
    ("messagebird-jwt-official-3", TOKEN),
    ("messagebird-jwt-sdk-1", TOKEN),
    ("monday-computed-1", TOKEN),
    ("netlify-computed-1", TOKEN),
    ("vonage-computed-1", TOKEN),
    ("vonage-sdk-1", TOKEN),
];
const ABSENT: &str =
    "the sender omitted a header, which Envoy itself would add: the signer adds the header";
const TOKEN: &str = "a token has its claims in any order, and others of the sender's";

/// Whether a signer made a vector's request: `None` for a private key.
#[expect(
    clippy::unwrap_in_result,
    reason = "a vector without a secret is a fault of the test"
)]
fn compare(provider: &str, vector: &Value) -> Option<Result<(), String>> {
    let policy = policy(provider, vector);
    let endpoint = policy.endpoints.first().expect("an endpoint");
    let (scheme, spec) = (&endpoint.scheme, &endpoint.scheme.spec);
    if spec.signature.algorithm.has_public_key() {
        return None;
    }
    let sent = sent(vector);
    let pairs = sent.pairs();
    let now = vector["now_unix"].as_i64().unwrap_or(1_700_000_000);
    let now = UnixMillis(now.saturating_mul(1_000));
    let extracted = scheme.extract(&Headers::new(&pairs), now).expect(provider);
    // The time that the sender signed, which is not that of the delivery.
    let time = spec.timestamp.as_ref().zip(extracted.timestamp.as_ref());
    let time = time.and_then(|(rule, text)| rule.unit.parse(text));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let id = extracted.id.as_deref().map(text);
    let key_id = extracted.key_ids.first().map(|id| text(id));
    let key_id = key_id.unwrap_or_else(|| "integration_public_key".to_owned());
    let (keyring, _) = endpoint.keyring(Vec::new());
    let plain = plain(spec, &sent);
    let mut difference = String::new();
    for entry in keyring.entries() {
        for form in 0..4 {
            let token = vector["secret"].as_str().expect("a secret").into();
            let sender = Sender {
                endpoint,
                key: &entry.key,
                token: Some(token).filter(|_| spec.signature.algorithm == Algorithm::Token),
                key_id: &key_id,
                now: time.unwrap_or(now),
                id: id.as_deref(),
                form,
                algorithm: extracted.algorithm,
            };
            let why = match sender.sign(plain.clone()) {
                Ok(signed) if is_same(spec, &signed, &sent) => return Some(Ok(())),
                Ok(signed) => format!("{}\n  not {}", shown(&signed), shown(&sent)),
                Err(failure) => failure.to_string(),
            };
            if difference.is_empty() {
                difference = why;
            }
        }
    }
    Some(Err(difference))
}

/// A request without what the sender adds. A sender chooses among several spellings of a time in RFC 3339, so that time
/// stays.
fn plain(spec: &Spec, sent: &Request) -> Request {
    let unit = spec.timestamp.as_ref().map(|rule| rule.unit);
    let time = spec.timestamp_source();
    let time = time.filter(|_| unit != Some(Unit::Rfc3339));
    let field = Some(&spec.signature_field.source);
    let mut plain = sent.clone();
    plain.headers.retain(|(name, _)| {
        let mut added = [field, time, spec.id.as_ref(), spec.key_id.as_ref()].into_iter();
        !added.any(|source| source.is_some_and(|source| is_in(source, name)))
            && !spec.require.iter().any(|(header, _)| header.text == *name)
    });
    plain
}

fn is_in(source: &Source, name: &str) -> bool {
    source::has(source.headers(), name.as_bytes())
}

/// Whether the sender sent everything that was signed here. A sender may use several names of one header, and sign by
/// several keys.
fn is_same(spec: &Spec, signed: &Request, sent: &Request) -> bool {
    let separator = spec.signature_field.separator.as_deref();
    let items = |request: &Request| -> Vec<String> {
        let headers = request.headers.iter();
        let values = headers.filter(|(name, _)| is_in(&spec.signature_field.source, name));
        let values = values.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        values
            .flat_map(|value| match separator {
                Some(separator) => value
                    .split(separator)
                    .map(|item| item.trim().to_owned())
                    .collect(),
                None => vec![value],
            })
            .collect()
    };
    let value = |request: &Request, name: &str| {
        let sources = [spec.timestamp_source(), spec.id.as_ref()];
        let mut sources = sources.into_iter().flatten();
        let source = sources.find(|source| is_in(source, name));
        let mut headers = request.headers.iter();
        let found = headers.find(|(other, _)| match source {
            Some(source) => is_in(source, other),
            None => other == name,
        });
        found.map(|(_, value)| value.clone())
    };
    let others = |name: &str| {
        is_in(&spec.signature_field.source, name) || value(signed, name) == value(sent, name)
    };
    let (ours, theirs) = (items(signed), items(sent));
    ours.iter().all(|item| theirs.contains(item))
        && ours.is_empty() == theirs.is_empty()
        && signed
            .headers
            .iter()
            .chain(&sent.headers)
            .all(|(name, _)| others(name))
        && (&signed.method, &signed.target, &signed.body)
            == (&sent.method, &sent.target, &sent.body)
}

fn shown(request: &Request) -> String {
    String::from_utf8_lossy(&http(&Spelling::none(), request, &[])).into_owned()
}

#[test]
fn a_request_is_signed_as_its_sender_signed_it() {
    let mut equal = BTreeMap::new();
    let mut different = Vec::new();
    let mut known: BTreeSet<_> = DIFFERENT.iter().map(|(id, _)| *id).collect();
    for (provider, vector) in vectors() {
        let id = vector["id"].as_str().expect("an id").to_owned();
        match compare(&provider, &vector) {
            None => {}
            Some(Ok(())) => *equal.entry(provider).or_insert(0_usize) += 1,
            Some(Err(why)) => different.push((id, why)),
        }
    }
    different.retain(|(id, _)| !known.remove(id.as_str()));
    assert!(different.is_empty(), "{different:#?}");
    assert!(known.is_empty(), "no longer different: {known:?}");
    let count: usize = equal.values().sum();
    assert_eq!((count, equal.len()), (225, 113), "count again: {equal:#?}");
}
