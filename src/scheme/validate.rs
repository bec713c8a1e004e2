//! The rules for a scheme: every extracted value is signed, every signed value is extracted, and requests can match the
//! formats.

use super::component::Component;
use super::message::Message;
use super::signature_field::{Format, Placeholder, SignatureField};
use super::source::Source;
use super::spec::Spec;
use super::template::Piece;
use crate::config::Node;
use crate::crypto::Algorithm;

/// Rejects a scheme that protects nothing, or that no request could satisfy.
pub(super) fn spec(spec: &Spec, node: Node<'_>) -> Option<()> {
    let sound = sources(spec, node);
    formats(&spec.signature_field, node)?;
    sound
}

/// Compares the extracted values with the signed ones. An extracted value without a signature protects nothing. A
/// signed value needs a source.
fn sources(spec: &Spec, node: Node<'_>) -> Option<()> {
    let mut clean = Some(());
    let mut fault = |message: &str| clean = node.error(message);
    if spec.id.as_ref() == Some(&spec.signature_field.source) {
        fault("the signature and the id use the same header: set `id` to another header");
    }
    let in_format = spec.signature_field.has(Placeholder::Timestamp);
    let source = spec
        .timestamp
        .as_ref()
        .and_then(|timestamp| timestamp.source.as_ref());
    match (in_format, source) {
        (true, Some(_)) => fault(
            "the timestamp has two sources: keep either `timestamp.header` or {timestamp} in `format`",
        ),
        (false, None) if spec.timestamp.is_some() => {
            fault(
                "the timestamp has no source: add `timestamp.header`, or {timestamp} to `format`",
            );
        }
        _ => {}
    }
    let has_token = spec.signature_field.has(Placeholder::Token);
    if has_token
        && (spec.signature.algorithm != Algorithm::HmacSha256
            || spec.message.components().next().is_some())
    {
        fault(
            "a {token} is an HS256 JWT that signs its own claims: remove `algorithm` and `message`",
        );
    }
    if has_token && spec.signature_field.has(Placeholder::Signature) {
        fault("`format` has both {token} and {signature}: keep one");
    }
    if !spec.claims.iter().all(|(_, value)| value.is_of_url()) {
        fault("claims are checked before the body: use only text and {url} in `claims`");
    }
    if has_token && spec.signature_field.source.header().is_none() {
        fault("a {token} is read only from a header: set `header`");
    }
    let is_text = |message: &Message| message.may_be_challenge_text() && !message.is_body();
    if spec.is_signing_oracle()
        && (is_text(&spec.message) || spec.other_messages.iter().any(is_text))
    {
        fault("a {mac} in the answer could be a valid signature for this `message`: remove {mac}");
    }
    let hash = spec.body_hash.as_ref().map(|hash| &hash.source);
    let sources = [source, spec.id.as_ref(), spec.key_id.as_ref(), hash];
    let mut sources = sources.into_iter().flatten();
    let has_claim = sources.any(|source| matches!(source, Source::Claim(_)));
    if !has_token && (has_claim || !spec.claims.is_empty() || spec.url_hash.is_some()) {
        fault("only a token has claims: write {token} instead of {signature} in `format`");
    }
    match (
        spec.signature.algorithm,
        spec.message.has(&Component::Secret),
    ) {
        (Algorithm::Sha256, false) => {
            fault("`sha256` requires {secret} in `message`; did you mean `hmac-sha256`?");
        }
        (Algorithm::Sha256, true) | (_, false) => {}
        (_, true) => {
            fault("{secret} in `message` is for `sha256` only: change `algorithm` or `message`");
        }
    }
    if spec.signature.algorithm == Algorithm::Token && spec.message.components().next().is_some() {
        fault("the algorithm `token` signs nothing: remove `message`");
    }
    if hash.is_some_and(|source| source.is_in_body() || !spec.signs(source)) {
        fault(
            "the body's hash is not signed: name a `claim`, or a `query` parameter that `message` covers",
        );
    }
    if spec.message.has(&Component::SignedHeaders) == spec.signed_headers.is_none() {
        fault(
            "`signed_headers` and {signed_headers} in `message` need each other: add or remove one",
        );
    }
    let identity = spec.check_identity(node);
    values(spec, node)
        .and(body(spec, node))
        .and(alternatives(spec, node))
        .and(identity)
        .and(clean)
}

