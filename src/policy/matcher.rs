//! The requests that belong to an endpoint, and the paths that an upstream could confuse with it.

use std::iter;

use crate::config::Node;
use crate::request::{bytes, path};

/// The extensions of programs and pages. Servers run `/index.php` for `/index.php/webhook`, and answer `/webhook` from
/// `/webhook.php`.
const EXTENSIONS: [&str; 15] = [
    "ashx", "asmx", "asp", "aspx", "cgi", "fcgi", "htm", "html", "json", "jsp", "jspx", "php",
    "phtml", "svc", "xml",
];

/// The requests that belong to an endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Matcher {
    pub(crate) path: Path,
    /// The host in lower case, without a port.
    pub(crate) host: Option<String>,
}

/// A configured path: an exact one, or the prefix of several.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Path {
    text: String,
    is_prefix: bool,
    /// The folded segments, for comparison with requests that may resemble the path.
    segments: Vec<String>,
}

/// How similar a path must be to resemble another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// Any path that a known router treats as the other. For requests that would pass unverified.
    Wide,
    /// The same without ordinary siblings of the path. For requests that another endpoint verifies.
    Narrow,
}

impl Matcher {
    /// Reads `match`.
    pub(crate) fn read(node: Node<'_>) -> Option<Self> {
        let mut block = node.object("{path: /webhook}")?;
        let exact = block.field("path");
        let prefix = block.field("prefix");
        let host = block.optional("host", read_host);
        let path = match (&exact, &prefix) {
            (Some(path), None) => path.parse(|text| Path::new(text, false)),
            (None, Some(prefix)) => prefix.parse(|text| Path::new(text, true)),
            _ => node.error("exactly one of `path` and `prefix` is needed: write {path: /webhook} or {prefix: /hooks/}"),
        };
        block.close()?;
        Some(Self { path: path?, host })
    }

    /// Whether this matches a prefix. Another endpoint may have one of its paths.
    pub(crate) const fn is_prefix(&self) -> bool {
        self.path.is_prefix
    }

    /// Whether every request that belongs to `later` belongs here.
    pub(crate) fn covers(&self, later: &Self) -> bool {
        self.path.covers(&later.path) && (self.host.is_none() || self.host == later.host)
    }

    /// Whether a listed path may never pass, because an upstream could treat all of its requests as this endpoint's.
    pub(crate) fn bars(&self, listed: &Path) -> bool {
        match (self.path.segments.is_empty(), self.is_prefix()) {
            // A listed path is more specific than an endpoint for all paths of one host.
            (true, true) => self.host.is_none() || listed.segments.is_empty(),
            (false, true) => listed.segments.starts_with(&self.path.segments),
            (true, false) => false,
            (false, false) if listed.is_prefix => listed.segments == self.path.segments,
            (false, false) => self.path.is_same(&listed.segments),
        }
    }
}

impl Path {
    /// Reads a configured path.
    ///
    /// # Errors
    /// No request can have the path, or it is too long to compare.
    pub(crate) fn new(text: &str, is_prefix: bool) -> Result<Self, String> {
        check_path(text)?;
        if is_prefix && !text.ends_with('/') {
            return Err(format!("a prefix must end with a slash: write {text}/"));
        }
        let segments = path::fold(text.as_bytes());
        Ok(Self {
            text: text.to_owned(),
            is_prefix,
            segments: segments.ok_or("the path has too many segments: shorten it")?,
        })
    }

    /// Whether this is the prefix of several paths.
    pub(crate) const fn is_prefix(&self) -> bool {
        self.is_prefix
    }

