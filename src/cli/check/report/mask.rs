//! Hides secrets in the lines of a file that a report quotes.

use crate::secrets::printable;

/// The shortest text that may be a secret, in characters. Shorter values are settings, such as `false`.
const SHORTEST: usize = 6;

/// A line with each `value`, each doubtful `env` and each text in the place of `secrets` as asterisks. The columns stay.
pub(super) fn mask(line: &str) -> String {
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
    let name = ["value", "env", "secrets"].into_iter().find(|name| {
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
    let end = skip(letters, begin, |letter| match quote {
        Some(quote) => letter != quote,
        None => !",}]".contains(letter),
    });
    let first = letters.get(begin)?;
    // Anything else is not a text of this line.
    let is_text = quote.is_some() || !"{[|>&*".contains(*first);
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
    use super::mask;

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
        ] {
            assert_eq!(mask(line), masked);
        }
    }

    #[test]
    fn other_values_stay() {
        for line in [
            "  env: WEBHOOK_SECRET",
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
