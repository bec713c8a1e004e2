//! `webhook-guard sign`.

use super::Result;
use super::arguments::SignArguments;
use super::failure::Failure;

pub(super) fn run(_: &SignArguments) -> Result {
    Err(Failure::new("not written yet"))
}
