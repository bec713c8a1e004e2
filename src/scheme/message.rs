//! The signed bytes: the components that a sender signs, in order, with the literals between them.
//!
//! The guard writes the components of a request's head at once. Those of the body follow when the whole body is there.
//! The body itself is only a place between two chunks, so the guard hashes it as it arrives.

use std::iter;
use std::rc::Rc;

use super::body::ParsedBody;
use super::chunk::{Chunk, Chunks};
use super::component::{Component, NAMES};
use super::facts::{BodyFacts, HeadFacts, MAX_HEAD};
use super::oracle;
use super::search::occurs_once;
use super::source::Source;
use super::template::{self, Piece};
use crate::config::Node;
use crate::crypto::Algorithm;
use crate::verdict::Denial;

/// The components and literals of the signed bytes, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Message(Vec<Piece<Component>>);

impl Message {
    /// The message of a block without `message`: the body. A token or a secret covers only itself.
    pub(crate) fn of(algorithm: Algorithm, is_token: bool) -> Self {
        match is_token || algorithm == Algorithm::Token {
            true => Self(Vec::new()),
            false => Self(vec![Piece::Placeholder(Component::Body)]),
        }
    }

    /// Reads a `message`, or a list of its forms.
    pub(super) fn read_list(node: Node<'_>) -> Option<Vec<Self>> {
        let nodes = match node.is_list() {
            true => node.list()?,
            false => vec![node],
        };
        let mut messages = Vec::new();
        for node in &nodes {
            messages.push(Self::read(*node)?);
        }
        // Each message costs a hash for each key.
        match nodes.len() {
            1..=4 => Some(messages),
            _ => node.error("the list must have one to four messages: add or remove some"),
        }
    }

