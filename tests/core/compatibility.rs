//! The public surface of a release: all names that the policy in release/README.md, "Versions", is about.
//!
//! The file surface.txt has one line for each. So a reviewer sees a change, and whether it removes something. Texts that
//! the policy does not cover are in other files: errors in `snapshots`, the help and outputs of commands in `tests/cli`.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use webhook_guard::fuzzing;
use webhook_guard::verdict::{Outcome, Reason};

use crate::readme::{page, table};
use crate::vectors::presets;

const SURFACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/core/surface.txt");

/// The labels whose values are those of the configuration or of a build, or are listed elsewhere in the surface.
const OPEN_LABELS: [&str; 5] = ["endpoint", "version", "commit", "reason", "verdict"];

#[test]
fn the_public_surface_changes_only_by_the_policy() {
    let made = surface().into_iter().collect::<Vec<_>>().join("\n") + "\n";
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(SURFACE, made).unwrap();
        return;
    }
    let written = fs::read_to_string(SURFACE).unwrap();
    let [before, now] =
        [&written, &made].map(|text| text.lines().map(str::to_owned).collect::<BTreeSet<_>>());
    let removed: Vec<_> = before.difference(&now).collect();
    let added: Vec<_> = now.difference(&before).collect();
    assert!(
        removed.is_empty(),
        "removed or changed: {removed:#?}\nadded: {added:#?}\n\
         A user of the last release may need these. Read `Versions` in release/README.md: keep the old form for a minor \
         version, or mark the change with **Breaking** in CHANGELOG.md. Then run `make generate`."
    );
    assert!(
        added.is_empty(),
        "added: {added:#?}\nA release must keep these from now on: see `Versions` in release/README.md. Check the names, add \
         a line to CHANGELOG.md, and run `make generate`."
    );
    assert_eq!(written, made, "run `make generate`");
}

/// Everything whose removal or change could break a user, one line each.
fn surface() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let schema: Value = serde_json::from_str(&page("envoy/webhook-guard.schema.json")).unwrap();
    add_fields(&mut lines, "", &schema);
    lines.extend(
        presets()
            .into_iter()
            .map(|(name, _)| format!("preset {name}")),
    );
    lines.extend(Reason::ALL.iter().map(answer));
    lines.extend(outcomes().map(|name| format!("verdict {name}")));
    lines.extend(
        fuzzing::metrics()
            .into_iter()
            .map(|(kind, name)| metric(&kind, &name)),
    );
    lines.extend(fields_of_logs());
    for (kind, file, prefix) in [
        (
            "header to the application",
            "src/shell/exchange.rs",
            "\"x-webhook-guard-",
        ),
        ("filter state", "src/shell/telemetry.rs", "\"webhook_guard_"),
    ] {
        lines.extend(literals(file, prefix).map(|name| format!("{kind} {name}")));
    }
    add_command_line(&mut lines);
    lines.extend(
        first_cells("release/README.md", "file").map(|name| format!("file of a release {name}")),
    );
    lines
}

/// The fields of the configuration, each with its type and its default.
fn add_fields(lines: &mut BTreeSet<String>, path: &str, schema: &Value) {
    let forms = schema["anyOf"].as_array();
    for form in forms.into_iter().flatten().chain([schema]) {
        for (name, field) in form["properties"].as_object().into_iter().flatten() {
            let at = format!("{path}.{name}");
            let at = at.trim_start_matches('.');
            let text = field["description"].as_str().unwrap_or_default();
            let default = text
                .split_once(" Default: ")
                .map(|(_, default)| format!(", default {}", default.trim_end_matches('.')));
            let required = form["required"].as_array();
            let is_required =
                required.is_some_and(|names| names.contains(&Value::from(name.as_str())));
            let required = if is_required { ", required" } else { "" };
            lines.insert(format!(
                "field {at}: {}{}{required}",
                types(field).join(" or "),
                default.unwrap_or_default()
            ));
            add_fields(lines, at, field);
        }
        if form["items"].is_object() {
            add_fields(lines, &format!("{path}[]"), &form["items"]);
        }
    }
}

/// The types of a value, in a few words.
fn types(schema: &Value) -> Vec<String> {
    if let Some(forms) = schema["anyOf"].as_array() {
        return forms.iter().flat_map(types).collect();
    }
    if let Some(words) = schema["enum"].as_array() {
        return words
            .iter()
            .map(|word| word.as_str().unwrap().to_owned())
            .collect();
    }
    let name = schema["type"].as_str().unwrap_or("any value");
    match &schema["maximum"] {
        Value::Null => vec![name.to_owned()],
        maximum => vec![format!("{name} up to {maximum}")],
    }
}

