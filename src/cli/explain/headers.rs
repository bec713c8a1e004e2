//! Headers that a proxy dropped, renamed, repeated or changed.

use super::hypothesis::Cause;
use super::providers;
use super::search::Search;
use crate::cli::request::Request;
use crate::policy::Policy;
use crate::request::headers::{Headers, folds_to};
use crate::scheme::source;
use crate::verdict::Denial;
use crate::verify::Verdict;

/// The most renamed headers that are tried.
const MAX_RENAMES: usize = 512;

/// Repairs the headers that the scheme needs.
pub(super) fn try_all(search: &mut Search<'_>) {
    let Some(policy) = search.policy(&search.setup) else {
        return;
    };
    try_values(search, &policy);
    if !search.is_done() {
        try_names(search, &policy);
    }
}

/// A change of a value: what the proxy did, how to fix that, and the value without it.
type Change = (&'static str, &'static str, fn(&[u8]) -> Option<Vec<u8>>);

/// Tries values without what a proxy may have added.
fn try_values(search: &mut Search<'_>, policy: &Policy) {
    let changes: [Change; 6] = [
        (
            "has quotation marks or white space around its value",
            "find the proxy that adds them",
            unquoted,
        ),
        (
            "has two values in one line, and the first is the sender's",
            "find the proxy that joins headers",
            |value| item(value, false),
        ),
        (
            "has two values in one line, and the last is the sender's",
            "find the proxy that joins headers",
            |value| item(value, true),
        ),
        (
            "is percent-encoded",
            "find the proxy that encodes headers",
            |value| {
                Some(crate::request::percent::decode(
                    value,
                    crate::request::percent::Plus::Literal,
                    |_| true,
                ))
            },
        ),
        (
            "has spaces in place of plus signs",
            "find the proxy that decodes headers as forms",
            |value| {
                Some(
                    value
                        .iter()
                        .map(|byte| if *byte == b' ' { b'+' } else { *byte })
                        .collect(),
                )
            },
        ),
        (
            "has its value in other letters",
            "find the proxy that changes the case of values",
            |value| Some(value.to_ascii_lowercase()),
        ),
    ];
    let request = search.subject.request;
    let names = read_headers(search);
    for (words, fix, change) in changes {
        let mut changed = request.clone();
        let mut touched = Vec::new();
        for (name, value) in &mut changed.headers {
            if names.iter().any(|read| read == name)
                && let Some(other) = change(value).filter(|other| other != value)
            {
                *value = other;
                touched.push(name.clone());
            }
        }
        if !touched.is_empty() && search.verify(policy, &changed).is_some() {
            search.add(
                Cause::HeaderMissing,
                format!("the header {} is there, but {words}", touched.join(", ")),
                fix,
            );
            return;
        }
    }
    for keeps_last in [false, true] {
        let (changed, repeated) = once(request, &names, keeps_last);
        if !repeated.is_empty() && search.verify(policy, &changed).is_some() {
            let which = if keeps_last { "last" } else { "first" };
            search.add(
                Cause::HeaderMissing,
                format!(
                    "the header {} is there, but more than once, and the {which} one is the sender's",
                    repeated.join(", ")
                ),
                "find the proxy or client that adds the other one",
            );
            return;
        }
    }
}

/// A value without quotation marks and white space.
fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(value).ok()?;
    let inner =
        text.trim_matches(|letter: char| letter.is_whitespace() || "\"'`<>".contains(letter));
    Some(inner.as_bytes().to_vec())
}

/// The first or the last item of a value that a proxy joined.
fn item(value: &[u8], is_last: bool) -> Option<Vec<u8>> {
    let mut items = value.split(|byte| *byte == b',');
    let item = if is_last {
        items.next_back()
    } else {
        items.next()
    };
    item.map(|item| item.trim_ascii().to_vec())
}

/// The request with each of these headers once, and the names of those that were repeated.
fn once(request: &Request, names: &[String], keeps_last: bool) -> (Request, Vec<String>) {
    let mut changed = request.clone();
    let mut repeated = Vec::new();
    for name in names {
        let count = request
            .headers
            .iter()
            .filter(|(header, _)| header == name)
            .count();
        if count < 2 {
            continue;
        }
        repeated.push(name.clone());
        let kept = if keeps_last {
            count.saturating_sub(1)
        } else {
            0
        };
        let mut place = 0_usize;
        changed.headers.retain(|(header, _)| {
            if header != name {
                return true;
            }
            let is_kept = place == kept;
            place = place.saturating_add(1);
            is_kept
        });
    }
    (changed, repeated)
}

/// A request with the headers that a proxy seems to have renamed, and the names before and after. `None` if no name of the
/// request is similar to one that is missing.
pub(super) fn renamed(search: &Search<'_>) -> Option<(Request, Renamed)> {
    let mut request = search.subject.request.clone();
    let names = read_headers(search);
    let mut renamed = Vec::new();
    for wanted in &missing(search) {
        let mut headers = search.subject.request.headers.iter();
        let similar = headers.find(|(name, _)| !names.contains(name) && is_similar(name, wanted));
        if let Some((name, value)) = similar {
            request.headers.push((wanted.clone(), value.clone()));
            renamed.push((name.clone(), wanted.clone()));
        }
    }
    (!renamed.is_empty()).then_some((request, renamed))
}

