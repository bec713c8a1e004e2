//! The data of a request that nothing has verified yet.

use std::borrow::Cow;
use std::rc::Rc;

use super::conclude::Body;
use super::matched::Match;
use super::{FirstPass, Head};
use crate::crypto::{self, AlgorithmIndex, BodyHash, Candidates, Key, Verifier};
use crate::hex;
use crate::policy::endpoint::Endpoint;
use crate::request::headers::Headers;
use crate::scheme::Plan;
use crate::scheme::body::{MediaType, ParsedBody};
use crate::scheme::challenge::{self, Challenge, Pending};
use crate::scheme::chunk::{Chunk, Written, has_digest};
use crate::scheme::facts::{BodyFacts, HeadFacts};
use crate::scheme::found::{optional, required};
use crate::scheme::freshness::Freshness;
use crate::scheme::spec::DedupBy;
use crate::secrets::{KeyEntry, Keyring};
use crate::time::UnixMillis;
use crate::verdict::{Answer, Denial};

/// How many bytes of a request's head the guard keeps until the verdict: the message, the id and the names of keys.
const MAX_KEPT: usize = 24 * 1024;

/// The claims of a request whose signature nothing has verified.
#[derive(Debug)]
pub(super) struct Unverified {
    pub(super) endpoint: Rc<Endpoint>,
    pub(super) keyring: Rc<Keyring>,
    /// The algorithm of the signatures.
    pub(super) algorithm: AlgorithmIndex,
    /// The signatures. Any one of them may be right.
    pub(super) signatures: Candidates,
    /// The forms of the signed message, except what the body adds; `None` if they are the same for all requests.
    messages: Option<Vec<Written>>,
    /// The keys that the request names.
    pub(super) key_ids: Vec<Vec<u8>>,
    /// The hash that is signed in place of the body.
    pub(super) body_hash: Option<[u8; 32]>,
    pub(super) id: Option<Box<[u8]>>,
    pub(super) media_type: MediaType,
    /// The time by which everything is judged.
    pub(super) now: UnixMillis,
    pub(super) freshness: Freshness,
    /// Why the request cannot be a delivery. It may still be a handshake.
    pub(super) not_delivery: Option<Denial>,
    /// The handshakes that the request may be.
    pending: Vec<Pending>,
}

impl Unverified {
    /// Reads what the head claims, and writes the signed message up to what the body adds.
    ///
    /// # Errors
    /// The scheme needs something that the head lacks, repeats or malforms.
    pub(super) fn read(
        endpoint: &Rc<Endpoint>,
        head: &Head<'_>,
        not_delivery: Option<Denial>,
    ) -> Result<Self, Denial> {
        let scheme = &endpoint.scheme;
        let extracted = scheme.extract(&head.headers, head.now)?;
        let facts = HeadFacts {
            headers: &head.headers,
            public_url: &endpoint.public_url,
            form: 0,
            timestamp: extracted.timestamp.as_deref(),
            id: extracted.id.as_deref(),
            signed_headers: &scheme.signed_headers,
        };
        let messages = match extracted.token {
            Some((message, ref token)) => {
                scheme.check_token(token, &facts)?;
                Some(vec![vec![Chunk::Bytes(message.to_vec())]])
            }
            None if !scheme.fixed_messages.is_empty() => None,
            None => Some(scheme.spec.write_messages(&facts)?),
        };
        let request = Self {
            endpoint: Rc::clone(endpoint),
            keyring: Rc::clone(head.keyring),
            algorithm: extracted.algorithm,
            signatures: extracted.candidates,
            messages,
            key_ids: extracted.key_ids.into_iter().map(Cow::into_owned).collect(),
            body_hash: extracted.body_hash,
            id: extracted.id.map(|id| Box::from(&*id)),
            media_type: match scheme.reads_body() || scheme.spec.body_hash.is_some() {
                true => MediaType::of(&head.headers),
                false => MediaType::Other,
            },
            now: head.now,
            freshness: extracted.freshness,
            not_delivery,
            pending: Vec::new(),
        };
        match request.kept() > MAX_KEPT {
            true => Err(Denial::SignatureMalformed),
            false => Ok(request),
        }
    }

