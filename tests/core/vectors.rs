//! Senders' own test vectors: what they publish, what their SDKs make, and what must not verify.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};

use serde_json::{Value, json};
use webhook_guard::config::Diagnostic;
use webhook_guard::policy::Policy;
use webhook_guard::verdict::Reason;

use crate::support::{NOW, Request, read_in};

/// The presets by name, each with its block, also where its file names another preset's.
pub(crate) fn presets() -> Vec<(String, Value)> {
    let mut presets = folder("src/providers");
    let blocks: BTreeMap<_, _> = presets
        .iter()
        .map(|(name, preset)| (name.clone(), preset["signature"].clone()))
        .collect();
    for (_, preset) in &mut presets {
        if let Value::String(other) = &preset["signature"] {
            preset["signature"] = blocks[other].clone();
        }
        assert!(preset["signature"].is_object());
    }
    presets.sort_by(|(name, _), (other, _)| name.cmp(other));
    presets
}

pub(crate) fn folder(path: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            (
                name,
                serde_json::from_slice(&fs::read(file).unwrap()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn every_vector_verifies_or_fails_as_it_says() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for (provider, vectors) in folder("tests/vectors") {
        for vector in vectors.as_array().unwrap() {
            let reason = judge(&provider, vector);
            let is_right = (reason == Ok(Reason::Accepted)) == vector["valid"].as_bool().unwrap();
            if !is_right {
                wrong.push(format!("{provider} {}: {reason:?}", vector["id"]));
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(count, 546, "a vector was lost or added: count again");
}

/// The reason that a vector gets, or the faults of its configuration.
fn judge(provider: &str, vector: &Value) -> Result<Reason, Vec<Diagnostic>> {
    let policy = policy(vector, scheme(provider, vector))?;
    Ok(request(vector).reason(&policy))
}

/// The scheme of a vector's endpoint. Some vectors have no preset, because users choose one at the sender.
fn scheme(provider: &str, vector: &Value) -> Value {
    match &vector["signature"] {
        Value::Null => json!({"provider": provider}),
        signature => json!({"signature": signature}),
    }
}

/// A policy with an endpoint for a vector.
pub(crate) fn policy(vector: &Value, scheme: Value) -> Result<Policy, Vec<Diagnostic>> {
    let mut secret = json!({"version": "v1", "value": vector["secret"]});
    if vector["key_id"].is_string() {
        secret["key_id"] = vector["key_id"].clone();
    }
    let mut endpoint = scheme;
    if vector["query"].is_array() && endpoint["query"].is_null() {
        endpoint["query"] = vector["query"].clone();
    }
    endpoint["name"] = json!("vector");
    endpoint["match"] = json!({"prefix": "/"});
    endpoint["public_url"] = json!(split_url(vector).0);
    endpoint["methods"] = json!([vector["method"].as_str().unwrap_or("POST")]);
    endpoint["secrets"] = json!([secret]);
    let configuration = json!({"endpoints": [endpoint]});
    Ok(read_in("test", &configuration.to_string())?.0)
}

/// Origin and the rest of the URL that was signed.
pub(crate) fn split_url(vector: &Value) -> (&str, &str) {
    let url = vector["url"]
        .as_str()
        .unwrap_or("https://hooks.example.com/webhook");
    url.split_at(url.match_indices('/').nth(2).unwrap().0)
}

/// The request of a vector.
pub(crate) fn request(vector: &Value) -> Request {
    let mut request = Request::new(vector["body"].as_str().unwrap().as_bytes());
    request.path = Some(split_url(vector).1.to_owned());
    request.method = match vector["method"].as_str().unwrap_or("POST") {
        "POST" => "POST",
        "GET" => "GET",
        other => panic!("{other}: add it here"),
    };
    request.now = vector["now_unix"].as_i64().unwrap_or(NOW) * 1_000;
    for (name, value) in vector["headers"].as_object().unwrap() {
        // A list is a header that occurs several times.
        let values = value
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![value.clone()]);
        for value in values {
            request = request.with(name, value.as_str().unwrap());
        }
    }
    request
}

/// A user's own block is as good as the preset's: nothing is known to the one that the other cannot say.
#[test]
fn every_preset_can_be_written_by_a_user() {
    let presets = presets();
    let block = |name: &str| {
        presets
            .iter()
            .find(|(each, _)| each == name)
            .map(|(_, preset)| preset["signature"].clone())
    };
    for (provider, vectors) in folder("tests/vectors") {
        let Some(signature) = block(&provider) else {
            continue;
        };
        let vectors = vectors.as_array().unwrap().iter();
        for vector in vectors.filter(|vector| vector["signature"].is_null()) {
            let own = policy(vector, json!({"signature": signature}))
                .map(|policy| request(vector).reason(&policy));
            assert_eq!(own.is_ok(), judge(&provider, vector).is_ok(), "{provider}");
            assert_eq!(
                own.ok(),
                judge(&provider, vector).ok(),
                "{provider}: {vector:#}"
            );
        }
    }
}

#[test]
fn every_preset_states_its_evidence_and_has_vectors_for_it() {
    let vectors = folder("tests/vectors");
    let known = BTreeSet::from(["official-vector", "sdk", "third-party-vector", "documented"]);
    for (name, preset) in folder("src/providers") {
        let evidence = preset["evidence"].as_str().unwrap();
        assert!(known.contains(evidence), "{name}: {evidence}");
        assert!(
            preset["documentation"]
                .as_str()
                .unwrap()
                .starts_with("https://"),
            "{name}"
        );
        assert!(!preset["notes"].as_str().unwrap().is_empty(), "{name}");
        let wanted = match evidence {
            "official-vector" => "official",
            "sdk" => "sdk-generated",
            "third-party-vector" => "third-party",
            _ => continue,
        };
        let has = vectors
            .iter()
            .filter(|(provider, _)| *provider == name)
            .any(|(_, vectors)| {
                let proves =
                    |vector: &Value| vector["evidence"] == wanted && vector["valid"] == true;
                vectors.as_array().unwrap().iter().any(proves)
            });
        assert!(has, "{name}: no valid vector of the kind {wanted}");
    }
}
