//! The reports of the module's own readers about a guard's configuration.

use std::collections::BTreeSet;
use std::env::VarError;

use super::block;
use super::finding::{Finding, Severity};
use super::fix;
use super::places::Places;
use crate::cli::guards::{Configuration, Guard};
use crate::config::value::ParseError;
use crate::config::{self, Diagnostic};
use crate::policy::Policy;
use crate::secrets;

/// The errors and the warnings of a guard.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) findings: Vec<Finding>,
    /// The policy. `None` if there are errors.
    pub(super) policy: Option<Policy>,
}

/// Reads the configuration of a guard as the module would. `unset` gets the names of the environment variables that are
/// not set here.
pub(super) fn read(guard: &Guard<'_>, file: &str, unset: &mut BTreeSet<String>) -> Reading {
    let value = match config::parse(&guard.configuration.to_bytes()) {
        Ok(value) => value,
        Err(error) => return unreadable(guard, file, &error),
    };
    let places = match &guard.configuration {
        Configuration::Fields(yaml) | Configuration::Absent(yaml) => Places::new(&value, yaml),
        Configuration::Text(yaml) => block::places(&value, yaml, file),
    };
    let names = std::cell::RefCell::new(unset);
    let (policy, errors, warnings) = Policy::check(&value, &|name| {
        let found = std::env::var(name);
        // Any other text is an error of the configuration.
        let is_unset = found == Err(VarError::NotPresent) && name != "ENVIRONMENT";
        if is_unset && secrets::is_variable(name) {
            // A name that is not in capitals may be the secret itself.
            let shown = match secrets::printable(name) == name {
                true => name,
                false => "a name that is not in capitals",
            };
            names.borrow_mut().insert(shown.to_owned());
        }
        found
    });
    let errors = errors.iter().map(|error| (Severity::Error, error));
    let warnings = warnings.iter().map(|warning| (Severity::Warning, warning));
    let findings = errors
        .chain(warnings)
        .map(|(severity, diagnostic)| {
            let mut finding = finding(severity, diagnostic, &places);
            let written = file.get(finding.span.clone()).unwrap_or_default();
            if diagnostic.message == "unknown field" {
                finding.fix = fix::of_unknown_field(written);
            }
            finding
        })
        .collect();
    Reading { findings, policy }
}

fn unreadable(guard: &Guard<'_>, file: &str, error: &ParseError) -> Reading {
    let (Configuration::Fields(yaml) | Configuration::Text(yaml) | Configuration::Absent(yaml)) =
        &guard.configuration;
    let span = block::offset(yaml, file, error.offset);
    let places = Places::of_whole(span.unwrap_or(yaml.span.clone()));
    let message = match guard.configuration {
        Configuration::Absent(_) => "the plugin has no configuration: add at least one endpoint",
        Configuration::Fields(_) | Configuration::Text(_) => error.message.as_str(),
    };
    let diagnostic = Diagnostic::of_configuration(message);
    Reading {
        findings: vec![finding(Severity::Error, &diagnostic, &places)],
        policy: None,
    }
}

fn finding(severity: Severity, diagnostic: &Diagnostic, places: &Places) -> Finding {
    let place = places.of(diagnostic.value);
    // The name of an unknown field is wrong, and not its value.
    let is_name = diagnostic.message.starts_with("unknown field");
    let span = match &place.name {
        Some(name) if is_name => name.clone(),
        _ => place.value.clone(),
    };
    let (problem, fix) = fix::split(&diagnostic.message);
    let message = match diagnostic.path.as_str() {
        "" => problem,
        path => format!("{path}: {problem}"),
    };
    Finding {
        rule: match severity {
            Severity::Error => "configuration-error",
            Severity::Warning => "configuration-warning",
        },
        severity,
        span,
        message,
        fix,
    }
}
