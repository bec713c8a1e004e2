//! Headers and filter state of the guard that others read.

use std::ops::Range;

use super::settings::Settings;
use super::values::get;
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;
use crate::cli::yaml::{Field, Yaml};
use crate::policy::outputs::Outputs;

const HEADER: Rule = Rule {
    name: "unset-header",
    what: "a filter, a route or the access log reads an `x-webhook-guard-` header that `upstream_headers` leaves out",
    why: "The header is always absent. A rate limit with it never applies.",
};

const STATE: Rule = Rule {
    name: "unset-filter-state",
    what: "a filter or the access log reads a filter state of the guard that `filter_states` leaves out",
    why: "The value is always absent, and so is the field of the access log. Without `verdict`, the gate rejects every request.",
};

pub(in crate::cli::check) const RULES: &[&Rule] = &[&HEADER, &STATE];

/// A kind of output. The configuration lists the values that the guard sets.
struct Output {
    rule: &'static Rule,
    /// The field with the list.
    field: &'static str,
    /// The values that the list can have.
    known: fn() -> Vec<&'static str>,
    /// The values that the guard sets whatever the list says.
    always: &'static [&'static str],
    /// How the names of the values begin where others read them.
    prefix: &'static str,
    consequence: &'static str,
    /// The alternative to a longer list.
    alternative: &'static str,
}

const OUTPUTS: [Output; 2] = [
    Output {
        rule: &HEADER,
        field: "upstream_headers",
        known: Outputs::header_names,
        always: &["verdict"],
        prefix: "x-webhook-guard-",
        consequence: "a rate limit or a route that reads this header never applies",
        alternative: "",
    },
    Output {
        rule: &STATE,
        field: "filter_states",
        known: Outputs::state_names,
        always: &["event"],
        prefix: "wasm.webhook_guard_",
        consequence: "this value is always absent",
        alternative: ", or remove this field",
    },
];

/// Reports the first place that reads a value which none of these guards sets. The search leaves out the values that
/// `is_skipped` accepts, such as the guard itself.
pub(in crate::cli::check) fn check(
    root: &Yaml,
    guards: &[&Settings<'_>],
    is_skipped: &dyn Fn(&Yaml) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for output in &OUTPUTS {
        let lists = guards.iter().map(|guard| output.list(guard.value()));
        // Without a list, the guard sets all values.
        let Some(lists) = lists.collect::<Option<Vec<_>>>() else {
            continue;
        };
        let Some(first) = lists.first() else {
            continue;
        };
        let mut missing: Vec<(String, Range<usize>)> = Vec::new();
        visit(root, is_skipped, &mut |text, span| {
            for name in output.names(text) {
                let is_set = output.always.contains(&name.as_str())
                    || lists.iter().any(|list| list.contains(&name.as_str()));
                if !is_set && missing.iter().all(|(other, _)| *other != name) {
                    missing.push((name, span.clone()));
                }
            }
        });
        // One list fixes all of them.
        let known = (output.known)();
        let names = missing.iter().map(|(name, _)| name.as_str());
        let added = names.filter(|name| known.contains(name));
        let list: Vec<_> = first.iter().copied().chain(added).collect();
        for (name, span) in &missing {
            let fix = match known.contains(&name.as_str()) {
                true => output.addition(name, &list.join(", ")),
                false => output.correction(&known),
            };
            findings.push(output.finding(name, fix, span.clone()));
        }
    }
    findings
}

impl Output {
    /// The values that a guard sets. `None` for all.
    fn list<'c>(&self, configuration: &'c Yaml) -> Option<Vec<&'c str>> {
        let list = get(configuration, self.field)?;
        Some(list.items().iter().filter_map(Yaml::text).collect())
    }

    /// The values that a text reads, as the configuration names them.
    fn names(&self, text: &str) -> Vec<String> {
        let text = text.to_ascii_lowercase();
        let is_part = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        let names = text.split(self.prefix).skip(1).filter_map(|rest| {
            let name = rest.split(|char| !is_part(char)).next()?;
            Some(name.replace('-', "_"))
        });
        // A regular expression can have only the start of a name.
        names
            .filter(|name| !name.is_empty() && !name.ends_with('_'))
            .collect()
    }

    fn finding(&self, name: &str, fix: String, span: Range<usize>) -> Finding {
        let consequence = match (self.field, name) {
            ("filter_states", "verdict") => "the gate rejects every request",
            _ => self.consequence,
        };
        let written = self.written(name);
        let problem = format!("the guard does not set `{written}`: {consequence}");
        self.rule.at(span, problem, fix)
    }

    /// Adds a value to the configured list. `list` is the one to write.
    fn addition(&self, name: &str, list: &str) -> String {
        let field = self.field;
        let alternative = match (field, name) {
            ("filter_states", "verdict") => "",
            _ => self.alternative,
        };
        format!("add `{name}` to `{field}` of the guard: `{field}: [{list}]`{alternative}")
    }

    /// Names the values that exist, in place of one that does not.
    fn correction(&self, known: &[&str]) -> String {
        let known = known.iter().map(|name| format!("`{}`", self.written(name)));
        let known: Vec<_> = known.collect();
        format!("write one that the guard can set: {}", known.join(", "))
    }

    /// A value as others read it.
    fn written(&self, name: &str) -> String {
        let name = match self.prefix.ends_with('-') {
            true => name.replace('_', "-"),
            false => name.to_owned(),
        };
        format!("{}{name}", self.prefix)
    }
}

/// Visits each text that can read a header or a value, also the names of fields.
fn visit(
    value: &Yaml,
    is_skipped: &dyn Fn(&Yaml) -> bool,
    read: &mut dyn FnMut(&str, Range<usize>),
) {
    if is_skipped(value) {
        return;
    }
    if let Some(text) = value.text() {
        read(text, value.span.clone());
    }
    for item in value.items() {
        visit(item, is_skipped, read);
    }
    for field in value.fields().iter().filter(|field| !writes(field)) {
        read(&field.name, field.span.clone());
        visit(&field.value, is_skipped, read);
    }
}

/// Whether a field sets or removes headers.
fn writes(field: &Field) -> bool {
    let name = field.name.as_str();
    // The name of a header to set. Istio's conditions have a field of this name, too: `request.headers[...]`.
    let text = field.value.text().unwrap_or_default();
    matches!(
        name,
        "set" | "add" | "remove" | "remove_on_match" | "removeOnMatch"
    ) || name.ends_with("_to_remove")
        || name.ends_with("ToRemove")
        || (name == "key" && text.starts_with("x-"))
}
