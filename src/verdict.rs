//! What the guard can say of a request, in one table: the reason, and what the sender is answered.

use crate::delivery::{Delivery, MessageDigest};
use crate::time::UnixMillis;

/// Declares [`Reason`] and its table in one place, so that neither can have a row the other lacks.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal $(, $status:literal $body:literal $(retry $after:literal)?)?;)*) => {
        /// Why a request got its verdict: the label in metrics, logs and response code details.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Reason {
            $($(#[$doc])* $reason,)*
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)*];

            /// The reason's name: `signature_invalid`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }

            /// What a sender denied for this reason is answered; `None` where no answer is given.
            #[must_use]
            pub const fn response(self) -> Option<Response> {
                match self {
                    $(Self::$reason => reasons!(@response $($status $body $(retry $after)?)?),)*
                }
            }
        }
    };
    (@response) => { None };
    (@response $status:literal $body:literal) => {
        Some(Response { status: $status, body: $body, retry_after: None })
    };
    (@response $status:literal $body:literal retry $after:literal) => {
        Some(Response { status: $status, body: $body, retry_after: Some($after) })
    };
}

reasons! {
    /// The signature verified with a valid secret, and all else holds.
    Accepted = "accepted";
    /// A sender's handshake, which the guard answered itself.
    ChallengeAnswered = "challenge_answered";
    /// No endpoint matched, and `unmatched` lets this path pass.
    Passed = "passed";
    /// The path, or the host, could mean an endpoint to the upstream but not to the guard.
    PathAmbiguous = "path_ambiguous", 400 "Bad request";
    /// No endpoint matched, or an upstream could take the path for another endpoint's.
    Unmatched = "unmatched", 404 "Not found";
    /// The endpoint's mode is `disabled`: its sender shall try again.
    EndpointDisabled = "endpoint_disabled", 503 "Unavailable" retry "60";
    /// Upgrade or CONNECT: what follows would be no message that a signature could cover.
    UpgradeRefused = "upgrade_refused", 400 "Bad request";
    /// The client's address is not in the endpoint's allow list.
    ClientAddressDenied = "client_address_denied", 403 "Forbidden";
    /// The client's address did not come by the way that the endpoint's `client_address` names.
    ClientAddressUntrusted = "client_address_untrusted", 403 "Forbidden";
    /// None of the endpoint's published allow lists came yet, and it has no other: its sender shall try again.
    AllowListPending = "allow_list_pending", 503 "Unavailable" retry "5";
    /// The method is not among the endpoint's.
    MethodNotAllowed = "method_not_allowed", 405 "Method not allowed";
    /// A parameter of the query that no signature covers, and that the endpoint's `query` does not name.
    QueryNotSigned = "query_not_signed", 400 "Bad request";
    /// The body is larger than the endpoint's `max_body_bytes`, or its content-length is no plain number.
    BodyTooLarge = "body_too_large", 413 "Payload too large";
    /// The request has trailers, which no signature covers.
    TrailersRefused = "trailers_refused", 400 "Bad request";
    /// A header that the signature needs is absent.
    SignatureMissing = "signature_missing", 401 "Invalid signature";
    /// The signature's header holds no signature of the scheme's form.
    SignatureMalformed = "signature_malformed", 401 "Invalid signature";
    /// A header that the signature needs came more than once.
    SignatureDuplicated = "signature_duplicated", 401 "Invalid signature";
    /// The scheme signs a timestamp, and the request has none.
    TimestampMissing = "timestamp_missing", 401 "Invalid signature";
    /// The timestamp is not of the scheme's form, or came more than once.
    TimestampMalformed = "timestamp_malformed", 401 "Invalid signature";
    /// The timestamp lies further in the past than the tolerance.
    TimestampExpired = "timestamp_expired", 401 "Invalid signature";
    /// The timestamp lies further in the future than the tolerance.
    TimestampFuture = "timestamp_future", 401 "Invalid signature";
    /// No secret of the endpoint made this signature.
    SignatureInvalid = "signature_invalid", 401 "Invalid signature";
    /// The signature verified, but with a revoked secret: somebody uses a leaked one.
    SecretRevoked = "secret_revoked", 401 "Invalid signature";
    /// The signature verified, but with a secret past its `not_after`.
    SecretExpired = "secret_expired", 401 "Invalid signature";
    /// The signature verified, but with a secret before its `not_before`.
    SecretNotYetValid = "secret_not_yet_valid", 401 "Invalid signature";
    /// The delivery was accepted before, and the upstream took it. The status is 200 where the sender signs
    /// ids, since such senders repeat one until it is taken, or the endpoint's own.
    Replayed = "replayed", 409 "Already delivered";
    /// The delivery's first copy is still on its way.
    InFlight = "in_flight", 409 "Already being delivered" retry "5";
    /// The host did not give what the guard asked of it.
    HostError = "host_error", 500 "Internal error";
    /// The host held the request but never showed its body: `allow_on_headers_stop_iteration` is
    /// not set, or the sender's first byte took too long.
    NotHeld = "not_held", 503 "Internal error" retry "5";
    /// The worker holds too many bytes of requests, and this client holds most of them.
    Overloaded = "overloaded", 503 "Overloaded" retry "5";
    /// The request ended before its verdict: the sender left, or Envoy answered for the guard.
    Incomplete = "incomplete";
}

