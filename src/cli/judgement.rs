//! The verdict on a captured request, by the module's own verification.

use std::rc::Rc;

use super::request::Request;
use crate::policy::endpoint::Endpoint;
use crate::policy::{EndpointIndex, Policy, Route};
use crate::request::address::Client;
use crate::request::headers::Headers;
use crate::secrets::Keyring;
use crate::time::UnixMillis;
use crate::verdict::Denial;
use crate::verify::{Finish, Head, Verdict, Verification};

/// How the names of the trailers begin that Envoy's decompressor adds.
const DECOMPRESSOR: &str = "x-envoy-decompressor-";

/// The verdict on a request, and the endpoint that it belongs to.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) endpoint: Option<Rc<Endpoint>>,
    pub(super) verdict: Verdict,
}

/// The endpoint that a request belongs to.
pub(super) fn owner(policy: &Policy, request: &Request) -> Option<EndpointIndex> {
    let pairs = request.pairs();
    match route(policy, request, &Headers::new(&pairs)) {
        Route::Guarded(index, _) => Some(index),
        Route::HealthCheck | Route::Pass | Route::Deny(_) => None,
    }
}

/// Whether the guard answers a request as a health check.
pub(super) fn is_health_check(policy: &Policy, request: &Request) -> bool {
    let pairs = request.pairs();
    matches!(
        route(policy, request, &Headers::new(&pairs)),
        Route::HealthCheck
    )
}

fn route<'p>(policy: &'p Policy, request: &Request, headers: &Headers<'_>) -> Route<'p> {
    policy.route(
        request.method.as_bytes(),
        // CONNECT has no path.
        Some(request.target.as_bytes()).filter(|_| request.method != "CONNECT"),
        request.authority.as_bytes(),
        headers.upgrades(),
    )
}

/// Judges a request that arrives at `now` from `client`.
pub(super) fn judge(
    policy: &Policy,
    request: &Request,
    client: Client,
    now: UnixMillis,
) -> Judgement {
    let pairs = request.pairs();
    let headers = Headers::new(&pairs);
    let endpoint = match route(policy, request, &headers) {
        Route::Guarded(_, endpoint) => Rc::clone(endpoint),
        Route::HealthCheck | Route::Pass => return without_endpoint(Verdict::Pass),
        Route::Deny(denial) => return without_endpoint(Verdict::deny(denial)),
    };
    // The endpoint itself would keep the keys from before a secret got its value.
    let values = endpoint.filter_states().map(|_| None).collect();
    let keyring = Rc::new(Keyring::new(&endpoint.secrets, &endpoint.scheme, values));
    let head = Head {
        headers,
        client,
        now,
        published: &[],
        keyring: &keyring,
    };
    let verdict = verify(&endpoint, &head, request);
    Judgement {
        endpoint: Some(endpoint),
        verdict,
    }
}

/// Whether all trailers are those of Envoy's decompressor, as for the guard's own callback.
fn accepts_trailers(endpoint: &Endpoint, request: &Request) -> bool {
    let mut names = request.trailers.iter();
    names.all(|name| endpoint.is_decompressed && name.starts_with(DECOMPRESSOR))
}

fn verify(endpoint: &Rc<Endpoint>, head: &Head<'_>, request: &Request) -> Verdict {
    let body = &request.body;
    let mut verification = match Verification::begin(endpoint, head) {
        Ok(verification) => verification,
        Err(verdict) => return verdict,
    };
    if let Err(verdict) = verification.body(body) {
        return verdict;
    }
    if !accepts_trailers(endpoint, request) {
        return Verdict::deny(Denial::TrailersRefused);
    }
    match verification.finish(head.now) {
        Finish::Done(verdict) => verdict,
        Finish::NeedsBody(mut pass) => {
            pass.body(body);
            pass.finish()
        }
    }
}

const fn without_endpoint(verdict: Verdict) -> Judgement {
    Judgement {
        endpoint: None,
        verdict,
    }
}
