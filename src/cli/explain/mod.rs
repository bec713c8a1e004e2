//! `webhook-guard explain`: why a captured request is rejected.
//!
//! A mistake is the cause if the module verifies the request without that mistake. So each trial changes the request, as
//! [`body`] does, or the configuration, as most others do, and the module's own verification decides. The clock of a trial is
//! the time that the request claims, because a captured request is old.

mod body;
mod hypothesis;
mod meaning;
mod report;
mod search;
mod times;
mod trial;
mod versions;

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::arguments::VerifyArguments;
use super::judgement::{self, Judgement, judge};
use super::request::Request;
use super::secrets::Secrets;
use super::source::SourceFile;
use super::{Result, clock, policies};
use crate::request::address::Client;
use crate::verdict::{Denial, Outcome};
use crate::verify::Verdict;
use hypothesis::Case;
use report::Report;
use search::{Search, Subject};

/// Prints the verdict, and the causes of a rejection. The exit status is that of `verify`.
pub(super) fn run(arguments: &VerifyArguments) -> Result {
    let configuration = policies::configuration(&SourceFile::read(&arguments.config.config)?)?;
    let secrets = Secrets::new(&configuration, &arguments.config.secret_files)?;
    let mut policy = policies::read(&configuration)?;
    secrets.check_files(&policy)?;
    let request = Request::read(&SourceFile::read(&arguments.request)?)?;
    if let Some(index) = judgement::owner(&policy, &request) {
        secrets.unlock(&mut policy, index, |_| false)?;
    }
    let client = Client::Trusted(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let now = clock::now(arguments.config.at);
    let judged = judge(&policy, &request, client, now);
    let mut report = Report::new(&judged);
    let configuration: Option<Value> = serde_json::from_slice(&configuration).ok();
    if let (Some(endpoint), Some(configuration)) = (&judged.endpoint, &configuration)
        && is_about_signature(&judged)
    {
        let search = Search::new(Subject {
            configuration,
            secrets: &secrets,
            endpoint,
            request: &request,
            now,
        });
        if let Some(mut search) = search {
            explain(&mut search, &judged.verdict);
            report.add(search);
        }
    }
    report.print(arguments.format)?;
    Ok(report.status())
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

/// Finds the causes, likeliest first.
fn explain(search: &mut Search<'_>, verdict: &Verdict) {
    let is_verified = times::try_clock(search);
    if !is_verified {
        try_bodies(search);
        versions::try_all(search);
    }
    times::add_clock(search, verdict);
}

/// Tries the bodies that the sender may have signed.
fn try_bodies(search: &mut Search<'_>) {
    let Some(policy) = search.policy(&search.setup) else {
        return;
    };
    let case = Case {
        request: search.subject.request,
        endpoint: search.subject.endpoint,
    };
    for hypothesis in body::hypotheses(case) {
        if search.has(hypothesis.cause) {
            continue;
        }
        if search.verify(&policy, &hypothesis.request).is_some() {
            search.add(hypothesis.cause, hypothesis.detail, hypothesis.fix);
        }
    }
}
