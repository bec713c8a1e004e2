//! The report of `explain`.

use std::process::ExitCode;

use serde_json::json;

use super::search::{Finding, Search};
use crate::cli::arguments::OutputFormat;
use crate::cli::judgement::Judgement;
use crate::verdict::{Outcome, Reason};

/// What was tried, in words.
const TRIED: &str = "other forms of the body, other versions and forms of the secret, other signatures and presets, other URLs, headers and times";

/// The verdict on a request, and its causes.
#[derive(Debug)]
pub(super) struct Report {
    outcome: Outcome,
    reason: Reason,
    endpoint: Option<String>,
    version: Option<String>,
    causes: Vec<Finding>,
    /// How many trials there were, if the rejection is about the signature.
    trials: Option<usize>,
}

impl Report {
    /// A report without causes.
    pub(super) fn new(judged: &Judgement) -> Self {
        let endpoint = judged.endpoint.as_ref();
        let version = judged.verdict.verified().and_then(|verified| {
            let secret = endpoint?.secret(verified.secret())?;
            Some(secret.version.clone())
        });
        Self {
            outcome: judged.verdict.outcome(),
            reason: judged.verdict.reason(),
            endpoint: endpoint.map(|endpoint| endpoint.name.clone()),
            version,
            causes: Vec::new(),
            trials: None,
        }
    }

    /// Adds what a search found.
    pub(super) fn add(&mut self, search: Search<'_>) {
        self.causes = search.found;
        self.trials = Some(search.trials);
    }

    /// Prints the report.
    pub(super) fn print(&self, format: OutputFormat) {
        match format {
            OutputFormat::Text => print!("{}", self.text()),
            OutputFormat::Json => println!("{}", self.json()),
        }
    }

    pub(super) fn status(&self) -> ExitCode {
        match self.outcome {
            Outcome::Accepted | Outcome::Challenged => ExitCode::SUCCESS,
            Outcome::Passed | Outcome::Denied | Outcome::Monitored => ExitCode::FAILURE,
        }
    }

    fn json(&self) -> serde_json::Value {
        let causes = self.causes.iter().map(|finding| {
            json!({
                "cause": finding.cause.name(),
                "detail": printable(&finding.detail),
                "fix": printable(&finding.fix),
            })
        });
        json!({
            "verdict": self.outcome.name(),
            "reason": self.reason.name(),
            "endpoint": self.endpoint.as_deref().unwrap_or("-"),
            "version": self.version,
            "causes": causes.collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{}: {} (endpoint {})\n",
            self.outcome.name(),
            self.reason.name(),
            self.endpoint.as_deref().unwrap_or("-")
        );
        for finding in &self.causes {
            text.push_str(&format!(
                "\ncause: {}: {}\n  fix: {}\n",
                finding.cause.name(),
                printable(&finding.detail),
                printable(&finding.fix)
            ));
        }
        if let Some(trials) = self.trials {
            text.push_str(&format!("\ntried: {trials} changes: {TRIED}\n"));
        }
        text
    }
}

/// A text without characters that a terminal could obey.
fn printable(text: &str) -> String {
    let is_hidden = |char: char| {
        char.is_control()
            || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars()
        .map(|char| if is_hidden(char) { '?' } else { char })
        .collect()
}