/// The names of headers before and after.
pub(super) type Renamed = Vec<(String, String)>;

/// Tries other headers under the names that the scheme needs.
fn try_names(search: &mut Search<'_>, policy: &Policy) {
    let missing = missing(search);
    let request = search.subject.request;
    let names = read_headers(search);
    // A proxy renames all headers in the same way.
    let (changed, renamed) = renamed(search).unwrap_or_else(|| (request.clone(), Vec::new()));
    if !renamed.is_empty() && search.verify(policy, &changed).is_some() {
        add_renamed(search, &renamed);
        return;
    }
    let mut left = MAX_RENAMES;
    for wanted in &missing {
        for (name, value) in &request.headers {
            let is_taken = names.contains(name) || value.is_empty();
            if is_taken || left == 0 || renamed.iter().any(|(used, _)| used == name) {
                continue;
            }
            left = left.saturating_sub(1);
            let mut other = changed.clone();
            other.headers.retain(|(header, _)| header != wanted);
            other.headers.push((wanted.clone(), value.clone()));
            if search.verify(policy, &other).is_some() {
                let mut all: Vec<_> = renamed
                    .iter()
                    .filter(|(_, used)| used != wanted)
                    .cloned()
                    .collect();
                all.push((name.clone(), wanted.clone()));
                add_renamed(search, &all);
                return;
            }
        }
    }
}

/// Adds headers with another name as a cause.
pub(super) fn add_renamed(search: &mut Search<'_>, renamed: &[(String, String)]) {
    let pairs: Vec<_> = renamed
        .iter()
        .map(|(from, to)| format!("{to} arrived as {from}"))
        .collect();
    search.add(
        Cause::HeaderMissing,
        format!("a header has another name: {}", pairs.join(", ")),
        "let the proxy keep the sender's names, or name the header in a `signature` block",
    );
}

/// Suspects that a header was dropped, if the scheme needs one that is absent.
pub(super) fn suspect(search: &mut Search<'_>, verdict: &Verdict) {
    let Verdict::Fail(rejection) = verdict else {
        return;
    };
    let is_about_headers = matches!(
        rejection.denial,
        Denial::SignatureMissing
            | Denial::SignatureDuplicated
            | Denial::TimestampMissing
            | Denial::SignatureMalformed
    );
    let missing = missing(search);
    if !is_about_headers || missing.is_empty() {
        return;
    }
    let pairs = search.subject.request.pairs();
    let others = search
        .subject
        .endpoint
        .scheme
        .other_signatures(&Headers::new(&pairs));
    let mut detail = format!(
        "the request lacks {}, which the scheme needs, and a proxy may have dropped or renamed it",
        missing.join(", ")
    );
    let mut fix =
        "compare with the headers that the sender sends, and let each proxy keep them".to_owned();
    let presets = providers::with_headers(search.subject.request);
    if !presets.is_empty() {
        let names: Vec<_> = presets.iter().take(5).copied().collect();
        detail.push_str(&format!(
            "; the request has the signature header of {}",
            names.join(", ")
        ));
        fix = format!(
            "if the sender is one of these, set its `provider` and its secret, otherwise {fix}"
        );
    } else if !others.is_empty() {
        detail.push_str(&format!(
            "; other headers that may contain a signature: {others}"
        ));
    }
    search.suspect(Cause::HeaderMissing, detail, fix);
}

/// The headers that the scheme requires and the request lacks.
fn missing(search: &Search<'_>) -> Vec<String> {
    let pairs = search.subject.request.pairs();
    let headers = Headers::new(&pairs);
    let scheme = &search.subject.endpoint.scheme;
    let mut missing: Vec<String> = scheme
        .missing(&headers)
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    let mut required: Vec<_> = scheme
        .spec
        .require
        .iter()
        .map(|(name, _)| name.text.clone())
        .collect();
    required.extend(scheme.spec.signed_headers.clone());
    required.retain(|name| {
        !search
            .subject
            .request
            .headers
            .iter()
            .any(|(header, _)| header == name)
    });
    missing.extend(required);
    missing.dedup();
    missing
}

/// The names of the request's headers that the scheme reads.
fn read_headers(search: &Search<'_>) -> Vec<String> {
    let spec = &search.subject.endpoint.scheme.spec;
    let headers = search.subject.request.headers.iter();
    let is_read = |name: &&String| {
        spec.sources()
            .any(|place| source::has(place.headers(), name.as_bytes()))
    };
    let mut names: Vec<String> = headers
        .map(|(name, _)| name)
        .filter(is_read)
        .cloned()
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether a proxy may have made one name of the other.
fn is_similar(name: &str, wanted: &str) -> bool {
    folds_to(name.as_bytes(), wanted.as_bytes())
        || name.ends_with(wanted)
        || wanted.ends_with(name)
        || name.starts_with(wanted)
        || name.replace('-', "") == wanted.replace('-', "")
}
