//! The phase machine of one request: headers, then body as it arrives, then the end, which may come
//! with any of them. Whatever the phases, there is one verdict.
//!
//! ```text
//! Check::begin(head) --> Check --body(chunk)*--> Check --finish--> Verdict
//!            |                        |                     |
//!            +-> Verdict              +-> Verdict           +-> Reread --body(chunk)*--> finish --> Verdict
//! ```

use std::rc::Rc;

use crate::address::Client;
use crate::duration::UnixMillis;
use crate::endpoint::Endpoint;
use crate::headers::Headers;
use crate::mac::{Mac, Tag};
use crate::scheme::Field;
use crate::secret::Secret;
use crate::template::Piece;
use crate::verdict::{Mode, Reason, Verdict, Verified};

/// What is known of a request before its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// All headers, with the pseudo-headers.
    pub headers: Headers<'a>,
    /// Where it comes from.
    pub client: Client,
    /// When it came.
    pub now: UnixMillis,
}

/// A request on its way to a verdict.
#[derive(Debug)]
pub struct Check {
    endpoint: Rc<Endpoint>,
    claims: Signed,
    /// The secret that the body is hashed for as it arrives: the first that may accept.
    first: usize,
    mac: Mac,
    received: u64,
}

/// The claims of a request, as far as they are needed until its end.
#[derive(Debug)]
struct Signed {
    candidates: Vec<Tag>,
    before_body: Vec<u8>,
    after_body: Vec<u8>,
    id: Option<Box<[u8]>>,
    now: UnixMillis,
}

/// How a request ends.
#[derive(Debug)]
pub enum Finish {
    /// The verdict is there.
    Done(Verdict),
    /// The first secret did not verify: the body is needed once more, for all others.
    Again(Reread),
}

impl Check {
    /// Decides what the headers alone can tell: everything but whether the signature is right.
    ///
    /// # Errors
    /// The verdict, where there is one already.
    pub fn begin(endpoint: &Rc<Endpoint>, head: &Head<'_>) -> Result<Self, Verdict> {
        Self::try_begin(endpoint, head).map_err(|reason| Verdict::new(reason, endpoint.mode))
    }

    /// The order of the checks is the order of the reasons: the first that fails is the verdict's.
    fn try_begin(endpoint: &Rc<Endpoint>, head: &Head<'_>) -> Result<Self, Reason> {
        let headers = &head.headers;
        if endpoint.mode == Mode::Disabled {
            return Err(Reason::EndpointDisabled);
        }
        let method = headers
            .one(":method")
            .ok()
            .flatten()
            .ok_or(Reason::HostError)?;
        let upgrades = headers.values("upgrade").chain(headers.values(":protocol"));
        if method == b"CONNECT" || upgrades.count() > 0 {
            return Err(Reason::UpgradeRefused);
        }
        endpoint.admits(head.client)?;
        if !endpoint.takes(method) {
            return Err(Reason::MethodNotAllowed);
        }
        if headers
            .values("content-length")
            .any(|length| exceeds(length, endpoint.max_body))
        {
            return Err(Reason::BodyTooLarge);
        }
        let scheme = &endpoint.scheme;
        let claims = scheme.claims(headers, head.now)?;
        let write = |pieces: &[Piece<Field>]| {
            message(pieces, endpoint, headers, claims.timestamp, claims.id)
        };
        let claims = Signed {
            before_body: write(&scheme.before_body)?,
            after_body: write(&scheme.after_body)?,
            candidates: claims.candidates,
            id: claims.id.map(Box::from),
            now: head.now,
        };
        let accepts = |secret: &Secret| secret.reason(head.now) == Reason::Accepted;
        let first = endpoint.secrets.iter().position(accepts).unwrap_or(0);
        let secret = endpoint.secrets.get(first).ok_or(Reason::HostError)?;
        let mut mac = secret.key.begin();
        mac.update(&claims.before_body);
        Ok(Self {
            endpoint: Rc::clone(endpoint),
            claims,
            first,
            mac,
            received: 0,
        })
    }

