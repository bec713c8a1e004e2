//! `webhook-guard check`: the faults of each guard, and what surrounds it.

mod envoy;
mod finding;
mod kubernetes;

use super::Result;
use super::arguments::CheckArguments;
use super::failure::Failure;

pub(super) fn run(_: &CheckArguments) -> Result {
    Err(Failure::new("not written yet"))
}
