//! `webhook-guard check`: the faults of each guard, and what surrounds it.

mod block;
mod envoy;
#[cfg(test)]
#[allow(clippy::string_slice, reason = "a test may panic")]
#[path = "../../../tests/core/faulty.rs"]
mod faulty;
mod file;
mod filters;
mod finding;
mod fix;
mod kubernetes;
mod module;
mod places;
mod report;
mod rule;

use std::process::ExitCode;

use super::Result;
use super::arguments::CheckArguments;
use finding::Severity;
use rule::Rule;

/// Reports the findings. The exit status is 2 if there are errors, and with `--strict` 1 if there are warnings.
pub(super) fn run(arguments: &CheckArguments) -> Result {
    let checked = file::check(&arguments.files);
    report::print(&checked, arguments.format)?;
    Ok(match checked.worst() {
        Some(Severity::Error) => ExitCode::from(super::FAILED),
        Some(Severity::Warning) if arguments.strict => ExitCode::FAILURE,
        Some(Severity::Warning) | None => ExitCode::SUCCESS,
    })
}

/// All rules, in the order of the documentation.
fn rules() -> impl Iterator<Item = &'static Rule> {
    let local = envoy::RULES.into_iter().chain(kubernetes::RULES);
    filters::rules().chain(local.flatten().copied())
}
