//! What a sender signs and how it writes the signature: a `signature` block, compiled.

use std::time::Duration;

use crate::config::{Node, Object};
use crate::duration;
use crate::encoding::{Encoding, KeyEncoding};
use crate::headers;
use crate::mac::Algorithm;
use crate::template::{self, Piece};

/// The scheme of an endpoint that names none: hex HMAC-SHA-256 of the body in one header.
const DEFAULT: &str = r#"{"header": "X-Webhook-Signature"}"#;

/// The presets: name and `signature` block, from the files in `providers/`.
const PROVIDERS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/providers.rs"));

/// How far a timestamp may be off where neither scheme nor endpoint says: what most senders advise.
const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

/// What is signed, where the signature stands, and how it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Scheme {
    /// The signature's header, in lower case.
    pub(crate) header: String,
    /// What separates the items of the header's value; `None`: the value is one item.
    pub(crate) separator: Option<String>,
    /// The forms an item may have.
    pub(crate) formats: Vec<Vec<Piece<Slot>>>,
    /// The signed bytes before the body.
    pub(crate) before_body: Vec<Piece<Field>>,
    /// The signed bytes after the body.
    pub(crate) after_body: Vec<Piece<Field>>,
    /// How the message is authenticated.
    pub(crate) algorithm: Algorithm,
    /// How the signature's bytes are written.
    pub(crate) encoding: Encoding,
    /// How a secret's text becomes the key.
    pub(crate) key: KeyEncoding,
    /// The signed timestamp.
    pub(crate) timestamp: Option<Timestamp>,
    /// The header of the delivery's signed id, in lower case.
    pub(crate) id: Option<String>,
}

/// What a `format` takes out of an item.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Slot {
    Signature,
    Timestamp,
}

/// What a `message` is made of besides literals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Field {
    Body,
    Id,
    Method,
    Timestamp,
    Url,
}

/// The names of [`Slot`]s.
pub(crate) const SLOTS: &[(&str, Slot)] = &[
    ("signature", Slot::Signature),
    ("timestamp", Slot::Timestamp),
];

/// The names of [`Field`]s.
const FIELDS: &[(&str, Field)] = &[
    ("body", Field::Body),
    ("id", Field::Id),
    ("method", Field::Method),
    ("timestamp", Field::Timestamp),
    ("url", Field::Url),
];

/// The timestamp that a scheme signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Timestamp {
    /// Its header, in lower case; `None` where it stands in the signature's header.
    pub(crate) header: Option<String>,
    /// How it is written.
    pub(crate) unit: Unit,
    /// How far it may be off, in either direction.
    pub(crate) tolerance: Duration,
}

/// How a timestamp is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    Seconds,
    Millis,
    Rfc3339,
}

impl Scheme {
    /// Reads the scheme of an endpoint from its `provider` or `signature`, or neither.
    pub(crate) fn of_endpoint(endpoint: &mut Object<'_>) -> Option<Self> {
        match (endpoint.field("provider"), endpoint.field("signature")) {
            (Some(provider), Some(_)) => {
                provider.fault("an endpoint has a provider or a signature block: keep one")
            }
            (Some(provider), None) => Self::built_in(provider, provider.choice(PROVIDERS)?),
            (None, Some(signature)) => Self::read(signature),
            (None, None) => Self::built_in(endpoint.node, DEFAULT),
        }
    }

    /// Reads a block that the product itself brings: by the same reader as a user's.
    fn built_in(node: Node<'_>, block: &str) -> Option<Self> {
        match crate::value::Value::from_json(block.as_bytes()) {
            Ok(value) => Self::read(node.with(&value)),
            Err(error) => node.fault(error.message),
        }
    }

