//! The header or other field with the signatures, and how they are written there.

use std::borrow::Cow;
use std::iter;

use super::found::{self, Found, MAX_VALUE};
use super::jwt::{self, Token};
use super::search::split_once;
use super::source::{self, HeaderName, Source};
use super::template::{self, Piece};
use crate::config::{Node, Object};
use crate::crypto::encoding::Encoding;
use crate::crypto::{Algorithm, Candidates};
use crate::request::headers::{Ambiguous, Headers, Pair};
use crate::verdict::Denial;

/// The most signatures in a request. Each costs a comparison, or milliseconds with a public key.
const MAX_CANDIDATES: usize = 16;
const MAX_PUBLIC: usize = 4;

/// The field with the signatures and other values, such as a timestamp.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SignatureField {
    /// Where the field is.
    pub(crate) source: Source,
    /// The header may occur several times.
    repeat: bool,
    /// The separator between the items of the value; `None`: the value is one item.
    pub(crate) separator: Option<String>,
    /// The formats that an item may have.
    pub(crate) formats: Vec<Format>,
    /// Each item has the format at its index. Items after the last format have the last one.
    pub(crate) positional: bool,
}

/// The format of an item: placeholders and the literals between them.
pub(crate) type Format = Vec<Piece<Placeholder>>;

/// A placeholder in `format`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Placeholder {
    Signature,
    Timestamp,
    KeyId,
    Token,
    Ignored,
}

impl SignatureField {
    /// Reads the fields of a `signature` block that describe the signature's field.
    pub(super) fn read(block: &mut Object<'_>) -> Option<Self> {
        let source = Source::read(block);
        let repeat = block.optional("repeat", Node::boolean);
        let separator = block.optional("separator", |node| match node.text()? {
            "" => node
                .error("the separator is empty: write one such as \",\", or remove it for a single signature"),
            text => Some(text.to_owned()),
        });
        let formats = block.optional("format", read_formats);
        let positional = block.optional("positional", Node::boolean);
        if source.is_none() && !block.has_errors() {
            block.node.error::<()>("`header` is missing: add the signature's header, or its place as `query`, `form` or `json`");
        }
        Some(Self {
            source: source?,
            repeat: repeat.unwrap_or(false),
            separator,
            formats: formats
                .unwrap_or_else(|| vec![vec![Piece::Placeholder(Placeholder::Signature)]]),
            positional: positional.unwrap_or(false),
        })
    }

    /// Whether any format contains this placeholder.
    pub(crate) fn has(&self, placeholder: Placeholder) -> bool {
        self.formats.iter().any(|format| has(format, placeholder))
    }

    /// The parsed field, if it is in the head. Empty if it is in the body.
    ///
    /// # Errors
    /// There is no signature, a malformed one, or several where one is expected.
    pub(super) fn in_head<'h>(
        &self,
        headers: &Headers<'h>,
        expected: SignatureEncoding,
    ) -> Result<ParsedField<'h>, Denial> {
        let mut items = ParsedField::default();
        match &self.source {
            Source::Headers(names) => {
                let (first, others) = self.values(names, headers)?;
                self.take(first, expected, &mut items);
                for (_, value) in others {
                    self.take(value, expected, &mut items);
                }
                items.check(expected)?;
            }
            Source::Form(_) | Source::Json(_) => {}
            other => {
                let value = found::required(other.in_head(headers, None))?;
                items.candidates = self.signatures(&value, expected)?.0;
            }
        }
        Ok(items)
    }

    /// The values with the signatures: the first one, and the headers with the others, which few requests have.
    fn values<'h>(
        &self,
        names: &[HeaderName],
        headers: &Headers<'h>,
    ) -> Result<(&'h [u8], Vec<Pair<'h>>), Denial> {
        let mut named = source::values(names, headers);
        let first = named.next().ok_or(Denial::SignatureMissing)?;
        let others: Vec<_> = named.collect();
        let all = || iter::once(&first).chain(&others);
        let is_twice = |(name, _): &Pair<'_>| {
            let same = all().filter(|(other, _)| other.eq_ignore_ascii_case(name));
            same.count() > 1
        };
        if !self.repeat && !others.is_empty() && all().any(is_twice) {
            return Err(Denial::SignatureDuplicated);
        }
        let length: usize = all().map(|(_, value)| value.len()).sum();
        if length > MAX_VALUE || others.len() >= MAX_CANDIDATES {
            return Err(Denial::SignatureMalformed);
        }
        Ok((first.1, others))
    }

    /// The signatures in a value, and the ids of their keys.
    pub(crate) fn signatures(
        &self,
        value: &[u8],
        expected: SignatureEncoding,
    ) -> Result<(Candidates, Vec<Vec<u8>>), Denial> {
        let mut items = ParsedField::default();
        self.take(value, expected, &mut items);
        items.check(expected)?;
        let key_ids = items.key_ids.into_iter().map(<[u8]>::to_vec);
        Ok((items.candidates, key_ids.collect()))
    }

    /// Adds the items of a value.
    fn take<'h>(&self, value: &'h [u8], expected: SignatureEncoding, found: &mut ParsedField<'h>) {
        for (index, item) in items(value, self.separator.as_deref()).enumerate() {
            let parsed = match self.positional {
                true => self
                    .formats
                    .get(index)
                    .or(self.formats.last())
                    .and_then(|format| parse_item(format, item)),
                false => self
                    .formats
                    .iter()
                    .find_map(|format| parse_item(format, item)),
            };
            let Some(parsed) = parsed else { continue };
            let signature = match (parsed.signature, parsed.token.map(jwt::parse)) {
                (_, Some(Some(parts))) if found.token.is_none() => {
                    found.token = Some((parts.message, parts.token));
                    Some(parts.signature)
                }
                // A text that is not a token, or a second token, which applications could prefer to the first.
                (_, Some(_)) => Some(&b""[..]),
                (signature, None) => signature,
            };
            if let Some(text) = signature {
                found.signatures = found.signatures.saturating_add(1);
                let candidate = expected.encoding.decode_candidate(expected.algorithm, text);
                candidate
                    .into_iter()
                    .for_each(|candidate| found.candidates.push(candidate));
            }
            if let Some(time) = parsed.timestamp {
                // Signatures may share their timestamp.
                let is_same = signature.is_some() && found.timestamp == Some(time);
                found.has_timestamps |= found.timestamp.is_some() && !is_same;
                found.timestamp = found.timestamp.or(Some(time));
            }
            found.key_ids.extend(parsed.key_id);
        }
    }
}

