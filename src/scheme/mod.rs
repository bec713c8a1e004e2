//! A sender's scheme: which bytes it signs and how it writes the signature.

pub(crate) mod body;
pub(crate) mod challenge;
pub(crate) mod chunk;
pub(crate) mod component;
mod extracted;
pub(crate) mod facts;
pub(crate) mod found;
pub(crate) mod freshness;
pub(crate) mod json_pointer;
mod jwt;
pub(crate) mod message;
mod names;
pub(crate) mod oracle;
mod parameters;
pub(crate) mod public_url;
pub(crate) mod query;
mod quirks;
mod search;
mod shape;
pub(crate) mod signature_field;
pub(crate) mod source;
pub(crate) mod spec;
pub(crate) mod template;
pub(crate) mod timestamp;
mod validate;

use std::time::Duration;

use crate::config::value::Value;
use crate::config::{Diagnostics, Node, Object};
use crate::request::headers::{self, Headers};
use body::BodyNeeds;
use chunk::Written;
use component::Component;
use names::ValueNames;
use signature_field::Placeholder;
use source::{HeaderName, Source};
use spec::{DedupBy, Spec};

/// The scheme of an endpoint without `provider` and `signature`: hex HMAC-SHA-256 of the body in one header.
pub(crate) const DEFAULT: &str = r#"{"header": "X-Webhook-Signature"}"#;

/// The presets: names and `signature` blocks, from the files in `src/providers/`.
pub(crate) const PROVIDERS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/providers.rs"));

/// The time for which an endpoint remembers a delivery with a signed id and no timestamp.
const ID_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// A `signature` block, and everything that follows from it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Scheme {
    /// The `signature` block.
    pub(crate) spec: Spec,
    /// The headers that a request must list as signed, the list itself first.
    pub(crate) signed_headers: Vec<String>,
    /// The headers that the scheme reads by name.
    header_names: Vec<HeaderName>,
    /// All servers read each of these names in the same way.
    has_portable_names: bool,
    /// The names of the values in the query and in the body.
    pub(crate) names: ValueNames,
    /// The parts of the body to parse.
    pub(crate) body_needs: BodyNeeds,
    /// When a request's message can be hashed.
    pub(crate) plan: Plan,
    /// The forms of the message, if they are the same for all requests. Otherwise empty.
    pub(crate) fixed_messages: Vec<Written>,
}

/// When a request's message can be hashed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Plan {
    /// While the body arrives.
    Stream,
    /// Before the body. The message contains at most the body's hash, which is updated as the body arrives.
    Digest,
    /// After the whole body, since the message contains values of the body, or the algorithm needs all of it.
    Whole,
}

impl Scheme {
    /// Reads the scheme of an endpoint from its `provider` or `signature`, and from an `id` next to them.
    pub(crate) fn of_endpoint(endpoint: &mut Object<'_>) -> Option<Self> {
        let id = endpoint.field("id");
        let identity = endpoint.field("identity");
        let (provider, signature) = (endpoint.field("provider"), endpoint.field("signature"));
        if let (Some(id), Some(_)) = (id, signature) {
            return id
                .error("with a `signature` block, the id belongs in that block: move `id` there");
        }
        if let (Some(identity), Some(_)) = (identity, signature) {
            return identity.error(
                "with a `signature` block, `identity` belongs in that block: move it there",
            );
        }
        let spec = match (provider, signature) {
            (Some(provider), Some(_)) => {
                return provider
                    .error("an endpoint has either `provider` or `signature`: remove one");
            }
            (Some(provider), None) => {
                let spec = built_in(provider, provider.choice(PROVIDERS)?)?;
                spec.warn(provider);
                spec
            }
            (None, Some(signature)) => {
                let spec = read(signature)?;
                spec.warn(signature);
                if spec.message.has_adjacent_components() {
                    signature.warn("two adjacent placeholders in `message` make the signed bytes ambiguous: use this only if the sender requires it");
                }
                if spec.has_unclear_messages() {
                    signature.warn("two messages can be the same signed bytes for two requests: use this only if the sender requires it");
                }
                spec
            }
            (None, None) => built_in(endpoint.node, DEFAULT)?,
        };
        let spec = match id {
            Some(id) => spec.with_id(id)?,
            None => spec,
        };
        Some(Self::of(match identity {
            Some(identity) => spec.with_identity(identity)?,
            None => spec,
        }))
    }

