//! What a sender signs and how it writes the signature: a `signature` block, compiled.

pub(crate) mod body;
pub(crate) mod challenge;
pub(crate) mod chunk;
mod component;
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
pub(crate) mod query;
mod quirks;
mod search;
mod signature_field;
mod source;
mod template;
pub(crate) mod timestamp;
mod validate;

use std::time::Duration;

use crate::config::value::Value;
use crate::config::{Diagnostics, Node, Object};
use crate::crypto::Algorithm;
use crate::crypto::encoding::{Encoding, KeyEncoding};
use crate::request::headers::{self, Headers};
use body::BodyNeeds;
use challenge::Challenge;
use component::Component;
use message::Message;
use names::ValueNames;
use signature_field::{Placeholder, SignatureEncoding, SignatureField};
use source::{HeaderName, Source, read_source};
use timestamp::Timestamp;

/// The scheme of an endpoint that names none: hex HMAC-SHA-256 of the body in one header.
const DEFAULT: &str = r#"{"header": "X-Webhook-Signature"}"#;

/// The presets: name and `signature` block, from the files in `providers/`.
pub(crate) const PROVIDERS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/providers.rs"));

/// How long a delivery is remembered whose sender signs an id but no time.
const ID_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// What is signed, where the signature stands, and how it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Scheme {
    /// Where the signature stands.
    pub(crate) signature_field: SignatureField,
    /// The signed bytes.
    pub(crate) message: Message,
    /// How the message is authenticated, and how that is written.
    pub(crate) signature: SignatureEncoding,
    /// How a secret's text becomes the key; where there are several, each makes a key of its own.
    pub(crate) key_encodings: Vec<KeyEncoding>,
    /// The signed timestamp.
    pub(crate) timestamp: Option<Timestamp>,
    /// Where the delivery's signed id stands.
    pub(crate) id: Option<Source>,
    /// Where the key is named that made the signature.
    pub(crate) key_id: Option<Source>,
    /// Headers that must have exactly this value.
    pub(crate) require: Vec<(HeaderName, String)>,
    /// The body's SHA-256, where that is signed.
    pub(crate) body_hash: Option<SignedHash>,
    /// Claims that a token must have, as templates of the URL.
    pub(crate) claims: Vec<(String, Message)>,
    /// The claim that holds the URL's SHA-256 in hexadecimal digits.
    pub(crate) url_hash: Option<Source>,
    /// The headers on which `{signed_headers}` rests, the one that lists them first.
    pub(crate) signed_headers: Vec<String>,
    /// Every header that it reads by name.
    reads: Vec<HeaderName>,
    /// Whether each of their names is read alike by every server.
    reads_plain: bool,
    /// The sender's handshake.
    pub(crate) challenge: Option<Challenge>,
    /// Parameters of the query that the sender adds and does not sign.
    pub(crate) unsigned_query: Vec<String>,
    /// The names under which all this stands in the query and in the body.
    pub(crate) names: ValueNames,
    /// What of the body has to be read for all this.
    pub(crate) body_needs: BodyNeeds,
    /// When a request's message can be hashed.
    pub(crate) plan: Plan,
    /// What tells one delivery from another.
    pub(crate) dedup_by: DedupBy,
}

/// What tells one delivery from another: nothing but what the sender signs, and never the signature itself,
/// of which a message may have several.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DedupBy {
    /// The signed id.
    Id,
    /// All that is signed.
    Message,
    /// Nothing: two deliveries may look the same.
    None,
}

/// The body's SHA-256 in what is signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SignedHash {
    /// Where it stands.
    pub(crate) source: Source,
    /// How it is written.
    pub(crate) encoding: Encoding,
    /// A request without a body may be without it.
    pub(crate) optional: bool,
}

/// When a request's message can be hashed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Plan {
    /// The body as it arrives.
    Stream,
    /// The message holds no body: its hash at most, which is made as it arrives.
    Digest,
    /// The body's end: the message holds what only the whole body tells, or the algorithm takes it whole.
    Whole,
}

