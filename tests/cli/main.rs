//! The command line as a user types it.

#[test]
fn commands() {
    trycmd::TestCases::new()
        .case("tests/cli/*.toml")
        .case("tests/cli/*.md")
        .case("src/cli/README.md");
}
