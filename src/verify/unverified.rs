//! What a request claims and what it is held against: the secrets, the body, and the sender's handshake.

use std::borrow::Cow;
use std::rc::Rc;

use super::candidate_keys::Match;
use super::proof::{Proof, SignedValues, Verified};
use super::verdict::{Rejection, Verdict};
use super::{Head, Work};
use crate::crypto::{BodyHash, Key, Mac, Tag};
use crate::policy::endpoint::Endpoint;
use crate::scheme::body::{Content, Kind, Wanted};
use crate::scheme::challenge::{self, Seen};
use crate::scheme::chunk::{Segment, has_digest};
use crate::scheme::found::required;
use crate::scheme::freshness::Freshness;
use crate::scheme::request_facts::{Facts, Late};
use crate::scheme::{Identity, Plan, Scheme, SignedHash};
use crate::secrets::keyring::Keyring;
use crate::time::UnixMillis;
use crate::verdict::{Answer, Denial};

/// The most bytes of a request's head that are kept until its verdict: the message, the id and names of keys.
const MAX_KEPT: usize = 24 * 1024;

/// The claims of a request, as far as they are needed until its end.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) candidates: Vec<Tag>,
    pub(super) message: Vec<Segment>,
    pub(super) key_ids: Vec<Vec<u8>>,
    pub(super) keyring: Rc<Keyring>,
    body_hash: Option<[u8; 32]>,
    id: Option<Box<[u8]>>,
    pub(super) kind: Kind,
    pub(super) now: UnixMillis,
    freshness: Freshness,
    /// Why it can be no delivery, but only a handshake.
    refused: Option<Denial>,
    /// It may be a handshake, as far as the head tells.
    may_ask: bool,
}

impl Signed {
    /// Takes what the head claims, and writes as much of the signed message as it tells.
    pub(super) fn read(
        endpoint: &Endpoint,
        head: &Head<'_>,
        refused: Option<Denial>,
        may_ask: bool,
    ) -> Result<Self, Denial> {
        let scheme = &endpoint.scheme;
        let claims = scheme.claims(&head.headers, head.now)?;
        let facts = Facts {
            headers: &head.headers,
            origin: endpoint.origin.as_deref(),
            timestamp: claims.timestamp.as_deref(),
            id: claims.id.as_deref(),
            signed_headers: &scheme.signed_headers,
        };
        let message = match claims.token {
            Some((message, ref token)) => {
                scheme.check_token(token, &facts)?;
                vec![Segment::Bytes(message.to_vec())]
            }
            None => scheme.message.write(&facts)?,
        };
        let signed = Self {
            message,
            candidates: claims.candidates,
            key_ids: claims.key_ids.into_iter().map(Cow::into_owned).collect(),
            keyring: Rc::clone(head.keyring),
            body_hash: claims.body_hash,
            id: claims.id.map(|id| Box::from(&*id)),
            kind: match scheme.reads_body() || scheme.body_hash.is_some() {
                true => Kind::of(&head.headers),
                false => Kind::Other,
            },
            now: head.now,
            freshness: claims.freshness,
            refused,
            may_ask,
        };
        match signed.kept() > MAX_KEPT {
            true => Err(Denial::SignatureMalformed),
            false => Ok(signed),
        }
    }

    /// The bytes of the request's head that are kept until its verdict.
    pub(super) fn kept(&self) -> usize {
        let message = self.message.iter().map(Segment::kept);
        let key_ids = self.key_ids.iter().map(Vec::len);
        let id = self.id.as_ref().map_or(0, |id| id.len());
        message.chain(key_ids).fold(id, usize::saturating_add)
    }

    /// The claims of a request that makes none.
    pub(super) fn nothing(head: &Head<'_>) -> Self {
        Self {
            message: Vec::new(),
            candidates: Vec::new(),
            key_ids: Vec::new(),
            keyring: Rc::clone(head.keyring),
            body_hash: None,
            id: None,
            kind: Kind::Other,
            now: head.now,
            freshness: Freshness::ALWAYS,
            refused: Some(Denial::MethodNotAllowed),
            may_ask: true,
        }
    }

