//! `webhook-guard providers`.

use super::Result;
use super::arguments::ProvidersArguments;
use super::failure::Failure;

pub(super) fn run(_: &ProvidersArguments) -> Result {
    Err(Failure::new("not written yet"))
}
