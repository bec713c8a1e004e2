//! Hides secrets in the lines of a file that a report quotes.

use crate::secrets::printable;

/// The shortest text that may be a secret, in characters. Shorter values are settings, such as `false`.
const SHORTEST: usize = 6;

/// A line of a file, counted from 0, without its secrets.
pub(super) fn line(file: &str, number: usize) -> String {
    let lines: Vec<_> = file.split('\n').take(number.saturating_add(1)).collect();
    let Some((line, before)) = lines.split_last() else {
        return String::new();
    };
    let line = line.trim_end();
    match is_in_secret(line, before) {
        true => {
            let start = indentation(line);
            let letters = line.chars().enumerate();
            letters
                .map(|(at, letter)| if at < start { letter } else { '*' })
                .collect()
        }
        false => mask(line),
    }
}

/// Whether a field above the line has its text, or its map of secrets, in this line.
fn is_in_secret(line: &str, before: &[&str]) -> bool {
    let mut depth = indentation(line);
    for above in before.iter().rev().filter(|above| !above.trim().is_empty()) {
        if indentation(above) >= depth {
            continue;
        }
        depth = indentation(above);
        let field = above.trim().trim_start_matches("- ");
        let (name, text) = field.split_once(':').unwrap_or((field, ""));
        let has_text_below = matches!(text.trim().chars().next(), None | Some('|' | '>' | '&'));
        let name = name.trim_matches(['"', '\'']);
        let is_text = ["value", "env", "secret", "verify_token"].contains(&name);
        if name == "key_values" || (is_text && has_text_below && !line.contains(": ")) {
            return true;
        }
        if depth == 0 {
            break;
        }
    }
    let inline = line.split_once("key_values");
    inline.is_some_and(|(_, map)| map.contains('{'))
}

/// The number of blanks before a line, with the mark of an item.
fn indentation(line: &str) -> usize {
    let letters = line.chars();
    letters.take_while(|letter| *letter == ' ').count()
}

/// A line with each `value`, each doubtful `env` and each text in the place of `secrets` as asterisks. The columns stay.
fn mask(line: &str) -> String {
    let letters: Vec<char> = line.chars().collect();
    let mut masked = letters.clone();
    for start in 0..letters.len() {
        let Some((name, value)) = field(&letters, start) else {
            continue;
        };
        let text: String = letters
            .get(value.clone())
            .unwrap_or_default()
            .iter()
            .collect();
        let is_secret = match name {
            "value" => text.chars().count() >= SHORTEST && text.parse::<f64>().is_err(),
            // A text that does not look like the name of a variable may be the secret itself.
            "env" => printable(&text) != text,
            _ => true,
        };
        for letter in masked.get_mut(value).into_iter().flatten() {
            if is_secret {
                *letter = '*';
            }
        }
    }
    masked.into_iter().collect()
}

