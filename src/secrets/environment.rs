//! The environment of the guard: production, test or another one.

use std::env::VarError;

/// The environment of the guard, which selects secrets and has their values.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// The environment's name.
    pub(crate) name: &'a str,
    /// Looks up an environment variable.
    pub(crate) variable: &'a dyn Fn(&str) -> Result<String, VarError>,
    /// The meaning of a variable that is not set.
    #[cfg(feature = "cli")]
    pub(crate) unset: Unset,
}

/// The meaning of an environment variable that is not set.
#[cfg(feature = "cli")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unset {
    /// An error of the configuration, as in the module.
    Error,
    /// A secret that exists where the configuration is used, and whose value cannot be checked here.
    Unchecked,
}

impl Environment<'_> {
    /// Whether the configuration may contain secrets, and pass all paths. Any other environment counts as production.
    pub(crate) fn is_lenient(&self) -> bool {
        matches!(self.name, "development" | "test")
    }

    /// Whether a secret for the environment `name` is for this one.
    pub(super) fn is(&self, name: &str) -> bool {
        name == self.name || (name == "production" && !self.is_lenient())
    }
}