impl Scheme {
    /// Reads the scheme of an endpoint from its `provider` or `signature`, or neither, and the `id` beside it.
    pub(crate) fn of_endpoint(endpoint: &mut Object<'_>) -> Option<Self> {
        let id = endpoint.field("id");
        let (provider, signature) = (endpoint.field("provider"), endpoint.field("signature"));
        if let (Some(id), Some(_)) = (id, signature) {
            return id
                .error("with a `signature` block, the id belongs in that block: move `id` there");
        }
        let scheme = match (provider, signature) {
            (Some(provider), Some(_)) => {
                provider.error("an endpoint has either `provider` or `signature`: remove one")
            }
            (Some(provider), None) => {
                let scheme = Self::built_in(provider, provider.choice(PROVIDERS)?)?;
                scheme.warn(provider);
                Some(scheme)
            }
            (None, Some(signature)) => {
                let scheme = Self::read(signature)?;
                scheme.warn(signature);
                if scheme.message.has_adjacent_components() {
                    signature.warn("two adjacent placeholders in `message` make the signed bytes ambiguous: use this only if the sender requires it");
                }
                Some(scheme)
            }
            (None, None) => Self::built_in(endpoint.node, DEFAULT),
        };
        match id {
            Some(id) => scheme?.with_id(id),
            None => scheme,
        }
    }

    /// The scheme with the id that stands at this place of its deliveries.
    fn with_id(mut self, node: Node<'_>) -> Option<Self> {
        let id = read_source(node)?;
        if self.id.is_some() {
            return node.error("this provider already defines an id: remove `id`");
        }
        if self.signature_field.source == id || !validate::is_covered(&self, &id) {
            return node.error(
                "the sender does not sign this value, so clients could change it: use a signed value, or remove `id`",
            );
        }
        self.id = Some(id);
        self.dedup_by = DedupBy::Id;
        self.complete();
        Some(self)
    }

    /// Reads a block that the product itself brings: by the same reader as a user's. A test reads them all.
    fn built_in(node: Node<'_>, block: &str) -> Option<Self> {
        let findings = Diagnostics::default();
        let value = Value::from_json(block.as_bytes()).ok();
        let scheme = value.and_then(|value| Self::read(Node::root(&value, &findings)));
        match scheme {
            Some(scheme) => Some(scheme),
            None => node.error("this preset is invalid, which is a bug of the guard: report it"),
        }
    }

    /// Reads a `signature` block.
    fn read(node: Node<'_>) -> Option<Self> {
        let mut block = node.object("{header: NAME, ..}")?;
        let signature_field = SignatureField::read(&mut block);
        let message = block.optional("message", Message::read);
        let algorithm = block.optional("algorithm", |node| node.choice(Algorithm::NAMES));
        let encoding = block.optional("encoding", Encoding::read);
        let key_encodings = block.optional("key", KeyEncoding::read_list);
        let timestamp = block.optional("timestamp", Timestamp::read);
        let id = block.optional("id", read_source);
        let key_id = block.optional("key_id", read_source);
        let require = block.optional("require", read_require);
        let body_hash = block.optional("body_hash", read_body_hash);
        let url_hash = block.optional("url_hash", read_source);
        let claims = block.optional("claims", read_claims);
        let signed_headers = block.optional("signed_headers", Node::text);
        let json_in_form = block.optional("json_in_form", Node::text);
        let unsigned_query = block.optional("unsigned_query", query::read_names);
        let challenge = block.optional("challenge", Challenge::read);
        let body = block.optional("body", |node| {
            node.choice(&[("unsigned", true), ("signed", false)])
        });
        let dedup_by = block.optional("identity", |node| {
            node.choice(&[
                ("id", DedupBy::Id),
                ("message", DedupBy::Message),
                ("none", DedupBy::None),
            ])
        });
        block.close()?;

        let signature_field = signature_field?;
        let algorithm = algorithm.unwrap_or(Algorithm::HmacSha256);
        let mut scheme = Self {
            timestamp: timestamp.or_else(|| {
                let in_format = signature_field.has(Placeholder::Timestamp);
                in_format.then(Timestamp::in_format)
            }),
            message: message
                .unwrap_or_else(|| Message::of(algorithm, signature_field.has(Placeholder::Token))),
            signature: SignatureEncoding::of(
                algorithm,
                encoding,
                signature_field.has(Placeholder::Token),
            ),
            signature_field,
            key_encodings: key_encodings.unwrap_or_else(|| vec![KeyEncoding::Utf8]),
            id,
            key_id,
            require: require.unwrap_or_default(),
            body_hash,
            claims: claims.unwrap_or_default(),
            url_hash,
            signed_headers: signed_headers
                .into_iter()
                .map(str::to_ascii_lowercase)
                .collect(),
            reads: Vec::new(),
            reads_plain: false,
            challenge,
            unsigned_query: unsigned_query.unwrap_or_default(),
            names: ValueNames::default(),
            body_needs: BodyNeeds {
                json_in_form: json_in_form.map(str::to_owned),
                unsigned: body == Some(true),
                ..BodyNeeds::default()
            },
            plan: Plan::Whole,
            dedup_by: DedupBy::None,
        };
        scheme.dedup_by = dedup_by.unwrap_or(match (&scheme.id, &scheme.timestamp) {
            (Some(_), _) => DedupBy::Id,
            (None, Some(_)) => DedupBy::Message,
            // Two deliveries of one body would be one, unless the sender makes each body another.
            (None, None) => DedupBy::None,
        });
        scheme.complete();
        let sound = validate::sources(&scheme, node);
        validate::formats(&scheme.signature_field, node)?;
        sound.map(|()| scheme)
    }