    /// Derives everything else from a block.
    fn of(spec: Spec) -> Self {
        let names = ValueNames::of(&spec);
        let mut header_names: Vec<_> = spec.sources().flat_map(Source::headers).cloned().collect();
        header_names.extend(spec.require.iter().map(|(name, _)| name.clone()));
        let is_portable = |name: &HeaderName| headers::is_portable_name(name.text.as_bytes());
        Self {
            signed_headers: signed_headers(&spec),
            has_portable_names: header_names.iter().all(is_portable),
            header_names,
            body_needs: body_needs(&spec, &names),
            names,
            plan: Plan::of(&spec),
            fixed_messages: spec.fixed_messages(),
            spec,
        }
    }

    /// Whether all servers read the names of this scheme's headers alike.
    pub(crate) const fn has_portable_names(&self) -> bool {
        self.has_portable_names
    }

    /// Whether PHP or CGI could read another header as one of this scheme's headers.
    pub(crate) fn has_lookalike(&self, headers: &Headers<'_>) -> bool {
        if self.has_portable_names && headers.is_plain() {
            return false;
        }
        let mut headers = headers.pairs.iter();
        headers.any(|(name, _)| {
            let is_portable = self.has_portable_names && headers::is_portable_name(name);
            !is_portable && source::has_folded(&self.header_names, name)
        })
    }

    /// Whether a header may reach the upstream. All servers must read its name alike, or the scheme must read it by
    /// this name. No application may read it as one of the scheme's headers.
    pub(crate) fn may_forward_header(&self, name: &[u8]) -> bool {
        match headers::is_portable_name(name) {
            // If all servers read two names alike, they read neither as the other.
            true if self.has_portable_names => true,
            true => !source::has_folded(&self.header_names, name),
            false => {
                source::has(&self.header_names, name)
                    && !source::has_folded(&self.header_names, name)
            }
        }
    }

    /// The shortest window that catches every fresh copy of a request, if the sender signs a timestamp.
    pub(crate) fn min_replay_window(&self) -> Option<Duration> {
        let timestamp = self.spec.timestamp.as_ref()?;
        Some(timestamp.tolerance.span())
    }

    /// Whether a genuine request can arrive again after its delivery: with the same id, or with the same bytes.
    pub(crate) fn has_genuine_copies(&self) -> bool {
        let timestamp = self.spec.timestamp.as_ref();
        self.spec.dedup_by == DedupBy::Id
            || timestamp.is_some_and(|timestamp| timestamp.tolerance.takes_retries())
    }

    /// The default time for which an endpoint remembers a delivery, if it remembers any.
    pub(crate) fn default_window(&self) -> Option<Duration> {
        let is_id = self.spec.dedup_by == DedupBy::Id;
        let window = self.min_replay_window().or(is_id.then_some(ID_WINDOW));
        window.filter(|_| self.spec.dedup_by != DedupBy::None)
    }

    /// Whether a handshake of the sender contains a token that the endpoint's owner chose.
    pub(crate) fn wants_verify_token(&self) -> bool {
        let mut challenges = self.spec.challenges.iter();
        challenges.any(|challenge| challenge.verify_token.is_some())
    }

    /// Whether requests name the key that signed them.
    pub(crate) fn has_key_ids(&self) -> bool {
        self.spec.key_id.is_some() || self.spec.signature_field.has(Placeholder::KeyId)
    }

    /// Whether the guard needs the whole body, for its values or for the algorithm.
    pub(crate) fn needs_whole_body(&self) -> bool {
        self.reads_body() || self.plan == Plan::Whole
    }

