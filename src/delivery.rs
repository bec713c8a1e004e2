//! The hashes by which the guard recognizes copies of a delivery.

use std::fmt;

use crate::crypto::{BodyHash, Code, Verifier};
use crate::hex;

/// The hash of a delivery: the first bytes of an HMAC-SHA-512 of its id or its signed message. The key is the endpoint's
/// name. This key is not a secret, but keeps the deliveries of endpoints apart.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct DeliveryHash(pub(crate) [u8; 16]);

impl DeliveryHash {
    /// Ends the hash.
    pub(crate) fn finish(hash: Verifier) -> Option<Self> {
        let code = hash.code()?;
        code.as_bytes().first_chunk().copied().map(Self)
    }

    /// The bucket of the delivery in the endpoint's memory.
    #[must_use]
    pub const fn bucket(self) -> u8 {
        let Self([bucket, ..]) = self;
        bucket
    }
}

/// In hexadecimal digits, as the upstream sees it.
impl fmt::Display for DeliveryHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        let written = hex::encode(&self.0, &mut digits);
        let digits = written.and_then(|()| std::str::from_utf8(&digits).ok());
        formatter.write_str(digits.unwrap_or_default())
    }
}

impl fmt::Debug for DeliveryHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A digest that all copies of one signed message share at an endpoint. Other messages have other digests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MessageDigest(DeliveryHash);

impl MessageDigest {
    /// Hashes the code that verified, so that the body is not hashed again. The code itself stays inside the guard:
    /// an attacker could use it as a signature.
    pub(crate) fn new(endpoint: &str, code: &Code) -> Option<Self> {
        let mut hash = BodyHash::default();
        hash.update(endpoint.as_bytes());
        hash.update(b"\0");
        hash.update(code.as_bytes());
        hash.finish()
            .first_chunk()
            .copied()
            .map(DeliveryHash)
            .map(Self)
    }
}

/// In hexadecimal digits, as the upstream sees it.
impl fmt::Display for MessageDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}