    /// Derives what follows from the rest.
    fn complete(&mut self) {
        let message = &self.message;
        let in_message = |is: &dyn Fn(&Source) -> bool| {
            message
                .any(|component| matches!(component, Component::Value { source, .. } if is(source)))
        };
        let timestamp = self
            .timestamp
            .as_ref()
            .and_then(|timestamp| timestamp.source.as_ref());
        let sources: Vec<&Source> = [
            Some(&self.signature_field.source),
            self.id.as_ref(),
            timestamp,
        ]
        .into_iter()
        .flatten()
        .collect();
        let wants = |is: &dyn Fn(&Source) -> bool| {
            in_message(is) || sources.iter().any(|source| is(source))
        };
        let json = wants(&|source| matches!(source, Source::Json(_)));
        let form = wants(&|source| matches!(source, Source::Form(_)))
            || message
                .any(|component| matches!(component, Component::SortedForm | Component::UrlSorted));
        let relied_on: Vec<_> = sources
            .into_iter()
            .skip(1)
            .filter_map(Source::header)
            .map(str::to_owned)
            .collect();
        self.names = ValueNames::of(self);
        self.body_needs.json = json;
        self.body_needs.pointers.clone_from(&self.names.json);
        // Anybody could add a form to a value of the query, where no signature covers the body.
        let is_form_open = self.body_needs.unsigned && !self.names.query.is_empty();
        self.body_needs.form = form || is_form_open || self.body_needs.json_in_form.is_some();
        self.plan = self.plan();
        self.reads = self.names();
        let is_plain = |name: &HeaderName| headers::is_portable_name(name.text.as_bytes());
        self.reads_plain = self.reads.iter().all(is_plain);
        for name in relied_on {
            if !self.signed_headers.is_empty() && !self.signed_headers.contains(&name) {
                self.signed_headers.push(name);
            }
        }
    }

    /// The names of the headers that it reads.
    fn names(&self) -> Vec<HeaderName> {
        let timestamp = self.timestamp.as_ref();
        let sources = [
            Some(&self.signature_field.source),
            self.id.as_ref(),
            self.key_id.as_ref(),
            timestamp.and_then(|timestamp| timestamp.source.as_ref()),
            self.body_hash.as_ref().map(|hash| &hash.source),
        ];
        let mut names = Vec::new();
        for source in sources.into_iter().flatten() {
            names.extend_from_slice(source.headers());
        }
        for component in self.message.components() {
            if let Component::Value { source, .. } = component {
                names.extend_from_slice(source.headers());
            }
        }
        for (name, _) in &self.require {
            names.push(name.clone());
        }
        names
    }

    /// Whether PHP or CGI could read another header as one that is read here.
    pub(crate) fn has_twin(&self, headers: &Headers<'_>) -> bool {
        let mut headers = headers.0.iter();
        headers.any(|(name, _)| {
            let is_plain = self.reads_plain && headers::is_portable_name(name);
            !is_plain && source::has_folded(&self.reads, name)
        })
    }

    /// Whether a header reaches the upstream: all servers read its name alike, or it has the name of one that is
    /// read here; and nobody could take it for one that is read here.
    pub(crate) fn keeps_header(&self, name: &[u8]) -> bool {
        match headers::is_portable_name(name) {
            // Of two names that are read alike by every server, none can be taken for the other.
            true if self.reads_plain => true,
            true => !source::has_folded(&self.reads, name),
            false => source::has(&self.reads, name) && !source::has_folded(&self.reads, name),
        }
    }