    /// The path or the prefix as configured.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether a request's path matches.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        match self.is_prefix {
            true => path.starts_with(self.text.as_bytes()),
            false => path == self.text.as_bytes(),
        }
    }

    /// Whether every path that `other` matches is matched here.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        (self.is_prefix || !other.is_prefix) && self.matches(other.text.as_bytes())
    }

    /// The number of segments.
    pub(crate) const fn depth(&self) -> usize {
        self.segments.len()
    }

    /// Whether an upstream might treat a request's path as this one.
    pub(crate) fn is_near(&self, approach: &Approach, reach: Reach) -> bool {
        if self.segments.is_empty() && self.is_prefix {
            // All paths are below this one. Those of other hosts resemble it, unless the operator listed them.
            return reach == Reach::Wide && approach.granted == 0;
        }
        let mut readings = approach.readings.iter();
        readings.any(|(folded, granted)| self.is_near_as_written(folded, *granted, reach))
    }

    /// A path near this one has one of these texts at the start of a segment, and for [`Reach::Narrow`] a name ends there:
    /// see [`is_over`]. The texts end with the last segment, without its extension, and for an index also with its folder.
    /// `None` if a path needs no such text.
    pub(crate) fn near_texts(&self) -> Vec<Option<String>> {
        let Some((own, folder)) = self.segments.split_last() else {
            return vec![None];
        };
        let text = |above: &[String]| {
            let names = above.iter().map(String::as_str);
            let names: Vec<_> = names.chain([without_extension(own)]).collect();
            names.join("/")
        };
        let starts = self.starts().filter_map(|start| folder.get(start..));
        let mut texts: Vec<_> = starts.map(|above| Some(text(above))).collect();
        if is_index(own) {
            texts.push((!folder.is_empty()).then(|| folder.join("/")));
        }
        texts
    }

    /// The segments with which a path of an application may begin.
    fn starts(&self) -> impl Iterator<Item = usize> {
        let places = (1..).zip(&self.segments);
        // After a front controller, the rest of the path is a path of its own.
        let behind = places.filter(|(_, name)| is_file(name)).map(|(end, _)| end);
        iter::once(0).chain(behind)
    }

    fn is_near_as_written(&self, folded: &[String], granted: usize, reach: Reach) -> bool {
        self.is_same(folded)
            || self.starts().any(|start| {
                let wanted = self.segments.get(start..).unwrap_or_default();
                self.occurs(wanted, folded, granted, reach)
            })
    }

    /// Whether a prefix that the operator lists for another purpose resembles this path.
    pub(crate) fn is_near_listed(&self, listed: &Self) -> bool {
        self.is_near(&Approach::of(listed.segments.clone(), 0), Reach::Wide)
    }

    /// Whether a folded path is this one, or the folder whose index this one is: `/hooks/` for `/hooks/index.php`.
    fn is_same(&self, folded: &[String]) -> bool {
        let mut parts = self.segments.split_last().into_iter();
        !self.is_prefix
            && (self.segments == folded
                || parts.any(|(name, folder)| is_index(name) && folder == folded))
    }

    /// Whether a path contains `wanted`, with any suffix that `reach` allows, and anything below it.
    fn occurs(&self, wanted: &[String], folded: &[String], granted: usize, reach: Reach) -> bool {
        let Some((own, above)) = wanted.split_last() else {
            return false;
        };
        let is_mounted = |before: &[String]| {
            // A path below `/` may be anywhere in the application.
            reach == Reach::Wide
                || granted == 0
                || before.is_empty()
                || before.iter().any(|name| is_file(name))
        };
        folded
            .windows(wanted.len())
            .enumerate()
            .filter(|(start, _)| start.saturating_add(wanted.len()) > granted)
            .filter_map(|(start, window)| Some((folded.get(..start)?, window.split_last()?)))
            .any(|(before, (name, rest))| {
                rest == above && self.resembles(own, name, reach) && is_mounted(before)
            })
    }

    /// Whether a segment is the last one of this path, perhaps with a suffix or another extension.
    fn resembles(&self, own: &str, name: &str, reach: Reach) -> bool {
        let is_over = |rest: &str| is_over(rest.as_bytes());
        let suffix = name.strip_prefix(own);
        if suffix.is_some_and(|rest| reach == Reach::Wide || is_over(rest)) {
            return true;
        }
        let stem = own.rsplit_once('.').filter(|(stem, extension)| {
            let is_extension = match reach {
                Reach::Wide => extension.starts_with(|char: char| char.is_ascii_alphabetic()),
                Reach::Narrow => is_extension(extension),
            };
            !self.is_prefix && !stem.is_empty() && is_extension
        });
        stem.and_then(|(stem, _)| name.strip_prefix(stem))
            .is_some_and(is_over)
    }
}

/// The path of a request, as upstreams may read it.
#[derive(Debug)]
pub(crate) struct Approach {
    granted: usize,
    /// The folded path, and those of [`programs_removed`], each with the number of its granted segments.
    readings: Vec<(Vec<String>, usize)>,
}

impl Approach {
    /// The operator gave the path's first `granted` segments to another purpose, so a match within them does not count. `None`
    /// if the path cannot be compared.
    pub(crate) fn new(path: &[u8], granted: usize) -> Option<Self> {
        Some(Self::of(path::fold(path)?, granted))
    }

    fn of(folded: Vec<String>, granted: usize) -> Self {
        let mut readings = programs_removed(&folded, granted);
        readings.push((folded, granted));
        Self { granted, readings }
    }

    /// The folded paths.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        self.readings.iter().map(|(folded, _)| folded.join("/"))
    }
}

