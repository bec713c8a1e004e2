//! The signed bytes: which components of a request a sender puts together, in which order, and how they are
//! written.
//!
//! What the head tells is written as soon as it is there. What only the body tells stays a component, for
//! when the body is whole; the body itself is no more than a place between two pieces, so that it can
//! be hashed as it arrives.

use super::body::ParsedBody;
use super::chunk::{Chunk, Chunks};
use super::component::{Component, NAMES};
use super::facts::{BodyFacts, HeadFacts, MAX_HEAD};
use super::oracle;
use super::source::Source;
use super::template::{self, Piece};
use crate::config::Node;
use crate::crypto::Algorithm;
use crate::verdict::Denial;

/// The components of the signed bytes, in their order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Message(Vec<Piece<Component>>);

impl Message {
    /// That of a block that does not say: the body, unless the value is a token or a secret, which covers
    /// itself.
    pub(crate) fn of(algorithm: Algorithm, is_token: bool) -> Self {
        match is_token || algorithm == Algorithm::Token {
            true => Self(Vec::new()),
            false => Self(vec![Piece::Placeholder(Component::Body)]),
        }
    }

    /// Reads a `message`.
    pub(crate) fn read(node: Node<'_>) -> Option<Self> {
        let mut names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
        names.extend(["header:NAME", "query:NAME", "form:NAME", "json:/POINTER"]);
        let pieces = node.parse(|text| template::parse(text, &names, &Component::parse))?;
        let message = Self(pieces);
        for component in [Component::Body, Component::Secret, Component::UrlSorted] {
            if message
                .components()
                .filter(|each| **each == component)
                .count()
                > 1
            {
                return node.error(
                    "{body}, {secret} and {url_sorted} can be used only once each: remove one",
                );
            }
        }
        Some(message)
    }

    pub(crate) fn components(&self) -> impl Iterator<Item = &Component> {
        self.0.iter().filter_map(Piece::placeholder)
    }