    /// When a request's message can be hashed.
    fn plan(&self) -> Plan {
        if self.signature_field.source.is_in_body()
            || self
                .message
                .needs_whole_body(self.body_timestamp().is_some(), self.body_id())
            || !self.signature.algorithm.takes_pieces()
        {
            Plan::Whole
        } else if self.message.has(&Component::Body) {
            Plan::Stream
        } else {
            Plan::Digest
        }
    }

    /// The rule of a timestamp that stands in the body, and where.
    pub(crate) fn body_timestamp(&self) -> Option<(&Timestamp, &Source)> {
        let rule = self.timestamp.as_ref()?;
        let source = rule.source.as_ref().filter(|source| source.is_in_body())?;
        Some((rule, source))
    }

    /// How long a copy of a request stays fresh at most, if the sender signs a time: from as far in its past
    /// as the tolerance has it to as far in its future.
    pub(crate) fn least_window(&self) -> Option<Duration> {
        let timestamp = self.timestamp.as_ref()?;
        Some(timestamp.tolerance.saturating_mul(2))
    }

    /// How long an endpoint remembers a delivery that does not say, if it does.
    pub(crate) fn default_window(&self) -> Option<Duration> {
        let is_id = self.dedup_by == DedupBy::Id;
        let window = self.least_window().or(is_id.then_some(ID_WINDOW));
        window.filter(|_| self.dedup_by != DedupBy::None)
    }

    /// Whether its handshake brings a token that its owner chose.
    pub(crate) fn wants_verify_token(&self) -> bool {
        self.challenge
            .as_ref()
            .is_some_and(|challenge| challenge.verify_token.is_some())
    }

    /// Whether its handshake gives a MAC of a text away.
    pub(crate) fn is_signing_oracle(&self) -> bool {
        self.challenge
            .as_ref()
            .is_some_and(Challenge::is_signing_oracle)
    }

    /// Whether requests say which key signed them.
    pub(crate) fn has_key_ids(&self) -> bool {
        self.key_id.is_some() || self.signature_field.has(Placeholder::KeyId)
    }

    /// Whether the body is needed as a whole, for what stands in it or for the algorithm.
    pub(crate) fn keeps_body(&self) -> bool {
        self.reads_body() || self.plan == Plan::Whole
    }

    /// Whether something has to be read of the body.
    pub(crate) const fn reads_body(&self) -> bool {
        self.body_needs.json || self.body_needs.form
    }

    /// Whether the id stands in the body.
    pub(crate) fn body_id(&self) -> bool {
        self.id.as_ref().is_some_and(Source::is_in_body)
    }

    /// Whether the signed message, or a token's claim, holds the URL's host.
    pub(crate) fn signs_origin(&self) -> bool {
        self.message.holds_origin()
            || self.url_hash.is_some()
            || self.claims.iter().any(|(_, value)| value.holds_origin())
    }

    /// Warns of what is weak in a sender's ways, and a user should know of.
    fn warn(&self, node: Node<'_>) {
        if self.message.continues_after_secret() {
            node.warn("text after {secret} exposes SHA-256 to length extension, which the guard blocks by rejecting NUL bytes: prefer HMAC if offered");
        }
        if self.body_needs.unsigned {
            node.warn("the body is not signed: clients can replay a captured signature with any body, within the tolerance if there is one");
        }
    }
}

fn read_body_hash(node: Node<'_>) -> Option<SignedHash> {
    let mut block = node.object("{claim: NAME}")?;
    let source = Source::read(&mut block);
    let encoding = block.optional("encoding", Encoding::read);
    let optional = block.optional("optional", Node::boolean);
    if source.is_none() && !block.has_errors() {
        node.error::<()>(
            "no source is set: add `query` or `claim` with the name of the body's hash",
        );
    }
    block.close()?;
    Some(SignedHash {
        source: source?,
        encoding: encoding.unwrap_or(Encoding::Hex),
        optional: optional.unwrap_or(false),
    })
}

/// Reads names of headers with the values that they must have.
fn read_require(node: Node<'_>) -> Option<Vec<(HeaderName, String)>> {
    node.each_field(|name, value| {
        let value = value.text()?;
        match HeaderName::parse(name) {
            Ok(name) => Some((name, value.to_owned())),
            Err(message) => node.error(message),
        }
    })
}

/// Reads names of claims with the values that they must have.
fn read_claims(node: Node<'_>) -> Option<Vec<(String, Message)>> {
    node.each_field(|name, value| Some((name.to_owned(), Message::read(value)?)))
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
            let scheme = Scheme::read(Node::root(&value, &findings));
            assert!(scheme.is_some(), "{name}: {findings:?}");
        }
    }
}
