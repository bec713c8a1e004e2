//! The values of secrets: from environment variables and files.

use std::env::VarError;

/// Looks up the values of secrets.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// Values by the names of environment variables, which replace those of the environment.
    values: Vec<(String, String)>,
}

impl Secrets {
    /// The value of an environment variable that the configuration names.
    ///
    /// # Errors
    /// The variable is not set, or is not UTF-8.
    pub(super) fn variable(&self, name: &str) -> Result<String, VarError> {
        let mut values = self.values.iter();
        match values.find(|(known, _)| known == name) {
            Some((_, value)) => Ok(value.clone()),
            None => std::env::var(name),
        }
    }
}