    /// Takes the time of the verdict, by which all that depends on time is judged from here on.
    ///
    /// # Errors
    /// The request is no longer fresh, or not yet: its body took long, or the clock was set.
    pub(super) fn conclude_at(&mut self, now: UnixMillis) -> Result<(), Denial> {
        self.now = now;
        self.freshness.judge(now)
    }

    /// Whether a request of this size may be a handshake.
    pub(super) const fn asks(&self, received: u64) -> bool {
        self.may_ask && received <= challenge::MAX_BODY
    }

    /// What a handshake in this body is answered, by the secret that verified it.
    pub(super) fn answer(
        &self,
        endpoint: &Endpoint,
        body: &[u8],
        verified: Option<usize>,
    ) -> Option<Answer> {
        let wanted = Wanted {
            json: true,
            ..Wanted::default()
        };
        let content = Content::read(body, &self.kind, &wanted)?;
        endpoint.answer(&Seen::Body(&content), verified, &self.keyring, self.now)
    }

    /// Begins to hash, where that can be.
    pub(super) fn begin(&self, endpoint: &Endpoint) -> Result<Work, Denial> {
        match endpoint.scheme.plan {
            Plan::Whole => return Ok(Work::Wait),
            Plan::Digest => {
                let is_hashed = endpoint.scheme.body_hash.is_some() || has_digest(&self.message);
                return Ok(Work::Digest(is_hashed.then(BodyHash::default)));
            }
            Plan::Stream => {}
        }
        let accepts = |(place, _): &(usize, &Key)| self.accepts(endpoint, *place);
        let mut tried = self.tried(endpoint).peekable();
        let oldest = tried.peek().copied();
        let (first, key) = tried
            .find(accepts)
            .or(oldest)
            .ok_or_else(|| self.unverified(endpoint))?;
        Ok(Work::Stream(first, self.begin_mac(key)))
    }

    /// A message for one key, up to the body.
    pub(super) fn begin_mac(&self, key: &Key) -> Mac {
        self.up_to_body(key.begin(), Some(key))
    }

    fn up_to_body(&self, mut mac: Mac, key: Option<&Key>) -> Mac {
        let before = self
            .message
            .iter()
            .take_while(|segment| **segment != Segment::Body);
        for segment in before {
            segment.feed(&mut mac, key, b"", &[]);
        }
        mac
    }

    fn after_body(&self, mut mac: Mac, key: Option<&Key>) -> Mac {
        let mut parts = self.message.splitn(2, |segment| *segment == Segment::Body);
        for segment in parts.nth(1).unwrap_or_default() {
            segment.feed(&mut mac, key, b"", &[]);
        }
        mac
    }

    /// Whether a message that was taken up to the body's end is what one of the signatures signs.
    pub(super) fn match_after_body(&self, mac: Mac, key: usize) -> Option<Match> {
        let used = self.keyring.keys().get(key).map(|(_, key)| &**key);
        let code = self.after_body(mac, used).matches(&self.candidates)?;
        Some(Match { key, code })
    }

    /// Begins the hash of a message, up to the body, where that is what tells deliveries apart. It is made
    /// of verified requests: forged ones shall not cost it.
    pub(super) fn begin_delivery(&self, endpoint: &Endpoint) -> Option<Mac> {
        let is_told = endpoint.remembered() == Identity::Message;
        is_told.then(|| self.up_to_body(endpoint.identity.begin(), None))
    }

    /// The hash of a delivery whose message was taken up to the body's end.
    pub(super) fn delivery_after_body(&self, hash: Mac) -> Mac {
        self.after_body(hash, None)
    }

