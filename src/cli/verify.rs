//! `webhook-guard verify`: the verdict on a captured request.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::Result;
use super::arguments::{OutputFormat, VerifyArguments};
use super::inputs::Inputs;
use super::judgement::{Judgement, judge};
use super::output::{self, escaped};
use crate::policy::endpoint::Endpoint;
use crate::request::headers::Headers;
use crate::verdict::{Denial, Outcome, Reason};

/// Prints the verdict. The exit status is 0 for a request that the guard accepts or answers, and 1 for another one.
pub(super) fn run(arguments: &VerifyArguments) -> Result {
    let mut inputs = Inputs::read(arguments)?;
    inputs.unlock(may_need_another_secret)?;
    let judged = inputs.judge();
    let report = Report::new(&inputs, &judged);
    match arguments.format {
        OutputFormat::Text => output::print_as_is(report.text().as_bytes())?,
        OutputFormat::Json => output::print_json(&report.json())?,
    }
    Ok(match judged.verdict.outcome() {
        Outcome::Accepted | Outcome::Challenged => ExitCode::SUCCESS,
        Outcome::Passed | Outcome::Denied | Outcome::Monitored => ExitCode::FAILURE,
    })
}

/// Whether a secret without a value may have signed the request.
fn may_need_another_secret(judged: &Judgement) -> bool {
    let denial = judged.verdict.reason().denial();
    matches!(denial, Some(Denial::SignatureInvalid | Denial::HostError))
}

struct Report {
    verdict: &'static str,
    reason: &'static str,
    endpoint: Option<String>,
    version: Option<String>,
    delivery_id: Option<String>,
    is_rejected: bool,
    notes: Vec<String>,
}

impl Report {
    fn new(inputs: &Inputs, judged: &Judgement) -> Self {
        let verified = judged.verdict.verified();
        let endpoint = judged.endpoint.as_deref();
        let version = verified.and_then(|verified| endpoint?.secret(verified.secret()));
        let id = verified.and_then(|verified| verified.delivery_id());
        let mut notes = inputs.notes.clone();
        notes.extend(endpoint.and_then(|endpoint| note_of_time(inputs, endpoint, judged)));
        notes.extend(note_of_endpoint(inputs, judged).map(str::to_owned));
        notes.extend(note_of_request_id(inputs, judged));
        notes.extend(endpoint.and_then(|endpoint| note_of_token(inputs, endpoint)));
        if judged.verdict.outcome() == Outcome::Monitored {
            notes.push("`mode: monitor` forwards the request all the same".to_owned());
        }
        if judged.verdict.outcome() == Outcome::Accepted
            && endpoint.is_some_and(|endpoint| endpoint.replay.is_some())
        {
            notes.push(
                "replays are not checked, because this command has no memory of deliveries"
                    .to_owned(),
            );
        }
        Self {
            is_rejected: matches!(
                judged.verdict.outcome(),
                Outcome::Denied | Outcome::Monitored
            ),
            verdict: judged.verdict.outcome().name(),
            reason: judged.verdict.reason().name(),
            endpoint: endpoint.map(|endpoint| endpoint.name.clone()),
            version: version.map(|secret| secret.version.clone()),
            delivery_id: id.map(|id| escaped(&String::from_utf8_lossy(id))),
            notes,
        }
    }

    fn json(&self) -> Value {
        json!({
            "verdict": self.verdict,
            "reason": self.reason,
            "endpoint": self.endpoint,
            "version": self.version,
            "delivery_id": self.delivery_id,
            "notes": self.notes,
        })
    }

    fn text(&self) -> String {
        let mut text = match self.verdict == self.reason {
            true => format!("{}\n", self.verdict),
            false => format!("{}: {}\n", self.verdict, self.reason),
        };
        let fields = [
            ("endpoint", &self.endpoint),
            ("version", &self.version),
            ("delivery id", &self.delivery_id),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                text.push_str(&format!("{name}: {value}\n"));
            }
        }
        for note in &self.notes {
            text.push_str(&format!("note: {}\n", escaped(note)));
        }
        if self.is_rejected {
            text.push_str(
                "note: to find the cause, run `webhook-guard explain` with the same arguments\n",
            );
        }
        text
    }
}

/// The guard verifies no request without an endpoint, also where `unmatched: pass` forwards the request.
fn note_of_endpoint(inputs: &Inputs, judged: &Judgement) -> Option<&'static str> {
    match judged.verdict.reason() {
        Reason::Unmatched => Some(
            "no endpoint has the request's path and host: compare them with `match` of the endpoint",
        ),
        Reason::Passed if !inputs.is_health_check() => Some(
            "no endpoint has the request's path and host, and `unmatched` lets the path pass without verification",
        ),
        _ => None,
    }
}

/// A captured request is old, so its time says which `--at` judges it as the guard did.
fn note_of_time(inputs: &Inputs, endpoint: &Endpoint, judged: &Judgement) -> Option<String> {
    let denial = judged.verdict.reason().denial();
    if !matches!(
        denial,
        Some(Denial::TimestampExpired | Denial::TimestampFuture)
    ) {
        return None;
    }
    let request = &inputs.capture.request;
    let claimed = endpoint
        .scheme
        .claimed_time(&Headers::new(&request.pairs()));
    let time = inputs.capture.arrived.or(claimed)?;
    let seconds = time.0.div_euclid(1_000);
    Some(format!(
        "to judge the request at its own time, pass --at {seconds}"
    ))
}

/// Some senders sign x-request-id. Envoy adds one to a request without it, which changes the signed message.
fn note_of_request_id(inputs: &Inputs, judged: &Judgement) -> Option<String> {
    if !inputs.capture.adds_request_id {
        return None;
    }
    let mut request = inputs.capture.request.clone();
    request.headers.retain(|(name, _)| name != "x-request-id");
    let without = judge(&inputs.policy, &request, inputs.client, inputs.now);
    (without.verdict.reason() != judged.verdict.reason()).then(|| {
        "the sender signs x-request-id, the capture has none, and Envoy adds one: capture all headers"
            .to_owned()
    })
}

/// Without its token, the command cannot recognise a handshake.
fn note_of_token(inputs: &Inputs, endpoint: &Endpoint) -> Option<String> {
    let configuration: Value = serde_json::from_slice(&inputs.configuration).ok()?;
    let mut endpoints = configuration.get("endpoints")?.as_array()?.iter();
    let own =
        endpoints.find(|each| each.get("name").and_then(Value::as_str) == Some(&endpoint.name))?;
    let variable = own.get("verify_token")?.get("env")?.as_str()?;
    std::env::var_os(variable).is_none().then(|| {
        "handshakes are not checked: set the environment variable that `verify_token` names"
            .to_owned()
    })
}