/// The name of a field that begins here and may have a secret, and the place of its text.
fn field(letters: &[char], start: usize) -> Option<(&'static str, std::ops::Range<usize>)> {
    let before = start.checked_sub(1).and_then(|before| letters.get(before));
    if before.is_some_and(|letter| letter.is_alphanumeric() || "_-".contains(*letter)) {
        return None;
    }
    let rest = letters.get(start..)?;
    let name = ["value", "env", "secrets", "secret", "verify_token"]
        .into_iter()
        .find(|name| {
            let length = name.len();
            let is_name = rest.iter().take(length).copied().eq(name.chars());
            is_name && rest.get(length).is_some_and(|next| ":\"' ".contains(*next))
        })?;
    let mut at = start.checked_add(name.len())?;
    at = skip(letters, at, |letter| "\"' ".contains(letter));
    if letters.get(at) != Some(&':') {
        return None;
    }
    // A list of texts in the place of the secrets.
    let opens = |letter: char| letter.is_whitespace() || (letter == '[' && name == "secrets");
    at = skip(letters, at.checked_add(1)?, opens);
    let quote = letters
        .get(at)
        .copied()
        .filter(|letter| "\"'".contains(*letter));
    let begin = at.checked_add(usize::from(quote.is_some()))?;
    let is_flow = letters
        .get(..begin)
        .is_some_and(|before| before.iter().any(|letter| "{[".contains(*letter)));
    let mut is_escaped = false;
    let rest = letters.get(begin..)?.iter();
    let length = rest
        .take_while(|letter| match quote {
            Some('"') if is_escaped || **letter == '\\' => {
                is_escaped = !is_escaped;
                true
            }
            Some(quote) => **letter != quote,
            // Only brackets around a text make these letters its end.
            None => !is_flow || !",}]".contains(**letter),
        })
        .count();
    let mut end = begin.saturating_add(length);
    let text = letters.get(begin..end)?;
    if quote.is_none()
        && let Some(comment) = text.windows(2).position(|pair| pair == [' ', '#'])
    {
        end = begin.saturating_add(comment);
    }
    let first = letters.get(begin)?;
    // Anything else is not a text of this line. An anchor (`&`) has its text behind the name.
    let is_text = quote.is_some() || !"{[|>*".contains(*first);
    is_text.then_some((name, begin..end))
}

/// The first place at or after `at` whose letter does not belong.
fn skip(letters: &[char], at: usize, belongs: impl Fn(char) -> bool) -> usize {
    let rest = letters.get(at..).unwrap_or_default();
    let length = rest.iter().take_while(|letter| belongs(**letter)).count();
    at.saturating_add(length)
}

#[cfg(test)]
mod tests {
    use super::{line, mask};

    #[test]
    fn a_text_below_its_field_is_masked() {
        let file = "a:\n  value: >-\n    hunter2\n  other: x\n  key_values:\n    KEY: hunter2\n  value:\n    a: b\nx: {key_values: {KEY: hunter2}}\n";
        let lines: Vec<_> = (0..9).map(|number| line(file, number)).collect();
        assert_eq!(
            lines.join("\n"),
            "a:\n  value: >-\n    *******\n  other: x\n  key_values:\n    ************\n  value:\n    a: b\n*******************************"
        );
    }

    #[test]
    fn a_secret_is_masked_and_the_columns_stay() {
        for (line, masked) in [
            (
                "- {version: v1, value: hunter2-hunter2}",
                "- {version: v1, value: ***************}",
            ),
            ("  value: \"a, b} c\" # why", "  value: \"*******\" # why"),
            (
                "{\"version\":\"v1\",\"value\":\"hunter2\"}",
                "{\"version\":\"v1\",\"value\":\"*******\"}",
            ),
            ("  value: 'open quotation", "  value: '**************"),
            ("  env: whsec-abc-def", "  env: *************"),
            ("  env: abcdef0123456789", "  env: ****************"),
            ("  secrets: STRIPE_SECRET", "  secrets: *************"),
            ("  secrets: [hunter2]", "  secrets: [*******]"),
            ("  env: é è", "  env: ***"),
            ("  value: hunter2,}]rest", "  value: **************"),
            ("  value: &key hunter2", "  value: ************"),
            (r#"{"value":"ab\"hunter2"}"#, r#"{"value":"***********"}"#),
            (
                r#"  value: "{\"value\":\"hunter2\"}""#,
                r#"  value: "***********************""#,
            ),
        ] {
            assert_eq!(mask(line), masked);
        }
    }

    #[test]
    fn other_values_stay() {
        for line in [
            "  env: WEBHOOK_SECRET",
            "  env: WEBHOOK_SECRET # CHANGE",
            "  value: false",
            "  secrets: [{version: v1, env: WEBHOOK_SECRET}]",
            "  secrets:",
            "  value: {admitted: true}",
            "  value: 12345678",
            "  default_value: something",
            "  max_value: something",
            "  # the value and env",
            "value",
            "",
        ] {
            assert_eq!(mask(line), line);
        }
    }
}
