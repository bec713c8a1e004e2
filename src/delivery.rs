//! What makes two deliveries the same.

use std::fmt;

use crate::crypto::{BodyHash, Code, Mac};

/// A delivery's identity: the first bytes of the HMAC-SHA-512 of what its sender signed, by the endpoint's name. The name
/// is no secret: it keeps the endpoints apart.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Delivery(pub(crate) [u8; 16]);

impl Delivery {
    /// The delivery of which this is the hash.
    pub(crate) fn end(hash: Mac) -> Option<Self> {
        let code = hash.code()?;
        code.as_bytes().first_chunk().copied().map(Self)
    }

    /// Its bucket in the endpoint's memory.
    #[must_use]
    pub const fn bucket(self) -> u8 {
        let Self([bucket, ..]) = self;
        bucket
    }
}

/// In hexadecimal digits, as the upstream sees it.
impl fmt::Display for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        let written = hex::encode_to_slice(self.0, &mut digits).ok();
        let digits = written.and_then(|()| std::str::from_utf8(&digits).ok());
        formatter.write_str(digits.unwrap_or_default())
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A digest that every copy of one signed message shares at an endpoint, and no other message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MessageDigest(Delivery);

impl MessageDigest {
    /// Hashes the code that verified, so that the body is not hashed again. The code itself could serve as a
    /// signature and stays inside the guard.
    pub(crate) fn new(endpoint: &str, code: &Code) -> Option<Self> {
        let mut hash = BodyHash::default();
        hash.update(endpoint.as_bytes());
        hash.update(b"\0");
        hash.update(code.as_bytes());
        hash.finish().first_chunk().copied().map(Delivery).map(Self)
    }
}

/// In hexadecimal digits, as the upstream sees it.
impl fmt::Display for MessageDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}