/// Whether a name ends where the rest of a path begins.
pub(crate) fn is_over(rest: &[u8]) -> bool {
    let continues =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte) || !byte.is_ascii();
    !rest.first().is_some_and(continues)
}

/// Whether a segment names the index of its folder.
fn is_index(name: &str) -> bool {
    name.starts_with("index.") || name.starts_with("default.")
}

/// The paths that an application may route by if a folded path contains programs: `/shop/webhook` for
/// `/shop/index.php/webhook`, and `/hooks/github` for `/hooks.php/github`. Each has the number of its granted first
/// segments, and more segments than these.
fn programs_removed(folded: &[String], granted: usize) -> Vec<(Vec<String>, usize)> {
    let Some((last, within)) = folded.split_last() else {
        return Vec::new();
    };
    if !within.iter().any(|name| is_file(name)) {
        return Vec::new();
    }
    let programs = within.iter().take(granted).filter(|name| is_file(name));
    let left = granted.saturating_sub(programs.count());
    let others = within.iter().filter(|name| !is_file(name));
    let stem = |name: &String| match name.rsplit_once('.') {
        Some((stem, _)) if is_file(name) => stem.to_owned(),
        _ => name.clone(),
    };
    let mut paths: Vec<(Vec<String>, usize)> = vec![
        (others.chain([last]).cloned().collect(), left),
        (
            within.iter().map(stem).chain([last.clone()]).collect(),
            granted,
        ),
    ];
    paths.retain(|(path, granted)| path.len() > *granted && path != folded);
    paths
}

fn without_extension(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

/// Whether a segment names a program or a page.
fn is_file(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(is_extension)
}

fn is_extension(text: &str) -> bool {
    EXTENSIONS.contains(&text.trim_end_matches(|char: char| char.is_ascii_digit()))
}

/// Rejects a path that no request can have.
fn check_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err(format!(
            "{text:?} cannot match any path: start it with a slash"
        ));
    }
    if text.contains(['?', ' ']) || !text.is_ascii() || path::is_ambiguous(text.as_bytes()) {
        return Err(format!(
            "{text:?} cannot match any path: write it as sent, without query, dot segments, or double, encoded or back slashes"
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

/// Whether a text has only the characters of a host: those of a name, an address and a port.
pub(crate) fn is_host(text: &str) -> bool {
    !text.is_empty() && is_host_chars(text.as_bytes())
}

/// Whether an authority has only the characters of a host. Otherwise an upstream could find another host in it, such as
/// the text after an `@`.
pub(crate) fn is_host_chars(authority: &[u8]) -> bool {
    bytes::are(authority, bytes::HOST)
}

/// A host without its port, and without the dot at the end of a fully qualified name.
pub(crate) fn without_port(authority: &[u8]) -> &[u8] {
    let colon = authority.iter().rposition(|byte| !byte.is_ascii_digit());
    let name = colon.and_then(|colon| authority.get(..=colon)?.strip_suffix(b":"));
    // The host of an IPv6 address is the part in brackets.
    let name = name.filter(|name| !name.contains(&b':') || name.ends_with(b"]"));
    let host = name.unwrap_or(authority);
    host.strip_suffix(b".").unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn a_path_near_another_one_has_one_of_its_texts(
            own in "(/(a|ab|A;x|index\\.php|b\\.php|b\\.x|b-1)){0,3}/?",
            is_prefix: bool,
            sent in "(/(a|ab|a%62|abc|index\\.php|default\\.x|b|b\\.php|b-1|b\\.asp|x)){0,4}/?",
            granted in 0_usize..4,
        ) {
            let needs_slash = own.is_empty() || (is_prefix && !own.ends_with('/'));
            let own = if needs_slash { own + "/" } else { own };
            let path = Path::new(&own, is_prefix).expect("a path");
            let approach = Approach::new(sent.as_bytes(), granted).expect("few segments");
            for reach in [Reach::Wide, Reach::Narrow] {
                let is_found = path.near_texts().into_iter().any(|near| {
                    let near = near.map(|near| format!("/{near}"));
                    near.is_none_or(|near| approach.texts().any(|text| {
                        let text = format!("/{text}");
                        // Two places can overlap: `/ab/a` is twice in `/ab/ab/a`.
                        let starts = text.match_indices('/');
                        let mut rests = starts.filter_map(|(at, _)| text.get(at..)?.strip_prefix(&near));
                        rests.any(|rest| reach == Reach::Wide || is_over(rest.as_bytes()))
                    }))
                });
                prop_assert!(is_found || !path.is_near(&approach, reach), "{own} {sent}");
            }
        }
    }

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
