//! The second pass over a body.

use super::conclude::Body;
use super::matched::Match;
use super::unverified::{Begun, Unverified};
use super::verdict::Verdict;
use crate::crypto::Verifier;
use crate::verdict::Denial;

/// A request whose body is read a second time.
#[derive(Debug)]
pub struct SecondPass {
    request: Unverified,
    purpose: Purpose,
    length: u64,
    missing: u64,
}

/// The reason to read the body again.
#[derive(Debug)]
enum Purpose {
    /// For the keys that the first pass did not try, or for the hash of the delivery.
    OtherKeys {
        /// The match of the first pass.
        matched: Option<Match>,
        verifiers: Vec<Begun>,
        /// The hash of the message, where that identifies deliveries.
        delivery: Option<Verifier>,
        /// The whole body, where the guard needs a value in it.
        body: Option<Vec<u8>>,
    },
    /// For values that the message contains, or an algorithm that needs the message at once.
    WholeBody(Vec<u8>),
    /// For a handshake. Without one, the request is denied.
    ChallengeOnly { denial: Denial, body: Vec<u8> },
}

impl SecondPass {
    pub(super) fn other_keys(
        request: Unverified,
        matched: Option<Match>,
        verifiers: Vec<Begun>,
        length: u64,
    ) -> Box<Self> {
        let purpose = Purpose::OtherKeys {
            matched,
            verifiers,
            delivery: request.begin_delivery(),
            body: request.reads_body(length).then(|| buffer(length)),
        };
        Self::new(request, purpose, length)
    }

    pub(super) fn whole_body(request: Unverified, length: u64) -> Box<Self> {
        Self::new(request, Purpose::WholeBody(buffer(length)), length)
    }

    pub(super) fn challenge_only(request: Unverified, denial: Denial, length: u64) -> Box<Self> {
        let body = buffer(length);
        Self::new(request, Purpose::ChallengeOnly { denial, body }, length)
    }

    fn new(request: Unverified, purpose: Purpose, length: u64) -> Box<Self> {
        Box::new(Self {
            request,
            purpose,
            length,
            missing: length,
        })
    }

    /// How many bytes of the body are still missing.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        self.missing
    }

    /// Takes the body's next bytes.
    pub fn body(&mut self, chunk: &[u8]) {
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.missing = self.missing.saturating_sub(length);
        match &mut self.purpose {
            Purpose::OtherKeys {
                verifiers,
                delivery,
                body,
                ..
            } => {
                let verifiers = verifiers.iter_mut().map(|begun| &mut begun.verifier);
                verifiers
                    .chain(delivery)
                    .for_each(|verifier| verifier.update(chunk));
                if let Some(body) = body {
                    body.extend(chunk);
                }
            }
            Purpose::WholeBody(body) | Purpose::ChallengeOnly { body, .. } => body.extend(chunk),
        }
    }

    /// Ends the request.
    #[must_use]
    pub fn finish(self) -> Verdict {
        let mode = self.request.endpoint.mode;
        self.try_finish()
            .unwrap_or_else(|denial| Verdict::fail(denial, mode))
    }

    fn try_finish(self) -> Result<Verdict, Denial> {
        let Self {
            mut request,
            purpose,
            length,
            missing,
        } = self;
        if missing > 0 {
            return Err(Denial::HostError);
        }
        match purpose {
            Purpose::OtherKeys {
                mut matched,
                verifiers,
                delivery,
                body,
            } => {
                for begun in verifiers {
                    if let Some(other) = request.match_after_body(begun) {
                        matched = Some(Match::preferred(matched, other, request.now));
                    }
                }
                let sha256 = match (&matched, &body) {
                    // Only a body that the sender signed is parsed.
                    (Some(_), Some(body)) => request.read_body(body)?.1,
                    _ => None,
                };
                let delivery = match delivery {
                    Some(hash) => Some(request.hash_after_body(hash, 0, None)),
                    None => request.delivery_by_id(),
                };
                let body = Body {
                    bytes: body.as_deref().unwrap_or_default(),
                    sha256,
                    length,
                };
                request.conclude(matched, delivery, &body)
            }
            Purpose::WholeBody(bytes) => {
                let (messages, sha256) = match request.read_body(&bytes) {
                    // The body has no signature.
                    Err(denial @ Denial::SignatureMissing) if request.signatures.is_empty() => {
                        return answer_unsigned(&request, &bytes, denial);
                    }
                    read => read?,
                };
                let body = Body {
                    bytes: &bytes,
                    sha256,
                    length,
                };
                let matched = request.best_match(&messages, &body);
                let delivery = request.delivery_hash(&messages, &body);
                request.conclude(matched, delivery, &body)
            }
            Purpose::ChallengeOnly { denial, body } => answer_unsigned(&request, &body, denial),
        }
    }
}

/// The verdict on a request without a signature: a handshake, or this denial.
fn answer_unsigned(request: &Unverified, body: &[u8], denial: Denial) -> Result<Verdict, Denial> {
    let answer = request.answer(body, None).ok_or(denial)?;
    Ok(Verdict::challenge_answered(answer, None))
}

/// Memory for a body of this length.
fn buffer(length: u64) -> Vec<u8> {
    Vec::with_capacity(usize::try_from(length).unwrap_or_default())
}
