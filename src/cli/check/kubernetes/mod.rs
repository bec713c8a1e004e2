//! Checks of the settings around a guard in resources of Istio and Envoy Gateway.

use super::finding::Finding;
use crate::cli::guards::Guard;
use crate::cli::yaml::Yaml;
use crate::policy::Policy;

/// The weaknesses around the guards of a file. The policies are those of `guards`, `None` for one with errors.
pub(super) fn check(
    _documents: &[Yaml],
    _guards: &[Guard<'_>],
    _policies: &[Option<Policy>],
) -> Vec<Finding> {
    Vec::new()
}
