//! Endpoints: which requests belong to one, and what the guard requires of them.

mod reader;

use std::rc::Rc;

use crate::crypto::{Algorithm, Candidate, Code, Key, Verifier};
use crate::delivery::{DeliveryHash, MessageDigest};
use crate::policy::matcher::Matcher;
use crate::policy::remote_lists::RemoteAllowList;
use crate::replay::Replay;
use crate::request::address::{AddressSource, AllowList, Client};
use crate::request::headers::{self, Headers};
use crate::scheme::Scheme;
use crate::scheme::body::MediaType;
use crate::scheme::challenge::{Challenge, Pending, Signed};
use crate::scheme::public_url::PublicUrl;
use crate::scheme::query::Query;
use crate::scheme::source::Source;
use crate::scheme::spec::DedupBy;
use crate::secrets::{Expiry, KeyEntry, Keyring, Latest, Secret, SecretIndex};
use crate::time::UnixMillis;
use crate::verdict::{Answer, Denial, Mode};
pub(crate) use reader::{Read, read, read_origin};

/// An endpoint: the requests that belong to one sender, and what the guard requires of them.
#[derive(Debug)]
pub struct Endpoint {
    /// The name, which labels metrics, log lines and headers.
    pub name: String,
    pub(crate) matcher: Matcher,
    pub(crate) scheme: Scheme,
    /// The secrets, in the order in which the guard tries them.
    pub secrets: Vec<Rc<Secret>>,
    /// Whether a secret names a sender, so that each sender has its own deliveries.
    pub(crate) names_senders: bool,
    latest: Latest,
    allow: Option<AllowList>,
    /// The lists beside `allow` that the sender publishes.
    pub allow_from: Vec<RemoteAllowList>,
    /// Where the guard gets a client's address.
    pub client_address: AddressSource,
    methods: Vec<String>,
    /// The query parameters that a request may have.
    pub(crate) query: Query,
    /// The largest body, in bytes.
    pub(crate) max_body: u64,
    /// The action on a request that fails.
    pub mode: Mode,
    /// The URL that the sender calls.
    pub(crate) public_url: PublicUrl,
    /// Whether the guard answers the sender's handshakes.
    answers_challenges: bool,
    /// Whether Envoy's decompressor precedes the guard, which then accepts the trailers that this filter adds.
    pub is_decompressed: bool,
    /// Whether the upstream gets a digest of each message that the guard does not remember.
    pub(crate) digests_messages: bool,
    /// The token that a handshake must contain, if the sender uses one.
    verify_token: Option<Key>,
    /// How the endpoint remembers deliveries, if it does.
    pub replay: Option<Replay>,
    /// The key of delivery hashes: the endpoint's name, so that endpoints never share a delivery. The hash is SHA-512,
    /// which is faster in WebAssembly than SHA-256; a large body is hashed again for it.
    pub(crate) delivery_key: Key,
}

impl Endpoint {
    /// The handshakes that the guard answers.
    fn challenges(&self) -> &[Challenge] {
        match self.answers_challenges && self.mode == Mode::Enforce {
            true => &self.scheme.spec.challenges,
            false => &[],
        }
    }

    /// The handshakes that a request may be, by its head. If the sender never signs a handshake, a signed request with the
    /// method of a delivery is a delivery.
    pub(crate) fn pending(&self, method: &[u8], headers: &Headers<'_>) -> Vec<Pending> {
        let challenges = self.challenges();
        if challenges.is_empty() {
            return Vec::new();
        }
        let may_be_delivery = self.has_method(method);
        let is_delivery = may_be_delivery && self.scheme.has_signature(headers);
        let is_token = |sent: &[u8]| self.is_verify_token(sent);
        let mut pending = Vec::new();
        for (index, challenge) in challenges.iter().enumerate() {
            let signed = match challenge.signed {
                Signed::Never if is_delivery => continue,
                Signed::Never if !may_be_delivery => Signed::Optional,
                signed => signed,
            };
            if let Some(text) = challenge.read_head(method, headers, &is_token) {
                pending.push(Pending {
                    index,
                    signed,
                    text,
                });
            }
        }
        pending
    }

