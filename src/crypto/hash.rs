//! Hashes of whole texts, and of a body as it arrives.

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The SHA-256 of a body as it arrives.
#[derive(Clone, Debug, Default)]
pub(crate) struct BodyHash(Sha256);

impl BodyHash {
    /// Takes the body's next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        Digest::update(&mut self.0, bytes);
    }

    /// The hash of all of them.
    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The SHA-256 of these bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The SHA-1 of these bytes.
pub(crate) fn sha1(bytes: &[u8]) -> Vec<u8> {
    Sha1::digest(bytes).to_vec()
}
