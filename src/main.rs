//! The command `webhook-guard`.

use std::process::ExitCode;

fn main() -> ExitCode {
    webhook_guard::cli::main()
}