    /// Reads a `signature` block.
    fn read(node: Node<'_>) -> Option<Self> {
        let mut block = node.object()?;
        let header = block.required(
            "header",
            "name the header of the signature",
            headers::read_name,
        );
        let separator = block.optional("separator", |node| match node.text()? {
            "" => node
                .fault("an empty separator separates nothing: leave it out for a single signature"),
            text => Some(text.to_owned()),
        });
        let formats = block.optional("format", |node| {
            let formats = node.each(read_format)?;
            let signs = |format: &Vec<_>| format.contains(&Piece::Placeholder(Slot::Signature));
            match formats.iter().any(signs) {
                true => Some(formats),
                false => node.fault("no item holds the {signature}"),
            }
        });
        let message = block.optional("message", read_message);
        let algorithm = block.optional("algorithm", |node| node.choice(Algorithm::NAMES));
        let encoding = block.optional("encoding", Encoding::read);
        let key = block.optional("key", KeyEncoding::read);
        let timestamp = block.optional("timestamp", Timestamp::read);
        let id = block.optional("id", read_id);
        block.close()?;

        let formats = formats.unwrap_or_else(|| vec![vec![Piece::Placeholder(Slot::Signature)]]);
        let (before_body, after_body) = message.unwrap_or_default();
        let scheme = Self {
            header: header?,
            separator,
            timestamp: timestamp.or_else(|| Timestamp::in_format(&formats)),
            formats,
            before_body,
            after_body,
            algorithm: algorithm.unwrap_or(Algorithm::HmacSha256),
            encoding: encoding.unwrap_or(Encoding::Hex),
            key: key.unwrap_or(KeyEncoding::Utf8),
            id,
        };
        let sources = scheme.check_sources(node);
        scheme.check_formats(node)?;
        sources.map(|()| scheme)
    }

    /// Holds what is extracted against what is signed: a value that no signature covers protects
    /// nothing, and one that is signed has to come from somewhere.
    fn check_sources(&self, node: Node<'_>) -> Option<()> {
        let mut clean = Some(());
        if self.id.is_some() && self.literal_after_id().is_none() {
            node.warn("nothing ends the {id} in `message`, so that one signed message can be cut into several ids: only if the sender has it so");
        }
        if self.id.as_ref().is_some_and(|id| *id == self.header) {
            clean = node.fault("the signature and the id have the same header");
        }
        let in_format = has_timestamp(&self.formats);
        let header = self
            .timestamp
            .as_ref()
            .and_then(|timestamp| timestamp.header.as_ref());
        if in_format && header.is_some() {
            clean = node.fault("the timestamp has two sources: `timestamp.header` and {timestamp} in `format`; keep one");
        } else if self.timestamp.is_some() && !in_format && header.is_none() {
            clean = node.fault(
                "the timestamp has no source: add `timestamp.header`, or {timestamp} to `format`",
            );
        }
        for (name, field, extracted, source) in [
            (
                "timestamp",
                Field::Timestamp,
                self.timestamp.is_some(),
                "`timestamp: {header: NAME}`, or {timestamp} to `format`",
            ),
            ("id", Field::Id, self.id.is_some(), "`id: {header: NAME}`"),
        ] {
            match (extracted, self.signs(field)) {
                (true, false) => clean = node.fault(format_args!(
                    "the {name} is extracted but not signed, so it protects nothing: add {{{name}}} to `message` if the sender signs it, else remove it"
                )),
                (false, true) => clean = node.fault(format_args!("`message` has {{{name}}} but nothing extracts it: add {source}")),
                _ => {}
            }
        }
        clean
    }

    /// Refuses formats that no header's value could ever fit.
    fn check_formats(&self, node: Node<'_>) -> Option<()> {
        let mut clean = Some(());
        for literal in self.formats.iter().flatten().filter_map(Piece::literal) {
            if self
                .separator
                .as_ref()
                .is_some_and(|separator| literal.contains(separator))
            {
                clean = node.fault(format_args!(
                    "{literal:?} in `format` holds the separator, at which items end"
                ));
            }
        }
        for format in &self.formats {
            let first = format.first().and_then(Piece::literal).unwrap_or_default();
            let last = format.last().and_then(Piece::literal).unwrap_or_default();
            if first.starts_with(char::is_whitespace) || last.ends_with(char::is_whitespace) {
                clean = node.fault("an item of `format` begins or ends with white space, which is trimmed off items");
            }
        }
        let is_alone = |format: &Vec<Piece<Slot>>| {
            format.len() == 1 && format.first().and_then(Piece::literal).is_none()
        };
        if self.formats.iter().rev().skip(1).any(is_alone) {
            clean = node.fault("a bare placeholder in `format` fits every item, and leaves none to the forms after it: put it last");
        }
        if self.separator.is_none() && self.formats.len() > 1 && has_timestamp(&self.formats) {
            clean = node.fault("signature and timestamp stand in different items, but nothing separates items: add `separator`");
        }
        clean
    }

