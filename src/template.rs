//! Texts with `{placeholders}`, as `format` and `message` are written.

use crate::config::did_you_mean;

/// A piece of a template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Piece<P> {
    /// Text that stands for itself.
    Literal(String),
    /// Something of the request.
    Placeholder(P),
}

impl<P> Piece<P> {
    /// The text, if it stands for itself.
    pub(crate) fn literal(&self) -> Option<&str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Placeholder(_) => None,
        }
    }
}

/// Splits a template into its pieces. `{name}` is one of `placeholders`, `{{` a brace.
///
/// # Errors
/// Names the unknown placeholder and the nearest known one, or says what is not closed.
pub(crate) fn parse<P: Copy>(
    template: &str,
    placeholders: &[(&'static str, P)],
) -> Result<Vec<Piece<P>>, String> {
    let names: Vec<_> = placeholders.iter().map(|(name, _)| *name).collect();
    let pieces = split(template, &names)?.into_iter();
    let placeholder = |index: usize| placeholders.get(index).map(|(_, placeholder)| *placeholder);
    Ok(pieces
        .filter_map(|piece| match piece {
            Piece::Literal(text) => Some(Piece::Literal(text)),
            Piece::Placeholder(index) => placeholder(index).map(Piece::Placeholder),
        })
        .collect())
}

/// The pieces, with the placeholders as indices into `names`.
fn split(template: &str, names: &[&str]) -> Result<Vec<Piece<usize>>, String> {
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
                "{template:?}: a brace is not closed; write {{{{ for a brace itself"
            ));
        };
        let Some(index) = names.iter().position(|known| *known == name) else {
            let nearest = did_you_mean(name, names);
            let known = names.join("}, {");
            return Err(format!(
                "{template:?}: {{{name}}} is none of {{{known}}}{nearest}"
            ));
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Placeholder(index));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_braces() {
        let known = [("a", 'a'), ("b", 'b')];
        assert_eq!(
            parse("x{{{a}}}{b}", &known),
            Ok(vec![
                Piece::Literal("x{".into()),
                Piece::Placeholder('a'),
                Piece::Literal("}}".into()),
                Piece::Placeholder('b'),
            ])
        );
        assert_eq!(parse("", &known), Ok(vec![]));
        assert!(parse("{a", &known).is_err());
        assert!(
            parse("{A}", &known)
                .expect_err("unknown")
                .ends_with("did you mean `a`?")
        );
    }
}
