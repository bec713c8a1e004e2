//! The endpoint, the secret and the algorithm that the arguments name.

use std::iter;
use std::rc::Rc;

use crate::cli::Result;
use crate::cli::failure::Failure;
use crate::cli::secrets::SecretText;
use crate::crypto::{Algorithm, AlgorithmIndex, Key};
use crate::policy::endpoint::Endpoint;
use crate::policy::{EndpointIndex, Policy};
use crate::secrets::{Keyring, SecretIndex, secret_in};
use crate::time::UnixMillis;

/// The endpoint with this name, or the only one.
pub(super) fn endpoint(policy: &Policy, name: Option<&str>) -> Result<EndpointIndex> {
    let endpoints = &policy.endpoints;
    let found = match (name, endpoints.len()) {
        (None, 1) => Some(0),
        (None, _) => None,
        (Some(name), _) => endpoints.iter().position(|endpoint| endpoint.name == name),
    };
    found.map(EndpointIndex).ok_or_else(|| {
        let names: Vec<_> = endpoints.iter().map(|each| each.name.as_str()).collect();
        Failure::new(format!(
            "--endpoint: name one of the endpoints in the configuration: {}",
            names.join(", ")
        ))
    })
}

/// Checks that the sender signs by a secret that the guard has too.
///
/// # Errors
/// The private key is the sender's own.
pub(super) fn check_secret_is_shared(endpoint: &Endpoint) -> Result<()> {
    match endpoint.scheme.spec.signature.algorithm.has_public_key() {
        false => Ok(()),
        true => Err(Failure::new(format!(
            "endpoint {}: the sender signs by a private key, which only the sender has: capture a request of the sender, and use `verify`",
            endpoint.name
        ))),
    }
}

/// The secret of this version, or the first one that is valid.
pub(super) fn secret(
    endpoint: &Endpoint,
    version: Option<&str>,
    now: UnixMillis,
) -> Result<SecretIndex> {
    let mut secrets = endpoint.secrets.iter().enumerate();
    let found = secrets.find(|(_, secret)| match version {
        Some(version) => secret.version == version,
        None => secret.validity(now).is_ok(),
    });
    let versions = || {
        let versions = endpoint.secrets.iter().map(|each| each.version.as_str());
        versions.collect::<Vec<_>>().join(", ")
    };
    match found {
        Some((index, _)) => Ok(SecretIndex(index)),
        None if version.is_none() => Err(Failure::new(format!(
            "endpoint {}: no secret is valid at this time: choose one by --version, of {}",
            endpoint.name,
            versions()
        ))),
        None => Err(Failure::new(format!(
            "--version: endpoint {} has no such version in use: name one of {}",
            endpoint.name,
            versions()
        ))),
    }
}

/// The algorithm with this name, or the first one.
pub(super) fn algorithm(endpoint: &Endpoint, name: Option<&str>) -> Result<AlgorithmIndex> {
    let spec = &endpoint.scheme.spec;
    let Some(wanted) = name else {
        return Ok(AlgorithmIndex::default());
    };
    let mut names = Vec::new();
    for (index, algorithm) in iter::once(&spec.signature.algorithm)
        .chain(&spec.other_algorithms)
        .enumerate()
    {
        let mut known = Algorithm::NAMES.iter();
        let name = known.find(|(_, known)| known == algorithm);
        let name = name.map_or("", |(name, _)| *name);
        if name == wanted {
            return Ok(AlgorithmIndex(index));
        }
        names.push(name);
    }
    Err(Failure::new(format!(
        "--algorithm: the sender does not sign by this algorithm: name one of {}",
        names.join(", ")
    )))
}

/// The key of a secret, and for the algorithm `token` the secret's own bytes.
pub(super) fn key(
    endpoint: &Endpoint,
    index: SecretIndex,
    text: &SecretText,
) -> Result<(Rc<Key>, Option<Vec<u8>>)> {
    let unusable = || Failure::new("the secret has no key");
    let secret = endpoint.secret(index).ok_or_else(unusable)?;
    let keyring = Keyring::new(&endpoint.secrets, &endpoint.scheme, Vec::new());
    let entries = || keyring.entries().iter();
    // A secret with the value of a revoked one has the name of the revoked one in the keyring.
    let entry = entries()
        .find(|entry| entry.index == index)
        .or_else(|| entries().find(|entry| entry.secret.same_key(secret)));
    let key = Rc::clone(&entry.ok_or_else(unusable)?.key);
    let spec = &endpoint.scheme.spec;
    if spec.signature.algorithm != Algorithm::Token {
        return Ok((key, None));
    }
    let (text, _) = secret_in(&text.text).map_err(Failure::new)?;
    let encoding = spec.key_encodings.first().ok_or_else(unusable)?;
    Ok((key, Some(encoding.decode(text).map_err(Failure::new)?)))
}
