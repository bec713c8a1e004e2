//! Positions within a text that contains a configuration as JSON.

use std::ops::Range;

use super::places::Places;
use crate::cli::yaml::{self, Kind, Yaml};
use crate::config::value::Value;

/// The positions of a configuration's values. Each line of a literal block is a line of the file. Any other text has one
/// position.
pub(super) fn places(configuration: &Value, text: &Yaml, file: &str) -> Places {
    let whole = Places::of_whole(text.span.clone());
    let (Kind::Block(content), Some(lines)) = (&text.kind, Lines::new(text, file)) else {
        return whole;
    };
    match yaml::parse(content).as_deref() {
        Ok([document]) => Places::new(configuration, document)
            .moved(|span| lines.to_file(&span).unwrap_or(text.span.clone())),
        _ => whole,
    }
}

/// The position of a byte of a literal block.
pub(super) fn offset(text: &Yaml, file: &str, offset: usize) -> Option<Range<usize>> {
    let last = text.text()?.trim_end().len().checked_sub(1)?;
    let start = offset.saturating_sub(1).min(last);
    Lines::new(text, file)?.to_file(&(start..start.saturating_add(1)))
}

/// The lines of a literal block: the bytes of each in the text, and its first byte in the file.
struct Lines(Vec<(Range<usize>, usize)>);

impl Lines {
    fn new(text: &Yaml, file: &str) -> Option<Self> {
        let Kind::Block(content) = &text.kind else {
            return None;
        };
        let mut start = file
            .get(..text.span.start)?
            .rfind('\n')
            .map_or(0, |at| at.saturating_add(1));
        if file.get(text.span.start..)?.starts_with('|') {
            start = start.saturating_add(file.get(start..)?.find('\n')?.saturating_add(1));
        }
        let mut lines = Vec::new();
        let mut from = 0_usize;
        for line in content.split_inclusive('\n') {
            let in_file = file.get(start..)?.split_inclusive('\n').next()?;
            let bare = line.trim_end_matches(['\n', '\r']);
            let indent = in_file.trim_end_matches(['\n', '\r']).strip_suffix(bare)?;
            let end = from.saturating_add(line.len());
            lines.push((from..end, start.saturating_add(indent.len())));
            from = end;
            start = start.saturating_add(in_file.len());
        }
        Some(Self(lines))
    }

    fn to_file(&self, span: &Range<usize>) -> Option<Range<usize>> {
        let place = |offset: usize| {
            let mut lines = self.0.iter();
            let (text, start) = lines.find(|(text, _)| text.contains(&offset))?;
            start.checked_add(offset.checked_sub(text.start)?)
        };
        let start = place(span.start)?;
        let last = place(span.end.saturating_sub(1).max(span.start))?;
        Some(start..last.saturating_add(1))
    }
}
