//! `webhook-guard explain`: why a captured request is rejected.
//!
//! A mistake is the cause if the module verifies the request without that mistake. So each trial changes the request, as
//! [`body`] does, or the configuration, as most others do, and the module's own verification decides. The clock of a trial is
//! the time that the request claims, because a captured request is old.

mod body;
mod headers;
mod hypothesis;
mod keys;
mod meaning;
mod notes;
mod providers;
mod report;
mod search;
mod signatures;
#[cfg(test)]
mod tests;
mod times;
mod trial;
mod urls;
mod versions;

use serde_json::Value;

use super::arguments::VerifyArguments;
use super::judgement::{Judgement, judge};
use super::request::Request;
use super::secrets::SecretText;
use super::{Result, inputs, output};
use crate::policy::Policy;
use crate::policy::endpoint::Endpoint;
use crate::request::address::Client;
use crate::time::UnixMillis;
use crate::verdict::{Denial, Outcome};
use crate::verify::Verdict;
use hypothesis::Cause;
use report::Report;
use search::{Search, Subject};
use trial::{KnownSecret, known_secrets};

/// Prints the verdict, and the causes of a rejection. The exit status is that of `verify`.
pub(super) fn run(arguments: &VerifyArguments) -> Result {
    let mut given = inputs::Inputs::read_for_endpoint(arguments)?;
    let (texts, refusal) = match given.unlock(|_| false) {
        Ok(texts) => (texts, None),
        // A value that the module refuses is a mistake that a trial may find.
        Err(failure) => (Vec::new(), Some(failure)),
    };
    let mut known = serde_json::from_slice(&given.configuration)
        .map(|configuration| known_secrets(&configuration, &given.secrets))
        .unwrap_or_default();
    if let Some(index) = given.owner()
        && let Some(endpoint) = given.policy.endpoints.get(index.0)
    {
        add_asked(&mut known, endpoint, &texts);
    }
    let inputs = Inputs {
        configuration: &given.configuration,
        policy: &given.policy,
        secrets: &known,
        request: &given.capture.request,
        client: given.client,
        now: given.now,
    };
    let mut report = inputs.explain(refusal.is_some());
    if let Some(failure) = refusal {
        if !report.has_causes() {
            return Err(failure);
        }
        output::print_error(&failure);
    }
    report.notes.splice(..0, given.notes);
    report.print(arguments.format)?;
    Ok(report.status())
}

/// Adds the secrets that a person gave on the terminal.
fn add_asked(known: &mut Vec<KnownSecret>, endpoint: &Endpoint, texts: &[Option<SecretText>]) {
    for (secret, text) in endpoint.secrets.iter().zip(texts) {
        let is_known = known
            .iter()
            .any(|known| known.endpoint == endpoint.name && known.version == secret.version);
        if let Some(text) = text
            && !is_known
        {
            let key_id = secret.key_id.as_deref();
            known.push(KnownSecret::new(
                &endpoint.name,
                &secret.version,
                &text.text,
                key_id,
            ));
        }
    }
}

/// The inputs of a search.
struct Inputs<'a> {
    configuration: &'a [u8],
    policy: &'a Policy,
    secrets: &'a [KnownSecret],
    request: &'a Request,
    client: Client,
    now: UnixMillis,
}

impl Inputs<'_> {
    /// The verdict with its causes. `is_refused` is true if the module refuses the value of a secret.
    fn explain(&self, is_refused: bool) -> Report {
        let judged = judge(self.policy, self.request, self.client, self.now);
        let mut report = Report::new(&judged, is_refused);
        let configuration: Option<Value> = serde_json::from_slice(self.configuration).ok();
        let Some(configuration) = &configuration else {
            return report;
        };
        let Some(endpoint) = &judged.endpoint else {
            report.notes = notes::of_route(configuration, self.policy, self.request, &judged);
            return report;
        };
        if is_refused || is_about_signature(&judged) {
            self.search(configuration, endpoint, &judged, &mut report);
        }
        let has_cause = report.has_causes();
        report.notes.extend(notes::of_rejection(
            endpoint,
            &judged.verdict,
            self.request,
            self.now,
            has_cause,
        ));
        if report.is_unexplained() {
            report.notes.push(notes::of_body(self.request));
        }
        report
    }

    /// Searches for the causes.
    fn search(
        &self,
        configuration: &Value,
        endpoint: &Endpoint,
        judged: &Judgement,
        report: &mut Report,
    ) {
        let search = Search::new(Subject {
            configuration,
            secrets: self.secrets,
            endpoint,
            request: self.request,
            now: self.now,
        });
        if let Some(mut search) = search {
            explain(&mut search, &judged.verdict);
            let has_time = search.has(Cause::Clock) || search.has(Cause::TimestampUnit);
            if !has_time {
                report.notes.extend(notes::of_time(
                    endpoint,
                    &judged.verdict,
                    self.request,
                    self.now,
                ));
            }
            report.add(search);
        }
    }
}

