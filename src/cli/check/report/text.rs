//! The report for people, in the form of rustc's.

use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::cli::check::file::{Checked, CheckedFile};
use crate::cli::check::finding::{Finding, Severity};
use crate::cli::output::{escaped, has_colour};

/// The findings with their lines, and a summary.
pub(super) fn report(checked: &Checked) -> String {
    let renderer = match has_colour() {
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
        .primary_title(escaped(&finding.message))
        .id(finding.rule)
        .element(
            Snippet::source(file.text.as_str())
                .path(escaped(&file.name))
                .annotation(AnnotationKind::Primary.span(finding.span.clone())),
        );
    match finding.fix.as_str() {
        "" => group,
        fix => group.element(Level::HELP.message(escaped(fix))),
    }
}

fn summary(checked: &Checked) -> String {
    let mut summary = String::new();
    if !checked.unset.is_empty() {
        let names: Vec<_> = checked.unset.iter().map(String::as_str).collect();
        let _ = writeln!(
            summary,
            "note: the values of these variables are not set here, and were not checked: {}",
            escaped(&names.join(", "))
        );
    }
    let _ = writeln!(
        summary,
        "{}, {} in {}",
        counted(checked.count(Severity::Error), "error"),
        counted(checked.count(Severity::Warning), "warning"),
        counted(checked.guards(), "guard"),
    );
    summary
}

/// A number of things, such as `1 guard` or `2 guards`.
fn counted(number: usize, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}
