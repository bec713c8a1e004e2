//! What a scheme must be to protect anything: what is extracted is signed, what is signed is extracted,
//! and headers can fit the formats.

use super::component::Component;
use super::signature_field::{Format, Placeholder, SignatureField};
use super::source::Source;
use super::template::Piece;
use super::{DedupBy, Scheme};
use crate::config::Node;
use crate::crypto::Algorithm;

/// Holds what is extracted against what is signed: a value that no signature covers protects
/// nothing, and one that is signed has to come from somewhere.
pub(super) fn sources(scheme: &Scheme, node: Node<'_>) -> Option<()> {
    let mut clean = Some(());
    let mut fault = |message: &str| clean = node.error(message);
    if scheme.id.as_ref() == Some(&scheme.signature_field.source) {
        fault("the signature and the id use the same header: set `id` to another header");
    }
    let in_format = scheme.signature_field.has(Placeholder::Timestamp);
    let source = scheme
        .timestamp
        .as_ref()
        .and_then(|timestamp| timestamp.source.as_ref());
    match (in_format, source) {
        (true, Some(_)) => fault(
            "the timestamp has two sources: keep either `timestamp.header` or {timestamp} in `format`",
        ),
        (false, None) if scheme.timestamp.is_some() => {
            fault(
                "the timestamp has no source: add `timestamp.header`, or {timestamp} to `format`",
            );
        }
        _ => {}
    }
    let has_token = scheme.signature_field.has(Placeholder::Token);
    if has_token
        && (scheme.signature.algorithm != Algorithm::HmacSha256
            || scheme.message.components().next().is_some())
    {
        fault(
            "a {token} is an HS256 JWT that signs its own claims: remove `algorithm` and `message`",
        );
    }
    if has_token && scheme.signature_field.has(Placeholder::Signature) {
        fault("`format` has both {token} and {signature}: keep one");
    }
    if !scheme.claims.iter().all(|(_, value)| value.is_of_url()) {
        fault("claims are checked before the body: use only text and {url} in `claims`");
    }
    if has_token && scheme.signature_field.source.header().is_none() {
        fault("a {token} is read only from a header: set `header`");
    }
    if scheme.is_signing_oracle()
        && scheme.message.may_be_challenge_text()
        && !scheme.message.is_body()
    {
        fault("a {mac} in the answer could be a valid signature for this `message`: remove {mac}");
    }
    let hash = scheme.body_hash.as_ref().map(|hash| &hash.source);
    let sources = [source, scheme.id.as_ref(), scheme.key_id.as_ref(), hash];
    let mut sources = sources.into_iter().flatten();
    let has_claim = sources.any(|source| matches!(source, Source::Claim(_)));
    if !has_token && (has_claim || !scheme.claims.is_empty() || scheme.url_hash.is_some()) {
        fault("only a token has claims: write {token} instead of {signature} in `format`");
    }
    if (scheme.signature.algorithm == Algorithm::Sha256) != scheme.message.has(&Component::Secret) {
        fault(
            "{secret} in `message` is for `sha256` only, which requires it: change `algorithm` or `message`",
        );
    }
    if scheme.signature.algorithm == Algorithm::Token
        && scheme.message.components().next().is_some()
    {
        fault("the algorithm `token` signs nothing: remove `message`");
    }
    if hash.is_some_and(|source| source.is_in_body() || !is_covered(scheme, source)) {
        fault(
            "the body's hash is not signed: name a `claim`, or a `query` parameter that `message` covers",
        );
    }
    if scheme.dedup_by == DedupBy::Id && scheme.id.is_none() {
        fault("`identity: id` needs an id: add `id: {header: NAME}`");
    }
    if scheme.dedup_by == DedupBy::Message && scheme.signature.algorithm == Algorithm::Token {
        fault(
            "the algorithm `token` signs nothing that distinguishes deliveries: remove `identity`",
        );
    }
    if scheme.message.has(&Component::SignedHeaders) == scheme.signed_headers.is_empty() {
        fault(
            "`signed_headers` and {signed_headers} in `message` need each other: add or remove one",
        );
    }
    values(scheme, node).and(body(scheme, node)).and(clean)
}

/// Whether the signature would be another if the value at this source were.
pub(super) fn is_covered(scheme: &Scheme, source: &Source) -> bool {
    match source {
        Source::Claim(_) => scheme.signature_field.has(Placeholder::Token),
        _ => {
            scheme.message.covers(source)
                || (scheme.body_hash.is_some()
                    && source.is_in_body()
                    && !scheme.message.covers_forms())
                || (!scheme.signed_headers.is_empty() && source.header().is_some())
        }
    }
}

/// The timestamp and the id: signed, if they are extracted.
fn values(scheme: &Scheme, node: Node<'_>) -> Option<()> {
    let mut clean = Some(());
    let timestamp = scheme
        .timestamp
        .as_ref()
        .map(|timestamp| timestamp.source.as_ref());
    let id = scheme.id.as_ref().map(Some);
    for (name, part, extracted, hint) in [
        (
            "timestamp",
            Component::Timestamp,
            timestamp,
            "`timestamp: {header: NAME}`, or {timestamp} to `format`",
        ),
        ("id", Component::Id, id, "`id: {header: NAME}`"),
    ] {
        let is_covered = |source| is_covered(scheme, source);
        match (extracted, scheme.message.has(&part)) {
            (Some(source), false) if !source.is_some_and(is_covered) => clean = node.error(format_args!(
                "the {name} is extracted but not signed, so it protects nothing: add {{{name}}} to `message` if the sender signs it, or remove `{name}`"
            )),
            (None, true) => clean = node.error(format_args!("`message` uses {{{name}}} without a source: add {hint}")),
            _ => {}
        }
    }
    clean
}

/// The body: signed, or known not to be.
fn body(scheme: &Scheme, node: Node<'_>) -> Option<()> {
    let is_bound = scheme.message.any(Component::covers_body) || scheme.body_hash.is_some();
    if !is_bound && !scheme.body_needs.unsigned {
        return node.error("the body is not signed, so clients could change it: add {body} to `message`, or `body: unsigned` if the sender signs no body");
    }
    Some(())
}

/// Refuses formats that no value could ever fit.
pub(super) fn formats(signature_field: &SignatureField, node: Node<'_>) -> Option<()> {
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
