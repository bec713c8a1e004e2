//! The report for people, in the form of rustc's.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::cli::check::file::{Checked, CheckedFile};
use crate::cli::check::finding::{Finding, Severity};

/// The findings with their lines, and a summary.
pub(super) fn report(checked: &Checked) -> String {
    let is_coloured = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let renderer = match is_coloured {
        true => Renderer::styled(),
        false => Renderer::plain(),
    };
    let mut report = String::new();
    for (file, finding, _) in checked.findings() {
        report.push_str(&renderer.render(&[group(file, finding)]));
        report.push_str("\n\n");
    }
    report.push_str(&summary(checked));
    report
}

fn group<'r>(file: &'r CheckedFile, finding: &'r Finding) -> annotate_snippets::Group<'r> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let group = level
        .primary_title(printable(&finding.message))
        .id(finding.rule)
        .element(
            Snippet::source(file.text.as_str())
                .path(printable(&file.name))
                .annotation(AnnotationKind::Primary.span(finding.span.clone())),
        );
    match finding.fix.as_str() {
        "" => group,
        fix => group.element(Level::HELP.message(printable(fix))),
    }
}

/// A text without characters that a terminal obeys.
fn printable(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { '\u{fffd}' } else { char })
        .collect()
}

fn summary(checked: &Checked) -> String {
    let mut summary = String::new();
    if !checked.unset.is_empty() {
        let names: Vec<_> = checked.unset.iter().map(String::as_str).collect();
        let _ = writeln!(
            summary,
            "note: the values of these variables are not set here, and were not checked: {}",
            printable(&names.join(", "))
        );
    }
    let _ = writeln!(
        summary,
        "{} errors, {} warnings in {} guards",
        checked.count(Severity::Error),
        checked.count(Severity::Warning),
        checked.guards(),
    );
    summary
}