/// The algorithm of a signature, and the encoding of its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SignatureEncoding {
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: Encoding,
}

impl SignatureEncoding {
    /// The encoding of a block. A token has its own.
    pub(super) fn of(algorithm: Algorithm, encoding: Option<Encoding>, is_token: bool) -> Self {
        let default = match algorithm {
            _ if is_token => Encoding::Base64Url,
            Algorithm::Token => Encoding::Text,
            _ => Encoding::Hex,
        };
        Self {
            algorithm,
            encoding: encoding.filter(|_| !is_token).unwrap_or(default),
        }
    }
}

/// The parsed items of a signature's field.
#[derive(Default)]
pub(super) struct ParsedField<'h> {
    signatures: usize,
    pub(super) candidates: Candidates,
    /// The first timestamp.
    pub(super) timestamp: Option<&'h [u8]>,
    /// There are other timestamps.
    has_timestamps: bool,
    pub(super) key_ids: Vec<&'h [u8]>,
    pub(super) token: Option<(&'h [u8], Token)>,
}

impl<'h> ParsedField<'h> {
    /// The timestamp, if there is one.
    pub(super) fn timestamp(&self) -> Found<'h> {
        match self.has_timestamps {
            true => Err(Ambiguous),
            false => Ok(self.timestamp.map(Cow::Borrowed)),
        }
    }

    /// Rejects a value without a signature, or with too many.
    fn check(&self, expected: SignatureEncoding) -> Result<(), Denial> {
        let most = match expected.algorithm.has_public_key() {
            true => MAX_PUBLIC,
            false => MAX_CANDIDATES,
        };
        let is_too_much = self.signatures > most || self.key_ids.len() > MAX_CANDIDATES;
        match self.candidates.is_empty() || is_too_much {
            true => Err(Denial::SignatureMalformed),
            false => Ok(()),
        }
    }
}

impl Placeholder {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("signature", Self::Signature),
        ("timestamp", Self::Timestamp),
        ("key_id", Self::KeyId),
        ("token", Self::Token),
        ("ignored", Self::Ignored),
    ];

    /// Reads one format.
    fn template(text: &str) -> Result<Format, String> {
        let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
        template::parse(text, &names, &|name| {
            let (_, placeholder) = Self::NAMES.iter().find(|(known, _)| *known == name)?;
            Some(Ok(*placeholder))
        })
    }
}

fn has(format: &Format, placeholder: Placeholder) -> bool {
    format.contains(&Piece::Placeholder(placeholder))
}

fn read_formats(node: Node<'_>) -> Option<Vec<Format>> {
    let formats = node.each(read_format)?;
    let signs =
        |format: &Format| has(format, Placeholder::Signature) || has(format, Placeholder::Token);
    match formats.iter().any(signs) {
        true => Some(formats),
        false => node.error("no item contains {signature}: add one, such as v1={signature}"),
    }
}