    /// A request without a signature, which can only be a handshake.
    pub(super) fn without_signature(endpoint: &Rc<Endpoint>, head: &Head<'_>) -> Self {
        Self {
            endpoint: Rc::clone(endpoint),
            keyring: Rc::clone(head.keyring),
            algorithm: AlgorithmIndex::default(),
            signatures: Candidates::default(),
            messages: None,
            key_ids: Vec::new(),
            body_hash: None,
            id: None,
            media_type: MediaType::Other,
            now: head.now,
            freshness: Freshness::ALWAYS,
            not_delivery: Some(Denial::MethodNotAllowed),
            pending: Vec::new(),
        }
    }

    /// Sets the handshakes that the request may be.
    pub(super) fn expect_challenges(&mut self, pending: Vec<Pending>, headers: &Headers<'_>) {
        let challenges = pending.iter();
        let mut challenges = challenges.filter_map(|each| self.endpoint.challenge(each));
        if challenges.any(Challenge::reads_form) {
            self.media_type = MediaType::of(headers);
        }
        self.pending = pending;
    }

    /// The forms of the signed message, except what the body adds. The first one identifies the delivery.
    pub(super) fn messages(&self) -> &[Written] {
        let fixed = &self.endpoint.scheme.fixed_messages;
        self.messages.as_ref().unwrap_or(fixed)
    }

    /// How many bytes of the request's head are kept until the verdict.
    pub(super) fn kept(&self) -> usize {
        let message = self.messages.iter().flatten().flatten().map(Chunk::kept);
        let key_ids = self.key_ids.iter().map(Vec::len);
        let id = self.id.as_ref().map_or(0, |id| id.len());
        let texts = self.pending.iter().map(|each| each.text.len());
        let parts = message.chain(key_ids).chain(texts);
        parts.fold(id, usize::saturating_add)
    }

    /// Sets the time by which everything is judged from here on.
    ///
    /// # Errors
    /// The request is no longer fresh, or not yet: its body took long, or the clock was set.
    pub(super) fn conclude_at(&mut self, now: UnixMillis) -> Result<(), Denial> {
        self.now = now;
        self.freshness.judge(now)
    }

    /// Whether a signed request with a body of this length may be a handshake.
    pub(super) fn may_be_challenge(&self, length: u64) -> bool {
        length <= challenge::MAX_BODY && self.pending.iter().any(|each| each.takes(true))
    }

    /// Whether a body of this length contains something to read.
    pub(super) fn reads_body(&self, length: u64) -> bool {
        self.endpoint.scheme.reads_body() || self.may_be_challenge(length)
    }

    /// The first pass over the body that the scheme allows.
    ///
    /// # Errors
    /// No key may have made the signature.
    pub(super) fn first_pass(&self) -> Result<FirstPass, Denial> {
        let scheme = &self.endpoint.scheme;
        Ok(match scheme.plan {
            Plan::Whole => FirstPass::Buffer,
            Plan::Digest => {
                let is_hashed = self.covers_digest(self.messages());
                FirstPass::Digest(is_hashed.then(BodyHash::default))
            }
            Plan::Stream => {
                let key = Rc::clone(self.preferred_key()?);
                let verifier = self.begin(&key, 0);
                FirstPass::Hash { key, verifier }
            }
        })
    }

    /// The answer to a handshake with this body. `signed_by` is the key that verified it.
    pub(super) fn answer(&self, body: &[u8], signed_by: Option<&KeyEntry>) -> Option<Answer> {
        if !u64::try_from(body.len()).is_ok_and(|length| length <= challenge::MAX_BODY) {
            return None;
        }
        let body = Some((body, &self.media_type));
        let mut pending = self.pending.iter();
        pending.find_map(|each| match each.takes(signed_by.is_some()) {
            true => {
                let (keyring, now) = (&self.keyring, self.now);
                self.endpoint.answer(each, body, signed_by, keyring, now)
            }
            false => None,
        })
    }

    /// Whether the signature covers the body's SHA-256.
    fn covers_digest(&self, messages: &[Written]) -> bool {
        // All forms have the same components.
        let has_digest = messages.first().is_some_and(|message| has_digest(message));
        self.body_hash.is_some() || has_digest
    }

