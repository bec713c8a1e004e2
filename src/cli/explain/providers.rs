//! The scheme of another sender: that of a preset, or another message.

use serde_json::{Map, Value, json};

use super::hypothesis::Cause;
use super::search::Search;
use super::trial::{self, Setup};
use crate::cli::request::Request;
use crate::scheme::PROVIDERS;

/// The most presets that a report names.
const MAX_NAMES: usize = 5;

/// Messages that senders sign. `T` is the timestamp, and `I` the id.
const MESSAGES: [&str; 28] = [
    "{body}",
    "T.{body}",
    "T{body}",
    "T:{body}",
    "v0:T:{body}",
    "v1:T:{body}",
    "I.T.{body}",
    "{body}T",
    "{body}.T",
    "T.I.{body}",
    "I.{body}",
    "I{body}",
    "IT{body}",
    "TI{body}",
    "T|{body}",
    "T,{body}",
    "T_{body}",
    "T\n{body}",
    "{url}{body}",
    "{body}{url}",
    "{url}T{body}",
    "{method}{path}{body}",
    "{method}{url}{body}",
    "{method}{url}{body}T",
    "T{method}{path}{body}",
    "T.{method}.{path}.{body}",
    "{path}{body}",
    "{body_sha256_hex}",
];

/// Tries all presets whose signature the request may have.
pub(super) fn try_presets(search: &mut Search<'_>) {
    let request = search.subject.request;
    let secrets: Vec<_> = search
        .setup
        .secrets
        .iter()
        .map(trial::KnownSecret::without_key_id)
        .collect();
    let base = search.setup.with_secrets(secrets);
    let mut names = Vec::new();
    for (name, _) in PROVIDERS {
        let Some(block) = trial::preset(name) else {
            continue;
        };
        if block == base.signature || !may_have(request, &block) {
            continue;
        }
        let setup = base.with_signature(block);
        if search.try_setup(&setup, request).is_some() {
            names.push(*name);
        }
    }
    let Some(first) = names.first().copied() else {
        return;
    };
    let more = names.len().saturating_sub(MAX_NAMES);
    names.truncate(MAX_NAMES);
    let detail = match (names.as_slice(), more) {
        ([name], _) => format!("the scheme of the preset {name} made the signature"),
        (names, 0) => format!(
            "the scheme of these presets made the signature: {}",
            names.join(", ")
        ),
        (names, more) => format!(
            "the scheme of these presets and of {more} others made the signature: {}",
            names.join(", ")
        ),
    };
    // The other preset shows better than a field of the scheme what to change.
    search
        .found
        .retain(|finding| finding.cause != Cause::SignatureEncoding);
    search.add(
        Cause::OtherProvider,
        detail,
        format!("set `provider: {first}`, or the name of the sender's own preset"),
    );
}

/// The presets whose signature's header the request has.
pub(super) fn with_headers(request: &Request) -> Vec<&'static str> {
    let presets = PROVIDERS.iter().map(|(name, _)| *name);
    let has = |name: &&str| trial::preset(name).is_some_and(|block| has_header(request, &block));
    presets.filter(has).collect()
}

/// Whether a request may have the signature of a preset.
fn may_have(request: &Request, block: &Map<String, Value>) -> bool {
    !block.contains_key("header") || has_header(request, block)
}

fn has_header(request: &Request, block: &Map<String, Value>) -> bool {
    let names: Vec<&str> = match block.get("header") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        Some(name) => name.as_str().into_iter().collect(),
        None => return false,
    };
    names.iter().any(|name| {
        let name = name.to_ascii_lowercase();
        let family = name.strip_suffix('*');
        let mut headers = request.headers.iter();
        headers.any(|(header, _)| match family {
            Some(family) => header.starts_with(family),
            None => *header == name,
        })
    })
}

/// Tries other messages with the signature of the endpoint's scheme.
pub(super) fn try_messages(search: &mut Search<'_>) {
    let request = search.subject.request;
    let setups: Vec<_> = MESSAGES
        .iter()
        .flat_map(|message| with_message(&search.setup, request, message))
        .collect();
    for (message, setup) in setups {
        if search.try_setup(&setup, request).is_some() {
            search.add(
                Cause::OtherProvider,
                format!(
                    "the sender signs another message: `{}`",
                    message.replace('\n', "\\n")
                ),
                "use the sender's preset, or a `signature` block with this `message`",
            );
            return;
        }
    }
}

/// The setups with a message, for each header that may contain its values.
fn with_message(setup: &Setup, request: &Request, message: &str) -> Vec<(String, Setup)> {
    let has = |name: &str| setup.signature.contains_key(name);
    let formats = setup
        .signature
        .get("format")
        .map(Value::to_string)
        .unwrap_or_default();
    let has_time = has("timestamp") || formats.contains("{timestamp}");
    let named = |words: &[&str]| {
        let names = request.headers.iter().map(|(name, _)| name);
        let suited = names.filter(|name| words.iter().any(|word| name.contains(word)));
        suited
            .map(|name| format!("{{header:{name}}}"))
            .take(3)
            .collect::<Vec<_>>()
    };
    let times = match has_time {
        true => vec!["{timestamp}".to_owned()],
        false => named(&["time", "date"]),
    };
    let ids = match has("id") {
        true => vec!["{id}".to_owned()],
        false => named(&["-id", "_id", "nonce"]),
    };
    let none = vec![String::new()];
    let times = if message.contains('T') { &times } else { &none };
    let ids = if message.contains('I') { &ids } else { &none };
    let mut setups = Vec::new();
    for time in times {
        for id in ids {
            let written = message.replace('T', time).replace('I', id);
            setups.push((written.clone(), changed(setup, &written)));
        }
    }
    setups
}

/// The setup with a message, without the values that this message does not sign.
fn changed(setup: &Setup, message: &str) -> Setup {
    let mut setup = setup.with_field("message", json!(message));
    let block = &mut setup.signature;
    block.remove("body");
    if !message.contains("{timestamp}") {
        block.remove("timestamp");
        if let Some(Value::Array(formats)) = block.get_mut("format") {
            formats.retain(|format| {
                format
                    .as_str()
                    .is_some_and(|text| text.contains("{signature}"))
            });
            for format in formats {
                *format = json!(
                    format
                        .as_str()
                        .unwrap_or_default()
                        .replace("{timestamp}", "{ignored}")
                );
            }
        }
    }
    if !message.contains("{id}") {
        block.remove("id");
    }
    setup
}