fn answer(reason: &Reason) -> String {
    let answer = reason
        .response()
        .map_or("no answer".to_owned(), |response| {
            let retry = response
                .retry_after
                .map(|after| format!(", Retry-After: {after}"));
            format!(
                "{} {:?}{}",
                response.status,
                response.body,
                retry.unwrap_or_default()
            )
        });
    format!("reason {}: {answer}", reason.name())
}

fn outcomes() -> impl Iterator<Item = &'static str> {
    [
        Outcome::Accepted,
        Outcome::Denied,
        Outcome::Monitored,
        Outcome::Passed,
        Outcome::Challenged,
    ]
    .into_iter()
    .map(Outcome::name)
}

/// A metric with its labels, from a name such as `webhook_guard_requests_total.endpoint=a.verdict=denied`.
fn metric(kind: &str, name: &str) -> String {
    let mut parts = name.split('.');
    let metric = parts.next().unwrap();
    let labels = parts.filter_map(|part| part.split_once('='));
    let labels: Vec<_> = labels
        .map(|(label, value)| match OPEN_LABELS.contains(&label) {
            true => label.to_owned(),
            false => format!("{label}={value}"),
        })
        .collect();
    let line = format!(
        "metric {metric}: {} {}",
        kind.to_lowercase(),
        labels.join(" ")
    );
    line.trim_end().to_owned()
}

/// The fields of the log and of the access log. Other tests compare the table with the code and the shipped files.
fn fields_of_logs() -> Vec<String> {
    let mut lines = Vec::new();
    for row in table("envoy/monitoring/README.md", "field of a line") {
        for name in row[0].split(", ").map(|name| name.trim_matches('`')) {
            for (log, there) in [("log", &row[1]), ("access log", &row[2])] {
                if there != "-" {
                    lines.push(format!("field of the {log} {name}"));
                }
            }
        }
    }
    lines
}

/// The string literals of a file that begin like this.
fn literals(file: &str, prefix: &str) -> impl Iterator<Item = String> {
    let text = page(file);
    let found: Vec<_> = text
        .match_indices(prefix)
        .map(|(at, _)| text[at + 1..].split('"').next().unwrap().to_owned())
        .collect();
    assert!(found.len() > 3, "{file}: {found:?}");
    found.into_iter()
}

/// The commands and options, from the help that `tests/cli` compares, the rules of `check`, and the keys of JSON.
fn add_command_line(lines: &mut BTreeSet<String>) {
    let help = page("tests/cli/help.md");
    for block in help.split("$ webhook-guard ").skip(1) {
        let command = block
            .split_whitespace()
            .next()
            .unwrap()
            .replace("--help", "webhook-guard");
        for line in block.lines().skip(1).map(str::trim_start) {
            let words = line
                .split_whitespace()
                .map(|word| word.trim_end_matches(','));
            let options = words.take_while(|word| word.starts_with('-'));
            for option in options.filter(|option| option.len() > 1) {
                lines.insert(format!("option {command} {option}"));
            }
        }
        lines.insert(format!("command {command}"));
    }
    for row in table("src/cli/README.md", "status") {
        lines.insert(format!("exit status {}", row[0]));
    }
    lines.extend(
        first_cells("src/cli/check/README.md", "rule").map(|name| format!("rule of check {name}")),
    );
    for (command, file) in [
        ("check", "src/cli/check/report/json.rs"),
        ("verify", "src/cli/verify.rs"),
        ("explain", "src/cli/explain/report.rs"),
    ] {
        let text = page(file);
        let keys = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\": "));
        let keys: Vec<_> = keys
            .map(|(key, _)| format!("JSON of {command}: {key}"))
            .collect();
        assert!(keys.len() > 2, "{file}: {keys:?}");
        lines.extend(keys);
    }
}

/// The names in backticks in the first column of all tables with this heading.
fn first_cells(path: &str, heading: &str) -> impl Iterator<Item = String> {
    let text = page(path);
    let heading = format!("| {heading} |");
    let mut names = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_table = line.starts_with(&heading);
        while let Some(row) = lines.next_if(|row| is_table && row.starts_with('|')) {
            let cell = row.split('|').nth(1).unwrap();
            names.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    assert!(names.len() > 5, "{path}: {names:?}");
    names.into_iter()
}
