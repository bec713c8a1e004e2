//! Lines and columns.

use std::ops::Range;

/// A range of a text by lines and columns, which begin at 1. A column is a character, and the end is exclusive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Region {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) end_line: usize,
    pub(super) end_column: usize,
}

impl Region {
    pub(super) fn new(text: &str, span: &Range<usize>) -> Self {
        let (line, column) = position(text, span.start);
        let (end_line, end_column) = position(text, span.end.max(span.start));
        Self {
            line,
            column,
            end_line,
            end_column,
        }
    }
}

/// The line and the column of a byte.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = before(text, offset);
    let line = before.bytes().filter(|byte| *byte == b'\n').count();
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count();
    (line.saturating_add(1), column.saturating_add(1))
}

/// The text before a byte, or before the character that contains the byte.
fn before(text: &str, offset: usize) -> &str {
    let offset = offset.min(text.len());
    (0..=offset)
        .rev()
        .find_map(|end| text.get(..end))
        .unwrap_or(text)
}
