//! Rules about what surrounds a guard.

use std::ops::Range;

use super::finding::{Finding, Severity};

/// A rule, as the table of the documentation shows it.
#[derive(Debug)]
pub(super) struct Rule {
    /// The stable name, for programs.
    pub(super) name: &'static str,
    /// The settings that the rule reports.
    pub(super) what: &'static str,
    /// The consequence.
    pub(super) why: &'static str,
}

impl Rule {
    /// A weakness at this place. The module accepts the file in spite of it.
    pub(super) fn at(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        Finding {
            rule: self.name,
            severity: Severity::Warning,
            span,
            message: message.into(),
            fix: fix.into(),
        }
    }
}
