//! The components of a signed message, as `message` names them.

use super::source::Source;

/// A component of the signed bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Component {
    Body,
    BodySha256,
    BodySha256Hex,
    EncodedPath,
    Id,
    Method,
    Path,
    Query,
    Secret,
    SignedHeaders,
    SortedForm,
    SortedQuery,
    Timestamp,
    Url,
    /// With and without its port, and with apostrophes in two spellings: one of several forms.
    UrlAnyPort,
    UrlDecoded,
    UrlSorted,
    UrlWithoutQuery,
    /// Any other value of the request.
    Value {
        source: Source,
        /// An absent value is empty. Otherwise, the guard rejects the request.
        optional: bool,
        lower_case: bool,
        /// The texts before and after a value. Where the value is absent, they are absent too.
        around: Option<(String, String)>,
    },
}

/// The components without an argument.
pub(super) const NAMES: &[(&str, Component)] = &[
    ("body", Component::Body),
    ("timestamp", Component::Timestamp),
    ("id", Component::Id),
    ("method", Component::Method),
    ("url", Component::Url),
    ("url_any_port", Component::UrlAnyPort),
    ("url_without_query", Component::UrlWithoutQuery),
    ("url_decoded", Component::UrlDecoded),
    ("url_sorted", Component::UrlSorted),
    ("path", Component::Path),
    ("encoded_path", Component::EncodedPath),
    ("query", Component::Query),
    ("sorted_query", Component::SortedQuery),
    ("sorted_form", Component::SortedForm),
    ("signed_headers", Component::SignedHeaders),
    ("body_sha256", Component::BodySha256),
    ("body_sha256_hex", Component::BodySha256Hex),
    ("secret", Component::Secret),
];

/// The texts before and after the `*`.
fn around(texts: &str) -> Option<(String, String)> {
    let (before, after) = texts.split_once('*')?;
    Some((before.to_owned(), after.to_owned()))
}

impl Component {
    /// Reads a placeholder.
    pub(super) fn parse(name: &str) -> Option<Result<Self, String>> {
        if let Some((_, component)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Some(Ok(component.clone()));
        }
        let (kind, text) = name.split_once(':')?;
        let (kind, lower_case) = match kind.strip_suffix("_lower") {
            Some(kind) => (kind, true),
            None => (kind, false),
        };
        let texts = |(name, texts)| Some((name, around(texts)?));
        let (text, optional, around) = match text.split_once('?').and_then(texts) {
            Some((text, around)) => (text, true, Some(around)),
            None => match text.strip_suffix('?') {
                Some(text) => (text, true, None),
                None => (text, false, None),
            },
        };
        Some(Source::parse(kind, text)?.map(|source| Self::Value {
            source,
            optional,
            lower_case,
            around,
        }))
    }

    /// Whether the component covers the whole body, or all fields of a form.
    pub(crate) const fn covers_body(&self) -> bool {
        matches!(
            self,
            Self::Body
                | Self::BodySha256
                | Self::BodySha256Hex
                | Self::SortedForm
                | Self::UrlSorted
        )
    }

    /// Whether the component covers every parameter of the query. Plivo's does not: it leaves `&` and `=` in values
    /// unescaped.
    pub(super) const fn covers_query(&self) -> bool {
        matches!(
            self,
            Self::Url
                | Self::UrlAnyPort
                | Self::UrlDecoded
                | Self::Query
                | Self::SortedQuery
                | Self::EncodedPath
        )
    }

    /// Whether the component may contain any byte, so that its content does not show where it ends.
    pub(super) const fn is_unbounded(&self) -> bool {
        match self {
            Self::Timestamp
            | Self::Id
            | Self::Method
            | Self::Secret
            | Self::BodySha256
            | Self::BodySha256Hex => false,
            Self::Value { source, .. } => source.is_in_body(),
            _ => true,
        }
    }

    /// Whether the component contains the host in the sender's URL, which a client could choose.
    pub(super) const fn holds_origin(&self) -> bool {
        matches!(
            self,
            Self::Url
                | Self::UrlAnyPort
                | Self::UrlDecoded
                | Self::UrlSorted
                | Self::UrlWithoutQuery
        )
    }

    /// Whether the component contains the path in the sender's URL.
    pub(super) const fn holds_path(&self) -> bool {
        self.holds_origin() || matches!(self, Self::Path | Self::EncodedPath)
    }
}
