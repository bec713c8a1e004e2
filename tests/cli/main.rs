//! The command line as a user types it.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may panic: that is how it fails"
)]

mod hostile;
mod modules;
mod planted;
mod shells;

#[test]
fn commands() {
    modules::check_or_write();
    trycmd::TestCases::new()
        .env("WEBHOOK_SECRET", "dev-only-webhook-secret")
        // The width of the help.
        .env("COLUMNS", "100")
        .case("tests/cli/*.toml")
        .case("tests/cli/*.md")
        .case("tests/cli/sign/*.md")
        .case("tests/cli/verify/*.md")
        .case("src/cli/README.md")
        .case("tests/cli/explain/*.toml");
}
