//! A fault or a weakness that `check` found.

use std::ops::Range;

/// A fault or a weakness, with its place and its fix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Finding {
    /// The name of the rule, in lower case with hyphens: stable, for programs.
    pub(super) rule: &'static str,
    pub(super) severity: Severity,
    /// The bytes in the file.
    pub(super) span: Range<usize>,
    /// The fault and its consequence. Never contains a secret.
    pub(super) message: String,
    /// How to fix it.
    pub(super) fix: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Severity {
    /// The guard works, and is weaker than it could be, or may lose deliveries.
    Warning,
    /// The guard refuses the configuration.
    Error,
}
