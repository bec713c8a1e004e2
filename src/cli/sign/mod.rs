//! `webhook-guard sign`: the request as the sender would send it.

mod body;
mod choice;
mod draft;
mod field;
mod formats;
mod plain;
mod send;
mod signer;
mod time_text;
mod token;
mod values;
#[cfg(test)]
mod vectors;

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use super::Result;
use super::arguments::{RequestFormat, SignArguments};
use super::failure::Failure;
use super::judgement::judge;
use super::output::{print_as_is, print_error};
use super::request::Request;
use super::secrets::{SecretText, Secrets, install};
use super::source::SourceFile;
use super::{clock, policies};
use crate::crypto::Algorithm;
use crate::policy::endpoint::Endpoint;
use crate::policy::{EndpointIndex, Policy};
use crate::request::address::Client;
use crate::secrets::SecretIndex;
use crate::time::UnixMillis;
use crate::verdict::{Denial, Outcome};
use formats::Spelling;
use send::Server;
use signer::Sender;

/// Prints a signed request, or sends it.
pub(super) fn run(arguments: &SignArguments) -> Result {
    let server = arguments.send.as_deref().map(Server::parse).transpose()?;
    SourceFile::check_standard_input(&[
        ("--config", Some(&arguments.config.config)),
        ("--body", Some(&arguments.body)),
    ])?;
    let configuration = policies::configuration(&SourceFile::read(&arguments.config.config)?)?;
    let mut secrets = Secrets::new(&configuration, &arguments.config.secret_files)?;
    let now = clock::now(arguments.config.at);
    let mut policy = policies::read_from(&configuration, &arguments.config.config)?;
    let endpoint_index = choice::endpoint(&policy, arguments.config.endpoint.as_deref())?;
    let endpoint = endpoint(&policy, endpoint_index)?;
    // Before a person looks for a secret that cannot sign.
    choice::check_secret_is_shared(endpoint)?;
    secrets.assign_files(&policy, Some(&endpoint.name))?;
    let index = choice::secret(endpoint, arguments.version.as_deref(), now)?;
    let texts = texts(&secrets, endpoint, index)?;
    for warning in install(&mut policy, endpoint_index, &texts)? {
        warn(&warning);
    }
    let endpoint = self::endpoint(&policy, endpoint_index)?;
    let SecretIndex(place) = index;
    let (secret, text) = endpoint
        .secret(index)
        .zip(texts.get(place).and_then(Option::as_ref))
        .ok_or_else(|| Failure::new("the secret has no value"))?;
    let (key, token) = choice::key(endpoint, index, text)?;
    let sender = Sender {
        endpoint,
        key: &key,
        token,
        key_id: secret.key_id.as_deref().unwrap_or(&secret.version),
        now,
        id: arguments.id.as_deref(),
        algorithm: choice::algorithm(endpoint, arguments.algorithm.as_deref())?,
        form: usize::from(arguments.form).saturating_sub(1),
    };
    let body = SourceFile::read(&arguments.body)?.bytes;
    let plain = plain::request(arguments, endpoint, server.as_ref(), body)?;
    let signed = sender.sign(plain.clone())?;
    // The server that gets the request has the present time.
    let judged_at = server.as_ref().map_or(now, |_| clock::now(None));
    let open = endpoint
        .lists_clients()
        .then(|| without_addresses(&configuration, endpoint_index, &texts))
        .flatten();
    if open.is_some() {
        warn("the guard also requires a client address of the endpoint's list");
    }
    warn_of_verdict(
        open.as_ref().unwrap_or(&policy),
        endpoint,
        &signed,
        judged_at,
    );
    if server.is_none() && arguments.config.at.is_some() {
        warn_of_time(open.as_ref().unwrap_or(&policy), &signed, now);
    }
    if endpoint.scheme.spec.signature.algorithm == Algorithm::Token {
        warn(
            "the request contains the secret itself, as this sender sends it: keep the output secret",
        );
    }
    if let Some(server) = server {
        return server.send(&signed);
    }
    let spelling = Spelling::of(&configuration, &endpoint.name, &arguments.headers);
    print(arguments, endpoint, &spelling, &plain, &signed)?;
    Ok(ExitCode::SUCCESS)
}