/// Rejects forms of a message, or algorithms, between which a client could choose to its advantage.
fn alternatives(spec: &Spec, node: Node<'_>) -> Option<()> {
    let mut others = spec.other_messages.iter();
    let has_others = others.len() > 0;
    let placeholders = spec.message.form_placeholders();
    let mut algorithms = spec
        .other_algorithms
        .iter()
        .chain([&spec.signature.algorithm]);
    let is_one = !has_others && placeholders == 0 && spec.other_algorithms.is_empty();
    let fault = if placeholders > 1 || (has_others && placeholders > 0) {
        "{url_any_port} and {query_lower} each make several messages of one: use one of them, in only one `message`"
    } else if others.any(|other| !other.components().eq(spec.message.components())) {
        "the messages differ in more than their text: write the same placeholders in the same order in each"
    } else if !is_one && !algorithms.all(|algorithm| algorithm.is_hmac()) {
        "only an HMAC can have several messages or algorithms: use the `hmac-` algorithms, or keep one"
    } else if !spec.other_algorithms.is_empty() && spec.signature_field.source.is_in_body() {
        "a signature in the body has one algorithm: keep one"
    } else {
        return Some(());
    };
    node.error(fault)
}

/// The timestamp and the id must be signed if they are extracted.
fn values(spec: &Spec, node: Node<'_>) -> Option<()> {
    let mut clean = Some(());
    let timestamp = spec
        .timestamp
        .as_ref()
        .map(|timestamp| timestamp.source.as_ref());
    let id = spec.id.as_ref().map(Some);
    for (name, part, extracted, hint) in [
        (
            "timestamp",
            Component::Timestamp,
            timestamp,
            "`timestamp: {header: NAME}`, or {timestamp} to `format`",
        ),
        ("id", Component::Id, id, "`id: {header: NAME}`"),
    ] {
        let is_signed = |source| spec.signs(source);
        match (extracted, spec.message.has(&part)) {
            (Some(source), false) if !source.is_some_and(is_signed) => clean = node.error(format_args!(
                "the {name} is extracted but not signed, so it protects nothing: add {{{name}}} to `message` if the sender signs it, or remove `{name}`"
            )),
            (None, true) => clean = node.error(format_args!("`message` uses {{{name}}} without a source: add {hint}")),
            _ => {}
        }
    }
    clean
}

/// The body must be signed, or be declared `unsigned`.
fn body(spec: &Spec, node: Node<'_>) -> Option<()> {
    let is_bound = spec.message.any(Component::covers_body) || spec.body_hash.is_some();
    if !is_bound && !spec.body_unsigned {
        return node.error("the body is not signed, so clients could change it: add {body} to `message`, or `body: unsigned` if the sender signs no body");
    }
    Some(())
}

/// Rejects formats that no value matches.
fn formats(signature_field: &SignatureField, node: Node<'_>) -> Option<()> {
    let mut clean = Some(());
    for literal in signature_field
        .formats
        .iter()
        .flatten()
        .filter_map(Piece::literal)
    {
        if signature_field
            .separator
            .as_ref()
            .is_some_and(|separator| literal.contains(separator))
        {
            clean = node.error(format_args!(
                "{literal:?} in `format` contains the separator, which ends an item: remove it there"
            ));
        }
    }
    for format in &signature_field.formats {
        let first = format.first().and_then(Piece::literal).unwrap_or_default();
        let last = format.last().and_then(Piece::literal).unwrap_or_default();
        if first.starts_with(char::is_whitespace) || last.ends_with(char::is_whitespace) {
            clean = node.error(
                "an item of `format` starts or ends with white space, which the guard trims from headers: remove it",
            );
        }
    }
    let is_alone =
        |format: &Format| format.len() == 1 && format.first().and_then(Piece::literal).is_none();
    let has_timestamp = signature_field.has(Placeholder::Timestamp);
    if !signature_field.positional && signature_field.formats.iter().rev().skip(1).any(is_alone) {
        clean = node.error(
            "an item of `format` that is only a placeholder matches every item: put it last",
        );
    }
    if signature_field.separator.is_none() && signature_field.formats.len() > 1 && has_timestamp {
        clean = node.error("`format` has several items, but no separator is set: add one such as `separator: \",\"`");
    }
    if has_timestamp && signature_field.source.header().is_none() {
        clean = node.error(
            "{timestamp} in `format` is read only from a header: set its source in `timestamp`",
        );
    }
    clean
}
