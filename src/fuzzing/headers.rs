use std::cell::LazyCell;
use std::collections::BTreeSet;

use super::{Input, read};
use crate::policy::endpoint::unwanted_headers;
use crate::policy::{Policy, Route};
use crate::request::address::Client;
use crate::request::headers::{Headers, join_pairs, split_pairs};
use crate::scheme::PROVIDERS;
use crate::time::UnixMillis;
use crate::verdict::{Outcome, Reason};
use crate::verify::{Finish, Head, Verification};

/// Texts. For each preset, at least one is a valid key. No request was ever signed with them.
const KEYS: &[&str] = &[
    "25B573092C76A64F7588FDDF76CD7C53774099C163A53A039D314C0EBD323C92",
    "7EK0izB/7x22Do75/nTZnCsjndq38TWhs8WYxQOvDb4=",
    "whsec_7EK0izB/7x22Do75/nTZnCsjndq38TWhs8WYxQOvDb4=",
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==",
];

thread_local! {
    static PRESETS: LazyCell<Vec<Policy>> = LazyCell::new(|| PROVIDERS.iter().map(preset).collect());
}

/// A policy for a preset, with its handshake if that needs no more than to be said.
fn preset((name, _): &(&str, &str)) -> Policy {
    let with = |key: &str, answers: &str| {
        let configuration = format!(
            r#"{{"environment": "test", "public_url": "https://hooks.example.com", "endpoints": [{{
                "name": "orders", "match": {{"path": "/webhook"}}, "provider": "{name}"{answers},
                "methods": ["POST", "GET"], "secrets": [{{"version": "v1", "value": "{key}"}}]}}]}}"#
        );
        read(configuration.as_bytes())
    };
    let answers = [r#", "answer_challenges": true"#, ""];
    let mut tried = KEYS
        .iter()
        .flat_map(|key| answers.map(|answers| with(key, answers)));
    tried.find_map(|policy| policy).expect(name)
}

/// Any headers and body to any preset's endpoint: one verdict, and without the secret never a good one. First the
/// bytes as a map of headers; then the preset's number, the method, the query, `name: value` lines, and after
/// an empty one the body.
pub fn headers(data: &[u8]) {
    if let Some(pairs) = split_pairs(data) {
        let names: BTreeSet<_> = pairs.iter().map(|(name, _)| *name).collect();
        let unwanted = unwanted_headers(&Headers::new(&pairs), None);
        assert!(unwanted.iter().all(|name| names.contains(name)));
        let texts: Option<Vec<_>> = pairs
            .iter()
            .map(|(name, value)| {
                Some((
                    std::str::from_utf8(name).ok()?,
                    std::str::from_utf8(value).ok()?,
                ))
            })
            .collect();
        if let Some(joined) = texts.and_then(|texts| join_pairs(&texts)) {
            assert_eq!(split_pairs(&joined), Some(pairs));
        }
    }
    let mut input = Input(data);
    let number = input.below(PROVIDERS.len());
    let method: &[u8] = if input.flag() { b"POST" } else { b"GET" };
    let mut lines = input.0.split(|byte| *byte == b'\n');
    let path = [b"/webhook?", lines.next().unwrap_or_default()].concat();
    let mut pairs: Vec<(&[u8], &[u8])> = vec![
        (b":method", method),
        (b":scheme", b"https"),
        (b":authority", b"hooks.example.com"),
        (b":path", &path),
    ];
    let mut body = Vec::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            body = lines.collect::<Vec<_>>().join(&b'\n');
            break;
        }
        let at = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(at.unwrap_or(line.len()));
        pairs.push((name, value.strip_prefix(b":").unwrap_or(value).trim_ascii()));
    }
    PRESETS.with(|presets| judge(&presets[number], &pairs, &body));
}

fn judge(policy: &Policy, pairs: &[(&[u8], &[u8])], body: &[u8]) {
    let Route::Guarded(_, endpoint) = policy.route(pairs[0].1, Some(pairs[3].1), pairs[2].1, false)
    else {
        return;
    };
    let (keyring, _) = endpoint.keyring(Vec::new());
    let head = Head {
        headers: Headers::new(pairs),
        client: Client::Absent,
        published: &[],
        keyring: &keyring,
        now: UnixMillis(1_700_000_000_000),
    };
    let verdict = match Verification::begin(endpoint, &head) {
        Err(verdict) => verdict,
        Ok(mut check) => match check.body(body) {
            Err(verdict) => verdict,
            Ok(()) => match check.finish(head.now) {
                Finish::Done(verdict) => verdict,
                Finish::NeedsBody(mut again) => {
                    again.body(body);
                    again.finish()
                }
            },
        },
    };
    assert_eq!(
        verdict.answer().is_some(),
        verdict.outcome() == Outcome::Challenged
    );
    assert!(verdict.outcome() != Outcome::Accepted, "{verdict:?}");
    assert!(verdict.reason() != Reason::HostError, "{verdict:?}");
}
