//! Prints results on standard output, and errors on standard error.
//!
//! Requests and files are untrusted. Their text reaches a terminal only with its control characters escaped.

use std::fmt::{self, Display};
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use super::Result;
use super::failure::Failure;

/// Prints text, with every character escaped that a terminal does not show as it is, except line ends.
///
/// # Errors
/// Standard output cannot be written. A reader that has left is not an error.
pub(super) fn print(text: impl Display) -> Result<()> {
    print_as_is(escape(&text.to_string(), true).as_bytes())
}

/// Prints bytes as they are. They are for programs, or their untrusted parts are [`escaped`].
///
/// # Errors
/// Standard output cannot be written. A reader that has left is not an error.
pub(super) fn print_as_is(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // The reader has seen enough, as in `| head -1`. The exit status is still the command's.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Prints a JSON document. Characters that a terminal does not show as they are have an escape of JSON.
///
/// # Errors
/// Standard output cannot be written. A reader that has left is not an error.
pub(super) fn print_json(document: &serde_json::Value) -> Result<()> {
    // `Display` with `#` writes several lines.
    print_json_text(&format!("{document:#}"))
}

/// Prints the text of a JSON document, as [`print_json`].
///
/// # Errors
/// Standard output cannot be written. A reader that has left is not an error.
pub(super) fn print_json_text(document: &str) -> Result<()> {
    let mut line = String::new();
    // Outside its texts, JSON has ASCII alone.
    for letter in document.trim_end().chars() {
        match letter == '\n' || is_shown(letter) {
            true => line.push(letter),
            false => {
                let mut units = [0; 2];
                for unit in letter.encode_utf16(&mut units) {
                    line.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    line.push('\n');
    print_as_is(line.as_bytes())
}

/// Prints an error. A standard error that is closed is not an error.
pub(super) fn print_error(failure: &Failure) {
    let text = escape(&format!("webhook-guard: {failure}\n"), true);
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Untrusted text, without control characters, line ends and characters that change the direction of writing.
pub(super) fn escaped(text: &str) -> String {
    escape(text, false)
}

fn escape(text: &str, keeps_lines: bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match is_shown(letter) || (keeps_lines && letter == '\n') {
            true => safe.push(letter),
            false => safe.extend(letter.escape_debug()),
        }
    }
    safe
}

/// Whether a terminal shows a character as it is. Those of the categories C and Z are not shown, except the space.
fn is_shown(letter: char) -> bool {
    matches!(letter, '"' | '\'' | '\\') || letter.escape_debug().len() == 1
}

/// The purpose of a part of a line, for its colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    /// A request that is accepted.
    Good,
    /// A request that is rejected, or a fault.
    Bad,
    /// A name or a heading.
    Strong,
}

/// Text in its colour, if standard output has colours. The text itself is [`escaped`].
pub(super) fn styled(style: Style, text: &str) -> Styled<'_> {
    Styled {
        style: has_colour().then_some(style),
        text,
    }
}

/// Whether standard output is a terminal, and neither `NO_COLOR` nor `TERM=dumb` refuses colours.
pub(super) fn has_colour() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// Text with its style.
#[derive(Debug)]
pub(super) struct Styled<'t> {
    style: Option<Style>,
    text: &'t str,
}

impl Display for Styled<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = escaped(self.text);
        let code = match self.style {
            None => return formatter.write_str(&text),
            Some(Style::Good) => "32",
            Some(Style::Bad) => "31",
            Some(Style::Strong) => "1",
        };
        write!(formatter, "\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_untrusted_changes_a_terminal() {
        let text =
            "a\u{1b}[31m\u{9b}2J\u{7}\u{7f}\r\n\u{202e}\u{2066}\u{200f}\u{feff}\u{2028}\u{e0041}b";
        assert_eq!(
            escaped(text),
            "a\\u{1b}[31m\\u{9b}2J\\u{7}\\u{7f}\\r\\n\\u{202e}\\u{2066}\\u{200f}\\u{feff}\\u{2028}\\u{e0041}b"
        );
        assert_eq!(escape("one\ntwo\r", true), "one\ntwo\\r");
        let styled = Styled {
            style: Some(Style::Bad),
            text: "\u{1b}]0;x\u{7}",
        };
        assert_eq!(styled.to_string(), "\u{1b}[31m\\u{1b}]0;x\\u{7}\u{1b}[0m");
    }

    #[test]
    fn readable_text_stays() {
        let text = r#"Grüße, "日本" isn't a C:\path ✓"#;
        assert_eq!(escaped(text), text);
    }
}
