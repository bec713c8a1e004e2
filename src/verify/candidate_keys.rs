//! The keys that may have signed a request.

use std::rc::Rc;

use super::unverified::Unverified;
use crate::secrets::{KeyEntry, Secret};
use crate::verdict::Denial;

/// How many signatures of private keys the guard verifies for one request, over all keys. Each costs half a
/// millisecond, and Ed25519 hashes the whole message for each. A rotation needs two keys and four signatures.
const MAX_PUBLIC: usize = 8;

impl Unverified {
    /// The keys that may have made the signature. [`MAX_PUBLIC`] limits the number of public keys: those of valid
    /// secrets come first.
    pub(super) fn candidate_keys(&self) -> impl Iterator<Item = &Rc<KeyEntry>> {
        let is_public = self
            .endpoint
            .scheme
            .spec
            .signature
            .algorithm
            .has_public_key();
        let limit = match is_public {
            true => MAX_PUBLIC
                .checked_div(self.signatures.len())
                .unwrap_or(MAX_PUBLIC),
            false => usize::MAX,
        };
        let entries = self.keyring.entries().iter();
        let named = entries.filter(|entry| self.names(&entry.secret));
        let is_first = move |entry: &&Rc<KeyEntry>| !is_public || entry.is_valid(self.now);
        let first = named.clone().filter(is_first);
        let last = named.filter(move |entry| !is_first(entry));
        first.chain(last).take(limit)
    }

    /// The key to hash the body for as it arrives: the first one whose secret is valid.
    ///
    /// # Errors
    /// No key may have made the signature.
    pub(super) fn preferred_key(&self) -> Result<&Rc<KeyEntry>, Denial> {
        let mut keys = self.candidate_keys().peekable();
        let first = keys.peek().copied();
        let valid = keys.find(|entry| entry.is_valid(self.now));
        valid.or(first).ok_or_else(|| self.no_match_reason())
    }

    /// Whether the request names this secret's key, or the secret has no name for its key.
    fn names(&self, secret: &Secret) -> bool {
        match &secret.key_id {
            Some(id) => self.key_ids.iter().any(|named| *named == id.as_bytes()),
            None => true,
        }
    }

    /// Why no key verified the request. If a valid secret has no value at present, its sender must retry.
    pub(super) fn no_match_reason(&self) -> Denial {
        let mut missing = self.keyring.notes.iter().filter(|note| note.is_missing);
        let may_have_signed =
            |secret: &Secret| self.names(secret) && secret.validity(self.now).is_ok();
        match missing.any(|note| {
            self.endpoint
                .secret(note.secret)
                .is_some_and(may_have_signed)
        }) {
            true => Denial::HostError,
            false => Denial::SignatureInvalid,
        }
    }
}
