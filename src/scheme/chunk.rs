//! The signed bytes of one request in chunks: bytes of the head, and places for the body.

use std::rc::Rc;

use crate::verdict::Denial;

/// A chunk of the signed bytes of one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Chunk {
    /// Bytes of the request's head, and literals.
    Bytes(Vec<u8>),
    /// Bytes of the body that all forms of the message share.
    Shared(Rc<[u8]>),
    /// The body, unchanged.
    Body,
    /// The body's SHA-256, raw or in hexadecimal digits.
    BodySha256 { hex: bool },
    /// The secret's own bytes.
    Secret,
    /// The component at this index of the message, to be read from the body.
    FromBody(usize),
}

impl Chunk {
    /// The number of bytes of the head in this chunk.
    pub(crate) const fn kept(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Shared(_)
            | Self::Body
            | Self::BodySha256 { .. }
            | Self::Secret
            | Self::FromBody(_) => 0,
        }
    }
}

/// One form of a message, in chunks.
pub(crate) type Written = Vec<Chunk>;

/// The memory for the bytes of a chunk, which most messages do not exceed. No message has many chunks with bytes.
const SPARE: usize = 64;

/// The chunks of one message while they are written.
pub(super) struct Chunks {
    list: Vec<Chunk>,
    /// How many more bytes may be added.
    left: usize,
}

impl Chunks {
    /// Reserves memory for `count` chunks, and allows at most `limit` bytes.
    pub(super) fn with_capacity(count: usize, limit: usize) -> Self {
        Self {
            list: Vec::with_capacity(count),
            left: limit,
        }
    }

    /// Adds a chunk without bytes.
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.list.push(chunk);
    }

    /// Adds bytes, to the last chunk if that has bytes.
    ///
    /// # Errors
    /// `SignatureMalformed`: the message would be longer than its limit.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Denial> {
        let left = self.left.checked_sub(bytes.len());
        self.left = left.ok_or(Denial::SignatureMalformed)?;
        match self.list.last_mut() {
            Some(Chunk::Bytes(text)) => text.extend(bytes),
            _ => {
                let mut text = Vec::with_capacity(bytes.len().max(SPARE));
                text.extend(bytes);
                self.list.push(Chunk::Bytes(text));
            }
        }
        Ok(())
    }

    /// The last chunk.
    pub(super) fn last(&self) -> Option<&Chunk> {
        self.list.last()
    }

    /// The chunks, with little spare memory.
    pub(super) fn finish(mut self) -> Vec<Chunk> {
        for chunk in &mut self.list {
            if let Chunk::Bytes(bytes) = chunk
                && bytes.capacity() > SPARE
            {
                bytes.shrink_to_fit();
            }
        }
        self.list
    }
}

/// Whether a message contains the body's hash.
pub(crate) fn has_digest(message: &[Chunk]) -> bool {
    let is_digest = |chunk: &Chunk| matches!(chunk, Chunk::BodySha256 { .. });
    message.iter().any(is_digest)
}
