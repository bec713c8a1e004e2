//! Texts with `{placeholders}`, as `format` and `message` are written.

use crate::config::did_you_mean;

/// A piece of a template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Piece<P> {
    /// Literal text.
    Literal(String),
    /// A value of the request.
    Placeholder(P),
}

impl<P> Piece<P> {
    /// The literal text.
    pub(crate) fn literal(&self) -> Option<&str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Placeholder(_) => None,
        }
    }

    /// The placeholder.
    pub(crate) const fn placeholder(&self) -> Option<&P> {
        match self {
            Self::Literal(_) => None,
            Self::Placeholder(placeholder) => Some(placeholder),
        }
    }
}

/// Splits a template into its pieces. `{{` is a literal brace. `read` reads the text between braces, and `names` are
/// the valid ones.
///
/// # Errors
/// The template has an unknown placeholder, with the most similar name, or a brace that is not closed. Errors of `read`
/// are returned.
pub(crate) fn parse<P>(
    template: &str,
    names: &[&str],
    read: &dyn Fn(&str) -> Option<Result<P, String>>,
) -> Result<Vec<Piece<P>>, String> {
    let mut pieces = Vec::new();
    for piece in split(template)? {
        pieces.push(match piece {
            Piece::Literal(text) => Piece::Literal(text),
            Piece::Placeholder(name) => match read(&name) {
                Some(placeholder) => Piece::Placeholder(placeholder?),
                None => return Err(unknown(template, &name, names)),
            },
        });
    }
    Ok(pieces)
}

/// The literals of a template, and the texts between its braces.
#[inline(never)]
fn split(template: &str) -> Result<Vec<Piece<String>>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('{') {
            literal.push('{');
            rest = after;
            continue;
        }
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!(
                "{template:?} has an unclosed brace: close it, or write {{{{ for a literal brace"
            ));
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Placeholder(name.to_owned()));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// The error about an unknown placeholder.
#[inline(never)]
fn unknown(template: &str, name: &str, names: &[&str]) -> String {
    let nearest = did_you_mean(name, names);
    match nearest.as_str() {
        "" => {
            let known = names.join("}, {");
            format!("{template:?}: {name:?} is not one of {{{known}}}")
        }
        _ => format!("{template:?}: {name:?} is unknown{nearest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_braces() {
        let read = |name: &str| match name {
            "a" | "b" => Some(Ok(name.to_owned())),
            "odd" => Some(Err("it is odd".to_owned())),
            _ => None,
        };
        let parse = |text| parse(text, &["a", "b"], &read);
        assert_eq!(
            parse("x{{{a}}}{b}"),
            Ok(vec![
                Piece::Literal("x{".into()),
                Piece::Placeholder("a".into()),
                Piece::Literal("}}".into()),
                Piece::Placeholder("b".into()),
            ])
        );
        assert_eq!(parse(""), Ok(vec![]));
        assert!(parse("{a").is_err());
        assert_eq!(parse("{odd}"), Err("it is odd".to_owned()));
        assert!(
            parse("{A}")
                .expect_err("unknown")
                .ends_with("did you mean `a`?")
        );
    }
}