    /// The places of the values that it names.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.components().filter_map(|component| match component {
            Component::Value { source, .. } => Some(source),
            _ => None,
        })
    }

    /// Whether it holds this component.
    pub(crate) fn has(&self, component: &Component) -> bool {
        self.components().any(|each| each == component)
    }

    /// Whether it holds a component for which this is true.
    pub(crate) fn any(&self, is: impl Fn(&Component) -> bool) -> bool {
        self.components().any(is)
    }

    /// Whether it holds what only the body tells, which it also may of the timestamp and the id.
    pub(crate) fn needs_whole_body(&self, body_timestamp: bool, body_id: bool) -> bool {
        self.any(|component| match component {
            Component::Timestamp => body_timestamp,
            Component::Id => body_id,
            Component::Value { source, .. } => source.is_in_body(),
            Component::SortedForm | Component::UrlSorted => true,
            _ => false,
        })
    }

    /// Whether changing the value of this source would change the signed bytes.
    pub(crate) fn covers(&self, source: &Source) -> bool {
        self.any(|component| match (component, source) {
            // In lower case, several values are one.
            (
                Component::Value {
                    source: signed,
                    lower_case: false,
                    ..
                },
                _,
            ) if signed == source => true,
            (_, Source::Query(_)) => component.covers_query(),
            // A sorted form runs together: what is one field's name could be another's value.
            (_, Source::Form(_) | Source::Json(_)) => {
                matches!(
                    component,
                    Component::Body | Component::BodySha256 | Component::BodySha256Hex
                )
            }
            _ => false,
        })
    }

    /// Whether it holds every parameter of the query. Plivo's does too, if with nothing by which to tell them apart.
    pub(super) fn signs_query(&self) -> bool {
        self.any(|component| component.covers_query() || *component == Component::UrlSorted)
    }

    /// Whether it holds no more of the body than the fields of a form.
    pub(crate) fn covers_forms(&self) -> bool {
        self.any(|component| matches!(component, Component::SortedForm | Component::UrlSorted))
    }

    /// Whether it holds nothing but the URL, besides literals.
    pub(crate) fn is_of_url(&self) -> bool {
        self.components()
            .all(|component| *component == Component::Url)
    }

    /// Whether it is the body and nothing else.
    pub(crate) fn is_body(&self) -> bool {
        matches!(self.0.as_slice(), [Piece::Placeholder(Component::Body)])
    }

    /// Whether it may consist of nothing but such characters as stand in texts whose MACs are given back.
    pub(crate) fn may_be_challenge_text(&self) -> bool {
        let mut literals = self.0.iter().filter_map(Piece::literal);
        literals.all(|literal| oracle::challenge_chars_only(literal.as_bytes()))
    }

    /// Whether it holds the URL's host, which a client could choose.
    pub(crate) fn holds_origin(&self) -> bool {
        self.any(Component::holds_origin)
    }

    /// Whether two components touch, so that nothing tells where the one ends and the other begins: but for those
    /// of a known length at either end of the message.
    pub(crate) fn has_adjacent_components(&self) -> bool {
        let is_known = |piece: &&Piece<Component>| match piece.placeholder() {
            Some(Component::Id | Component::Value { .. }) => false,
            Some(component) => !component.is_unbounded(),
            None => true,
        };
        let known = self.0.iter().rev().take_while(is_known).count();
        let rest = self.0.iter().rev().skip(known).rev().skip_while(is_known);
        let is_part = |piece: &Piece<Component>| {
            piece
                .placeholder()
                .is_some_and(|component| *component != Component::Secret)
        };
        let components: Vec<_> = rest.map(is_part).collect();
        components
            .windows(2)
            .any(|pair| pair.iter().all(|is_part| *is_part))
    }

    /// Whether something follows the secret.
    pub(crate) fn continues_after_secret(&self) -> bool {
        let mut components = self
            .components()
            .skip_while(|component| **component != Component::Secret);
        components.nth(1).is_some()
    }

    /// Refuses a value of the component at `index` by which the signed bytes could be cut anew. The signed `a.1.b`
    /// would also be the id `a.1` at the time `b`, if an id could hold what ends it.
    ///
    /// Parts before the first that may be anything (a body, a URL) are known by what follows them, those after
    /// the last one by what stands before them, those between by both. A timestamp needs neither: RFC 3339 and
    /// HTTP's dates end where they end, and numbers that are fresh, without a zero before them, are all of one
    /// length (or three digits longer, and yet the same time, of senders that write seconds or milliseconds). Such
    /// a date also ends an id that holds none of its `:` and `,`, so an id that touches another component has to be of
    /// letters that cannot be these. What stands in the body is not asked: senders sign it with whatever it holds.
    pub(super) fn check_boundaries(&self, index: usize, value: &[u8]) -> Result<(), Denial> {
        let pieces = self.0.iter();
        let is_part = |piece: &Piece<Component>| piece.placeholder().is_some();
        let is_unbounded =
            |piece: &Piece<Component>| piece.placeholder().is_some_and(Component::is_unbounded);
        let end = pieces.clone().rposition(is_part).unwrap_or_default();
        let first = pieces.clone().position(is_unbounded).unwrap_or(end);
        let last = pieces.clone().rposition(is_unbounded).unwrap_or(end);
        let is_id = self.0.get(index) == Some(&Piece::Placeholder(Component::Id));
        for (neighbour, is_before) in [
            (index.checked_sub(1).filter(|_| index > first), true),
            (index.checked_add(1).filter(|_| index < last), false),
        ] {
            let is_sound = match neighbour.and_then(|at| self.0.get(at)) {
                Some(Piece::Literal(text)) => occurs_once(value, text.as_bytes(), is_before),
                // Nobody but the sender can write the secret.
                Some(Piece::Placeholder(Component::Secret)) | None => true,
                Some(Piece::Placeholder(_)) => !is_id || oracle::is_challenge_text(value),
            };
            if !is_sound {
                return Err(Denial::SignatureMalformed);
            }
        }
        Ok(())
    }

    /// Writes what the head tells, at most [`MAX_HEAD`] bytes. What it does not tell are chunks of their own.
    pub(crate) fn write(&self, facts: &HeadFacts<'_>) -> Result<Vec<Chunk>, Denial> {
        let mut chunks = Chunks::with_capacity(self.0.len(), MAX_HEAD);
        for (index, piece) in self.0.iter().enumerate() {
            match piece {
                Piece::Literal(text) => chunks.append(text.as_bytes())?,
                Piece::Placeholder(Component::Body) => chunks.push(Chunk::Body),
                Piece::Placeholder(Component::BodySha256) => {
                    chunks.push(Chunk::BodySha256 { hex: false });
                }
                Piece::Placeholder(Component::BodySha256Hex) => {
                    chunks.push(Chunk::BodySha256 { hex: true });
                }
                Piece::Placeholder(Component::Secret) => chunks.push(Chunk::Secret),
                Piece::Placeholder(component) => {
                    let text = facts.text(component)?;
                    if let Some(text) = &text {
                        if matches!(component, Component::Id | Component::Value { .. }) {
                            self.check_boundaries(index, text)?;
                        }
                        chunks.append(text)?;
                    }
                    if text.is_none() || *component == Component::UrlSorted {
                        chunks.push(Chunk::FromBody(index));
                    }
                }
            }
        }
        Ok(chunks.finish())
    }

    /// Writes what only the body told, now that it is whole.
    pub(crate) fn write_from_body(
        &self,
        chunks: &[Chunk],
        content: &ParsedBody,
        body: BodyFacts<'_>,
    ) -> Result<Vec<Chunk>, Denial> {
        // A body's size bounds what it adds.
        let mut written = Chunks::with_capacity(chunks.len(), usize::MAX);
        for chunk in chunks {
            match chunk {
                Chunk::FromBody(index) => {
                    let component = self.0.get(*index).and_then(Piece::placeholder);
                    let component = component.ok_or(Denial::InternalError)?;
                    let text = body.text(component, written.last(), content)?;
                    if *component == Component::Id {
                        self.check_boundaries(*index, &text)?;
                    }
                    written.append(&text)?;
                }
                Chunk::Bytes(bytes) => written.append(bytes)?,
                other => written.push(other.clone()),
            }
        }
        Ok(written.finish())
    }
}

/// Whether a literal beside a value stands there only, and not in the value as well, or partly in it.
fn occurs_once(value: &[u8], literal: &[u8], is_before: bool) -> bool {
    let joined = match is_before {
        true => [literal, value],
        false => [value, literal],
    };
    let joined = joined.concat();
    let places = joined.windows(literal.len());
    places.filter(|place| place == &literal).count() == 1
}