    /// The hash of a delivery by its whole message, or by its id.
    pub(super) fn delivery(
        &self,
        endpoint: &Endpoint,
        message: &[Segment],
        body: &[u8],
        hash: &[u8],
    ) -> Option<Mac> {
        let mut told = endpoint.identity.begin();
        match endpoint.remembered() {
            Identity::Id => told.update(self.id.as_deref()?),
            Identity::Message => {
                for segment in message {
                    segment.feed(&mut told, None, body, hash);
                }
            }
            Identity::None => return None,
        }
        Some(told)
    }

    /// Messages for the keys but the first one.
    pub(super) fn others(&self, endpoint: &Endpoint, first: usize) -> Vec<(usize, Mac)> {
        let others = self.tried(endpoint).filter(|(index, _)| *index != first);
        others
            .map(|(index, key)| (index, self.begin_mac(key)))
            .collect()
    }

    /// The key that counts most among those that made one of the signatures of a message.
    pub(super) fn best(
        &self,
        endpoint: &Endpoint,
        message: &[Segment],
        body: &[u8],
        hash: &[u8],
    ) -> Option<Match> {
        let mut best = None;
        let mut whole: Option<Mac> = None;
        for (index, key) in self.tried(endpoint) {
            let mac = whole.take().and_then(|mac| mac.with_key(key));
            let mac = mac.unwrap_or_else(|| {
                let mut mac = key.begin();
                for segment in message {
                    segment.feed(&mut mac, Some(key), body, hash);
                }
                mac
            });
            let (code, mac) = mac.try_match(&self.candidates);
            if let Some(code) = code {
                best = self.better(endpoint, best, Match { key: index, code });
            }
            whole = mac;
        }
        best
    }

    /// Which of two keys counts, both of which verified.
    pub(super) fn better(
        &self,
        endpoint: &Endpoint,
        best: Option<Match>,
        other: Match,
    ) -> Option<Match> {
        let rank = |matched: &Match| {
            let secret = self.secret(endpoint, matched.key);
            secret.map(|(_, secret)| weight(secret.validity(self.now)))
        };
        best.into_iter().chain([other]).min_by_key(rank)
    }

    /// Takes what the body claims, and writes the rest of the signed message.
    pub(super) fn read_late(
        &mut self,
        scheme: &Scheme,
        content: &Content,
    ) -> Result<Vec<Segment>, Denial> {
        if scheme.wanted.unsigned && content.has_any(&scheme.names.query) {
            return Err(Denial::SignatureDuplicated);
        }
        if scheme.carrier.source.is_in_body() {
            let value = required(scheme.carrier.source.in_body(content))?;
            (self.candidates, self.key_ids) = scheme.carrier.signatures(&value, scheme.written)?;
        }
        if let Some(source) = scheme.id.as_ref().filter(|_| scheme.late_id()) {
            let id = required(source.in_body(content)).map_err(|reason| match reason {
                // The signature is there. The body that it covers has no id.
                Denial::SignatureMissing => Denial::SignatureMalformed,
                other => other,
            })?;
            self.id = Some(Box::from(&*id));
        }
        let mut timestamp = None;
        if let Some((rule, source)) = scheme.late_timestamp() {
            let time = rule.read_time(source.in_body(content))?;
            self.freshness = self.freshness.and(time.freshness);
            self.freshness.judge(self.now)?;
            timestamp = Some(time.text);
        }
        let late = Late {
            timestamp: timestamp.as_deref(),
            id: self.id.as_deref(),
        };
        scheme.message.write_late(&self.message, content, late)
    }

