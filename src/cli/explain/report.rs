//! The report of `explain`.

use std::process::ExitCode;

use serde_json::json;

use super::meaning::meaning;
use super::search::{Finding, Search};
use crate::cli::Result;
use crate::cli::arguments::OutputFormat;
use crate::cli::judgement::Judgement;
use crate::cli::output::{self, Style, escaped, styled};
use crate::verdict::{Outcome, Reason};

/// The limits of every verifier.
const UNKNOWN: &str = "\
This command cannot recognise a body that was altered or an unknown secret. It also cannot recognise JSON whose fields were
reordered, a body compressed again, or two mistakes at once. All of these look the same.
";

/// The next steps if no cause was found.
const NEXT: &str = "\
Next:
  1. Copy the secret from the sender's page of this endpoint again. Test and live modes have different secrets.
  2. Compare the body's SHA-256 with the sender's. The guard logs `body_sha256` at the level `debug`.
  3. Capture the request before the first proxy, and verify that capture.
  4. Compare the scheme with the sender's documentation: `webhook-guard providers NAME` prints that of a preset.
";

/// The verdict on a request, and its causes.
#[derive(Debug)]
pub(super) struct Report {
    outcome: Outcome,
    reason: Reason,
    endpoint: Option<String>,
    version: Option<String>,
    causes: Vec<Finding>,
    /// The limits of the search.
    limits: Vec<&'static str>,
    /// Remarks about the inputs.
    pub(super) notes: Vec<String>,
    /// How many trials there were, if the rejection is about the signature.
    trials: Option<usize>,
    /// The kinds of changes that were tried.
    tried: Vec<&'static str>,
}

impl Report {
    /// A report without causes. If the module refuses the value of a secret, no secret can have made the signature.
    pub(super) fn new(judged: &Judgement, is_refused: bool) -> Self {
        let endpoint = judged.endpoint.as_ref();
        let version = judged.verdict.verified().and_then(|verified| {
            let secret = endpoint?.secret(verified.secret())?;
            Some(secret.version.clone())
        });
        Self {
            outcome: judged.verdict.outcome(),
            reason: match is_refused {
                true => Reason::SignatureInvalid,
                false => judged.verdict.reason(),
            },
            endpoint: endpoint.map(|endpoint| endpoint.name.clone()),
            version,
            causes: Vec::new(),
            notes: Vec::new(),
            limits: Vec::new(),
            trials: None,
            tried: Vec::new(),
        }
    }

    /// Adds what a search found.
    pub(super) fn add(&mut self, search: Search<'_>) {
        self.causes = search.found;
        self.limits = search.limits;
        self.trials = Some(search.trials);
        self.tried = search.tried;
    }

    /// Whether a cause was found.
    pub(super) const fn has_causes(&self) -> bool {
        !self.causes.is_empty()
    }

    /// Whether there was a search, and it found no cause.
    pub(super) const fn is_unexplained(&self) -> bool {
        self.trials.is_some() && self.causes.is_empty()
    }

    /// Prints the report.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn print(&self, format: OutputFormat) -> Result<()> {
        match format {
            OutputFormat::Text => output::print_as_is(self.text().as_bytes()),
            OutputFormat::Json => output::print_json(&self.json()),
        }
    }

    pub(super) fn status(&self) -> ExitCode {
        match self.outcome {
            Outcome::Accepted | Outcome::Challenged => ExitCode::SUCCESS,
            Outcome::Passed | Outcome::Denied | Outcome::Monitored => ExitCode::FAILURE,
        }
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let causes = self.causes.iter().map(|finding| {
            json!({
                "cause": finding.cause.name(),
                "detail": sentence(&finding.detail),
                "fix": sentence(&finding.fix),
            })
        });
        json!({
            "verdict": self.outcome.name(),
            "reason": self.reason.name(),
            "endpoint": self.endpoint,
            "version": self.version,
            "causes": causes.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    /// The report for people. Untrusted parts are escaped, because colours are not.
    pub(super) fn text(&self) -> String {
        let is_accepted = matches!(self.outcome, Outcome::Accepted | Outcome::Challenged);
        let style = if is_accepted { Style::Good } else { Style::Bad };
        let (outcome, reason) = (self.outcome.name(), self.reason.name());
        let reason = match reason == outcome {
            true => String::new(),
            false => format!(": {reason}"),
        };
        let mut text = format!(
            "{}{reason} (endpoint {})\n{}\n",
            styled(style, outcome),
            escaped(self.endpoint.as_deref().unwrap_or("-")),
            sentence(meaning(self.reason)),
        );
        for finding in &self.causes {
            text.push_str(&format!(
                "\nCause: {}\n  {}\n  Fix: {}\n",
                styled(Style::Strong, finding.cause.name()),
                escaped(&sentence(&finding.detail)),
                escaped(&sentence(&finding.fix)),
            ));
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            text.push_str(&format!("Note: {}\n", escaped(&sentence(note))));
        }
        let Some(trials) = self.trials else {
            return text;
        };
        if self.causes.is_empty() {
            text.push_str("\nNo cause was found.\n");
        }
        let changes = if trials == 1 { "change" } else { "changes" };
        text.push_str(&format!(
            "\nTried {trials} {changes}: {}.\n",
            self.tried.join(", ")
        ));
        if self.causes.is_empty() {
            text.push_str(UNKNOWN);
            for limit in &self.limits {
                text.push_str(limit);
                text.push('\n');
            }
            text.push('\n');
            text.push_str(NEXT);
        }
        text
    }
}

/// A text as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    let end = if text.ends_with('.') { "" } else { "." };
    first.into_iter().chain(letters).collect::<String>() + end
}
