//! `webhook-guard explain`: why a captured request is rejected.

mod body;
mod hypothesis;

use super::Result;
use super::arguments::VerifyArguments;
use super::failure::Failure;

pub(super) fn run(_: &VerifyArguments) -> Result {
    Err(Failure::new("not written yet"))
}
