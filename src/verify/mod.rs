//! The phase machine of one request: headers, then body as it arrives, then the end, which may come
//! with any of them. Whatever the phases, there is one verdict.
//!
//! ```text
//! Check::begin(head) --> Check --body(chunk)*--> Check --finish--> Verdict
//!            |                        |                     |
//!            +-> Verdict              +-> Verdict           +-> Reread --body(chunk)*--> finish --> Verdict
//! ```

mod candidate_keys;
mod proof;
mod second_pass;
mod unverified;
mod verdict;

use std::rc::Rc;

use crate::crypto::{BodyHash, Mac};
use crate::policy::endpoint::Endpoint;
use crate::request::address::{AllowList, Client};
use crate::request::headers::Headers;
use crate::scheme::Identity;
use crate::scheme::challenge::{self, Challenge, Seen};
use crate::scheme::oracle;
use crate::scheme::query::shown;
use crate::secrets::keyring::Keyring;
use crate::time::UnixMillis;
use crate::verdict::{Denial, Mode, Outcome};
pub use proof::{Proof, Verified};
pub use second_pass::Reread;
use unverified::Signed;
pub use verdict::{Rejection, Verdict};

/// What is known of a request before its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// All headers, with the pseudo-headers.
    pub headers: Headers<'a>,
    /// Where it comes from.
    pub client: Client,
    /// When it came.
    pub now: UnixMillis,
    /// The lists of the endpoint's `allow_from`, as far as they came.
    pub published: &'a [Option<AllowList>],
    /// The endpoint's keys at that time.
    pub keyring: &'a Rc<Keyring>,
}

/// A request on its way to a verdict.
#[derive(Debug)]
pub struct Check {
    endpoint: Rc<Endpoint>,
    claims: Signed,
    work: Work,
    received: u64,
    /// The body is larger than the endpoint takes, and is held to its end all the same: see [`Check::body`].
    is_too_large: bool,
    /// Nothing came yet but characters of such texts as the guard gives MACs of, where it does.
    is_plain: bool,
}

/// What is done with the body as it arrives.
#[derive(Debug)]
enum Work {
    /// It is hashed for one key: the first that may accept.
    Stream(usize, Mac),
    /// It is hashed for a message that holds no more of it.
    Digest(Option<BodyHash>),
    /// Nothing: what has to be known first stands in it.
    Wait,
    /// Nothing: it has no signature, for this reason, but may be a handshake.
    Ask(Denial),
}

/// How a request ends.
#[derive(Debug)]
pub enum Finish {
    /// The verdict is there.
    Done(Verdict),
    /// The first secret did not verify: the body is needed once more, for all others.
    Again(Box<Reread>),
}

impl Check {
    /// Decides what the headers alone can tell: everything but whether the signature is right.
    ///
    /// # Errors
    /// The verdict, where there is one already.
    pub fn begin(endpoint: &Rc<Endpoint>, head: &Head<'_>) -> Result<Self, Verdict> {
        let verdict = |denial| {
            let parameter = match denial {
                Denial::QueryNotSigned => endpoint.query.refused(&head.headers).and_then(shown),
                _ => None,
            };
            Verdict::Fail(Rejection {
                denial,
                mode: endpoint.mode,
                status: None,
                verified: None,
                parameter: parameter.map(Box::from),
            })
        };
        let method = Self::admit(endpoint, head).map_err(verdict)?;
        let challenge = endpoint.challenge();
        let challenge = challenge.filter(|each| !each.is_excluded_by(method, &head.headers));
        if challenge.is_some_and(|challenge| !challenge.is_in_body())
            && let Some(answer) =
                endpoint.answer(&Seen::Head(&head.headers), None, head.keyring, head.now)
        {
            return Err(Verdict::challenge_answered(answer, None));
        }
        let challenge = challenge.filter(|challenge| challenge.is_in_body());
        Self::read(endpoint, head, method, challenge).map_err(verdict)
    }

