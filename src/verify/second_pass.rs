//! A body once more: for the other secrets, and for what has to be known of it as a whole.

use std::rc::Rc;

use super::candidate_keys::Match;
use super::unverified::Signed;
use super::verdict::Verdict;
use crate::crypto::{self, Mac};
use crate::policy::endpoint::Endpoint;
use crate::scheme::Plan;
use crate::scheme::body::Content;
use crate::scheme::chunk::has_digest;
use crate::verdict::Denial;

/// A request whose body is read again: for the other secrets, or for what it holds.
#[derive(Debug)]
pub struct Reread {
    endpoint: Rc<Endpoint>,
    claims: Signed,
    /// The secret that verified the body when it came; or why none could, where it may be a handshake.
    matched: Result<Option<Match>, Denial>,
    macs: Vec<(usize, Mac)>,
    /// The hash of the message, where that is what tells deliveries apart.
    told: Option<Mac>,
    /// The whole body, where something in it is needed.
    whole: Option<Vec<u8>>,
    received: u64,
    missing: u64,
}

impl Reread {
    pub(super) fn new(
        endpoint: Rc<Endpoint>,
        claims: Signed,
        matched: Result<Option<Match>, Denial>,
        macs: Vec<(usize, Mac)>,
        received: u64,
    ) -> Box<Self> {
        let is_read = endpoint.scheme.keeps_body() || claims.asks(received);
        let streams = endpoint.scheme.plan == Plan::Stream;
        let told = claims.begin_delivery(&endpoint).filter(|_| streams);
        Box::new(Self {
            told,
            whole: is_read
                .then(|| Vec::with_capacity(usize::try_from(received).unwrap_or_default())),
            endpoint,
            claims,
            matched,
            macs,
            received,
            missing: received,
        })
    }

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
        if let Some(told) = &mut self.told {
            told.update(chunk);
        }
        if let Some(whole) = &mut self.whole {
            whole.extend(chunk);
        }
    }

    /// Ends the request.
    #[must_use]
    pub fn finish(self) -> Verdict {
        let mode = self.endpoint.mode;
        if self.missing > 0 {
            return Verdict::fail(Denial::HostError, mode);
        }
        self.try_finish()
            .unwrap_or_else(|reason| Verdict::fail(reason, mode))
    }

    fn try_finish(self) -> Result<Verdict, Denial> {
        let Self {
            endpoint,
            mut claims,
            matched,
            macs,
            told,
            whole,
            received,
            ..
        } = self;
        let scheme = &endpoint.scheme;
        let matched = match matched {
            Ok(matched) => matched,
            Err(reason) => {
                let body = whole.unwrap_or_default();
                return claims
                    .answer(&endpoint, &body, None)
                    .map(|answer| Verdict::challenge_answered(answer, None))
                    .ok_or(reason);
            }
        };
        let mut verified = matched;
        for (index, mac) in macs {
            if let Some(other) = claims.match_after_body(mac, index) {
                verified = claims.better(&endpoint, verified, other);
            }
        }
        let streamed_delivery = |claims: &Signed| match told {
            Some(told) => Some(claims.delivery_after_body(told)),
            None => claims.delivery(&endpoint, &[], b"", &[]),
        };
        let Some(body) = whole else {
            let delivery = streamed_delivery(&claims);
            return Ok(claims.verdict(&endpoint, verified, delivery, b"", &[], received));
        };
        let streamed = scheme.plan == Plan::Stream;
        if streamed && verified.is_none() {
            // Nobody's JSON is read but the sender's own.
            return Ok(claims.verdict(&endpoint, None, None, b"", &[], received));
        }
        let content = Content::read(&body, &claims.kind, &scheme.wanted);
        let content = content.ok_or(Denial::SignatureMalformed)?;
        let message = claims.read_late(scheme, &content)?;
        let hash = if scheme.body_hash.is_some() || has_digest(&message) {
            crypto::sha256(&body)
        } else {
            [0; 32]
        };
        let delivery = if streamed {
            streamed_delivery(&claims)
        } else {
            verified = claims.best(&endpoint, &message, &body, &hash);
            claims.delivery(&endpoint, &message, &body, &hash)
        };
        Ok(claims.verdict(&endpoint, verified, delivery, &body, &hash, received))
    }
}
