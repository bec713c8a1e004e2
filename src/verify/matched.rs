//! The keys that made a request's signatures, and which of them counts.

use std::rc::Rc;

use crate::crypto::{Candidate, Code, Verifier};
use crate::secrets::KeyEntry;
use crate::time::UnixMillis;
use crate::verdict::Denial;

/// A key that made one of a request's signatures. Only a comparison with the signatures can make one.
#[derive(Debug)]
pub(super) struct Match {
    key: Rc<KeyEntry>,
    code: Code,
}

impl Match {
    /// The match of a message that was hashed for `key`, if one of the signatures is the message's.
    pub(super) fn find(
        key: &Rc<KeyEntry>,
        verifier: Verifier,
        signatures: &[Candidate],
    ) -> Option<Self> {
        let code = verifier.matches(signatures)?;
        Some(Self {
            key: Rc::clone(key),
            code,
        })
    }

    /// Like [`Match::find`]. Where the algorithm keeps the whole message, also returns the message for other keys.
    pub(super) fn find_keeping(
        key: &Rc<KeyEntry>,
        verifier: Verifier,
        signatures: &[Candidate],
    ) -> (Option<Self>, Option<Verifier>) {
        let (code, verifier) = verifier.try_match(signatures);
        let found = code.map(|code| Self {
            key: Rc::clone(key),
            code,
        });
        (found, verifier)
    }

    pub(super) fn key(&self) -> &KeyEntry {
        &self.key
    }

    /// A code that every copy of the message shares.
    pub(super) const fn code(&self) -> &Code {
        &self.code
    }

    /// Which of two matches counts at `now`: `first`, unless the secret of `other` ranks higher.
    pub(super) fn preferred(first: Option<Self>, other: Self, now: UnixMillis) -> Self {
        match first {
            Some(first) if first.rank(now) <= other.rank(now) => first,
            _ => other,
        }
    }

    /// A valid secret comes first. Then comes the most alarming one: a revoked secret.
    fn rank(&self, now: UnixMillis) -> u8 {
        match self.key.secret.validity(now) {
            Ok(()) => 0,
            Err(Denial::SecretRevoked) => 1,
            Err(Denial::SecretExpired) => 2,
            Err(_) => 3,
        }
    }
}