    /// The order of the checks is the order of the reasons: the first that fails is the verdict's.
    fn admit<'h>(endpoint: &Endpoint, head: &Head<'h>) -> Result<&'h [u8], Denial> {
        let headers = &head.headers;
        if endpoint.mode == Mode::Disabled {
            return Err(Denial::EndpointDisabled);
        }
        let method = headers
            .one(":method")
            .ok()
            .flatten()
            .ok_or(Denial::HostError)?;
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
        asks: Option<&Challenge>,
    ) -> Result<Self, Denial> {
        let refused = endpoint.refuses(method, &head.headers);
        if let Some(reason) = refused.filter(|_| asks.is_none()) {
            return Err(reason);
        }
        let headers = &head.headers;
        if headers
            .values("content-length")
            .any(|length| exceeds(length, endpoint.max_body))
        {
            return Err(Denial::BodyTooLarge);
        }
        let (claims, work) = match Signed::read(endpoint, head, refused, asks.is_some()) {
            Ok(claims) => {
                let work = claims.begin(endpoint)?;
                (claims, work)
            }
            Err(reason) if asks.is_some_and(|challenge| !challenge.signed) => {
                (Signed::nothing(head), Work::Ask(refused.unwrap_or(reason)))
            }
            Err(reason) => return Err(reason),
        };
        Ok(Self {
            endpoint: Rc::clone(endpoint),
            work,
            claims,
            received: 0,
            is_too_large: false,
            is_plain: endpoint.gives_macs(),
        })
    }

    /// Takes the body's next bytes.
    ///
    /// # Errors
    /// The verdict, once the body is too large. In `monitor` the request is held to its end: filters behind the
    /// guard may cut a body after the guard has released a part of it.
    pub fn body(&mut self, chunk: &[u8]) -> Result<(), Verdict> {
        self.received = u64::try_from(chunk.len())
            .unwrap_or(u64::MAX)
            .saturating_add(self.received);
        if self.received > self.endpoint.max_body {
            let verdict = Verdict::fail(Denial::BodyTooLarge, self.endpoint.mode);
            self.is_too_large = verdict.outcome() == Outcome::Monitored;
            return match self.is_too_large {
                true => Ok(()),
                false => Err(verdict),
            };
        }
        match &mut self.work {
            Work::Stream(_, mac) => mac.update(chunk),
            Work::Digest(Some(hash)) => hash.update(chunk),
            Work::Digest(None) | Work::Wait | Work::Ask(_) => {}
        }
        self.is_plain = self.is_plain && oracle::challenge_chars_only(chunk);
        Ok(())
    }

    /// The bytes of the head that the check keeps until its end.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.claims.kept()
    }

    /// How many bytes of the body came.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// The endpoint whose request this is.
    #[must_use]
    pub const fn endpoint(&self) -> &Rc<Endpoint> {
        &self.endpoint
    }

    /// Ends the request at `now`, by which all that depends on time is judged again.
    #[must_use]
    pub fn finish(self, now: UnixMillis) -> Finish {
        let Self {
            endpoint,
            mut claims,
            work,
            received,
            is_too_large,
            is_plain,
        } = self;
        if is_too_large {
            return Finish::Done(Verdict::fail(Denial::BodyTooLarge, endpoint.mode));
        }
        if let Err(reason) = claims.conclude_at(now) {
            return Finish::Done(Verdict::fail(reason, endpoint.mode));
        }
        if is_plain && oracle::is_challenge_length(received) {
            // Its MAC may be one that the guard itself gave away.
            return Finish::Done(Verdict::fail(Denial::SignatureInvalid, endpoint.mode));
        }
        let scheme = &endpoint.scheme;
        match work {
            Work::Ask(reason) if received > challenge::MAX_BODY => {
                Finish::Done(Verdict::fail(reason, endpoint.mode))
            }
            Work::Ask(reason) => Finish::Again(Reread::new(
                endpoint,
                claims,
                Err(reason),
                Vec::new(),
                received,
            )),
            Work::Digest(hash) => {
                let hash = hash.map(BodyHash::finish).unwrap_or_default();
                let matched = claims.best(&endpoint, &claims.message, b"", &hash);
                let is_read = scheme.reads_body() || claims.asks(received);
                if is_read && matched.is_some() {
                    let again = Reread::new(endpoint, claims, Ok(matched), Vec::new(), received);
                    return Finish::Again(again);
                }
                let delivery = claims.delivery(&endpoint, &claims.message, b"", &hash);
                Finish::Done(claims.verdict(&endpoint, matched, delivery, b"", &hash, received))
            }
            Work::Wait => Finish::Again(Reread::new(
                endpoint,
                claims,
                Ok(None),
                Vec::new(),
                received,
            )),
            Work::Stream(first, mac) => {
                let matched = claims.match_after_body(mac, first);
                let is_valid =
                    matched.is_some_and(|matched| claims.accepts(&endpoint, matched.key));
                let others = match is_valid {
                    true => Vec::new(),
                    false => claims.others(&endpoint, first),
                };
                let is_told = endpoint.remembered() == Identity::Message;
                let is_read = scheme.reads_body() || claims.asks(received) || is_told;
                if others.is_empty() && !(is_read && matched.is_some()) {
                    let delivery = claims.delivery(&endpoint, &[], b"", &[]);
                    let verdict = claims.verdict(&endpoint, matched, delivery, b"", &[], received);
                    return Finish::Done(verdict);
                }
                Finish::Again(Reread::new(endpoint, claims, Ok(matched), others, received))
            }
        }
    }
}

/// Whether a content-length says more than `limit`, or is no plain number: Envoy hands on a `013`, over HTTP/2
/// and in version 1.36 a `+13` too, which upstreams may read differently.
fn exceeds(length: &[u8], limit: u64) -> bool {
    let is_plain =
        length.iter().all(u8::is_ascii_digit) && (length == b"0" || !length.starts_with(b"0"));
    let length = std::str::from_utf8(length).ok().map(str::parse::<u64>);
    !(is_plain && matches!(length, Some(Ok(length)) if length <= limit))
}
