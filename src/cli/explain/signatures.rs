//! Mistakes in how the signature is written: its encoding, its prefix and its algorithm.

use serde_json::{Value, json};

use super::hypothesis::Cause;
use super::search::Search;
use crate::cli::request::Request;
use crate::crypto::encoding::Encoding;
use crate::scheme::source;

/// Prefixes of signatures. Those of the request are tried too.
const PREFIXES: [&str; 9] = [
    "", "sha256=", "sha1=", "sha512=", "v1=", "v0=", "v1,", "Bearer ", "Basic ",
];

const ENCODINGS: [&str; 3] = ["hex", "base64", "base64url"];

const HMACS: [&str; 4] = ["hmac-sha256", "hmac-sha1", "hmac-sha512", "hmac-sha384"];

/// The longest prefix of a signature.
const MAX_PREFIX: usize = 32;

/// A way to write signatures.
#[derive(Clone)]
struct Writing {
    algorithm: String,
    encoding: String,
    /// The text before a signature, if it is another one than the scheme's.
    prefix: Option<String>,
}

/// Tries other encodings, prefixes and algorithms of the signature in the scheme's own header.
pub(super) fn try_all(search: &mut Search<'_>) {
    let own = own(search);
    if formats(search)
        .iter()
        .any(|format| format.contains("{token}"))
    {
        return;
    }
    let others = |own: &String, all: &[&str]| {
        let others = all.iter().filter(|other| *other != own);
        let others = others.map(|other| (*other).to_owned());
        [own.clone()].into_iter().chain(others).collect::<Vec<_>>()
    };
    let algorithms = match HMACS.contains(&own.algorithm.as_str()) {
        true => others(&own.algorithm, &HMACS),
        false => vec![own.algorithm.clone()],
    };
    let encodings = others(&own.encoding, &ENCODINGS);
    let prefixes: Vec<_> = [None]
        .into_iter()
        .chain(prefixes(search).into_iter().map(Some))
        .collect();
    for algorithm in &algorithms {
        for encoding in &encodings {
            for prefix in &prefixes {
                let writing = Writing {
                    algorithm: algorithm.clone(),
                    encoding: encoding.clone(),
                    prefix: prefix.clone(),
                };
                if try_one(search, &own, &writing, search.subject.request) {
                    let (detail, fix) = explain(&own, &writing);
                    search.add(Cause::SignatureEncoding, detail, fix);
                    return;
                }
            }
        }
    }
    try_nested(search, &own);
}

/// The writing of the endpoint's scheme.
fn own(search: &Search<'_>) -> Writing {
    let block = &search.setup.signature;
    let algorithm = match block.get("algorithm") {
        Some(Value::Array(names)) => names.first().and_then(Value::as_str),
        Some(name) => name.as_str(),
        None => None,
    };
    let algorithm = algorithm.unwrap_or("hmac-sha256");
    let default = if algorithm == "token" { "text" } else { "hex" };
    let encoding = block.get("encoding").and_then(Value::as_str);
    Writing {
        algorithm: algorithm.to_owned(),
        encoding: encoding.unwrap_or(default).to_owned(),
        prefix: None,
    }
}