    /// The verdict, given the key that verified the request, the hash of its delivery, its body, where that may
    /// be a handshake, and the body's hash.
    pub(super) fn verdict(
        self,
        endpoint: &Endpoint,
        matched: Option<Match>,
        delivery: Option<Mac>,
        body: &[u8],
        hash: &[u8],
        received: u64,
    ) -> Verdict {
        let denied = |reason| Verdict::fail(reason, endpoint.mode);
        let secret = |matched: Match| Some((matched, self.secret(endpoint, matched.key)?));
        let Some((matched, (index, secret))) = matched.and_then(secret) else {
            return denied(self.unverified(endpoint));
        };
        if let Err(reason) = self.check_body(&endpoint.scheme, hash, received) {
            return denied(reason);
        }
        if self.id.as_deref() == Some(b"") {
            // All deliveries that leave theirs empty would be one.
            return denied(Denial::SignatureMalformed);
        }
        let delivery = delivery.and_then(|hash| endpoint.delivery(hash, secret));
        if delivery.is_none() && endpoint.remembered() != Identity::None {
            // What nobody could remember may not go on.
            return denied(Denial::HostError);
        }
        let is_valid = secret.validity(self.now).is_ok();
        let asks = is_valid && self.asks(received);
        let answer = asks
            .then(|| self.answer(endpoint, body, Some(matched.key)))
            .flatten();
        if let (None, Some(denial)) = (&answer, self.refused) {
            return denied(denial);
        }
        let values = SignedValues {
            delivery_id: self.id,
            delivery,
            fresh_until: self.freshness.end(),
            message: endpoint.digest(&matched.code).filter(|_| is_valid),
        };
        let verified = Verified::new(&matched, index, values);
        if let Some(answer) = answer {
            return Verdict::challenge_answered(answer, Some(verified));
        }
        match Proof::new(verified, secret, self.now) {
            Ok(proof) => Verdict::Accept(proof),
            Err((denial, verified)) => Verdict::Fail(Rejection {
                denial,
                mode: endpoint.mode,
                status: None,
                verified: Some(verified),
                parameter: None,
            }),
        }
    }

    /// Holds the body against the hash that was signed in its place. Where there is none, the message has to
    /// hold the body: itself, or the fields of the form that it is. Only a sender that signs no hash of no body
    /// may leave it out: else any token that this secret ever signed would do.
    fn check_body(&self, scheme: &Scheme, hash: &[u8], received: u64) -> Result<(), Denial> {
        let covers_forms = scheme.message.covers_forms();
        let is_form = self.kind == Kind::Form || received == 0;
        let is_optional = |hash: &SignedHash| hash.optional && received == 0;
        match &self.body_hash {
            Some(signed) if signed == hash => Ok(()),
            Some(_) => Err(Denial::SignatureInvalid),
            None if covers_forms && is_form => Ok(()),
            None if scheme.body_hash.as_ref().map_or(!covers_forms, is_optional) => Ok(()),
            None => Err(Denial::SignatureMissing),
        }
    }
}

/// Which secret counts where several verify: one that accepts; else the worst news, a revoked one.
const fn weight(validity: Result<(), Denial>) -> u8 {
    match validity {
        Ok(()) => 0,
        Err(Denial::SecretRevoked) => 1,
        Err(Denial::SecretExpired) => 2,
        Err(_) => 3,
    }
}

impl Segment {
    /// Adds this piece of the message to what is being authenticated. What has been written needs neither
    /// body nor hash.
    pub(super) fn feed(&self, mac: &mut Mac, key: Option<&Key>, body: &[u8], hash: &[u8]) {
        match self {
            Self::Bytes(bytes) => mac.update(bytes),
            Self::Secret => mac.update(key.map(Key::secret).unwrap_or_default()),
            Self::Body => mac.update(body),
            Self::BodySha256 { hex: false } => mac.update(hash),
            Self::BodySha256 { hex: true } => {
                let mut digits = [0; 64];
                // The digits of a SHA-256 always fit.
                if hex::encode_to_slice(hash, &mut digits).is_ok() {
                    mac.update(&digits);
                }
            }
            // Written by `Signed::read_late` before anything is hashed.
            Self::Late(_) => {}
        }
    }
}
