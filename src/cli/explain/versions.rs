//! Another secret than the one that should have signed: another version of it, or another endpoint's.

use super::hypothesis::Cause;
use super::search::Search;
use super::trial::KnownSecret;
use crate::verdict::Denial;

/// The most other secrets that are tried.
const MAX_SECRETS: usize = 256;

/// Tries the secrets that the endpoint does not use at present, and those of other endpoints.
pub(super) fn try_all(search: &mut Search<'_>) {
    let subject = search.subject;
    let own = &subject.endpoint.name;
    let mut secrets: Vec<_> = subject.secrets.iter().collect();
    secrets.sort_by_key(|secret| secret.endpoint != *own);
    for secret in secrets.into_iter().take(MAX_SECRETS) {
        let mut used = search.setup.secrets.iter();
        let is_used = secret.endpoint == *own && used.any(|used| used.version == secret.version);
        if try_one(search, secret, is_used) {
            return;
        }
    }
}

/// Tries one secret without its limits, and one that is in use without its key id.
fn try_one(search: &mut Search<'_>, secret: &KnownSecret, is_used: bool) -> bool {
    if is_used && !secret.has_key_id() {
        return false;
    }
    let setup = search.setup.with_secrets(vec![secret.without_key_id()]);
    let request = search.subject.request;
    if search.try_setup(&setup, request).is_none() {
        return false;
    }
    let own = search.subject.endpoint;
    let (version, endpoint) = (&secret.version, &secret.endpoint);
    let (detail, fix) = if is_used {
        (
            format!("version {version} made the signature, but the request names another key id"),
            format!("set the `key_id` of version {version} to the id that the sender shows"),
        )
    } else if *endpoint == own.name {
        explain_own(search, version)
    } else {
        (
            format!("version {version} of the endpoint {endpoint} made the signature"),
            format!(
                "let the sender call the URL of {endpoint}, or set the secret of {} to the sender's",
                own.name
            ),
        )
    };
    search.add(Cause::OtherVersion, detail, fix);
    true
}

/// Why a version of this endpoint accepts no request at present.
fn explain_own(search: &Search<'_>, version: &str) -> (String, String) {
    let subject = search.subject;
    let mut secrets = subject.endpoint.secrets.iter();
    let validity = secrets
        .find(|secret| secret.version == *version)
        .map(|secret| secret.validity(subject.now).err());
    let made = format!("version {version} made the signature, but");
    match validity {
        None => (
            format!("{made} the configuration lists it for another environment"),
            "set the sender to the secret of this environment, or correct `environment`".to_owned(),
        ),
        Some(Some(Denial::SecretRevoked)) => (
            format!("{made} it is revoked"),
            "set the sender to a version that is in use: a request with a revoked secret may be an attack".to_owned(),
        ),
        Some(Some(Denial::SecretExpired)) => (
            format!("{made} its `not_after` is over"),
            "set the sender to the newest version, or move `not_after` until the sender uses it".to_owned(),
        ),
        Some(_) => (
            format!("{made} its `not_before` is in the future"),
            "let the sender use the version before until then, or move `not_before`".to_owned(),
        ),
    }
}
