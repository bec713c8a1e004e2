//! The meaning of each reason, in one sentence.

use crate::verdict::Reason;

/// The meaning of a reason, and the fix, as in the table of reasons of the monitoring page.
pub(super) const fn meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::Accepted => "the signature is valid, and all other checks passed",
        Reason::ChallengeAnswered => {
            "the request is the sender's handshake, which the guard answers"
        }
        Reason::Passed => {
            "the request has no endpoint: `unmatched` lets its path pass unverified, or its path is that of `health_check`"
        }
        Reason::PathAmbiguous => {
            "the upstream could read the path or the host as another one: register a URL without encoded slashes, `//` or dot segments"
        }
        Reason::Unmatched => {
            "the request has no endpoint, or its path is near another endpoint's path: compare its path and host with `match`"
        }
        Reason::EndpointDisabled => "the endpoint's mode is `disabled`: set `mode: enforce`",
        Reason::UpgradeRefused => {
            "the request is an Upgrade or CONNECT, after which no message could be signed"
        }
        Reason::ClientAddressDenied => {
            "the client's address is not in `allow`: compare it with the sender's addresses, and set `client_address` behind a load balancer"
        }
        Reason::ClientAddressUntrusted => {
            "the client's address has another source than `client_address` says: set `client_address` behind a load balancer"
        }
        Reason::AllowListPending => {
            "no list has the client's address, and a list of `allow_from` is not fetched here"
        }
        Reason::MethodNotAllowed => {
            "the method is not in `methods`: add it if the sender uses it, or register the URL that a redirect leads to"
        }
        Reason::QueryNotSigned => {
            "a query parameter is not signed: list it in `query` if the sender's URL has it"
        }
        Reason::BodyTooLarge => {
            "the body exceeds `max_body_bytes`, or its content-length is not a plain number: raise the limit if the sender needs it"
        }
        Reason::TrailersRefused => {
            "the request has trailers, which no signature covers: turn them off in the proxy that adds them"
        }
        Reason::SignatureMissing => "a header that the signature needs is absent",
        Reason::SignatureMalformed => {
            "a value that the signature needs has another form, or the body can be parsed in two ways"
        }
        Reason::SignatureDuplicated => {
            "a value that the signature needs occurs twice, or under two names that some applications treat as one"
        }
        Reason::TimestampMissing => "the scheme signs a timestamp, and the request has none",
        Reason::TimestampMalformed => "the timestamp has another form, or occurs twice",
        Reason::TimestampExpired => "the timestamp is older than the tolerance",
        Reason::TimestampFuture => "the timestamp is further ahead than the tolerance",
        Reason::SignatureInvalid => "no configured secret made this signature",
        Reason::SecretRevoked => "a revoked secret made the signature: a leaked secret is in use",
        Reason::SecretExpired => "a secret made the signature after its `not_after`",
        Reason::SecretNotYetValid => "a secret made the signature before its `not_before`",
        Reason::Replayed => "the upstream confirmed this delivery before",
        Reason::InFlight => "the first copy of this delivery is still at the upstream",
        Reason::HostError => {
            "a secret of the endpoint has no value here: name its file by `--secret-file VERSION=PATH`"
        }
        Reason::InternalError => {
            "the guard met a state that it excludes, which is a bug: report it"
        }
        Reason::BodyUnavailable => {
            "Envoy did not show the body to the guard: set `allow_on_headers_stop_iteration: true`"
        }
        Reason::Overloaded => "the worker buffers more than `max_held_bytes`",
        Reason::Incomplete => "the request ended before its verdict",
    }
}
