//! A `signature` block as its fields say it.

use super::body::ParsedBody;
use super::challenge::{self, Challenge};
use super::chunk::Written;
use super::component::Component;
use super::facts::{BodyFacts, HeadFacts};
use super::message::Message;
use super::public_url::PublicUrl;
use super::query;
use super::quirks;
use super::signature_field::{Placeholder, SignatureEncoding, SignatureField};
use super::source::{self, HeaderName, Source, read_source};
use super::timestamp::Timestamp;
use crate::config::Node;
use crate::crypto::encoding::{Encoding, KeyEncoding};
use crate::crypto::{Algorithm, AlgorithmIndex};
use crate::request::headers::Headers;
use crate::verdict::Denial;

/// A `signature` block: what is signed, where the signature is and how it is encoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Spec {
    /// Where the signature is.
    pub(crate) signature_field: SignatureField,
    /// The signed bytes.
    pub(crate) message: Message,
    /// Other forms of the signed bytes: the same components with other literals.
    pub(crate) other_messages: Vec<Message>,
    /// How the message is authenticated, and how the signature is encoded.
    pub(crate) signature: SignatureEncoding,
    /// Other algorithms, which the length of a signature shows.
    pub(crate) other_algorithms: Vec<Algorithm>,
    /// How a secret's text becomes the key. Each of several encodings makes a key of its own.
    pub(crate) key_encodings: Vec<KeyEncoding>,
    /// The signed timestamp.
    pub(crate) timestamp: Option<Timestamp>,
    /// Where the delivery's signed id is.
    pub(crate) id: Option<Source>,
    /// A delivery may lack its id. The guard does not remember such a delivery.
    pub(crate) id_optional: bool,
    /// Where the request names the key that signed it.
    pub(crate) key_id: Option<Source>,
    /// Headers that must have exactly this value.
    pub(crate) require: Vec<(HeaderName, String)>,
    /// The body's SHA-256, if the sender signs it.
    pub(crate) body_hash: Option<SignedHash>,
    /// Claims that a token must have, as templates of the URL.
    pub(crate) claims: Vec<(String, Message)>,
    /// The claim that contains the URL's SHA-256 in hexadecimal digits.
    pub(crate) url_hash: Option<Source>,
    /// The header that lists the headers of `{signed_headers}`, in lower case.
    pub(crate) signed_headers: Option<String>,
    /// The sender's handshakes.
    pub(crate) challenges: Vec<Challenge>,
    /// The sender wants rejections without a body.
    pub(crate) empty_answers: bool,
    /// Parameters of the query that the sender adds and does not sign.
    pub(crate) unsigned_query: Vec<String>,
    /// The field of the form that contains the JSON, if the body itself is not JSON.
    pub(crate) json_in_form: Option<String>,
    /// The sender does not sign the body.
    pub(crate) body_unsigned: bool,
    /// How two deliveries are distinguished.
    pub(crate) dedup_by: DedupBy,
}

/// How two deliveries are distinguished: by signed values, and never by the signature, since one message may have
/// several.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DedupBy {
    /// The signed id.
    Id,
    /// All signed bytes.
    Message,
    /// Not at all: two deliveries may have the same signed bytes.
    None,
}

/// The body's SHA-256 among the signed values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SignedHash {
    /// Where the hash is.
    pub(crate) source: Source,
    /// How the hash is encoded.
    pub(crate) encoding: Encoding,
    /// A request without a body may omit the hash.
    pub(crate) optional: bool,
}

impl DedupBy {
    const NAMES: &[(&str, Self)] = &[
        ("id", Self::Id),
        ("message", Self::Message),
        ("none", Self::None),
    ];
}

