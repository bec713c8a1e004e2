//! `webhook-guard check`.

use super::Result;
use super::arguments::CheckArguments;
use super::failure::Failure;

pub(super) fn run(_: &CheckArguments) -> Result {
    Err(Failure::new("not written yet"))
}
