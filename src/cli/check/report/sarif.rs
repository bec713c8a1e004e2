//! The report as SARIF 2.1.0, for code scanning.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::position::Region;
use crate::cli::check::file::Checked;
use crate::cli::check::finding::Severity;
use crate::cli::check::rules;

/// One run with all findings.
pub(super) fn report(checked: &Checked) -> String {
    let rules: BTreeSet<_> = checked
        .findings()
        .map(|(_, finding, _)| finding.rule)
        .collect();
    let rules: Vec<Value> = rules.into_iter().map(described).collect();
    let results: Vec<Value> = checked
        .findings()
        .map(|(file, finding, _)| {
            let region = Region::new(&file.text, &finding.span);
            json!({
                "ruleId": finding.rule,
                "level": match finding.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                "message": {"text": format!("{}. Fix: {}", finding.message, finding.fix)},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": uri(&file.name)},
                    "region": {
                        "startLine": region.line,
                        "startColumn": region.column,
                        "endLine": region.end_line,
                        "endColumn": region.end_column,
                    },
                }}],
            })
        })
        .collect();
    let report = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "webhook-guard",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{report:#}\n")
}

/// A rule with its texts, which code scanning shows above a finding. Errors of a configuration have none.
fn described(name: &str) -> Value {
    match rules().find(|rule| rule.name == name) {
        Some(rule) => json!({
            "id": name,
            "shortDescription": {"text": rule.what},
            "fullDescription": {"text": rule.why},
        }),
        None => json!({"id": name}),
    }
}

/// A file's name as a relative reference (RFC 3986).
fn uri(name: &str) -> String {
    let mut uri = String::new();
    for byte in name.bytes() {
        match byte {
            b'/' | b'.' | b'_' | b'~' | b'-' => uri.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}