/// The formats of the endpoint's scheme.
fn formats(search: &Search<'_>) -> Vec<String> {
    let formats = search
        .setup
        .signature
        .get("format")
        .and_then(Value::as_array);
    let Some(formats) = formats else {
        return vec!["{signature}".to_owned()];
    };
    let texts = formats.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// The prefixes that signatures may have, those of the request first.
fn prefixes(search: &Search<'_>) -> Vec<String> {
    let mut prefixes = Vec::new();
    let names = search
        .subject
        .endpoint
        .scheme
        .spec
        .signature_field
        .source
        .headers();
    for (name, value) in &search.subject.request.headers {
        if !source::has(names, name.as_bytes()) {
            continue;
        }
        let Ok(value) = std::str::from_utf8(value) else {
            continue;
        };
        let (prefix, _) = split(value);
        if !prefix.is_empty() && prefix.len() <= MAX_PREFIX {
            prefixes.push(prefix.to_owned());
        }
    }
    prefixes.extend(PREFIXES.map(str::to_owned));
    prefixes
}

/// A value's text before its last signature, and that signature.
fn split(value: &str) -> (&str, &str) {
    let code = value.trim_end_matches('=');
    let is_code = |letter: char| letter.is_ascii_alphanumeric() || "+/-_".contains(letter);
    let prefix = code.trim_end_matches(is_code);
    value.split_at_checked(prefix.len()).unwrap_or((value, ""))
}

fn try_one(search: &mut Search<'_>, own: &Writing, writing: &Writing, request: &Request) -> bool {
    let mut setup = search.setup.with_field("encoding", json!(writing.encoding));
    if writing.algorithm != own.algorithm {
        setup = setup.with_field("algorithm", json!(writing.algorithm));
    }
    if let Some(prefix) = &writing.prefix {
        let written = format!("{}{{signature}}", prefix.replace('{', "{{"));
        let formats: Vec<_> = formats(search)
            .into_iter()
            .map(|format| match format.contains("{signature}") {
                true => written.clone(),
                false => format,
            })
            .collect();
        setup = setup.with_field("format", json!(formats));
    }
    search.try_setup(&setup, request).is_some()
}

/// Tries a signature that was encoded twice: base64 of hex digits, for example.
fn try_nested(search: &mut Search<'_>, own: &Writing) {
    let names = search
        .subject
        .endpoint
        .scheme
        .spec
        .signature_field
        .source
        .headers();
    let mut changed = search.subject.request.clone();
    for (name, value) in &mut changed.headers {
        if !source::has(names, name.as_bytes()) {
            continue;
        }
        let text = String::from_utf8_lossy(value).into_owned();
        let (prefix, code) = split(&text);
        let encodings = [Encoding::Hex, Encoding::Base64, Encoding::Base64Url];
        let inner = encodings
            .into_iter()
            .filter_map(|encoding| encoding.decode(code.as_bytes()))
            .find(|inner| inner.len() > MAX_PREFIX && inner.is_ascii());
        if let Some(inner) = inner {
            *value = [prefix.as_bytes(), &inner].concat();
        }
    }
    for encoding in ENCODINGS {
        let writing = Writing {
            encoding: encoding.to_owned(),
            ..own.clone()
        };
        if try_one(search, own, &writing, &changed) {
            search.add(
                Cause::SignatureEncoding,
                format!(
                    "the signature is encoded twice: the sender encodes the {encoding} text again"
                ),
                "let the sender encode the bytes of the signature once",
            );
            return;
        }
    }
}

/// The detail and the fix of a difference.
fn explain(own: &Writing, writing: &Writing) -> (String, String) {
    let mut details = Vec::new();
    let mut fields = Vec::new();
    if own.algorithm != writing.algorithm {
        details.push(format!(
            "by {} instead of {}",
            writing.algorithm, own.algorithm
        ));
        fields.push(format!("`algorithm: {}`", writing.algorithm));
    }
    if own.encoding != writing.encoding {
        details.push(format!(
            "in {} instead of {}",
            writing.encoding, own.encoding
        ));
        fields.push(format!("`encoding: {}`", writing.encoding));
    }
    match writing.prefix.as_deref() {
        None => {}
        Some("") => {
            details.push("without the prefix of the scheme".to_owned());
            fields.push("`format: [\"{signature}\"]`".to_owned());
        }
        Some(prefix) => {
            details.push(format!("after `{prefix}`"));
            fields.push(format!("`format: [\"{prefix}{{signature}}\"]`"));
        }
    }
    (
        format!("the signature is {}", details.join(", ")),
        format!(
            "if the sender writes it so, use the sender's preset, or a `signature` block with {}; otherwise find the proxy that changes the header",
            fields.join(", ")
        ),
    )
}
