//! The guard's own configuration, and its settings that are accepted but risky.

use std::borrow::Cow;
use std::ops::Range;

use super::values::{anchor, find, get, number, text};
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;
use crate::cli::guards::{Configuration, Guard};
use crate::cli::yaml::{self, Yaml};

/// The default of `max_body_bytes`.
const MAX_BODY: u64 = 1 << 20;

const INLINE_SECRET: Rule = Rule {
    name: "inline-secret",
    what: "`value` of a secret that is not limited to `environment: development` or `test`",
    why: "Everybody who can read the file can sign requests.",
};

const UNMATCHED_PASS: Rule = Rule {
    name: "unmatched-pass",
    what: "`unmatched: pass` without a list of paths",
    why: "Every path that does not resemble an endpoint's reaches the application unverified.",
};

pub(in crate::cli::check) const RULES: &[&Rule] = &[&INLINE_SECRET, &UNMATCHED_PASS];

/// The guard's configuration, as its file writes it.
#[derive(Debug)]
pub(in crate::cli::check) struct Settings<'f> {
    value: Cow<'f, Yaml>,
    /// The place of the text that contains the configuration, if it is JSON in a text.
    text: Option<Range<usize>>,
}

impl<'f> Settings<'f> {
    /// The configuration of a guard. `None` if it has none that can be read.
    pub(in crate::cli::check) fn of(guard: &Guard<'f>) -> Option<Self> {
        match guard.configuration {
            Configuration::Fields(value) => Some(Self {
                value: Cow::Borrowed(value),
                text: None,
            }),
            Configuration::Text(value) => {
                let documents = yaml::parse(value.text()?).ok()?;
                Some(Self {
                    value: Cow::Owned(documents.into_iter().next()?),
                    text: Some(value.span.clone()),
                })
            }
            Configuration::Absent(_) => None,
        }
    }

    /// The whole configuration.
    pub(in crate::cli::check) fn value(&self) -> &Yaml {
        &self.value
    }

    /// The place of a value of the configuration in the file.
    pub(in crate::cli::check) fn span(&self, value: &Yaml) -> Range<usize> {
        self.text.clone().unwrap_or_else(|| value.span.clone())
    }

    pub(in crate::cli::check) fn endpoints(&self) -> &[Yaml] {
        get(&self.value, "endpoints").map_or(&[], Yaml::items)
    }

    /// All secrets of all endpoints.
    pub(in crate::cli::check) fn secrets(&self) -> impl Iterator<Item = &Yaml> {
        let secrets = self
            .endpoints()
            .iter()
            .filter_map(|each| get(each, "secrets"));
        secrets.flat_map(Yaml::items)
    }

    /// The environment, if the configuration names it.
    pub(in crate::cli::check) fn environment(&self) -> Option<&str> {
        text(&self.value, "environment")
    }

    /// The endpoint with the largest body.
    pub(in crate::cli::check) fn largest(&self) -> Option<&Yaml> {
        self.endpoints()
            .iter()
            .max_by_key(|each| Self::max_body(each))
    }

    /// The largest body of an endpoint, and the value to report about it.
    pub(in crate::cli::check) fn max_body(endpoint: &Yaml) -> u64 {
        get(endpoint, "max_body_bytes")
            .and_then(number)
            .unwrap_or(MAX_BODY)
    }
}

/// Checks the settings that the guard accepts.
pub(in crate::cli::check) fn check(settings: &Settings<'_>) -> Vec<Finding> {
    let mut findings = inline_secrets(settings);
    findings.extend(unmatched_pass(settings));
    findings
}

fn inline_secrets(settings: &Settings<'_>) -> Vec<Finding> {
    let is_inline = |value: &Yaml| {
        let is_secret = get(value, "version").is_some() && get(value, "value").is_some();
        is_secret && !matches!(text(value, "environment"), Some("development" | "test"))
    };
    let endpoints = get(settings.value(), "endpoints");
    let inline = endpoints.map_or(Vec::new(), |endpoints| find(endpoints, &is_inline));
    let report = |secret: &Yaml| {
        INLINE_SECRET.at(
            settings.span(secret),
            "the file contains a secret: everybody who can read the file can sign requests",
            "name an environment variable, such as `env: WEBHOOK_SECRET`, or limit the secret with `environment: development`",
        )
    };
    inline.into_iter().map(report).collect()
}

fn unmatched_pass(settings: &Settings<'_>) -> Option<Finding> {
    let unmatched = get(settings.value(), "unmatched")?;
    (unmatched.text() == Some("pass")).then(|| {
        UNMATCHED_PASS.at(
            settings.span(unmatched),
            "every path that does not resemble an endpoint's reaches the application unverified",
            "list the application's own paths: `unmatched: {pass: [/app/]}`, or write `unmatched: deny`",
        )
    })
}

/// The place to report about an endpoint as a whole.
pub(in crate::cli::check) fn endpoint_span(
    settings: &Settings<'_>,
    endpoint: &Yaml,
) -> Range<usize> {
    settings.text.clone().unwrap_or_else(|| anchor(endpoint))
}
