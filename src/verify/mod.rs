//! Verifies one request: its head, then its body in pieces, then its end. Every path leads to one verdict.
//!
//! ```text
//! Verification::begin(head) --> Verification --body(chunk)*--> Verification --finish--> Verdict
//!            |                                     |                           |
//!            +-> Verdict                           +-> Verdict                 +-> SecondPass --body(chunk)*--> finish --> Verdict
//! ```

mod candidate_keys;
mod conclude;
mod matched;
mod proof;
mod second_pass;
mod unverified;
mod verdict;

use std::rc::Rc;

use crate::crypto::{BodyHash, Verifier};
use crate::policy::endpoint::Endpoint;
use crate::request::address::{AllowList, Client};
use crate::request::headers::{Headers, plain_length};
use crate::scheme::challenge::{self, Pending};
use crate::scheme::message::Message;
use crate::scheme::oracle;
use crate::scheme::query::shown;
use crate::scheme::spec::DedupBy;
use crate::secrets::{KeyEntry, Keyring};
use crate::time::UnixMillis;
use crate::verdict::{Denial, Mode, Outcome};
use conclude::Body;
pub use proof::{Proof, Verified};
pub use second_pass::SecondPass;
use unverified::{Begun, Unverified};
pub use verdict::{Evidence, Rejection, Verdict};

/// The head of a request, with all the guard needs to judge it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// All headers, with the pseudo-headers.
    pub headers: Headers<'a>,
    /// The client's address.
    pub client: Client,
    /// The time of arrival.
    pub now: UnixMillis,
    /// The lists of the endpoint's `allow_from`; `None` for a list that the guard does not have yet.
    pub published: &'a [Option<AllowList>],
    /// The endpoint's keys at that time.
    pub keyring: &'a Rc<Keyring>,
}

/// A request without a verdict yet.
#[derive(Debug)]
pub struct Verification {
    request: Unverified,
    pass: FirstPass,
    received: u64,
    /// The body is larger than the endpoint allows, but is held to its end: see [`Verification::body`].
    is_too_large: bool,
    /// Everything so far could be part of a challenge whose MAC the guard gives away.
    is_challenge_text: bool,
}

/// The work on the body as it arrives.
#[derive(Debug)]
enum FirstPass {
    /// The guard hashes the message for one key: the first one whose secret is valid.
    Hash {
        key: Rc<KeyEntry>,
        verifier: Verifier,
    },
    /// The guard hashes the body, if the signature covers its hash.
    Digest(Option<BodyHash>),
    /// The message needs values from the body, or the algorithm needs the message at once.
    Buffer,
    /// The request has no signature, for this reason, but may be a handshake.
    ChallengeOnly(Denial),
}

/// The end of the first pass.
#[derive(Debug)]
pub enum Finish {
    /// The verdict.
    Done(Verdict),
    /// The body is needed a second time: for other keys, for values in it, for the hash of the delivery, or
    /// for a handshake.
    NeedsBody(Box<SecondPass>),
}

impl Verification {
    /// Decides everything that the head alone can decide.
    ///
    /// # Errors
    /// The verdict, if the head decides it.
    pub fn begin(endpoint: &Rc<Endpoint>, head: &Head<'_>) -> Result<Box<Self>, Verdict> {
        let reject = |denial| {
            let evidence = match denial {
                Denial::QueryNotSigned => {
                    let name = endpoint.query.refused(&head.headers).and_then(shown);
                    name.map(|name| Evidence::Parameter(name.into()))
                }
                // No secret has the key that the request names.
                Denial::SignatureInvalid => Some(Evidence::NoMatch(Box::default())),
                _ => None,
            };
            Verdict::Fail(Rejection {
                evidence,
                ..Rejection::new(denial, endpoint.mode)
            })
        };
        let method = Self::admit(endpoint, head).map_err(reject)?;
        let mut pending = endpoint.pending(method, &head.headers);
        for each in &pending {
            if endpoint.is_answered_by_head(each, &head.headers)
                && let Some(answer) = endpoint.answer(each, None, None, head.keyring, head.now)
            {
                return Err(Verdict::challenge_answered(answer, None));
            }
        }
        pending.retain(|each| !endpoint.is_answered_by_head(each, &head.headers));
        Self::read(endpoint, head, method, pending).map_err(reject)
    }

