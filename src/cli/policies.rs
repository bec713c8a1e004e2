//! The policy of `--config`.

use super::failure::Failure;
use super::guards::{self, Guard};
use super::secrets::Secrets;
use super::source::SourceFile;
use super::yaml;
use crate::policy::Policy;

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

/// Reads a configuration with these secrets.
///
/// # Errors
/// The faults of the configuration.
pub(super) fn read(configuration: &[u8], secrets: &Secrets) -> Result<Policy, Failure> {
    let read = Policy::read(configuration, &|name| secrets.variable(name));
    read.map(|(policy, _)| policy).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        Failure::new(format!(
            "the configuration is invalid: {}",
            faults.join("\n  ")
        ))
    })
}
