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
        (None, None) if message == "unknown field" => "remove it".to_owned(),
        (None, None) => "correct this value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

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