    /// Takes the body's next bytes.
    ///
    /// # Errors
    /// The verdict, once the body is too large.
    pub fn body(&mut self, chunk: &[u8]) -> Result<(), Verdict> {
        self.received = u64::try_from(chunk.len())
            .unwrap_or(u64::MAX)
            .saturating_add(self.received);
        if self.received > self.endpoint.max_body {
            return Err(Verdict::new(Reason::BodyTooLarge, self.endpoint.mode));
        }
        self.mac.update(chunk);
        Ok(())
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

    /// Ends the request.
    #[must_use]
    pub fn finish(self) -> Finish {
        let Self {
            endpoint,
            claims,
            first,
            mut mac,
            received,
        } = self;
        mac.update(&claims.after_body);
        let matched = mac.matches(&claims.candidates).then_some(first);
        let reason = matched
            .and_then(|index| endpoint.secrets.get(index))
            .map(|secret| secret.reason(claims.now));
        if reason == Some(Reason::Accepted) || endpoint.secrets.len() == 1 {
            return Finish::Done(claims.verdict(&endpoint, matched));
        }
        let others = endpoint
            .secrets
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != first);
        let macs = others
            .map(|(index, secret)| {
                let mut mac = secret.key.begin();
                mac.update(&claims.before_body);
                (index, mac)
            })
            .collect();
        Finish::Again(Reread {
            endpoint,
            claims,
            matched,
            macs,
            missing: received,
        })
    }
}

/// A request whose body is read again.
#[derive(Debug)]
pub struct Reread {
    endpoint: Rc<Endpoint>,
    claims: Signed,
    matched: Option<usize>,
    macs: Vec<(usize, Mac)>,
    missing: u64,
}

impl Reread {
    /// How many bytes of the body are still wanted.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        self.missing
    }

    /// Takes the body's next bytes.
    pub fn body(&mut self, chunk: &[u8]) {
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.missing = self.missing.saturating_sub(length);
        for (_, mac) in &mut self.macs {
            mac.update(chunk);
        }
    }

    /// Ends the request.
    #[must_use]
    pub fn finish(self) -> Verdict {
        let Self {
            endpoint,
            claims,
            matched,
            macs,
            missing,
        } = self;
        if missing > 0 {
            return Verdict::new(Reason::HostError, endpoint.mode);
        }
        let mut best = matched;
        for (index, mut mac) in macs {
            mac.update(&claims.after_body);
            if mac.matches(&claims.candidates) {
                let rank = |index: &usize| {
                    endpoint
                        .secrets
                        .get(*index)
                        .map(|secret| weight(secret.reason(claims.now)))
                };
                best = best.into_iter().chain([index]).min_by_key(rank);
            }
        }
        claims.verdict(&endpoint, best)
    }
}

/// Which secret counts where several verify: one that accepts; else the worst news, a revoked one.
const fn weight(reason: Reason) -> u8 {
    match reason {
        Reason::Accepted => 0,
        Reason::SecretRevoked => 1,
        Reason::SecretExpired => 2,
        _ => 3,
    }
}

impl Signed {
    /// The verdict, given the secret that verified the request.
    fn verdict(self, endpoint: &Endpoint, matched: Option<usize>) -> Verdict {
        let secret = matched.and_then(|index| Some((index, endpoint.secrets.get(index)?)));
        let Some((index, secret)) = secret else {
            return Verdict::new(Reason::SignatureInvalid, endpoint.mode);
        };
        let verified = Verified {
            secret: index,
            delivery_id: self.id,
        };
        let verdict = Verdict::new(secret.reason(self.now), endpoint.mode);
        Verdict {
            verified: Some(verified),
            ..verdict
        }
    }
}

/// Whether a content-length says more than `limit`. One that is no number is Envoy's to refuse; the
/// running size holds in any case.
fn exceeds(length: &[u8], limit: u64) -> bool {
    let length = std::str::from_utf8(length).ok().map(str::parse::<u64>);
    matches!(length, Some(Ok(length)) if length > limit)
}

/// Writes the pieces of the signed message that stand on one side of the body.
fn message(
    pieces: &[Piece<Field>],
    endpoint: &Endpoint,
    headers: &Headers<'_>,
    timestamp: Option<&[u8]>,
    id: Option<&[u8]>,
) -> Result<Vec<u8>, Reason> {
    let header = |name| headers.one(name).ok().flatten().ok_or(Reason::HostError);
    let mut message = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => message.extend(text.as_bytes()),
            Piece::Placeholder(Field::Timestamp) => message.extend(timestamp.unwrap_or_default()),
            Piece::Placeholder(Field::Id) => message.extend(id.unwrap_or_default()),
            Piece::Placeholder(Field::Method) => message.extend(header(":method")?),
            Piece::Placeholder(Field::Url) => {
                match &endpoint.origin {
                    Some(origin) => message.extend(origin.as_bytes()),
                    None => {
                        message.extend(header(":scheme")?);
                        message.extend(b"://");
                        message.extend(header(":authority")?);
                    }
                }
                message.extend(header(":path")?);
            }
            // The body is no piece of either side.
            Piece::Placeholder(Field::Body) => {}
        }
    }
    Ok(message)
}
