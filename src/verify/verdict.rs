//! The verdict on one request.

use super::proof::{Proof, Verified};
use crate::policy::endpoint::Endpoint;
use crate::replay::ReplayCheck;
use crate::secrets::SecretIndex;
use crate::verdict::{Answer, Denial, Mode, Outcome, Reason, Response};

/// The verdict on one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// A valid secret signed the request: it goes upstream.
    Accept(Proof),
    /// The request is a sender's handshake, which the guard answers.
    Answer {
        /// The answer.
        answer: Box<Answer>,
        /// The secret that signed the handshake, if it was signed.
        verified: Option<Verified>,
    },
    /// The request belongs to no endpoint, and `unmatched` lets its path pass without verification.
    Pass,
    /// The request failed. In `monitor` it goes upstream all the same, unless its denial excludes that.
    Fail(Rejection),
}

/// Why a request failed, and how the guard answers it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejection {
    /// Why.
    pub denial: Denial,
    /// The endpoint's mode.
    pub mode: Mode,
    /// The status of the answer, where it is not the denial's own.
    pub status: Option<u16>,
    /// The secret that signed the request, if one did.
    pub verified: Option<Verified>,
    /// The evidence for the cause, for the log.
    pub evidence: Option<Evidence>,
}

/// The evidence for the cause of a rejection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Evidence {
    /// The query has a parameter of this name, which was rejected.
    Parameter(Box<[u8]>),
    /// The keys of these secrets did not make the signature.
    NoMatch(Box<[SecretIndex]>),
    /// A secret made the signature, but for the hash of another body.
    OtherBody,
}

impl Rejection {
    /// A rejection at an endpoint of this mode, and nothing else.
    #[must_use]
    pub(super) const fn new(denial: Denial, mode: Mode) -> Self {
        Self {
            denial,
            mode,
            status: None,
            verified: None,
            evidence: None,
        }
    }
}

impl Verdict {
    /// The verdict on a request whose signature does not verify.
    pub(super) fn fail_by(denial: Denial, mode: Mode, evidence: Evidence) -> Self {
        Self::Fail(Rejection {
            evidence: Some(evidence),
            ..Rejection::new(denial, mode)
        })
    }

    /// The verdict on a request that failed, at an endpoint of this mode.
    #[must_use]
    pub const fn fail(denial: Denial, mode: Mode) -> Self {
        Self::Fail(Rejection::new(denial, mode))
    }

    /// The verdict on a request that is denied whatever the endpoint's mode.
    #[must_use]
    pub const fn deny(denial: Denial) -> Self {
        Self::fail(denial, Mode::Enforce)
    }

    /// The verdict on a handshake.
    pub(super) fn challenge_answered(answer: Answer, verified: Option<Verified>) -> Self {
        Self::Answer {
            answer: Box::new(answer),
            verified,
        }
    }

    /// The fate of the request.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Accept(_) => Outcome::Accepted,
            Self::Answer { .. } => Outcome::Challenged,
            Self::Pass => Outcome::Passed,
            Self::Fail(rejection) => rejection.denial.outcome(rejection.mode),
        }
    }

    /// Why: the label in metrics and logs.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Accept(_) => Reason::Accepted,
            Self::Answer { .. } => Reason::ChallengeAnswered,
            Self::Pass => Reason::Passed,
            Self::Fail(rejection) => rejection.denial.into(),
        }
    }

    /// The secret that signed the request, if one did, and the values that it signed. The secret may be revoked.
    #[must_use]
    pub const fn verified(&self) -> Option<&Verified> {
        match self {
            Self::Accept(proof) => Some(proof.verified()),
            Self::Answer { verified, .. } => verified.as_ref(),
            Self::Pass => None,
            Self::Fail(rejection) => rejection.verified.as_ref(),
        }
    }

    /// The answer to a handshake.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer { answer, .. } => Some(answer),
            Self::Accept(_) | Self::Pass | Self::Fail(_) => None,
        }
    }

    /// The name of the parameter that was rejected, where it can be shown.
    #[must_use]
    pub fn parameter(&self) -> Option<&[u8]> {
        match self {
            Self::Fail(Rejection {
                evidence: Some(Evidence::Parameter(name)),
                ..
            }) => Some(name),
            Self::Fail(_) | Self::Accept(_) | Self::Answer { .. } | Self::Pass => None,
        }
    }

    /// The answer to a sender that is denied, if the guard sends one.
    #[must_use]
    pub fn response(&self) -> Option<Response> {
        let Self::Fail(rejection) = self else {
            return None;
        };
        let is_denied = self.outcome() == Outcome::Denied;
        let response = rejection.denial.response().filter(|_| is_denied)?;
        Some(Response {
            status: rejection.status.unwrap_or(response.status),
            ..response
        })
    }

    /// What to ask the memory of deliveries before the verdict takes effect, if anything.
    #[must_use]
    pub fn replay_check<'e>(&self, endpoint: &'e Endpoint) -> Option<ReplayCheck<'e>> {
        let (verified, is_accepted) = match self {
            Self::Accept(proof) => (proof.verified(), true),
            Self::Answer { verified, .. } => (verified.as_ref()?, false),
            Self::Pass | Self::Fail(_) => return None,
        };
        Some(ReplayCheck {
            replay: endpoint.replay.as_ref()?,
            delivery: verified.delivery()?,
            fresh_until: verified.fresh_until(),
            acquires: is_accepted && endpoint.mode == Mode::Enforce,
        })
    }

    /// The verdict on a verified request whose delivery must not go upstream now, by the memory's `denial`.
    #[must_use]
    pub fn reject_duplicate(self, endpoint: &Endpoint, denial: Denial) -> Self {
        let verified = match self {
            Self::Accept(proof) => Some(proof.into_verified()),
            Self::Answer { verified, .. } => verified,
            Self::Pass => None,
            Self::Fail(rejection) => rejection.verified,
        };
        let replay = endpoint.replay.as_ref();
        let status = replay.filter(|_| denial == Denial::Replayed);
        Self::Fail(Rejection {
            status: status.map(|replay| replay.status),
            verified,
            ..Rejection::new(denial, endpoint.mode)
        })
    }
}
