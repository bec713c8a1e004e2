//! The forms of a report.

mod json;
mod position;
mod text;

use super::file::Checked;
use crate::cli::arguments::ReportFormat;

/// Prints a report to standard output.
pub(super) fn print(checked: &Checked, format: ReportFormat) {
    let report = match format {
        ReportFormat::Text => text::report(checked),
        ReportFormat::Json => json::report(checked),
        ReportFormat::Sarif => json::report(checked),
    };
    print!("{report}");
}