/// What a denied sender is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body: one text for all signature failures, so that they tell an attacker nothing.
    pub body: &'static str,
    /// The `Retry-After` header, in seconds.
    pub retry_after: Option<&'static str>,
}

/// What the guard answers a handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The body's media type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// What happens to a request: the `verdict` label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It goes upstream as verified.
    Accepted,
    /// It is answered by the guard.
    Denied,
    /// It goes upstream although it failed: the endpoint's mode is `monitor`.
    Monitored,
    /// It goes upstream unchecked: it belongs to no endpoint.
    Passed,
    /// It is a handshake, answered by the guard as its sender wants it.
    Challenged,
}

impl Outcome {
    /// The outcome's name: `accepted`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Denied => "denied",
            Self::Monitored => "monitored",
            Self::Passed => "passed",
            Self::Challenged => "challenged",
        }
    }
}

/// What an endpoint does with a request that fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Denies it.
    Enforce,
    /// Lets it through and reports it.
    Monitor,
    /// Denies every request with a status on which senders retry.
    Disabled,
}

impl Mode {
    /// What becomes of a request with this reason.
    #[must_use]
    pub const fn outcome(self, reason: Reason) -> Outcome {
        match (reason, self) {
            (Reason::Accepted, _) => Outcome::Accepted,
            (Reason::Passed, _) => Outcome::Passed,
            (Reason::ChallengeAnswered, _) => Outcome::Challenged,
            // What the guard could not look at is never let through, and a request that ended has
            // gone nowhere.
            (
                Reason::HostError
                | Reason::NotHeld
                | Reason::Overloaded
                | Reason::TrailersRefused
                | Reason::UpgradeRefused
                | Reason::Incomplete,
                _,
            ) => Outcome::Denied,
            (_, Self::Monitor) => Outcome::Monitored,
            (_, Self::Enforce | Self::Disabled) => Outcome::Denied,
        }
    }
}

/// The secret that verified a request, and what it vouches for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    /// The secret's place in the endpoint's list.
    pub secret: usize,
    /// The delivery's id, where the scheme signs one.
    pub delivery_id: Option<Box<[u8]>>,
    /// The delivery's identity, where the endpoint remembers deliveries and this one may go on.
    pub delivery: Option<Delivery>,
    /// The last moment at which its signature is fresh, where the sender signs a time.
    pub fresh_until: Option<UnixMillis>,
    /// The digest of the signed message, where the endpoint remembers no deliveries and this one may go on.
    pub message: Option<MessageDigest>,
}

/// The guard's last word on one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// What happens to the request.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// What verified: present also where the secret may no longer be used.
    pub verified: Option<Verified>,
    /// What a handshake is answered.
    pub answer: Option<Box<Answer>>,
    /// The status of the answer, where it is not the reason's.
    pub status: Option<u16>,
    /// The name of the parameter that was refused, where it can be shown.
    pub parameter: Option<Box<[u8]>>,
}

impl Verdict {
    /// The verdict on a handshake.
    #[must_use]
    pub fn challenged(answer: Answer) -> Self {
        Self {
            outcome: Outcome::Challenged,
            reason: Reason::ChallengeAnswered,
            verified: None,
            answer: Some(Box::new(answer)),
            status: None,
            parameter: None,
        }
    }

    /// The verdict on a request that failed, or was never checked, for `reason`.
    #[must_use]
    pub const fn new(reason: Reason, mode: Mode) -> Self {
        Self {
            outcome: mode.outcome(reason),
            reason,
            verified: None,
            answer: None,
            status: None,
            parameter: None,
        }
    }

    /// What the sender is answered, if the guard answers.
    #[must_use]
    pub fn response(&self) -> Option<Response> {
        let response = self
            .reason
            .response()
            .filter(|_| self.outcome == Outcome::Denied)?;
        Some(Response {
            status: self.status.unwrap_or(response.status),
            ..response
        })
    }
}
