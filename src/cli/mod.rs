//! The command line: checks configurations, signs and verifies requests, and explains rejections.
//!
//! Each subcommand has a module of its own. The other modules are the parts that they share:
//! * `source` reads files, and `yaml` keeps the position of each value.
//! * `guards` finds the configurations of guards, and `secrets` looks up secrets.
//! * `request` reads captured requests.
//! * `output` prints.
//!
//! The module's own readers and verification do the rest.

mod arguments;
mod capture;
mod check;
mod clock;
mod explain;
mod failure;
mod guards;
mod help;
mod inputs;
mod judgement;
mod output;
mod policies;
mod providers;
mod request;
mod secrets;
mod sign;
mod source;
mod verify;
mod version;
mod yaml;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Arguments, Command};
use failure::Failure;

/// The exit status of a command that could not do its work.
const FAILED: u8 = 2;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Command::Check(arguments) => check::run(arguments),
        Command::Sign(arguments) => sign::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Providers(arguments) => providers::run(arguments),
        Command::Version(arguments) => version::run(arguments),
        Command::Completions(arguments) => help::completions(arguments),
        Command::Man(arguments) => help::man(arguments),
    };
    result.unwrap_or_else(|failure| {
        output::print_error(&failure);
        ExitCode::from(FAILED)
    })
}

/// The result of a command: its exit status, or why it could not do its work.
type Result<T = ExitCode> = std::result::Result<T, Failure>;
