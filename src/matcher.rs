//! Which requests belong to an endpoint, and which come near to it.

use crate::config::Node;
use crate::path;

/// Which requests belong to an endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Matcher {
    path: Path,
    /// What the path folds to, for requests that come near it.
    folded: String,
    /// In lower case, without its port.
    host: Option<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Path {
    Exact(String),
    Prefix(String),
}

impl Matcher {
    /// Reads `match`.
    pub(crate) fn read(node: Node<'_>) -> Option<Self> {
        let mut block = node.object()?;
        let exact = block.field("path");
        let prefix = block.field("prefix");
        let host = block.optional("host", read_host);
        let path = match (&exact, &prefix) {
            (Some(path), None) => {
                path.parse(|text| check_path(text).map(|()| Path::Exact(text.to_owned())))
            }
            (None, Some(prefix)) => prefix.parse(|text| {
                check_path(text)?;
                match text.ends_with('/') {
                    true => Ok(Path::Prefix(text.to_owned())),
                    false => Err(format!("a prefix ends at a slash: write {text}/")),
                }
            }),
            _ => node.fault("a match has a path or a prefix, one of the two"),
        };
        block.close()?;
        let path = path?;
        let (Path::Exact(text) | Path::Prefix(text)) = &path;
        Some(Self {
            folded: path::fold(text.as_bytes()),
            path,
            host,
        })
    }

    /// Whether a request with this path and authority belongs here.
    pub(crate) fn matches(&self, path: &[u8], authority: &[u8]) -> bool {
        self.path.matches(path) && self.is_for(authority)
    }

    /// Whether this is for all paths that begin alike, of which some may be another endpoint's.
    pub(crate) const fn is_prefix(&self) -> bool {
        matches!(self.path, Path::Prefix(_))
    }

    /// Whether requests to this authority may belong here.
    pub(crate) fn is_for(&self, authority: &[u8]) -> bool {
        let host = self.host.as_ref();
        host.is_none_or(|host| without_port(authority).eq_ignore_ascii_case(host.as_bytes()))
    }

    /// Whether an upstream might take a path that folds to `folded` for one of this endpoint's.
    pub(crate) fn comes_near(&self, folded: &str) -> bool {
        match (&self.path, folded.strip_prefix(&self.folded)) {
            (_, Some("")) => true,
            (Path::Prefix(_), Some(rest)) => rest.starts_with('/'),
            _ => false,
        }
    }

    /// Whether every request that belongs to `later` belongs here.
    pub(crate) fn covers(&self, later: &Self) -> bool {
        let (Path::Exact(path) | Path::Prefix(path)) = &later.path;
        let narrower = matches!((&self.path, &later.path), (Path::Exact(_), Path::Prefix(_)));
        !narrower
            && self.path.matches(path.as_bytes())
            && (self.host.is_none() || self.host == later.host)
    }
}

impl Path {
    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Prefix(prefix) => path.starts_with(prefix.as_bytes()),
        }
    }
}

/// Refuses a path that no request could have.
fn check_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err(format!("{text:?} can match no path: begin it with a slash"));
    }
    if text.contains(['?', ' ']) || !text.is_ascii() || path::is_ambiguous(text.as_bytes()) {
        return Err(format!(
            "{text:?} can match no path: write it as it is sent, without a query, dot segments, double, encoded or back slashes"
        ));
    }
    Ok(())
}

fn read_host(node: Node<'_>) -> Option<String> {
    node.parse(|text| {
        let host = std::str::from_utf8(without_port(text.as_bytes())).unwrap_or_default();
        match is_host(host) {
            true => Ok(host.to_ascii_lowercase()),
            false => Err(format!("{text:?} is not a host: write a name such as hooks.example.com, without scheme or wildcard")),
        }
    })
}

/// Whether a text has a host's characters: those of a name, an address, and a port.
pub(crate) fn is_host(text: &str) -> bool {
    !text.is_empty() && is_plain(text.as_bytes())
}

/// Whether an authority holds nothing but a host's characters, so that nobody finds another host in it: behind
/// an `@`, for one.
pub(crate) fn is_plain(authority: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(byte);
    authority.iter().all(is_part)
}

/// A host without its port and without the dot that may end a full name.
fn without_port(authority: &[u8]) -> &[u8] {
    let mut host = authority;
    if let Some(colon) = authority.iter().rposition(|byte| *byte == b':')
        && let Some((name, port)) = authority.split_at_checked(colon)
        && port.iter().skip(1).all(u8::is_ascii_digit)
        // Of an IPv6 address only the part in brackets is the host.
        && (!name.contains(&b':') || name.ends_with(b"]"))
    {
        host = name;
    }
    host.strip_suffix(b".").unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_without_ports() {
        for (authority, host) in [
            ("a.example", "a.example"),
            ("a.example:443", "a.example"),
            ("a.example.:443", "a.example"),
            ("a.example:x", "a.example:x"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(
                without_port(authority.as_bytes()),
                host.as_bytes(),
                "{authority}"
            );
        }
    }
}