fn endpoint(policy: &Policy, EndpointIndex(index): EndpointIndex) -> Result<&Endpoint> {
    let endpoint = policy.endpoints.get(index).map(|endpoint| &**endpoint);
    endpoint.ok_or_else(|| Failure::new("the policy has no such endpoint"))
}

/// The values of an endpoint's secrets. Only the one that signs must be there. The others show which secret the guard takes
/// for the signer.
fn texts(
    secrets: &Secrets,
    endpoint: &Endpoint,
    SecretIndex(signing): SecretIndex,
) -> Result<Vec<Option<SecretText>>> {
    let each = endpoint.secrets.iter().enumerate();
    each.map(|(index, secret)| match index == signing {
        true => secrets.find_or_ask(endpoint, secret).map(Some),
        false => secrets.find(endpoint, secret),
    })
    .collect()
}

fn warn(text: &str) {
    print_error(&Failure::new(format!("warning: {text}")));
}

/// Reports what the guard would do with the request at that time, if it would not accept it.
fn warn_of_verdict(policy: &Policy, endpoint: &Endpoint, signed: &Request, now: UnixMillis) {
    let client = Client::Trusted(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let judged = judge(policy, signed, client, now);
    let reason = judged.verdict.reason().name();
    match &judged.endpoint {
        Some(other) if other.name != endpoint.name => warn(&format!(
            "the request belongs to the endpoint {}: set --path, or --url with the host",
            other.name
        )),
        _ if judged.verdict.outcome() != Outcome::Accepted => {
            warn(&format!("the guard would not accept the request: {reason}"));
        }
        _ => {}
    }
}

/// Reports that the guard would reject the request at the present time, if only its time decides.
fn warn_of_time(policy: &Policy, signed: &Request, at: UnixMillis) {
    let client = Client::Trusted(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let is_accepted = judge(policy, signed, client, at).verdict.outcome() == Outcome::Accepted;
    let present = judge(policy, signed, client, clock::now(None));
    let reason = present.verdict.reason();
    let is_time = matches!(
        reason.denial(),
        Some(Denial::TimestampExpired | Denial::TimestampFuture)
    );
    if is_accepted && is_time {
        warn(&format!(
            "the guard would reject the request at the present time: {}",
            reason.name()
        ));
    }
}

/// The policy without lists of addresses, if the configuration has any.
fn without_addresses(
    configuration: &[u8],
    endpoint: EndpointIndex,
    texts: &[Option<SecretText>],
) -> Option<Policy> {
    let (configuration, _) = policies::without_addresses(configuration.to_vec());
    let mut policy = policies::read(&configuration).ok()?;
    install(&mut policy, endpoint, texts).ok()?;
    Some(policy)
}

/// Prints the request in the form that the arguments name.
fn print(
    arguments: &SignArguments,
    endpoint: &Endpoint,
    spelling: &Spelling,
    plain: &Request,
    signed: &Request,
) -> Result<()> {
    let output = match arguments.format {
        RequestFormat::Headers => {
            if plain.body != signed.body || plain.target != signed.target {
                let place = match plain.body == signed.body {
                    true => "the query",
                    false => "the body",
                };
                warn(&format!(
                    "the sender also changes {place}: print all of the request by --format http or --format curl"
                ));
            }
            formats::headers(endpoint, spelling, plain, signed)
        }
        RequestFormat::Curl => {
            let file = Some(arguments.body.as_path())
                .filter(|file| file.as_os_str() != "-" && plain.body == signed.body)
                .filter(|_| endpoint.scheme.spec.json_in_form.is_none());
            formats::curl(endpoint, arguments.url.is_some(), spelling, signed, file)
        }
        RequestFormat::Http => formats::http(spelling, signed, &[]),
    };
    print_as_is(&output)
}