/// Whether a rejection has a cause in the signature or its time.
fn is_about_signature(judged: &Judgement) -> bool {
    let outcome = judged.verdict.outcome();
    let Verdict::Fail(rejection) = &judged.verdict else {
        return false;
    };
    matches!(outcome, Outcome::Denied | Outcome::Monitored)
        && matches!(
            rejection.denial,
            Denial::SignatureMissing
                | Denial::SignatureMalformed
                | Denial::SignatureDuplicated
                | Denial::TimestampMissing
                | Denial::TimestampMalformed
                | Denial::TimestampExpired
                | Denial::TimestampFuture
                | Denial::SignatureInvalid
                | Denial::SecretRevoked
                | Denial::SecretExpired
                | Denial::SecretNotYetValid
        )
}

/// Tries one kind of mistakes.
type Attempt = fn(&mut Search<'_>);

/// The kinds of mistakes, likeliest first. The search ends after the group in which a trial verifies the request, because a
/// change of another kind would describe the same mistake.
const GROUPS: &[(&str, &[Attempt])] = &[
    ("the request's own time", &[times::try_clock]),
    ("other forms of the body", &[try_bodies]),
    ("other versions of the secret", &[versions::try_all]),
    ("other forms of the secret", &[keys::try_all]),
    (
        "other forms of the signature and other presets",
        &[signatures::try_all, providers::try_presets],
    ),
    ("other URLs", &[urls::try_all]),
    ("other headers", &[headers::try_all]),
    ("other units of the time", &[times::try_units]),
    ("other signed messages", &[providers::try_messages]),
];

/// Finds the causes, likeliest first.
fn explain(search: &mut Search<'_>, verdict: &Verdict) {
    try_groups(search);
    if !search.is_done() {
        try_repaired(search);
    }
    if !search.is_done() {
        for suspicion in body::suspicions(search.case()) {
            search.suspect(suspicion.cause, suspicion.detail, suspicion.fix);
        }
        headers::suspect(search, verdict);
        times::suspect_unit(search, verdict);
    }
    times::add_clock(search, verdict);
    search.sort();
}

fn try_groups(search: &mut Search<'_>) {
    for (name, group) in GROUPS {
        let before = search.trials;
        for attempt in *group {
            attempt(search);
        }
        if search.trials > before {
            search.tried.push(name);
        }
        if search.is_done() {
            return;
        }
    }
}

/// Looks for a second mistake, where a header needs a repair before the signature can be checked.
fn try_repaired(search: &mut Search<'_>) {
    let Some((request, renamed)) = headers::renamed(search) else {
        return;
    };
    let subject = Subject {
        request: &request,
        ..search.subject
    };
    let Some(mut inner) = Search::new(subject) else {
        return;
    };
    try_groups(&mut inner);
    search.trials = search.trials.saturating_add(inner.trials);
    search.tried.push("the same with renamed headers");
    if inner.is_done() {
        search.found = inner.found;
        search.time = inner.time;
        headers::add_renamed(search, &renamed);
    }
}

/// Tries the bodies that the sender may have signed.
fn try_bodies(search: &mut Search<'_>) {
    let Some(policy) = search.policy(&search.setup) else {
        return;
    };
    let mut hypotheses = body::hypotheses(search.case());
    for hypothesis in hypotheses.by_ref() {
        if search.verify(&policy, &hypothesis.request).is_some() {
            // The likeliest spelling comes first. Each other one that verifies is the same body.
            search.add(hypothesis.cause, hypothesis.detail, hypothesis.fix);
            return;
        }
    }
    search.limits = hypotheses.limits();
}
