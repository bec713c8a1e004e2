//! Access logs.

use std::ops::Range;

use super::settings::Settings;
use super::values::{Message, anchor, find, get, mentions, text};
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;
use crate::cli::yaml::Yaml;

const LENGTH: Rule = Rule {
    name: "access-log-length",
    what: "a field of the access log that a client writes has no length",
    why: "One connection can fill the disk, because a long path costs a client one byte.",
};

const FILTER: Rule = Rule {
    name: "access-log-filter",
    what: "the access log has no `filter`",
    why: "Each request that Envoy rejects before the guard writes a line, so a flood fills the disk.",
};

const EVENT: Rule = Rule {
    name: "access-log-event",
    what: "`log: {accepted: debug}`, and the access log has no `wasm.webhook_guard_event`",
    why: "Accepted requests have no event, neither in Envoy's log nor in the access log.",
};

pub(in crate::cli::check) const RULES: &[&Rule] = &[&LENGTH, &FILTER, &EVENT];

/// Operators whose values clients write.
const WRITTEN: [&str; 6] = [
    "REQ",
    "PATH",
    "QUERY_PARAM",
    "QUERY_PARAMS",
    "TRAILER",
    "REQ_WITHOUT_QUERY",
];

/// Checks an item of `access_log`.
pub(in crate::cli::check) fn check(log: &Yaml) -> Vec<Finding> {
    let Some(message) = get(log, "typed_config").and_then(Message::of) else {
        return Vec::new();
    };
    let to_disk = ["access_loggers.file.", "access_loggers.stream."]
        .iter()
        .any(|kind| message.kind.starts_with(kind));
    let mut findings = Vec::new();
    if to_disk && get(log, "filter").is_none() {
        findings.push(unfiltered(anchor(log)));
    }
    let formats = ["log_format", "format", "json_format", "typed_json_format"];
    if to_disk
        && formats
            .iter()
            .all(|name| get(message.value, name).is_none())
    {
        findings.push(LENGTH.at(
            anchor(log),
            "Envoy's default format writes the path and headers of a client in any length",
            "copy the `log_format` of envoy/envoy.yaml",
        ));
    }
    findings.extend(lengths(message.value));
    findings
}

/// Checks that the access logs of a connection manager have the events that the guard leaves to them.
pub(in crate::cli::check) fn events(settings: &Settings<'_>, logs: &[Yaml]) -> Option<Finding> {
    let log = get(settings.value(), "log")?;
    let leaves_events = text(log, "accepted") == Some("debug");
    let has_events = logs.iter().any(|log| mentions(log, "webhook_guard_event"));
    (leaves_events && !has_events).then(|| {
        EVENT.at(
            settings.span(log),
            "accepted requests have no event, neither in Envoy's log nor in the access log",
            "add `event: \"%FILTER_STATE(wasm.webhook_guard_event:PLAIN)%\"` to the access log, or write `log: {accepted: info}`",
        )
    })
}

/// A log without a filter.
pub(in crate::cli::check) fn unfiltered(span: Range<usize>) -> Finding {
    FILTER.at(
        span,
        "the access log has no `filter`: each request that Envoy rejects before the guard writes a line, so a flood fills the disk",
        "copy the `filter` of the access log of envoy/envoy.yaml, with the filter `admitted` before the guard",
    )
}

/// Checks the texts of a format.
pub(in crate::cli::check) fn lengths(format: &Yaml) -> Vec<Finding> {
    let formats = find(format, &|value| {
        value.text().is_some_and(|text| unbounded(text).is_some())
    });
    let report = |format: &Yaml| {
        let (command, argument) = unbounded(format.text()?)?;
        Some(LENGTH.at(
            format.span.clone(),
            format!("a client writes `%{command}({argument})%` in any length, so one connection can fill the disk"),
            format!("add a length: `%{command}({argument}):200%`"),
        ))
    };
    formats.into_iter().filter_map(report).collect()
}

/// The first operator of a format whose value a client writes, without a length.
fn unbounded(format: &str) -> Option<(&str, &str)> {
    let mut rest = format;
    while let Some((_, after)) = rest.split_once('%') {
        rest = after;
        let Some((command, after)) = after.split_once('(') else {
            continue;
        };
        if !command
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        {
            continue;
        }
        let Some((argument, end)) = after.split_once(')') else {
            continue;
        };
        rest = end;
        let is_delivery =
            command == "FILTER_STATE" && argument.contains("webhook_guard_delivery_id");
        if end.starts_with('%') {
            rest = end.strip_prefix('%').unwrap_or(end);
            if (WRITTEN.contains(&command) || is_delivery) && !is_set_by_envoy(argument) {
                return Some((command, argument));
            }
        } else if let Some((_, end)) = end.split_once('%') {
            rest = end;
        }
    }
    None
}

/// Headers that Envoy sets or checks.
fn is_set_by_envoy(argument: &str) -> bool {
    argument.eq_ignore_ascii_case(":scheme")
}