    /// The order of the checks is the order of the reasons: the first that fails is the verdict's.
    fn admit<'h>(endpoint: &Endpoint, head: &Head<'h>) -> Result<&'h [u8], Denial> {
        let headers = &head.headers;
        if endpoint.mode == Mode::Disabled {
            return Err(Denial::EndpointDisabled);
        }
        let method = headers.method().ok().flatten();
        let method = method.ok_or(Denial::HostError)?;
        if method == b"CONNECT" || headers.upgrades() {
            return Err(Denial::UpgradeRefused);
        }
        endpoint.admits(head.client, head.published)?;
        Ok(method)
    }

    fn read(
        endpoint: &Rc<Endpoint>,
        head: &Head<'_>,
        method: &[u8],
        pending: Vec<Pending>,
    ) -> Result<Box<Self>, Denial> {
        let not_delivery = endpoint.refuses(method, &head.headers);
        if let Some(denial) = not_delivery.filter(|_| pending.is_empty()) {
            return Err(denial);
        }
        let mut lengths = head.headers.values("content-length");
        if lengths
            .any(|length| plain_length(length).is_none_or(|length| length > endpoint.max_body))
        {
            return Err(Denial::BodyTooLarge);
        }
        let mut verification = match Unverified::read(endpoint, head, not_delivery) {
            Ok(request) => {
                let pass = request.first_pass()?;
                Self::of(request, pass)
            }
            Err(Denial::SignatureMissing) if pending.iter().any(|each| each.takes(false)) => {
                let denial = not_delivery.unwrap_or(Denial::SignatureMissing);
                let request = Unverified::without_signature(endpoint, head);
                Self::of(request, FirstPass::ChallengeOnly(denial))
            }
            Err(denial) => return Err(denial),
        };
        let request = &mut verification.request;
        request.expect_challenges(pending, &head.headers);
        Ok(verification)
    }

    /// In a box, because a verification has 300 bytes and is often moved.
    fn of(request: Unverified, pass: FirstPass) -> Box<Self> {
        Box::new(Self {
            is_challenge_text: request.endpoint.is_signing_oracle(),
            request,
            pass,
            received: 0,
            is_too_large: false,
        })
    }

    /// Takes the body's next bytes.
    ///
    /// # Errors
    /// The verdict, once the body is too large for the endpoint, or for a handshake without a signature. In `monitor` the request is held to its end. Otherwise filters
    /// behind the guard could cut a body after the guard has released a part of it.
    pub fn body(&mut self, chunk: &[u8]) -> Result<(), Verdict> {
        self.received = u64::try_from(chunk.len())
            .unwrap_or(u64::MAX)
            .saturating_add(self.received);
        let endpoint = &self.request.endpoint;
        if self.received > endpoint.max_body {
            let verdict = Verdict::fail(Denial::BodyTooLarge, endpoint.mode);
            self.is_too_large = verdict.outcome() == Outcome::Monitored;
            return match self.is_too_large {
                true => Ok(()),
                false => Err(verdict),
            };
        }
        if let FirstPass::ChallengeOnly(denial) = self.pass
            && self.received > challenge::MAX_BODY
        {
            // In `monitor`, the guard answers no handshake.
            return Err(Verdict::fail(denial, self.request.endpoint.mode));
        }
        match &mut self.pass {
            FirstPass::Hash { verifier, .. } => verifier.update(chunk),
            FirstPass::Digest(Some(hash)) => hash.update(chunk),
            FirstPass::Digest(None) | FirstPass::Buffer | FirstPass::ChallengeOnly(_) => {}
        }
        self.is_challenge_text = self.is_challenge_text && oracle::challenge_chars_only(chunk);
        Ok(())
    }

    /// How long the body may be before its length decides the verdict, in bytes.
    #[must_use]
    pub fn undecided_length(&self) -> u64 {
        let most = self.request.endpoint.max_body;
        match self.pass {
            FirstPass::ChallengeOnly(_) => most.min(challenge::MAX_BODY),
            FirstPass::Hash { .. } | FirstPass::Digest(_) | FirstPass::Buffer => most,
        }
    }

    /// How many bytes of the head are kept until the verdict.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.request.kept()
    }

    /// How many bytes of the body have arrived.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// The request's endpoint.
    #[must_use]
    pub const fn endpoint(&self) -> &Rc<Endpoint> {
        &self.request.endpoint
    }

    /// Ends the first pass at `now`, by which everything that depends on time is judged again.
    #[must_use]
    pub fn finish(self, now: UnixMillis) -> Finish {
        let mode = self.request.endpoint.mode;
        self.try_finish(now)
            .unwrap_or_else(|denial| Finish::Done(Verdict::fail(denial, mode)))
    }

    fn try_finish(self, now: UnixMillis) -> Result<Finish, Denial> {
        let Self {
            mut request,
            pass,
            received,
            is_too_large,
            is_challenge_text,
        } = self;
        if is_too_large {
            return Err(Denial::BodyTooLarge);
        }
        request.conclude_at(now)?;
        let spec = &request.endpoint.scheme.spec;
        let is_length = |message: &Message| {
            oracle::is_challenge_length(received.saturating_add(message.literal_length()))
        };
        let is_length = is_length(&spec.message) || spec.other_messages.iter().any(is_length);
        if is_challenge_text && is_length {
            // The signature may be a MAC that the guard itself gave away.
            return Err(Denial::SignatureInvalid);
        }
        let second_pass = match pass {
            FirstPass::ChallengeOnly(denial) => {
                SecondPass::challenge_only(request, denial, received)
            }
            FirstPass::Buffer => SecondPass::whole_body(request, received),
            FirstPass::Digest(hash) => {
                let body = Body::hashed(hash.map(BodyHash::finish), received);
                let matched = request.best_match(request.messages(), &body);
                if matched.is_none() || !request.reads_body(received) {
                    let delivery = request.delivery_hash(request.messages(), &body);
                    return request.conclude(matched, delivery, &body).map(Finish::Done);
                }
                SecondPass::whole_body(request, received)
            }
            FirstPass::Hash { key, verifier } => {
                let begun = Begun::first(Rc::clone(&key), verifier);
                let matched = request.match_after_body(begun);
                let verifiers = match &matched {
                    Some(matched) if matched.key().is_valid(now) => Vec::new(),
                    _ => request.other_keys(&key),
                };
                let hashes_delivery = request.endpoint.dedup_by() == DedupBy::Message;
                let is_read = request.reads_body(received) || hashes_delivery;
                if verifiers.is_empty() && (matched.is_none() || !is_read) {
                    let body = Body::hashed(None, received);
                    let delivery = request.delivery_by_id();
                    return request.conclude(matched, delivery, &body).map(Finish::Done);
                }
                SecondPass::other_keys(request, matched, verifiers, received)
            }
        };
        Ok(Finish::NeedsBody(second_pass))
    }
}