    /// Begins a form of the message, up to the body.
    fn begin(&self, entry: &KeyEntry, form: usize) -> Verifier {
        let verifier = entry.key.begin_by(self.algorithm);
        self.hash_before_body(verifier, form, Some(&entry.key))
    }

    /// The form of the message with this index.
    fn form(&self, form: usize) -> &[Chunk] {
        self.messages().get(form).map_or(&[], Vec::as_slice)
    }

    /// Adds the part of a form before the body.
    fn hash_before_body(&self, mut verifier: Verifier, form: usize, key: Option<&Key>) -> Verifier {
        let mut parts = self.form(form).splitn(2, |segment| *segment == Chunk::Body);
        let before = parts.next().unwrap_or_default();
        hash(&mut verifier, key, before, &NO_BODY);
        verifier
    }

    /// Adds the part of a form after the body.
    pub(super) fn hash_after_body(
        &self,
        mut verifier: Verifier,
        form: usize,
        key: Option<&Key>,
    ) -> Verifier {
        let mut parts = self.form(form).splitn(2, |segment| *segment == Chunk::Body);
        let after = parts.nth(1).unwrap_or_default();
        hash(&mut verifier, key, after, &NO_BODY);
        verifier
    }

    /// The match of a form of the message that was hashed up to the end of the body.
    pub(super) fn match_after_body(&self, begun: Begun) -> Option<Match> {
        let Begun {
            key,
            form,
            verifier,
        } = begun;
        let verifier = self.hash_after_body(verifier, form, Some(&key.key));
        Match::find(&key, verifier, &self.signatures)
    }

    /// Every form of the message up to the body, hashed for every candidate. Excludes the first form for `first`.
    pub(super) fn other_keys(&self, first: &Rc<KeyEntry>) -> Vec<Begun> {
        let mut others = Vec::new();
        for key in self.candidate_keys() {
            for form in 0..self.messages().len() {
                if form > 0 || !Rc::ptr_eq(key, first) {
                    let (key, verifier) = (Rc::clone(key), self.begin(key, form));
                    others.push(Begun {
                        key,
                        form,
                        verifier,
                    });
                }
            }
        }
        others
    }

    /// The match that counts among all keys, for the complete forms of the message.
    pub(super) fn best_match(&self, messages: &[Written], body: &Body<'_>) -> Option<Match> {
        let mut best = None;
        // Of an algorithm that keeps the message, there is only one form.
        let mut kept: Option<Verifier> = None;
        for entry in self.candidate_keys() {
            for message in messages {
                let verifier = kept
                    .take()
                    .and_then(|verifier| verifier.with_key(&entry.key));
                let verifier = verifier.unwrap_or_else(|| {
                    let mut verifier = entry.key.begin_by(self.algorithm);
                    hash(&mut verifier, Some(&entry.key), message, body);
                    verifier
                });
                let (found, verifier) = Match::find_keeping(entry, verifier, &self.signatures);
                if let Some(found) = found {
                    best = Some(Match::preferred(best, found, self.now));
                }
                kept = verifier;
            }
        }
        best
    }

    /// Begins to hash the delivery, where the message identifies it. Only verified requests are worth this second hash.
    pub(super) fn begin_delivery(&self) -> Option<Verifier> {
        let is_message = self.endpoint.dedup_by() == DedupBy::Message;
        is_message.then(|| self.hash_before_body(self.endpoint.delivery_key.begin(), 0, None))
    }

    /// The hash of a delivery that its id identifies.
    pub(super) fn delivery_by_id(&self) -> Option<Verifier> {
        if self.endpoint.dedup_by() != DedupBy::Id {
            return None;
        }
        let mut hash = self.endpoint.delivery_key.begin();
        hash.update(self.id.as_deref()?);
        Some(hash)
    }

    /// The hash of a delivery that its id or its complete message identifies.
    pub(super) fn delivery_hash(&self, messages: &[Written], body: &Body<'_>) -> Option<Verifier> {
        match self.endpoint.dedup_by() {
            DedupBy::Id => self.delivery_by_id(),
            DedupBy::Message => {
                let mut verifier = self.endpoint.delivery_key.begin();
                hash(&mut verifier, None, messages.first()?, body);
                Some(verifier)
            }
            DedupBy::None => None,
        }
    }

