//! Senders' own test vectors: what they publish, what their SDKs make, and what must not verify.

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

use serde_json::{Value, json};
use webhook_guard::verdict::Reason;

use crate::support::{NOW, Request, read_in};

fn folder(path: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
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
    for (provider, vectors) in folder("tests/vectors") {
        for vector in vectors.as_array().unwrap() {
            let accepted = judge(&provider, vector);
            assert_eq!(
                accepted,
                vector["valid"].as_bool().unwrap(),
                "{provider}: {vector:#}"
            );
            count += 1;
        }
    }
    assert_eq!(count, 25, "a vector was lost or added: count again");
}

/// Whether a vector is accepted; a configuration that is refused accepts nothing.
fn judge(provider: &str, vector: &Value) -> bool {
    let configuration = json!({"endpoints": [{
        "name": "vector",
        "match": {"path": "/webhook"},
        "provider": provider,
        "secrets": [{"version": "v1", "value": vector["secret"]}],
    }]});
    let Ok((policy, _)) = read_in("test", &configuration.to_string()) else {
        return false;
    };
    let mut request = Request::new(vector["body"].as_str().unwrap().as_bytes());
    request.now = vector["now_unix"].as_i64().unwrap_or(NOW) * 1_000;
    for (name, value) in vector["headers"].as_object().unwrap() {
        request = request.with(name, value.as_str().unwrap());
    }
    request.reason(&policy) == Reason::Accepted
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