fn read_format(node: Node<'_>) -> Option<Format> {
    let pieces = node.parse(Placeholder::template)?;
    let is_placeholder = |piece: &Piece<Placeholder>| piece.placeholder().is_some();
    if pieces
        .windows(2)
        .any(|pair| pair.iter().all(is_placeholder))
    {
        return node.error(
            "two placeholders touch, so their values cannot be separated: write text between them",
        );
    }
    let placeholders: Vec<_> = pieces.iter().filter_map(Piece::placeholder).collect();
    if placeholders
        .iter()
        .all(|placeholder| **placeholder == Placeholder::Ignored)
    {
        return node.error("this item has neither {signature} nor {timestamp}: remove it");
    }
    let is_twice = |placeholder: &&Placeholder| {
        placeholders
            .iter()
            .filter(|other| other == &placeholder)
            .count()
            > 1
    };
    if placeholders
        .iter()
        .any(|placeholder| is_twice(placeholder) && **placeholder != Placeholder::Ignored)
    {
        return node.error("this item has the same placeholder twice: remove one");
    }
    Some(pieces)
}

/// The trimmed items of a value.
fn items<'v>(value: &'v [u8], separator: Option<&str>) -> impl Iterator<Item = &'v [u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let value = rest?;
        let cut = separator.and_then(|separator| split_once(value, separator.as_bytes()));
        let (item, tail) = cut.map_or((value, None), |(item, tail)| (item, Some(tail)));
        rest = tail;
        Some(item.trim_ascii())
    })
}

#[derive(Debug, Default, Eq, PartialEq)]
struct ParsedItem<'v> {
    signature: Option<&'v [u8]>,
    timestamp: Option<&'v [u8]>,
    key_id: Option<&'v [u8]>,
    token: Option<&'v [u8]>,
}

/// Matches an item against a format. A placeholder extends to the literal after it, and the last one to the end.
fn parse_item<'v>(format: &Format, item: &'v [u8]) -> Option<ParsedItem<'v>> {
    let mut parsed = ParsedItem::default();
    let mut rest = item;
    let mut pieces = format.iter();
    while let Some(piece) = pieces.next() {
        let placeholder = match piece {
            Piece::Literal(literal) => {
                rest = rest.strip_prefix(literal.as_bytes())?;
                continue;
            }
            Piece::Placeholder(placeholder) => placeholder,
        };
        let (text, tail) = match pieces.next() {
            // Two placeholders are never adjacent, so a literal follows.
            Some(Piece::Literal(literal)) if pieces.len() == 0 => {
                (rest.strip_suffix(literal.as_bytes())?, &b""[..])
            }
            Some(Piece::Literal(literal)) => split_once(rest, literal.as_bytes())?,
            Some(Piece::Placeholder(_)) | None => (rest, &b""[..]),
        };
        match placeholder {
            Placeholder::Signature => parsed.signature = Some(text),
            Placeholder::Timestamp => parsed.timestamp = Some(text),
            Placeholder::KeyId => parsed.key_id = Some(text),
            Placeholder::Token => parsed.token = Some(text),
            Placeholder::Ignored => {}
        }
        rest = tail;
    }
    rest.is_empty().then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits<'v>(format: &str, item: &'v str) -> Option<ParsedItem<'v>> {
        parse_item(
            &Placeholder::template(format).expect(format),
            item.as_bytes(),
        )
    }

    #[test]
    fn items_fit_formats_whole_or_not_at_all() {
        let signature = |text: &'static str| {
            Some(ParsedItem {
                signature: Some(text.as_bytes()),
                ..ParsedItem::default()
            })
        };
        assert_eq!(fits("sha256={signature}", "sha256=ab"), signature("ab"));
        assert_eq!(fits("sha256={signature}", "sha256="), signature(""));
        assert_eq!(fits("sha256={signature}", "SHA256=ab"), None);
        assert_eq!(fits("sha256={signature}", " sha256=ab"), None);
        assert_eq!(fits("<{signature}>", "<a>b>"), signature("a>b"));
        assert_eq!(fits("<{signature}>", "<ab> "), None);
        assert_eq!(fits("{signature}==", "ab=="), signature("ab"));
        assert_eq!(
            fits("{timestamp}.{signature}", "12.ab.cd"),
            Some(ParsedItem {
                signature: Some(b"ab.cd"),
                timestamp: Some(b"12"),
                ..ParsedItem::default()
            })
        );
        assert_eq!(fits("{timestamp}.{signature}", "12"), None);
    }

    #[test]
    fn values_split_into_trimmed_items() {
        let split =
            |value: &'static str, separator| items(value.as_bytes(), separator).collect::<Vec<_>>();
        assert_eq!(split("a, b,,c ", Some(",")), [&b"a"[..], b"b", b"", b"c"]);
        assert_eq!(split("a,b", None), [b"a,b"]);
        assert_eq!(split("", Some(",")), [b""]);
        assert_eq!(split("a; b;c", Some("; ")), [&b"a"[..], b"b;c"]);
    }
}
