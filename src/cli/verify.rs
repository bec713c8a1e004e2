//! `webhook-guard verify`: the verdict on a captured request.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use super::arguments::{OutputFormat, VerifyArguments};
use super::judgement::{self, Judgement, judge};
use super::request::Request;
use super::secrets::Secrets;
use super::source::SourceFile;
use super::{Result, clock, output, policies};
use crate::request::address::Client;
use crate::verdict::{Denial, Outcome};

/// Prints the verdict. The exit status is 0 for an accepted request, and 1 for another one.
pub(super) fn run(arguments: &VerifyArguments) -> Result {
    let configuration = policies::configuration(&SourceFile::read(&arguments.config.config)?)?;
    let mut policy = policies::read(&configuration)?;
    let secrets = Secrets::new(&configuration, &arguments.config.secret_files)?;
    secrets.check_files(&policy)?;
    let request = Request::read(&SourceFile::read(&arguments.request)?)?;
    let client = Client::Trusted(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let now = clock::now(arguments.config.at);
    if let Some(index) = judgement::owner(&policy, &request) {
        secrets.unlock(&mut policy, index, |policy| {
            may_need_another_secret(&judge(policy, &request, client, now))
        })?;
    }
    let judged = judge(&policy, &request, client, now);
    let outcome = judged.verdict.outcome();
    let endpoint = judged
        .endpoint
        .as_ref()
        .map_or("-", |endpoint| &endpoint.name);
    let version = judged.verdict.verified().and_then(|verified| {
        let secret = judged.endpoint.as_ref()?.secret(verified.secret())?;
        Some(secret.version.clone())
    });
    match arguments.format {
        OutputFormat::Text => output::print(format_args!(
            "{}: {} (endpoint {endpoint})\n",
            outcome.name(),
            judged.verdict.reason().name()
        )),
        OutputFormat::Json => output::print_json(&serde_json::json!({
            "verdict": outcome.name(),
            "reason": judged.verdict.reason().name(),
            "endpoint": endpoint,
            "version": version,
        })),
    }?;
    Ok(match outcome {
        Outcome::Accepted | Outcome::Challenged => ExitCode::SUCCESS,
        Outcome::Passed | Outcome::Denied | Outcome::Monitored => ExitCode::FAILURE,
    })
}

/// Whether a secret without a value may have signed the request.
fn may_need_another_secret(judged: &Judgement) -> bool {
    let denial = judged.verdict.reason().denial();
    matches!(denial, Some(Denial::SignatureInvalid | Denial::HostError))
}
