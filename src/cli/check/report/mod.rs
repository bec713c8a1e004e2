//! The forms of a report.

mod json;
mod mask;
mod position;
mod sarif;
mod text;

use super::file::Checked;
use crate::cli::arguments::ReportFormat;
use crate::cli::{Result, output};

/// Prints a report to standard output.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn print(checked: &Checked, format: ReportFormat) -> Result<()> {
    match format {
        ReportFormat::Text => output::print_as_is(text::report(checked).as_bytes()),
        ReportFormat::Json => output::print_json_text(&json::report(checked)),
        ReportFormat::Sarif => output::print_json_text(&sarif::report(checked)),
    }
}
