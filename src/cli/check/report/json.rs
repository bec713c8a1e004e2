//! The report as JSON.

use serde_json::{Value, json};

use super::position::Region;
use crate::cli::check::file::Checked;
use crate::cli::check::finding::Severity;

/// One document with all findings.
pub(super) fn report(checked: &Checked) -> String {
    let findings: Vec<Value> = checked
        .findings()
        .map(|(file, finding, guard)| {
            let region = Region::new(&file.text, &finding.span);
            json!({
                "file": file.name,
                "line": region.line,
                "column": region.column,
                "endLine": region.end_line,
                "endColumn": region.end_column,
                "rule": finding.rule,
                "severity": match finding.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                "message": finding.message,
                "fix": finding.fix,
                "guard": guard,
            })
        })
        .collect();
    let report = json!({
        "findings": findings,
        "summary": {
            "files": checked.files.len(),
            "guards": checked.guards(),
            "errors": checked.count(Severity::Error),
            "warnings": checked.count(Severity::Warning),
            "unset": checked.unset,
        },
    });
    format!("{report:#}\n")
}