    /// Reads what a whole body extracted. Returns the complete forms of the message, and the body's SHA-256 where
    /// the signature covers it.
    ///
    /// # Errors
    /// The body lacks, repeats or malforms what the scheme needs, or its timestamp is not fresh.
    pub(super) fn read_body(
        &mut self,
        body: &[u8],
    ) -> Result<(Vec<Written>, Option<[u8; 32]>), Denial> {
        let content = ParsedBody::read(body, &self.media_type, &self.endpoint.scheme.body_needs);
        let content = content.ok_or(Denial::SignatureMalformed)?;
        let mut messages = self.read_content(&content)?;
        let is_hashed = self.covers_digest(&messages);
        let sha256 = is_hashed.then(|| crypto::sha256(body));
        let is_form = content.fields().next().is_some();
        if is_form && self.body_hash.is_some() && self.body_hash != sha256 {
            // The guard rejects this body whatever the other forms are.
            messages.truncate(1);
        }
        Ok((messages, sha256))
    }

    fn read_content(&mut self, content: &ParsedBody) -> Result<Vec<Written>, Denial> {
        let scheme = &self.endpoint.scheme;
        if scheme.body_needs.unsigned && content.has_any(&scheme.names.query) {
            return Err(Denial::SignatureDuplicated);
        }
        if scheme.spec.signature_field.source.is_in_body() {
            let value = required(scheme.spec.signature_field.source.in_body(content))?;
            let field = &scheme.spec.signature_field;
            let (signatures, key_ids) = field.signatures(&value, scheme.spec.signature)?;
            self.signatures = signatures;
            self.key_ids.extend(key_ids);
        }
        if let Some(source) = scheme.spec.body_id() {
            let id = optional(source.in_body(content))?;
            self.id = match id {
                Some(id) if !(id.is_empty() && scheme.spec.id_optional) => Some(Box::from(&*id)),
                _ if scheme.spec.id_optional => None,
                // The signature is present. The body that it covers has no id.
                _ => return Err(Denial::SignatureMalformed),
            };
        }
        let mut timestamp = None;
        if let Some((rule, source)) = scheme.spec.body_timestamp() {
            let time = rule.read_time(source.in_body(content))?;
            self.freshness = self.freshness.and(time.freshness);
            self.freshness.judge(self.now)?;
            timestamp = Some(time.text);
        }
        let late = BodyFacts {
            timestamp: timestamp.as_deref(),
            id: self.id.as_deref(),
        };
        scheme.spec.write_from_body(self.messages(), content, late)
    }
}

/// A form of the message, hashed with a key up to the body.
#[derive(Debug)]
pub(super) struct Begun {
    key: Rc<KeyEntry>,
    form: usize,
    pub(super) verifier: Verifier,
}

impl Begun {
    /// The canonical form, hashed as the body arrived.
    pub(super) const fn first(key: Rc<KeyEntry>, verifier: Verifier) -> Self {
        Self {
            key,
            form: 0,
            verifier,
        }
    }
}

/// The body of those parts of a message that need none.
const NO_BODY: Body<'static> = Body::hashed(None, 0);

/// Adds a part of the message to what a key authenticates.
#[inline(never)]
fn hash(verifier: &mut Verifier, key: Option<&Key>, message: &[Chunk], body: &Body<'_>) {
    for segment in message {
        match segment {
            Chunk::Bytes(bytes) => verifier.update(bytes),
            Chunk::Shared(bytes) => verifier.update(bytes),
            Chunk::Secret => verifier.update(key.map(Key::secret).unwrap_or_default()),
            Chunk::Body => verifier.update(body.bytes),
            Chunk::BodySha256 { hex: is_hex } => {
                let hash = body.sha256.as_ref().map_or(&[][..], |hash| hash);
                let mut digits = [0; 64];
                if !is_hex {
                    verifier.update(hash);
                } else if hex::encode(hash, &mut digits).is_some() {
                    // The digits of a SHA-256 always fit.
                    verifier.update(&digits);
                }
            }
            // `read_body` has written these before anything is hashed.
            Chunk::FromBody(_) => {}
        }
    }
}
