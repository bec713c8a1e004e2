//! Changes that an attacker can make to a genuine request without the secret, tried on each preset.

use serde_json::{Value, json};
use webhook_guard::policy::Policy;
use webhook_guard::verdict::Reason;

use crate::support::Request;
use crate::vectors::{folder, policy, presets, request};

/// Each preset's block, and a request that its policy accepts.
pub(crate) fn accepted() -> Vec<(String, Value, Policy, Request)> {
    let vectors = folder("tests/vectors");
    presets()
        .into_iter()
        .map(|(name, preset)| {
            let vectors = &vectors.iter().find(|(each, _)| *each == name).unwrap().1;
            let vectors = vectors.as_array().unwrap();
            let vector = vectors
                .iter()
                .find(|vector| vector["valid"] == true)
                .unwrap();
            let policy = policy(vector, json!({"provider": name})).unwrap();
            let request = request(vector);
            assert_eq!(request.reason(&policy), Reason::Accepted, "{name}");
            (name, preset["signature"].clone(), policy, request)
        })
        .collect()
}

/// The request with each header in turn changed, and that header's name. `change` returns its values.
fn with_each<'r>(
    request: &'r Request,
    change: impl Fn(&[u8]) -> Vec<Vec<u8>> + 'r,
) -> impl Iterator<Item = (String, Request)> + 'r {
    request.headers.iter().map(move |(changed, _)| {
        let headers = request.headers.iter().flat_map(|(name, value)| {
            let values = if name == changed {
                change(value)
            } else {
                vec![value.clone()]
            };
            values.into_iter().map(move |value| (name.clone(), value))
        });
        let headers = headers.collect();
        (
            changed.clone(),
            Request {
                headers,
                ..request.clone()
            },
        )
    })
}

/// The headers without which the request is denied.
fn needed(policy: &Policy, request: &Request) -> Vec<String> {
    with_each(request, |_| Vec::new())
        .filter(|(_, stripped)| stripped.reason(policy) != Reason::Accepted)
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn a_header_that_is_needed_cannot_be_left_out_emptied_or_blown_up() {
    let mut tried = 0;
    for (name, signature, policy, request) in accepted() {
        let needed = needed(&policy, &request);
        // Of several headers that may hold it, a request may bring more than one.
        let in_head = signature["header"].is_string();
        assert!(!needed.is_empty() || !in_head, "{name}");
        for change in [&b""[..], &[b'x'; 9000], b"x", b"\xff"] {
            for (header, changed) in with_each(&request, |_| vec![change.to_vec()]) {
                if needed.contains(&header) {
                    tried += 1;
                    assert_ne!(
                        changed.reason(&policy),
                        Reason::Accepted,
                        "{name}: {header}"
                    );
                }
            }
        }
    }
    assert!(tried > 400, "{tried}");
}

#[test]
fn a_header_that_is_needed_may_not_come_twice() {
    for (name, signature, policy, request) in accepted() {
        let needed = needed(&policy, &request);
        for (header, doubled) in with_each(&request, |value| vec![value.to_vec(), value.to_vec()]) {
            // Two content types do not declare a form, and only schemes that sign a form need one.
            if needed.contains(&header) && signature["repeat"] != true {
                assert_ne!(
                    doubled.reason(&policy),
                    Reason::Accepted,
                    "{name}: {header}"
                );
            }
        }
    }
}

#[test]
fn the_text_before_a_signature_counts() {
    let mut tried = 0;
    for (name, signature, policy, request) in accepted() {
        let Some(formats) = signature["format"].as_array() else {
            continue;
        };
        for format in formats {
            let format = format.as_str().unwrap();
            let Some((prefix, _)) = format.split_once("{signature}") else {
                continue;
            };
            if prefix.is_empty() || prefix.contains('{') {
                continue;
            }
            for other in ["", "v9=", "x"] {
                let replaced = |value: &[u8]| {
                    let text = String::from_utf8_lossy(value);
                    vec![text.replace(prefix, other).into_bytes()]
                };
                for (header, changed) in with_each(&request, replaced) {
                    if changed.headers != request.headers {
                        tried += 1;
                        assert_ne!(
                            changed.reason(&policy),
                            Reason::Accepted,
                            "{name}: {header}"
                        );
                    }
                }
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn a_body_that_is_signed_cannot_be_changed() {
    for (name, signature, policy, request) in accepted() {
        if signature["body"] == "unsigned" {
            continue;
        }
        for change in [&b"~"[..], b"&a=b", b"\n"] {
            let mut longer = request.clone();
            longer.body.extend(change);
            assert_ne!(longer.reason(&policy), Reason::Accepted, "{name}");
        }
        let mut shorter = request.clone();
        if shorter.body.pop().is_some() {
            assert_ne!(shorter.reason(&policy), Reason::Accepted, "{name}");
        }
    }
}

/// An `id` beside a preset is a fault of the configuration, or each request needs the id.
#[test]
fn an_id_beside_a_preset_cannot_be_left_out() {
    let vectors = folder("tests/vectors");
    let (mut refused, mut needed) = (0, 0);
    for (name, _, _, accepted) in accepted() {
        let (_, vectors) = vectors.iter().find(|(each, _)| *each == name).unwrap();
        let mut vectors = vectors.as_array().unwrap().iter();
        let vector = vectors.find(|vector| vector["valid"] == true).unwrap();
        for id in [json!({"json": "/no/such"}), json!({"header": "x-no-such"})] {
            match policy(vector, json!({"provider": name, "id": id})) {
                Ok(policy) => {
                    let reason = accepted.reason(&policy);
                    let reasons = [Reason::SignatureMalformed, Reason::SignatureMissing];
                    assert!(reasons.contains(&reason), "{name}: {reason:?}");
                    needed += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 100 && needed > 50, "{refused} {needed}");
}

#[test]
fn a_signature_does_not_outlive_its_tolerance() {
    for (name, signature, policy, request) in accepted() {
        let has_time = signature["format"].to_string().contains("{timestamp}")
            || !signature["timestamp"].is_null();
        for (offset, reason) in [
            (30 * 86_400, Reason::TimestampExpired),
            (-86_400, Reason::TimestampFuture),
        ] {
            let mut moved = request.clone();
            moved.now += offset * 1_000;
            if has_time {
                assert_eq!(moved.reason(&policy), reason, "{name}");
            }
        }
    }
}
