//! The parameters that a query may have. A client can change an unsigned query, and many applications read a parameter
//! of the query before a field of the signed body.

use super::Scheme;
use super::message::Message;
use super::parameters;
use super::source;
use crate::config::Node;
use crate::request::headers::Headers;

/// The longest name in a message, in bytes.
const MAX_SHOWN: usize = 64;

/// The parameters that a query may have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Query {
    /// Any, since the sender signs all of them, or the operator allows them.
    Any,
    /// Those with these names.
    Named(Vec<String>),
}

impl Query {
    /// Reads an endpoint's `query`.
    pub(crate) fn read(node: Node<'_>, scheme: Option<&Scheme>) -> Option<Self> {
        if node.is_list() {
            return read_names(node).map(Self::Named);
        }
        let is_open = node.choice_or(
            &[("none", false), ("any", true)],
            " or a list of names such as [token]",
        )?;
        if is_open && !scheme.is_some_and(Scheme::signs_query) {
            node.warn("clients can add parameters, which many applications read before the signed body: list the sender's parameters");
        }
        Some(match is_open {
            true => Self::Any,
            false => Self::Named(Vec::new()),
        })
    }

    /// The query of an endpoint, from its own setting and from its scheme.
    pub(crate) fn of(own: Option<Self>, scheme: &Scheme) -> Self {
        match own {
            None if scheme.signs_query() => Self::Any,
            None => Self::Named(scheme.query_names().cloned().collect()),
            Some(Self::Any) => Self::Any,
            Some(Self::Named(mut names)) => {
                names.extend(scheme.query_names().cloned());
                Self::Named(names)
            }
        }
    }

    /// The first parameter that the query may not have, as written. Some applications also split at `;`, so a parameter
    /// with one has no clear name.
    pub(crate) fn refused<'h>(&self, headers: &Headers<'h>) -> Option<&'h [u8]> {
        let Self::Named(names) = self else {
            return None;
        };
        let query = source::query(headers);
        if query.is_empty() {
            return None;
        }
        if parameters::has_too_many(query) {
            return Some(b"");
        }
        let is_named = |written: &[u8]| {
            let mut parameters = parameters::parameters(written).into_iter();
            parameters.all(|(name, _)| names.iter().any(|known| known.as_bytes() == &*name))
        };
        let mut parameters = query.split(|byte| *byte == b'&');
        parameters.find(|written| written.contains(&b';') || !is_named(written))
    }
}

impl Scheme {
    /// Whether changing or adding a parameter of the query would invalidate the signature.
    pub(crate) fn signs_query(&self) -> bool {
        let claims = self.spec.claims.iter().map(|(_, value)| value);
        let mut messages = [&self.spec.message].into_iter().chain(claims);
        self.spec.url_hash.is_some() || messages.any(Message::signs_query)
    }

    /// The parameters that the scheme reads, or that its sender adds.
    fn query_names(&self) -> impl Iterator<Item = &String> {
        self.names.query.iter().chain(&self.spec.unsigned_query)
    }
}

/// Reads names of parameters.
pub(super) fn read_names(node: Node<'_>) -> Option<Vec<String>> {
    let names = node.each(|node| match source::read_parameter(node)? {
        name if name.contains(['=', '&']) => {
            node.error("not a parameter name: write only the text before the `=`")
        }
        name => Some(name),
    })?;
    match names.is_empty() {
        true => node.error("the list is empty: add the names of parameters, or remove the field"),
        false => Some(names),
    }
}

/// The name of a parameter, for the operator. A parameter without a value may be a token, which must not appear in a
/// log.
pub(crate) fn shown(written: &[u8]) -> Option<&[u8]> {
    let mut parts = written.splitn(2, |byte| *byte == b'=');
    let name = parts.next().filter(|name| !name.is_empty())?;
    let has_value = parts.next()?.iter().any(|byte| *byte != b'=');
    has_value.then(|| name.get(..MAX_SHOWN).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(names: &[&str], query: &str) -> Option<String> {
        let query_of = Query::Named(names.iter().map(|name| (*name).to_owned()).collect());
        let target = format!("/webhook{query}");
        let pairs: [(&[u8], &[u8]); 1] = [(b":path", target.as_bytes())];
        let refused = query_of.refused(&Headers::new(&pairs))?;
        Some(String::from_utf8_lossy(refused).into_owned())
    }

    #[test]
    fn names_are_decoded_once_and_must_be_the_same() {
        for query in [
            "",
            "?",
            "?&&",
            "?a=1",
            "?%61=1&a",
            "?a=1&b.c=2&",
            "?a=1=2?3",
        ] {
            assert_eq!(refused(&["a", "b.c"], query), None, "{query}");
        }
        for (query, first) in [
            ("?c=1", "c=1"),
            ("?a=1&A=2", "A=2"),
            ("?a=1&a[]=2", "a[]=2"),
            ("?a=1&[a]=2", "[a]=2"),
            ("?b_c=1", "b_c=1"),
            ("??a=1", "?a=1"),
            ("?=1", "=1"),
            ("?=", "="),
            ("?a=1;c=2", "a=1;c=2"),
            ("?a=1;", "a=1;"),
            ("?%2561=1", "%2561=1"),
            ("?%zz=1", "%zz=1"),
            ("?a%00=1", "a%00=1"),
            ("?a+=1", "a+=1"),
            ("?%ff=1", "%ff=1"),
        ] {
            let expected = Some(first.to_owned());
            assert_eq!(refused(&["a", "b.c"], query), expected, "{query}");
        }
        assert_eq!(refused(&["a"], &format!("?{}a", "a&".repeat(999))), None);
        let many = format!("?{}", "a&".repeat(1_000));
        assert_eq!(refused(&["a"], &many).as_deref(), Some(""));
    }

    #[test]
    fn a_name_is_shown_and_no_value() {
        assert_eq!(shown(b"a=1"), Some(&b"a"[..]));
        assert_eq!(shown(b"a=b=c"), Some(&b"a"[..]));
        let long = [b"n".repeat(100), b"=1".to_vec()].concat();
        assert_eq!(shown(&long), Some(&b"n".repeat(64)[..]));
        for token in ["", "=", "=1", "token", "dG9rZW4=", "dG9rZQ=="] {
            assert_eq!(shown(token.as_bytes()), None, "{token}");
        }
    }
}