impl Spec {
    /// Reads a `signature` block, without validating it.
    pub(super) fn read(node: Node<'_>) -> Option<Self> {
        let mut block = node.object("{header: NAME, ..}")?;
        let signature_field = SignatureField::read(&mut block);
        let messages = block.optional("message", Message::read_list);
        let algorithms = block.optional("algorithm", read_algorithms);
        let encoding = block.optional("encoding", Encoding::read);
        let key_encodings = block.optional("key", KeyEncoding::read_list);
        let timestamp = block.optional("timestamp", Timestamp::read);
        let id = block.optional("id", read_id);
        let key_id = block.optional("key_id", read_source);
        let require = block.optional("require", read_require);
        let body_hash = block.optional("body_hash", read_body_hash);
        let url_hash = block.optional("url_hash", read_source);
        let claims = block.optional("claims", read_claims);
        let signed_headers = block.optional("signed_headers", Node::text);
        let json_in_form = block.optional("json_in_form", Node::text);
        let unsigned_query = block.optional("unsigned_query", query::read_names);
        let challenges = block.optional("challenge", challenge::read_list);
        let empty_answers = block.optional("empty_answers", Node::boolean);
        let body_unsigned = block.optional("body", |node| {
            node.choice(&[("unsigned", true), ("signed", false)])
        });
        let dedup_by = block.optional("identity", |node| node.choice(DedupBy::NAMES));
        block.close()?;

        let signature_field = signature_field?;
        let mut algorithms = algorithms.unwrap_or_default().into_iter();
        let algorithm = algorithms.next().unwrap_or(Algorithm::HmacSha256);
        let mut messages = messages.unwrap_or_default().into_iter();
        let is_token = signature_field.has(Placeholder::Token);
        let timestamp = timestamp.or_else(|| {
            let in_format = signature_field.has(Placeholder::Timestamp);
            in_format.then(Timestamp::in_format)
        });
        Some(Self {
            message: messages
                .next()
                .unwrap_or_else(|| Message::of(algorithm, is_token)),
            other_messages: messages.collect(),
            signature: SignatureEncoding::of(algorithm, encoding, is_token),
            other_algorithms: algorithms.collect(),
            signature_field,
            key_encodings: key_encodings.unwrap_or_else(|| vec![KeyEncoding::Utf8]),
            dedup_by: dedup_by.unwrap_or(match (&id, &timestamp) {
                (Some(_), _) => DedupBy::Id,
                (None, Some(_)) => DedupBy::Message,
                // Two genuine deliveries may have the same body.
                (None, None) => DedupBy::None,
            }),
            timestamp,
            id_optional: id.as_ref().is_some_and(|(_, optional)| *optional),
            id: id.map(|(source, _)| source),
            key_id,
            require: require.unwrap_or_default(),
            body_hash,
            claims: claims.unwrap_or_default(),
            url_hash,
            signed_headers: signed_headers.map(str::to_ascii_lowercase),
            challenges: challenges.unwrap_or_default(),
            empty_answers: empty_answers.unwrap_or(false),
            unsigned_query: unsigned_query.unwrap_or_default(),
            json_in_form: json_in_form.map(str::to_owned),
            body_unsigned: body_unsigned.unwrap_or(false),
        })
    }

    /// Adds the id that an endpoint configures beside its `provider`.
    pub(super) fn with_id(mut self, node: Node<'_>) -> Option<Self> {
        let (id, optional) = read_id(node)?;
        if self.id.is_some() {
            return node.error("this provider already defines an id: remove `id`");
        }
        if self.signature_field.source == id || !self.signs(&id) {
            return node.error(
                "the sender does not sign this value, so clients could change it: use a signed value, or remove `id`",
            );
        }
        self.id = Some(id);
        self.id_optional = optional;
        self.dedup_by = DedupBy::Id;
        self.check_identity(node)?;
        Some(self)
    }

    /// Sets the identity that an endpoint configures next to its `provider`.
    pub(super) fn with_identity(mut self, node: Node<'_>) -> Option<Self> {
        self.dedup_by = node.choice(DedupBy::NAMES)?;
        self.check_identity(node)?;
        Some(self)
    }

