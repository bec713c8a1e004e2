//! The signed bytes of one request, in chunks: the bytes of its head, and places for its body.

use crate::verdict::Denial;

/// A piece of the signed bytes of one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Segment {
    /// These.
    Bytes(Vec<u8>),
    /// The body as it came.
    Body,
    /// The body's SHA-256, raw or in hexadecimal digits.
    BodySha256 { hex: bool },
    /// The secret's own bytes.
    Secret,
    /// The part at this place of the message, which the body tells.
    Late(usize),
}

impl Segment {
    /// The bytes of the head that this segment keeps.
    pub(crate) const fn kept(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Body | Self::BodySha256 { .. } | Self::Secret | Self::Late(_) => 0,
        }
    }
}

/// The segments of one message while they are written.
pub(super) struct Segments {
    list: Vec<Segment>,
    /// How many more bytes may be added.
    left: usize,
}

impl Segments {
    /// No segments yet, for `count` of them and at most `limit` bytes.
    pub(super) fn with_capacity(count: usize, limit: usize) -> Self {
        Self {
            list: Vec::with_capacity(count),
            left: limit,
        }
    }

    /// Adds a segment that is not made of bytes.
    pub(super) fn push(&mut self, segment: Segment) {
        self.list.push(segment);
    }

    /// Adds bytes to the last segment, if that is one of bytes.
    ///
    /// # Errors
    /// `SignatureMalformed`: the message would be longer than its limit.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Denial> {
        let left = self.left.checked_sub(bytes.len());
        self.left = left.ok_or(Denial::SignatureMalformed)?;
        match self.list.last_mut() {
            Some(Segment::Bytes(text)) => text.extend(bytes),
            _ => self.list.push(Segment::Bytes(bytes.to_vec())),
        }
        Ok(())
    }

    /// The segment that was added last.
    pub(super) fn last(&self) -> Option<&Segment> {
        self.list.last()
    }

    /// The segments, without spare memory.
    pub(super) fn finish(mut self) -> Vec<Segment> {
        for segment in &mut self.list {
            if let Segment::Bytes(bytes) = segment {
                bytes.shrink_to_fit();
            }
        }
        self.list
    }
}

/// Whether a message holds the body's hash.
pub(crate) fn has_digest(message: &[Segment]) -> bool {
    let is_digest = |segment: &Segment| matches!(segment, Segment::BodySha256 { .. });
    message.iter().any(is_digest)
}
