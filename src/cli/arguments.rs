//! The arguments of all commands.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Args, Parser, Subcommand, ValueEnum};

use super::{clock, help};
use crate::scheme::PROVIDERS;
use crate::time::UnixMillis;
use crate::version;

/// Check configurations of webhook-guard, sign and verify requests, and explain rejections.
#[derive(Debug, Parser)]
#[command(name = "webhook-guard", version = version::TEXT, arg_required_else_help = true, max_term_width = 100, after_help = help::COMMANDS)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check configurations for faults of guards, and for weak settings around them
    #[command(after_help = help::CHECK)]
    Check(CheckArguments),
    /// Sign a request as the sender would
    #[command(after_help = help::SIGN)]
    Sign(SignArguments),
    /// Verify a captured request
    #[command(after_help = help::VERIFY)]
    Verify(VerifyArguments),
    /// Find out why a captured request is rejected
    #[command(after_help = help::EXPLAIN)]
    Explain(VerifyArguments),
    /// List the presets, or write one out as a configuration to change
    #[command(after_help = help::PROVIDERS)]
    Providers(ProvidersArguments),
    /// Print the version, also of a module
    #[command(after_help = help::VERSION)]
    Version(VersionArguments),
    /// Print the completions of a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions(CompletionsArguments),
    /// Write the man pages
    #[command(after_help = help::MAN)]
    Man(ManArguments),
}

#[derive(Args, Debug)]
pub(super) struct CheckArguments {
    /// Files of Envoy, Istio or Envoy Gateway, or the guard's configuration alone; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Exit with status 1 if there are warnings
    #[arg(long)]
    pub(super) strict: bool,
    /// The form of the report
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: ReportFormat,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum ReportFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// For code scanning, SARIF 2.1.0
    Sarif,
}

/// The configuration and the secrets of an endpoint.
#[derive(Args, Debug)]
pub(super) struct ConfigArguments {
    /// The file with the guard's configuration; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// The endpoint's name, where the file has several that suit
    #[arg(long, value_name = "NAME")]
    pub(super) endpoint: Option<String>,
    /// A file with the value of a secret, instead of its environment variable; ENDPOINT/VERSION=PATH where several endpoints have the version
    #[arg(long = "secret-file", value_name = "VERSION=PATH")]
    pub(super) secret_files: Vec<String>,
    /// The time by which the request is signed or judged: RFC 3339, or seconds or milliseconds since 1970 [default: the present time]
    #[arg(long, value_name = "TIME", value_parser = clock::parse, allow_negative_numbers = true)]
    pub(super) at: Option<UnixMillis>,
}

#[derive(Args, Debug)]
pub(super) struct SignArguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// The file with the body; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(super) body: PathBuf,
    /// The version of the secret that signs, also an expired or revoked one [default: the first one that is valid]
    #[arg(long)]
    pub(super) version: Option<String>,
    /// The delivery's id [default: a new one]
    #[arg(long)]
    pub(super) id: Option<String>,
    /// The URL that the request goes to
    #[arg(long, conflicts_with = "path")]
    pub(super) url: Option<String>,
    /// The path and the query [default: the path of the endpoint's `match`]
    #[arg(long)]
    pub(super) path: Option<String>,
    /// The method [default: POST, or the first one that the endpoint accepts]
    #[arg(long)]
    pub(super) method: Option<String>,
    /// The type of the body [default: the one that the sender uses]
    #[arg(long, value_name = "TYPE")]
    pub(super) content_type: Option<String>,
    /// Another header, such as 'X-GitHub-Event: push', or the value of one of the signature
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(super) headers: Vec<String>,
    /// The algorithm, where the scheme has several [default: the first one]
    #[arg(long, value_name = "NAME")]
    pub(super) algorithm: Option<String>,
    /// The form of the signed bytes, where the scheme has several
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub(super) form: u8,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: RequestFormat,
    /// Send the request to this address, and show the status of the answer
    #[arg(long, value_name = "http://HOST:PORT", conflicts_with = "format")]
    pub(super) send: Option<String>,
}

/// The form of a signed request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum RequestFormat {
    /// The headers of the signature
    #[default]
    Headers,
    /// A curl command
    Curl,
    /// The request as HTTP/1.1
    Http,
}

#[derive(Args, Debug)]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// The captured request: HTTP/1.1, a curl command, HAR, or a trace of Envoy's tap filter; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(super) request: PathBuf,
    /// The number of the request in a HAR file, from 1
    #[arg(long, value_name = "NUMBER")]
    pub(super) entry: Option<usize>,
    /// The scheme of the URL, where the capture has none
    #[arg(long, value_name = "SCHEME", default_value = "https", value_parser = ["http", "https"])]
    pub(super) scheme: String,
    /// The client's address, for the endpoint's list of addresses [default: the list is not checked]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) client: Option<IpAddr>,
    /// A file with the line of the guard's log about the request, to compare both
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// The form of the report
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: OutputFormat,
}

/// The form of a verdict.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

#[derive(Args, Debug)]
pub(super) struct ProvidersArguments {
    /// The preset to write out, or a part of the names and senders to list
    #[arg(value_parser = NameParser, hide_possible_values = true)]
    pub(super) name: Option<String>,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: OutputFormat,
}

/// Takes any text. The names of the presets are for the completions.
#[derive(Clone, Debug)]
struct NameParser;

impl TypedValueParser for NameParser {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = PROVIDERS.iter().map(|(name, _)| PossibleValue::new(*name));
        Some(Box::new(names))
    }
}

#[derive(Args, Debug)]
pub(super) struct VersionArguments {
    /// The file webhook_guard.wasm; - is standard input [default: the version of this command]
    pub(super) module: Option<PathBuf>,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: OutputFormat,
}

#[derive(Args, Debug)]
pub(super) struct CompletionsArguments {
    /// The shell
    pub(super) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(super) struct ManArguments {
    /// The folder for the pages, which the command makes if necessary
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,
}