    /// Reads a `message`.
    #[inline(never)]
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
        if message.has_unclear_parts() {
            return node.error("a value could move into this part where it is absent: write a text before and after `*`, and around the part, that begin differently");
        }
        Some(message)
    }

    /// Whether a part that may be absent does not show by its own text that it is present. Any other value next to it
    /// could end or begin like the part.
    fn has_unclear_parts(&self) -> bool {
        let texts: Vec<_> = self.0.iter().map(known_start).collect();
        let is_part = |at: Option<usize>| {
            let piece = at.and_then(|at| self.0.get(at));
            piece.is_none_or(|piece| piece.literal().is_some() || around(piece).is_some())
        };
        self.0.iter().enumerate().any(|(at, piece)| {
            let Some((before, after)) = around(piece) else {
                return false;
            };
            let is_like = |(other, text): (usize, &&str)| {
                other != at
                    && !text.is_empty()
                    && (text.starts_with(before.as_str()) || before.starts_with(*text))
            };
            before.is_empty()
                || after.is_empty()
                || !(at == 0 || is_part(at.checked_sub(1)))
                || !is_part(at.checked_add(1))
                || texts.iter().enumerate().any(is_like)
        })
    }

    pub(crate) fn components(&self) -> impl Iterator<Item = &Component> {
        self.0.iter().filter_map(Piece::placeholder)
    }

    /// The places of the values in the message.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.components().filter_map(|component| match component {
            Component::Value { source, .. } => Some(source),
            _ => None,
        })
    }

    /// Whether the message contains this component.
    pub(crate) fn has(&self, component: &Component) -> bool {
        self.components().any(|each| each == component)
    }

    /// Whether the message contains a component that satisfies `is`.
    pub(crate) fn any(&self, is: impl Fn(&Component) -> bool) -> bool {
        self.components().any(is)
    }

    /// The number of placeholders that make several messages of one.
    pub(crate) fn form_placeholders(&self) -> usize {
        let has_forms = |component: &&Component| match component {
            Component::UrlAnyPort => true,
            Component::Value {
                source, lower_case, ..
            } => *lower_case && !source.is_in_body(),
            _ => false,
        };
        self.components().filter(has_forms).count()
    }

    /// Whether the message contains a value that only the whole body shows. The timestamp and the id may be such
    /// values.
    pub(crate) fn needs_whole_body(&self, body_timestamp: bool, body_id: bool) -> bool {
        self.any(|component| match component {
            Component::Timestamp => body_timestamp,
            Component::Id => body_id,
            Component::Value { source, .. } => source.is_in_body(),
            Component::SortedForm | Component::UrlSorted => true,
            _ => false,
        })
    }

    /// Whether changing the value at this source would change the signed bytes.
    pub(crate) fn covers(&self, source: &Source) -> bool {
        self.any(|component| match (component, source) {
            // In lower case, different values become equal.
            (
                Component::Value {
                    source: signed,
                    lower_case: false,
                    ..
                },
                _,
            ) if signed == source => true,
            (_, Source::Query(_)) => component.covers_query(),
            // A sorted form has no separators: a part of a field's name could move into its value.
            (_, Source::Form(_) | Source::Json(_)) => {
                matches!(
                    component,
                    Component::Body | Component::BodySha256 | Component::BodySha256Hex
                )
            }
            _ => false,
        })
    }

    /// Whether the message covers every parameter of the query, with or without separators (Plivo).
    pub(super) fn signs_query(&self) -> bool {
        self.any(|component| component.covers_query() || *component == Component::UrlSorted)
    }

    /// Whether the message covers only the fields of a form, and no other body.
    pub(crate) fn covers_forms(&self) -> bool {
        self.any(|component| matches!(component, Component::SortedForm | Component::UrlSorted))
    }

    /// Whether the head of a request leaves the message unchanged.
    pub(super) fn is_fixed(&self) -> bool {
        self.components().all(|component| match component {
            Component::Body
            | Component::BodySha256
            | Component::BodySha256Hex
            | Component::Secret
            | Component::SortedForm => true,
            Component::Value { source, .. } => source.is_in_body(),
            _ => false,
        })
    }

    /// Whether the message contains only the URL and literals.
    pub(crate) fn is_of_url(&self) -> bool {
        self.components()
            .all(|component| *component == Component::Url)
    }

    /// Whether the message is the body, perhaps between literals.
    pub(crate) fn is_body(&self) -> bool {
        self.components().eq([&Component::Body])
    }

    /// The length of all literals, in bytes.
    pub(crate) fn literal_length(&self) -> u64 {
        let literals = self.0.iter().filter_map(Piece::literal);
        let length = literals.map(str::len).fold(0, usize::saturating_add);
        u64::try_from(length).unwrap_or(u64::MAX)
    }

    /// Whether the message may consist of only such characters as a handshake's text has.
    pub(crate) fn may_be_challenge_text(&self) -> bool {
        let mut literals = self.0.iter().filter_map(Piece::literal);
        literals.all(|literal| oracle::challenge_chars_only(literal.as_bytes()))
    }

    /// Whether two components are adjacent, so that no literal separates them. Components of a known length at either
    /// end of the message do not count.
    pub(crate) fn has_adjacent_components(&self) -> bool {
        let is_known = |piece: &&Piece<Component>| match piece.placeholder() {
            Some(Component::Id | Component::Value { .. }) => false,
            Some(component) => !component.is_unbounded(),
            None => true,
        };
        let known = self.0.iter().rev().take_while(is_known).count();
        let rest = self.0.iter().rev().skip(known).rev().skip_while(is_known);
        let is_part = |piece: &Piece<Component>| {
            piece.placeholder().is_some_and(|component| {
                let has_texts = matches!(
                    component,
                    Component::Value {
                        around: Some(_),
                        ..
                    }
                );
                *component != Component::Secret && !has_texts
            })
        };
        let components: Vec<_> = rest.map(is_part).collect();
        components
            .windows(2)
            .any(|pair| pair.iter().all(|is_part| *is_part))
    }

    /// Whether two requests may have the same signed bytes, one by this message and the other by a message with the
    /// same components. Bytes of a text then move into the value next to it.
    #[inline(never)]
    pub(crate) fn may_equal(&self, other: &Self) -> bool {
        let starts = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
        let ends = |a: &str, b: &str| a.ends_with(b) || b.ends_with(a);
        let (texts, others) = (self.texts(), other.texts());
        let last = texts.len().saturating_sub(1);
        let mut components = self.components();
        let mut is_before = false;
        let mut may_equal = false;
        for (at, (a, b)) in texts.into_iter().zip(others).enumerate() {
            let is_after = components.next().is_some_and(|component| {
                component.is_unbounded()
                    || matches!(component, Component::Id | Component::Value { .. })
            });
            // Two messages with different beginnings or ends are never equal.
            if (at == 0 && !starts(a, b)) || (at == last && !ends(a, b)) {
                return false;
            }
            may_equal |= a != b && ((is_after && starts(a, b)) || (is_before && ends(a, b)));
            is_before = is_after;
        }
        may_equal
    }

    /// The texts before, between and after the components.
    fn texts(&self) -> Vec<&str> {
        let mut texts = vec![""];
        for piece in &self.0 {
            match (piece.literal(), texts.last_mut()) {
                (Some(literal), Some(last)) => *last = literal,
                _ => texts.push(""),
            }
        }
        texts
    }

    /// Whether anything follows the secret.
    pub(crate) fn continues_after_secret(&self) -> bool {
        let mut components = self
            .components()
            .skip_while(|component| **component != Component::Secret);
        components.nth(1).is_some()
    }

    /// Rejects a value that contains its own delimiter, since the signed bytes could then be split differently. The
    /// signed `a.1.b` would also be the id `a.1` at the time `b`, if an id could contain a dot.
    ///
    /// Some components may contain any byte, such as a body or a URL. A value before the first of these needs only the
    /// delimiter after it. A value after the last needs only the delimiter before it. A value between them needs both.
    ///
    /// A timestamp needs no delimiter. RFC 3339 and HTTP dates show their own end. Fresh numbers without leading zeros
    /// have one length, or three more digits for the same time in milliseconds. A date also delimits an id without `:`
    /// and `,`, so an adjacent id may have only letters, digits and `_=-`.
    ///
    /// Values of the body are not checked, since senders sign them unescaped. Any value may be absent or empty. So the
    /// delimiter before a value is the last text before all adjacent values, and `values` are those up to this one.
    fn check_boundaries(&self, index: usize, value: &[u8], values: &[u8]) -> Result<(), Denial> {
        let pieces = self.0.iter();
        let is_part = |piece: &Piece<Component>| piece.placeholder().is_some();
        let is_unbounded =
            |piece: &Piece<Component>| piece.placeholder().is_some_and(Component::is_unbounded);
        let end = pieces.clone().rposition(is_part).unwrap_or_default();
        let first = pieces.clone().position(is_unbounded).unwrap_or(end);
        let last = pieces.clone().rposition(is_unbounded).unwrap_or(end);
        let piece = self.0.get(index).ok_or(Denial::InternalError)?;
        let is_id = *piece == Piece::Placeholder(Component::Id);
        // The text after such a value shows its end, whatever follows.
        let shows_end = around(piece).is_some();
        for (is_before, is_checked) in [(true, index > first), (false, index < last)] {
            if !is_checked {
                continue;
            }
            let mut pieces = self.pieces_from(index, is_before).peekable();
            let touches = match pieces.peek() {
                // Only the sender knows the secret.
                Some(Piece::Placeholder(component)) => *component != Component::Secret,
                Some(Piece::Literal(_)) | None => false,
            };
            let skips = is_before || !shows_end;
            let delimiter = pieces.find(|piece| !(skips && is_value(piece)));
            let is_sound = match delimiter.and_then(Piece::literal) {
                Some(text) if is_before => occurs_once(values, text.as_bytes(), true),
                Some(text) => occurs_once(value, text.as_bytes(), false),
                None => true,
            };
            if !is_sound || (touches && is_id && !oracle::is_challenge_text(value)) {
                return Err(Denial::SignatureMalformed);
            }
        }
        Ok(())
    }

    /// The pieces before the one with this index, from the last to the first, or those after it.
    fn pieces_from(
        &self,
        index: usize,
        is_before: bool,
    ) -> impl Iterator<Item = &Piece<Component>> {
        let next = move |at: usize| match is_before {
            true => at.checked_sub(1),
            false => at.checked_add(1),
        };
        iter::successors(next(index), move |at| next(*at)).map_while(|at| self.0.get(at))
    }

    /// Writes the components of a request's head, at most [`MAX_HEAD`] bytes. Those of the body become chunks of their
    /// own.
    pub(crate) fn write(&self, facts: &HeadFacts<'_>) -> Result<Vec<Chunk>, Denial> {
        let mut chunks = Chunks::with_capacity(self.0.len(), MAX_HEAD);
        // The adjacent values.
        let mut values = Vec::new();
        for (index, piece) in self.0.iter().enumerate() {
            if !is_value(piece) {
                values.clear();
            }
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
                        if is_value(piece) {
                            values.extend_from_slice(text);
                            self.check_boundaries(index, text, &values)?;
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

    /// Writes the components of the body, once the whole body is there. `sorted_form` is the same for all forms.
    pub(crate) fn write_from_body(
        &self,
        chunks: &[Chunk],
        content: &ParsedBody,
        body: BodyFacts<'_>,
        sorted_form: Option<&Rc<[u8]>>,
    ) -> Result<Vec<Chunk>, Denial> {
        // The body's size bounds these bytes.
        let mut written = Chunks::with_capacity(chunks.len(), usize::MAX);
        for chunk in chunks {
            match chunk {
                Chunk::FromBody(index) => {
                    let component = self.0.get(*index).and_then(Piece::placeholder);
                    let component = component.ok_or(Denial::InternalError)?;
                    if let (Component::SortedForm, Some(text)) = (component, sorted_form) {
                        written.push(Chunk::Shared(Rc::clone(text)));
                        continue;
                    }
                    let text = body.text(component, written.last(), content)?;
                    if *component == Component::Id {
                        self.check_boundaries(*index, &text, &text)?;
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

/// Whether a piece is a value that may contain a delimiter.
const fn is_value(piece: &Piece<Component>) -> bool {
    matches!(
        piece,
        Piece::Placeholder(Component::Id | Component::Value { .. })
    )
}

/// The texts around a value that may be absent.
const fn around(piece: &Piece<Component>) -> Option<&(String, String)> {
    match piece {
        Piece::Placeholder(Component::Value { around, .. }) => around.as_ref(),
        _ => None,
    }
}

/// The text with which a piece begins, if it is known.
fn known_start(piece: &Piece<Component>) -> &str {
    match around(piece) {
        Some((before, _)) => before,
        None => piece.literal().unwrap_or_default(),
    }
}
