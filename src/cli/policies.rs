//! The policy of `--config`.

use std::env::VarError;
use std::path::Path;

use super::failure::Failure;
use super::guards::{self, Guard};
use super::output::escaped;
use super::source::SourceFile;
use super::yaml;
use crate::config;
use crate::policy::Policy;
use crate::secrets::KeySource;

/// The bytes of the one guard's configuration in a file, as the module gets them.
///
/// # Errors
/// The file is not YAML, or has no guard, or several.
pub(super) fn configuration(file: &SourceFile) -> Result<Vec<u8>, Failure> {
    let name = &file.name;
    let documents = yaml::parse(file.text()?)
        .map_err(|fault| Failure::new(format!("{name}: {}", fault.message)))?;
    match guards::find(&documents).as_slice() {
        [Guard { configuration, .. }] => Ok(configuration.to_bytes()),
        [] => Err(Failure::new(format!(
            "{name}: the file has no guard: name a file with the guard's `endpoints`"
        ))),
        _ => Err(Failure::new(format!(
            "{name}: the file has several guards: write the configuration of one into a file"
        ))),
    }
}

/// A configuration without lists of client addresses, and whether it had any.
pub(super) fn without_addresses(configuration: Vec<u8>) -> (Vec<u8>, bool) {
    let Ok(mut root) = serde_json::from_slice::<serde_json::Value>(&configuration) else {
        // The reader of the configuration reports the error.
        return (configuration, false);
    };
    let mut has_lists = false;
    let endpoints = root.get_mut("endpoints");
    let endpoints = endpoints.and_then(serde_json::Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten() {
        if let Some(fields) = endpoint.as_object_mut() {
            for name in ["allow", "allow_from"] {
                has_lists |= fields.remove(name).is_some();
            }
        }
    }
    match has_lists {
        true => (root.to_string().into_bytes(), true),
        false => (configuration, false),
    }
}

/// Reads the configuration of a file, as [`read`].
///
/// # Errors
/// The faults of the configuration. `check` shows their lines.
pub(super) fn read_from(configuration: &[u8], path: &Path) -> Result<Policy, Failure> {
    read(configuration).map_err(|failure| {
        Failure::new(format!(
            "{failure}\nFor the lines and fixes, run `webhook-guard check {}`.",
            escaped(&path.display().to_string())
        ))
    })
}

/// Reads a configuration without the values of its secrets. [`install`](super::secrets::install) adds those of one
/// endpoint.
///
/// # Errors
/// The faults of the configuration.
pub(super) fn read(configuration: &[u8]) -> Result<Policy, Failure> {
    let value = config::parse(configuration).map_err(|error| {
        Failure::new(format!("the configuration is invalid: {}", error.message))
    })?;
    let unset = |name: &str| match name {
        "ENVIRONMENT" => std::env::var(name),
        _ => Err(VarError::NotPresent),
    };
    let (policy, faults, _) = Policy::check(&value, &unset);
    // The values of secrets are read later, but those of other variables now: the tokens of handshakes.
    let is_of_secret = |name: &str| {
        let mut endpoints = policy.iter().flat_map(|policy| &policy.endpoints);
        endpoints.any(|endpoint| {
            let mut secrets = endpoint.secrets.iter();
            secrets.any(
                |secret| matches!(&secret.source, KeySource::Unchecked(known) if known == name),
            )
        })
    };
    let (policy, faults) = match &policy {
        None => (None, faults),
        Some(_) => {
            let (policy, faults, _) = Policy::check(&value, &|name| match is_of_secret(name) {
                true => Err(VarError::NotPresent),
                false => std::env::var(name),
            });
            (policy, faults)
        }
    };
    policy.ok_or_else(|| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        Failure::new(format!(
            "the configuration is invalid: {}",
            faults.join("\n  ")
        ))
    })
}