    /// Whether the guard parses the body.
    pub(crate) const fn reads_body(&self) -> bool {
        self.body_needs.json || self.body_needs.form
    }

    /// Whether the signed message or a token's claim contains the URL's host.
    pub(crate) fn signs_origin(&self) -> bool {
        self.signs_url(Component::holds_origin)
    }

    /// Whether the signed message or a token's claim contains the URL's path.
    pub(crate) fn signs_path(&self) -> bool {
        self.signs_url(Component::holds_path)
    }

    fn signs_url(&self, is_part: fn(&Component) -> bool) -> bool {
        let claims = self.spec.claims.iter().map(|(_, value)| value);
        let mut messages = claims.chain([&self.spec.message]);
        self.spec.url_hash.is_some() || messages.any(|message| message.any(is_part))
    }
}

/// Reads and validates a `signature` block.
fn read(node: Node<'_>) -> Option<Spec> {
    let spec = Spec::read(node)?;
    validate::spec(&spec, node)?;
    Some(spec)
}

/// Reads a block of the product itself, by the same reader as a user's. A test reads all of them.
fn built_in(node: Node<'_>, block: &str) -> Option<Spec> {
    let findings = Diagnostics::default();
    let value = Value::from_json(block.as_bytes()).ok();
    let spec = value.and_then(|value| read(Node::root(&value, &findings)));
    match spec {
        Some(spec) => Some(spec),
        None => node.error("this preset is invalid, which is a bug of the guard: report it"),
    }
}

impl Plan {
    fn of(spec: &Spec) -> Self {
        let (timestamp, id) = (spec.body_timestamp().is_some(), spec.body_id().is_some());
        if spec.signature_field.source.is_in_body()
            || spec.message.needs_whole_body(timestamp, id)
            || !spec.signature.algorithm.takes_pieces()
        {
            Self::Whole
        } else if spec.message.has(&Component::Body) {
            Self::Stream
        } else {
            Self::Digest
        }
    }
}

/// The parts of the body to parse.
fn body_needs(spec: &Spec, names: &ValueNames) -> BodyNeeds {
    let values = [
        Some(&spec.signature_field.source),
        spec.id.as_ref(),
        spec.timestamp_source(),
    ];
    let values: Vec<_> = values
        .into_iter()
        .flatten()
        .chain(spec.message.sources())
        .collect();
    let has_form = values
        .iter()
        .any(|source| matches!(source, Source::Form(_)));
    // Without a signed body, a client could add a form that repeats a value of the query.
    let is_form_open = spec.body_unsigned && !names.query.is_empty();
    let reads_fields = has_form || is_form_open || spec.json_in_form.is_some();
    BodyNeeds {
        form: reads_fields || spec.message.covers_forms(),
        only_urlencoded: !reads_fields,
        json: values
            .iter()
            .any(|source| matches!(source, Source::Json(_))),
        pointers: names.json.clone(),
        json_in_form: spec.json_in_form.clone(),
        unsigned: spec.body_unsigned,
        only_optional_id: spec.id_optional
            && values.iter().filter(|source| source.is_in_body()).count() == 1
            && !spec.message.covers_forms(),
    }
}

/// The headers that a request must list as signed: the list itself, and those of the id and the timestamp.
fn signed_headers(spec: &Spec) -> Vec<String> {
    let mut names: Vec<_> = spec.signed_headers.iter().cloned().collect();
    if names.is_empty() {
        return names;
    }
    let sources = [spec.id.as_ref(), spec.timestamp_source()];
    for name in sources.into_iter().flatten().filter_map(Source::header) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_read() {
        assert!(PROVIDERS.len() >= 6);
        for (name, block) in PROVIDERS {
            let value = Value::from_json(block.as_bytes()).expect(name);
            let findings = Diagnostics::default();
            let scheme = read(Node::root(&value, &findings));
            assert!(scheme.is_some(), "{name}: {findings:?}");
        }
    }
}