    /// Whether the head alone decides that a request is this handshake.
    pub(crate) fn is_answered_by_head(&self, pending: &Pending, headers: &Headers<'_>) -> bool {
        let Some(challenge) = self.challenge(pending) else {
            return false;
        };
        let is_verified = match challenge.signed {
            Signed::Never => false,
            Signed::Optional => self.scheme.has_signature(headers),
            Signed::Always => true,
        };
        !is_verified && !challenge.reads(Source::is_in_body)
    }

    /// The handshake that a request may be.
    pub(crate) fn challenge(&self, pending: &Pending) -> Option<&Challenge> {
        self.challenges().get(pending.index)
    }

    /// The answer to a handshake at `now`. `body` is absent if the head is all of the handshake. `signed_by` is the key
    /// that verified the request, which also makes the MAC in the answer.
    pub(crate) fn answer(
        &self,
        pending: &Pending,
        body: Option<(&[u8], &MediaType)>,
        signed_by: Option<&KeyEntry>,
        keyring: &Keyring,
        now: UnixMillis,
    ) -> Option<Answer> {
        let challenge = self.challenge(pending)?;
        let mut text = pending.text.clone();
        if let Some((body, media_type)) = body {
            let is_token = |sent: &[u8]| self.is_verify_token(sent);
            text.push_str(&challenge.read_body(body, media_type, &is_token)?);
        }
        let mac = |text: &[u8]| {
            let first_valid = || {
                let mut entries = keyring.entries().iter().map(|entry| &**entry);
                entries.find(|entry| entry.is_valid(now))
            };
            let key = &signed_by.or_else(first_valid)?.key;
            let mut mac = key.begin();
            mac.update(text);
            self.scheme
                .spec
                .signature
                .encoding
                .encode(mac.code()?.as_bytes())
        };
        challenge.answer(&text, &mac)
    }

    /// Whether a text is the token that the endpoint's owner chose.
    fn is_verify_token(&self, sent: &[u8]) -> bool {
        let sent = Candidate::new(Algorithm::Token, sent);
        let known = self.verify_token.as_ref().zip(sent);
        known.is_some_and(|(key, sent)| key.begin().verifies(&[sent]))
    }

    fn has_method(&self, method: &[u8]) -> bool {
        let mut methods = self.methods.iter();
        methods.any(|known| known.as_bytes() == method)
    }

    /// Whether a signed message that looks like a challenge must be rejected. MACs in earlier answers stay valid, so this
    /// does not depend on `answer_challenges`.
    pub(crate) fn is_signing_oracle(&self) -> bool {
        self.scheme.spec.is_signing_oracle() && self.scheme.spec.may_be_challenge_text()
    }

    /// Whether the MAC in a handshake answer, made with the same key, would be a valid signature here.
    pub(crate) fn accepts_oracle_output(&self) -> bool {
        self.scheme.spec.may_be_challenge_text() && !self.scheme.spec.is_signing_oracle()
    }

    /// Why the method or the query rules a delivery out. The request may still be a handshake.
    pub(crate) fn refuses(&self, method: &[u8], headers: &Headers<'_>) -> Option<Denial> {
        if !self.has_method(method) {
            return Some(Denial::MethodNotAllowed);
        }
        let refused = self.query.refused(headers);
        refused.map(|_| Denial::QueryNotSigned)
    }

    /// The accepted methods, for the `Allow` header.
    #[must_use]
    pub fn allowed_methods(&self) -> String {
        self.methods.join(", ")
    }

    /// Whether the sender wants rejections without a body.
    #[must_use]
    pub const fn has_empty_answers(&self) -> bool {
        self.scheme.spec.empty_answers
    }

    /// The secret at this index.
    #[must_use]
    pub fn secret(&self, SecretIndex(index): SecretIndex) -> Option<&Secret> {
        self.secrets.get(index).map(|secret| &**secret)
    }

    /// The keys of the filter states that contain secrets of this endpoint.
    pub fn filter_states(&self) -> impl Iterator<Item = &str> {
        let secrets = self.secrets.iter();
        secrets.filter_map(|secret| secret.filter_state())
    }

    /// The end of the last secret.
    #[must_use]
    pub fn expiry(&self) -> Expiry {
        let ends = self.secrets.iter().map(|secret| secret.expiry());
        ends.max().unwrap_or(Expiry::Revoked)
    }

