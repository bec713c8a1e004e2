//! The report for people, in the form of rustc's.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use super::mask;
use super::position::Region;
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
    let title = level
        .primary_title(escaped(&finding.message))
        .id(finding.rule);
    let group = match file.text.is_empty() {
        true => title.element(Origin::path(escaped(&file.name))),
        false => {
            let line = Line::new(&file.text, &finding.span);
            title.element(
                Snippet::source(line.text)
                    .path(escaped(&file.name))
                    .line_start(line.number)
                    .annotation(AnnotationKind::Primary.span(line.span)),
            )
        }
    };
    match finding.fix.as_str() {
        "" => group,
        fix => group.element(Level::HELP.message(escaped(fix))),
    }
}

/// The first line of a finding. A block of several lines would hide its beginning.
struct Line {
    number: usize,
    text: String,
    span: Range<usize>,
}

impl Line {
    fn new(file: &str, span: &Range<usize>) -> Self {
        let region = Region::new(file, span);
        let line = mask::line(file, region.line.saturating_sub(1));
        let mut text = String::new();
        let (mut start, mut end) = (None, None);
        for (index, letter) in line.chars().enumerate() {
            let column = index.saturating_add(1);
            if column == region.column {
                start = Some(text.len());
            }
            if column == region.end_column && region.end_line == region.line {
                end = Some(text.len());
            }
            text.push(
                match escaped(letter.encode_utf8(&mut [0; 4])).len() == letter.len_utf8() {
                    true => letter,
                    false if letter == '\t' => ' ',
                    false => '\u{fffd}',
                },
            );
        }
        let (start, end) = (start.unwrap_or(text.len()), end.unwrap_or(text.len()));
        Self {
            number: region.line,
            span: start..end.max(start),
            text,
        }
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
