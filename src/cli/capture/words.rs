//! The words of a command in a POSIX shell.

use super::Read;

/// The quotation that a character is in.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Quote {
    None,
    Single,
    Double,
}

/// Splits a command into words. The shell's own features are errors, because only a shell knows their values.
pub(super) fn split(command: &str) -> Read<Vec<Vec<u8>>> {
    let plain = plain(command)?;
    let mut words = shlex::bytes::Shlex::new(&plain);
    let found: Vec<_> = words.by_ref().collect();
    match words.had_error {
        true => Err("the command has an open quotation mark: copy the whole command".to_owned()),
        false => Ok(found),
    }
}

/// The command with each `$'..'` as a text in single quotation marks, and up to the first operator such as `|`.
fn plain(command: &str) -> Read<Vec<u8>> {
    let mut plain = Vec::new();
    let mut rest = command.chars().peekable();
    let mut quote = Quote::None;
    while let Some(letter) = rest.next() {
        match (quote, letter) {
            (Quote::None, '$') if rest.peek() == Some(&'\'') => {
                rest.next();
                let bytes = ansi_c(&mut rest)?;
                plain.extend(in_single_quotes(&bytes));
                continue;
            }
            (Quote::None | Quote::Double, '`') => return Err(feature("`")),
            (Quote::None | Quote::Double, '$')
                if rest
                    .peek()
                    .is_some_and(|next| next.is_alphanumeric() || "({_".contains(*next)) =>
            {
                return Err(feature("$"));
            }
            (Quote::None, '|' | ';' | '>' | '<' | '&') => break,
            (Quote::None, '^') if rest.peek() == Some(&'\n') || rest.peek() == Some(&'"') => {
                return Err("the command is for Windows: copy it as cURL (bash)".to_owned());
            }
            (Quote::None, '\'') => quote = Quote::Single,
            (Quote::None, '"') => quote = Quote::Double,
            (Quote::Single, '\'') | (Quote::Double, '"') => quote = Quote::None,
            (Quote::None | Quote::Double, '\\') => {
                let Some(next) = rest.next() else {
                    break;
                };
                // A line that continues.
                if next == '\r' && rest.peek() == Some(&'\n') {
                    rest.next();
                    continue;
                }
                if next != '\n' {
                    plain.push(b'\\');
                    push(&mut plain, next);
                }
                continue;
            }
            _ => {}
        }
        push(&mut plain, letter);
    }
    Ok(plain)
}

fn feature(mark: &str) -> String {
    format!("the command has a `{mark}`, whose value only the shell knows: replace it by the value")
}

fn push(bytes: &mut Vec<u8>, letter: char) {
    bytes.extend(letter.encode_utf8(&mut [0; 4]).bytes());
}

/// A word in single quotation marks of a POSIX shell.
pub(in crate::cli) fn in_single_quotes(bytes: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in bytes {
        match byte {
            b'\'' => quoted.extend(b"'\\''"),
            other => quoted.push(*other),
        }
    }
    quoted.push(b'\'');
    quoted
}

/// The text of `$'..'` up to its end, as bash reads it.
fn ansi_c(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Read<Vec<u8>> {
    let open = || "the command has an open quotation mark: copy the whole command".to_owned();
    let mut bytes = Vec::new();
    loop {
        match rest.next().ok_or_else(open)? {
            '\'' => return Ok(bytes),
            '\\' => match rest.next().ok_or_else(open)? {
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                'a' => bytes.push(7),
                'b' => bytes.push(8),
                'e' | 'E' => bytes.push(27),
                'f' => bytes.push(12),
                'v' => bytes.push(11),
                'x' => bytes.push(u8::try_from(number(rest, 16, 2)).unwrap_or_default()),
                'u' => push(
                    &mut bytes,
                    char::from_u32(number(rest, 16, 4)).unwrap_or('\u{fffd}'),
                ),
                'U' => push(
                    &mut bytes,
                    char::from_u32(number(rest, 16, 8)).unwrap_or('\u{fffd}'),
                ),
                digit @ '0'..='7' => {
                    let first = digit.to_digit(8).unwrap_or_default();
                    let value = (0..2).try_fold(first, |value, _| {
                        let next = rest.peek().and_then(|next| next.to_digit(8)).ok_or(value)?;
                        rest.next();
                        Ok::<u32, u32>(value.wrapping_mul(8).wrapping_add(next))
                    });
                    let value = value.unwrap_or_else(|value| value);
                    bytes.push(u8::try_from(value & 0xff).unwrap_or_default());
                }
                quoted @ ('\\' | '\'' | '"' | '?') => push(&mut bytes, quoted),
                other => {
                    bytes.push(b'\\');
                    push(&mut bytes, other);
                }
            },
            other => push(&mut bytes, other),
        }
    }
}

/// A number with at most `most` digits.
fn number(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, radix: u32, most: usize) -> u32 {
    let mut value = 0_u32;
    for _ in 0..most {
        let Some(digit) = rest.peek().and_then(|next| next.to_digit(radix)) else {
            break;
        };
        rest.next();
        value = value.wrapping_mul(radix).wrapping_add(digit);
    }
    value
}