    /// The keys of the secrets, from the values of [`Self::filter_states`] in the same order. The flag is true if a value
    /// differs from that of the request before.
    pub fn keyring(&self, values: Vec<Option<Vec<u8>>>) -> (Rc<Keyring>, bool) {
        self.latest.of(values, |values| {
            Keyring::new(&self.secrets, &self.scheme, values)
        })
    }

    /// Whether any secret may accept a request at `now`.
    pub(crate) fn accepts_at(&self, now: UnixMillis) -> bool {
        let mut secrets = self.secrets.iter();
        secrets.any(|secret| secret.validity(now).is_ok())
    }

    /// The values that distinguish two remembered deliveries.
    pub(crate) const fn dedup_by(&self) -> DedupBy {
        match self.replay {
            Some(_) => self.scheme.spec.dedup_by,
            None => DedupBy::None,
        }
    }

    /// Whether the sender signs the whole body.
    #[must_use]
    pub const fn signs_bodies(&self) -> bool {
        !self.scheme.body_needs.unsigned
    }

    /// Whether the guard forwards a header with this name.
    pub(crate) fn may_forward_header(&self, name: &[u8]) -> bool {
        self.scheme.may_forward_header(name)
    }

    /// Whether the endpoint has an allow list.
    #[must_use]
    pub const fn lists_clients(&self) -> bool {
        self.allow.is_some() || !self.allow_from.is_empty()
    }

    /// Checks a client against the allow lists. `published` has the fetched lists of `allow_from`. While one of them is
    /// missing, an address outside the others may still be the sender's.
    ///
    /// # Errors
    /// The reason why the client is rejected.
    pub(crate) fn admits(
        &self,
        client: Client,
        published: &[Option<AllowList>],
    ) -> Result<(), Denial> {
        if !self.lists_clients() {
            return Ok(());
        }
        let known = published.iter().flatten();
        let is_pending = known.clone().count() < self.allow_from.len();
        let mut lists = self.allow.iter().chain(known);
        match client {
            Client::Trusted(ip) if lists.any(|list| list.contains(ip)) => Ok(()),
            Client::Trusted(_) if is_pending => Err(Denial::AllowListPending),
            Client::Trusted(_) => Err(Denial::ClientAddressDenied),
            Client::Untrusted(_) | Client::Unreadable => Err(Denial::ClientAddressUntrusted),
            Client::Absent => Err(Denial::HostError),
        }
    }

    /// Finishes the hash of a delivery that `secret` verified. The name of the sender is part of the hash, so senders that
    /// share the endpoint cannot use up each other's ids. A name has no NUL byte, so the last NUL ends the message.
    pub(crate) fn delivery(&self, mut hash: Verifier, secret: &Secret) -> Option<DeliveryHash> {
        if self.names_senders {
            hash.update(b"\0");
            hash.update(secret.sender.as_deref().unwrap_or_default().as_bytes());
        }
        DeliveryHash::finish(hash)
    }

    /// The digest of a verified message, if the endpoint remembers no deliveries and the signature covers the whole body.
    /// In other cases two genuine deliveries could have the same digest, and a rate limit for duplicates would reject one.
    pub(crate) fn digest(&self, code: &Code) -> Option<MessageDigest> {
        let is_counted = self.digests_messages
            && self.dedup_by() == DedupBy::None
            && self.signs_bodies()
            && self.scheme.spec.signature.algorithm != Algorithm::Token;
        is_counted.then(|| MessageDigest::new(&self.name, code))?
    }
}

/// The names of the headers that the guard removes, without duplicates. These are the guard's own names, and names that
/// PHP or CGI could read as another one. Without an endpoint, no scheme reads any header.
#[must_use]
pub fn unwanted_headers<'a>(headers: &Headers<'a>, endpoint: Option<&Endpoint>) -> Vec<&'a [u8]> {
    if headers.is_plain() && endpoint.is_none_or(|endpoint| endpoint.scheme.has_portable_names()) {
        return Vec::new();
    }
    let is_unwanted = |name: &[u8]| {
        let is_kept = endpoint.map_or(headers::is_portable_name(name), |endpoint| {
            endpoint.may_forward_header(name)
        });
        !is_kept || headers::is_reserved(name)
    };
    let mut names = Vec::new();
    for (name, _) in headers.pairs {
        if is_unwanted(name) && !names.contains(name) {
            names.push(*name);
        }
    }
    names
}