    /// The literal that ends the id in the signed message.
    pub(crate) fn literal_after_id(&self) -> Option<&str> {
        let id = Piece::Placeholder(Field::Id);
        [&self.before_body, &self.after_body]
            .into_iter()
            .find_map(|pieces| {
                let mut rest = pieces.iter().skip_while(|piece| **piece != id).skip(1);
                rest.next().and_then(Piece::literal)
            })
    }

    /// Whether the signed message holds `field`.
    pub(crate) fn signs(&self, field: Field) -> bool {
        let field = Piece::Placeholder(field);
        self.before_body.contains(&field) || self.after_body.contains(&field)
    }
}

impl Timestamp {
    fn read(node: Node<'_>) -> Option<Self> {
        let mut block = node.object()?;
        let header = block.optional("header", headers::read_name);
        let unit = block.optional("unit", |node| {
            node.choice(&[
                ("s", Unit::Seconds),
                ("ms", Unit::Millis),
                ("rfc3339", Unit::Rfc3339),
            ])
        });
        let tolerance = block.optional("tolerance", read_tolerance);
        block.close()?;
        Some(Self {
            header,
            unit: unit.unwrap_or(Unit::Seconds),
            tolerance: tolerance.unwrap_or(DEFAULT_TOLERANCE),
        })
    }

    /// The timestamp of a scheme that has one in its format and says no more of it.
    fn in_format(formats: &[Vec<Piece<Slot>>]) -> Option<Self> {
        has_timestamp(formats).then_some(Self {
            header: None,
            unit: Unit::Seconds,
            tolerance: DEFAULT_TOLERANCE,
        })
    }
}

/// Reads a `tolerance`.
pub(crate) fn read_tolerance(node: Node<'_>) -> Option<Duration> {
    let tolerance = node.parse(duration::parse)?;
    if tolerance.is_zero() {
        return node.fault(
            "a tolerance of nothing denies every request: write 5m, or what the sender advises",
        );
    }
    Some(tolerance)
}

fn has_timestamp(formats: &[Vec<Piece<Slot>>]) -> bool {
    formats
        .iter()
        .any(|format| format.contains(&Piece::Placeholder(Slot::Timestamp)))
}

fn read_format(node: Node<'_>) -> Option<Vec<Piece<Slot>>> {
    let pieces = node.parse(|text| template::parse(text, SLOTS))?;
    let is_slot = |piece: &Piece<Slot>| matches!(piece, Piece::Placeholder(_));
    if pieces.windows(2).any(|pair| pair.iter().all(is_slot)) {
        return node.fault("nothing tells where one placeholder ends and the next begins");
    }
    let slots: Vec<_> = pieces.iter().filter(|piece| is_slot(piece)).collect();
    match slots.as_slice() {
        [] => node.fault("an item without {signature} or {timestamp} says nothing: remove it"),
        [_] => Some(pieces),
        [first, second] if first != second => Some(pieces),
        _ => node.fault("an item holds each placeholder once"),
    }
}

/// What stands before the body in a signed message, and what after.
type Around = (Vec<Piece<Field>>, Vec<Piece<Field>>);

/// Reads a `message` into what stands before and after the body.
fn read_message(node: Node<'_>) -> Option<Around> {
    let mut pieces = node.parse(|text| template::parse(text, FIELDS))?;
    let body = Piece::Placeholder(Field::Body);
    let Some(at) = pieces.iter().position(|piece| *piece == body) else {
        return node.fault("the {body} is not signed, so anybody could change it: add {body}");
    };
    let mut after = pieces.split_off(at);
    after.remove(0);
    if after.contains(&body) {
        return node.fault("{body} stands twice: it is hashed once, as it arrives");
    }
    Some((pieces, after))
}

fn read_id(node: Node<'_>) -> Option<String> {
    let mut block = node.object()?;
    let header = block.required("header", "name the header of the id", headers::read_name);
    block.close()?;
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Findings;
    use crate::value::Value;

    #[test]
    fn every_preset_can_be_read() {
        assert!(PROVIDERS.len() >= 6);
        for (name, block) in PROVIDERS {
            let value = Value::from_json(block.as_bytes()).expect(name);
            let findings = Findings::default();
            let scheme = Scheme::read(Node::root(&value, &findings));
            assert!(scheme.is_some(), "{name}: {findings:?}");
        }
    }
}