    /// Rejects an identity that no delivery has, and an optional id that a client could leave out.
    pub(super) fn check_identity(&self, node: Node<'_>) -> Option<()> {
        if self.dedup_by == DedupBy::Id && self.id.is_none() {
            return node.error("`identity: id` needs an id: add `id: {header: NAME}`");
        }
        if self.dedup_by == DedupBy::Message && self.signature.algorithm == Algorithm::Token {
            return node.error(
                "the algorithm `token` signs nothing that distinguishes deliveries: remove `identity`",
            );
        }
        if self.dedup_by == DedupBy::Message && !self.other_messages.is_empty() {
            return node.error("with several messages, a copy of a delivery could count as another one: add an `id`, or set `identity: none`");
        }
        let is_signed_json = matches!(self.id, Some(Source::Json(_)))
            && self.json_in_form.is_none()
            && !self.body_unsigned
            && !self.message.has(&Component::Id);
        if self.id_optional && !is_signed_json {
            return node.error("only an id in signed JSON can be optional, because a header could hide any other: set `id.json` without `json_in_form`, or remove `optional`");
        }
        Some(())
    }

    /// The places of all values that are read by name, besides required headers and claims.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        let others = [
            Some(&self.signature_field.source),
            self.id.as_ref(),
            self.key_id.as_ref(),
            self.timestamp_source(),
            self.body_hash.as_ref().map(|hash| &hash.source),
        ];
        others.into_iter().flatten().chain(self.message.sources())
    }

    /// The message with this index. A message with a placeholder of several forms is the only one.
    fn message(&self, index: usize) -> &Message {
        let other = index.checked_sub(1);
        let other = other.and_then(|index| self.other_messages.get(index));
        other.unwrap_or(&self.message)
    }

    /// How a signature is encoded by the algorithm with this index. `None` if the scheme has no such algorithm.
    pub(crate) fn signature_by(
        &self,
        AlgorithmIndex(index): AlgorithmIndex,
    ) -> Option<SignatureEncoding> {
        let algorithm = match index.checked_sub(1) {
            None => self.signature.algorithm,
            Some(index) => *self.other_algorithms.get(index)?,
        };
        Some(SignatureEncoding {
            algorithm,
            ..self.signature
        })
    }

    /// Writes each form of the message that a request's head may have, the canonical one first.
    ///
    /// # Errors
    /// A value is missing or malformed in one of them.
    pub(crate) fn write_messages(&self, facts: &HeadFacts<'_>) -> Result<Vec<Written>, Denial> {
        let count = match self.message.form_placeholders() {
            0 => self.other_messages.len().saturating_add(1),
            _ if self.message.has(&Component::UrlAnyPort) => facts.url_forms(),
            _ => 2,
        };
        let mut written = Vec::with_capacity(count);
        for form in 0..count {
            written.push(self.message(form).write(&HeadFacts { form, ..*facts })?);
        }
        // A value without capitals has one form.
        written.dedup();
        Ok(written)
    }

    /// The forms of the message, if no head of a request changes them. Otherwise none.
    pub(super) fn fixed_messages(&self) -> Vec<Written> {
        let mut messages = [&self.message].into_iter().chain(&self.other_messages);
        if !messages.all(Message::is_fixed) {
            return Vec::new();
        }
        let facts = HeadFacts {
            headers: &Headers::new(&[]),
            public_url: &PublicUrl::default(),
            form: 0,
            timestamp: None,
            id: None,
            signed_headers: &[],
        };
        // A message that is too long fails for each request.
        self.write_messages(&facts).unwrap_or_default()
    }

    /// Writes the components of the body into the forms that [`Self::write_messages`] has written.
    ///
    /// # Errors
    /// A value is missing or malformed in one of them.
    pub(crate) fn write_from_body(
        &self,
        written: &[Written],
        content: &ParsedBody,
        body: BodyFacts<'_>,
    ) -> Result<Vec<Written>, Denial> {
        let has_sorted_form = self.message.has(&Component::SortedForm);
        let sorted_form = has_sorted_form.then(|| quirks::sorted_form(content.fields()).into());
        let mut complete = Vec::new();
        for (form, chunks) in written.iter().enumerate() {
            let message = self.message(form);
            complete.push(message.write_from_body(chunks, content, body, sorted_form.as_ref())?);
        }
        Ok(complete)
    }

    /// Whether changing the value at this source would invalidate the signature.
    pub(super) fn signs(&self, source: &Source) -> bool {
        match source {
            Source::Claim(_) => self.signature_field.has(Placeholder::Token),
            _ => {
                self.message.covers(source)
                    || (self.body_hash.is_some()
                        && source.is_in_body()
                        && !self.message.covers_forms())
                    || (self.signed_headers.is_some() && source.header().is_some())
            }
        }
    }

    /// Where the timestamp is, if not among the items of the signature's value.
    pub(crate) fn timestamp_source(&self) -> Option<&Source> {
        let timestamp = self.timestamp.as_ref()?;
        timestamp.source.as_ref()
    }

    /// The timestamp and its place, if the body contains it.
    pub(crate) fn body_timestamp(&self) -> Option<(&Timestamp, &Source)> {
        let rule = self.timestamp.as_ref()?;
        let source = rule.source.as_ref().filter(|source| source.is_in_body())?;
        Some((rule, source))
    }

    /// Where the id is, if the body contains it.
    pub(crate) fn body_id(&self) -> Option<&Source> {
        self.id.as_ref().filter(|source| source.is_in_body())
    }

    /// Whether a handshake returns the MAC of a text that the request chooses.
    pub(crate) fn is_signing_oracle(&self) -> bool {
        self.challenges.iter().any(Challenge::is_signing_oracle)
    }

    /// Whether a message may consist of only such characters as a handshake's text has.
    pub(crate) fn may_be_challenge_text(&self) -> bool {
        self.message.may_be_challenge_text()
            || self
                .other_messages
                .iter()
                .any(Message::may_be_challenge_text)
    }

    /// Whether two requests without a body may be one delivery although their queries differ. A token has claims of its
    /// own, and a signed value such as a nonce differs.
    pub(crate) fn confuses_queries(&self) -> bool {
        self.dedup_by == DedupBy::Message
            && !self.signature_field.has(Placeholder::Token)
            && !self.message.signs_query()
            && self.message.sources().next().is_none()
    }

    /// Whether two requests may have the same signed bytes by two of the messages.
    pub(super) fn has_unclear_messages(&self) -> bool {
        let mut others = self.other_messages.iter();
        let mut message = &self.message;
        loop {
            if others.clone().any(|other| message.may_equal(other)) {
                return true;
            }
            let Some(next) = others.next() else {
                return false;
            };
            message = next;
        }
    }

    /// Warns about weaknesses of the sender's scheme.
    pub(super) fn warn(&self, node: Node<'_>) {
        if self.message.continues_after_secret() {
            node.warn("text after {secret} exposes SHA-256 to length extension, which the guard blocks by rejecting NUL bytes: prefer HMAC if offered");
        }
        if self.body_unsigned {
            node.warn("the body is not signed: clients can replay a captured signature with any body, within the tolerance if there is one");
        }
    }
}

/// Reads the place of the id, and whether a delivery may lack its id.
fn read_id(node: Node<'_>) -> Option<(Source, bool)> {
    let mut block = node.object("{header: NAME}")?;
    let source = source::read_in(&mut block);
    let optional = block.optional("optional", Node::boolean);
    block.close()?;
    Some((source?, optional.unwrap_or(false)))
}

/// Reads one algorithm, or a list of them.
fn read_algorithms(node: Node<'_>) -> Option<Vec<Algorithm>> {
    let nodes = match node.is_list() {
        true => node.list()?,
        false => vec![node],
    };
    let mut algorithms = Vec::new();
    for node in &nodes {
        algorithms.push(node.choice(Algorithm::NAMES)?);
    }
    match nodes.len() {
        1..=4 => Some(algorithms),
        _ => node.error("the list must have one to four algorithms: add or remove some"),
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
