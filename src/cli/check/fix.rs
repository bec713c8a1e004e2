//! Separates the problem and the fix in a message of the module.

/// The problem, and its fix. A message of the module says both: `the list is empty: add an endpoint`.
pub(super) fn split(message: &str) -> (String, String) {
    if let Some((problem, near)) = message.rsplit_once("; did you mean ") {
        let near = near.trim_end_matches('?');
        return (problem.to_owned(), format!("write {near}"));
    }
    if let Some((problem, fix)) = last_colon(message).and_then(|at| split_at(message, at)) {
        return (problem.to_owned(), fix.to_owned());
    }
    (message.to_owned(), wanted(message))
}

fn split_at(message: &str, colon: usize) -> Option<(&str, &str)> {
    let (problem, fix) = message.split_at_checked(colon)?;
    Some((problem, fix.strip_prefix([':', ';'])?.trim_start()))
}

/// The last colon or semicolon before a blank outside quoted texts and examples.
fn last_colon(message: &str) -> Option<usize> {
    let mut last = None;
    let mut quote = None;
    let mut depth = 0_usize;
    let mut chars = message.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        match (char, quote) {
            ('\\', Some('"')) => {
                chars.next();
            }
            ('"' | '`', None) => quote = Some(char),
            (_, Some(open)) if open == char => quote = None,
            ('{', None) => depth = depth.saturating_add(1),
            ('}', None) => depth = depth.saturating_sub(1),
            (':' | ';', None)
                if depth == 0 && chars.peek().is_some_and(|(_, next)| *next == ' ') =>
            {
                last = Some(at);
            }
            _ => {}
        }
    }
    last
}

/// The fix of a message that says only what the module expects.
fn wanted(message: &str) -> String {
    let expected = message.strip_prefix("expected ").map(|rest| {
        let end = rest.rfind(", found ").unwrap_or(rest.len());
        rest.get(..end).unwrap_or(rest)
    });
    let choices = message.split_once(" is not one of ").map(|(_, rest)| rest);
    match (expected, choices) {
        (Some(expected), _) => format!("write {expected}"),
        (None, Some(choices)) => format!("write one of {choices}"),
        (None, None) if message == "unknown field" => of_unknown_field(""),
        (None, None) => "correct this value".to_owned(),
    }
}

/// The fix for a field that the module does not know. A dot in its name is a common spelling of a field in a block.
pub(super) fn of_unknown_field(written: &str) -> String {
    let is_word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    match written.split_once('.') {
        Some((block, field)) if is_word(block) && is_word(field) => {
            format!(
                "remove it, or write `{block}: {{{field}: VALUE}}` if `{field}` is a field of `{block}`"
            )
        }
        _ => "remove it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{of_unknown_field, split};

    #[test]
    fn a_dot_in_an_unknown_field_is_read_as_a_block() {
        assert_eq!(
            of_unknown_field("tolerance.past"),
            "remove it, or write `tolerance: {past: VALUE}` if `past` is a field of `tolerance`"
        );
        for written in ["tolerance", "a.b.c", ".a", "whsec.hunter2", ""] {
            assert_eq!(of_unknown_field(written), "remove it");
        }
    }

    #[test]
    fn a_message_has_a_problem_and_a_fix() {
        for (message, problem, fix) in [
            (
                "the list is empty: add an endpoint",
                "the list is empty",
                "add an endpoint",
            ),
            (
                "`name` is missing: add a name, such as `name: orders`",
                "`name` is missing",
                "add a name, such as `name: orders`",
            ),
            (
                "unknown field; did you mean `endpoints`?",
                "unknown field",
                "write `endpoints`",
            ),
            ("unknown field", "unknown field", "remove it"),
            (
                "`sha256` requires {secret} in `message`; did you mean `hmac-sha256`?",
                "`sha256` requires {secret} in `message`",
                "write `hmac-sha256`",
            ),
            (
                "expected a list of secrets: write [{version: v1, env: NAME}]",
                "expected a list of secrets",
                "write [{version: v1, env: NAME}]",
            ),
            (
                r#""a: \"b: c" is not a header name: use letters"#,
                r#""a: \"b: c" is not a header name"#,
                "use letters",
            ),
            (
                "expected an object such as {path: /webhook}, found a string",
                "expected an object such as {path: /webhook}, found a string",
                "write an object such as {path: /webhook}",
            ),
            (
                r#""minutes" is not one of s, ms"#,
                r#""minutes" is not one of s, ms"#,
                "write one of s, ms",
            ),
        ] {
            assert_eq!(split(message), (problem.to_owned(), fix.to_owned()));
        }
    }
}
