//! The keys that a request is held against, and what their secrets say of a match.

use super::unverified::Signed;
use crate::crypto::{Code, Key};
use crate::policy::endpoint::Endpoint;
use crate::secrets::keyring::Note;
use crate::secrets::secret::Secret;
use crate::verdict::Denial;

/// A key that verified a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    /// The key's place in the keyring.
    pub(super) key: usize,
    /// A code that every copy of the message shares.
    pub(super) code: Code,
}

/// The most signatures by a private key that one request makes the guard verify, over all keys. Each costs half a
/// millisecond, and Ed25519 hashes the whole message for each. Two keys and four signatures are a rotation.
const MAX_PUBLIC: usize = 8;

impl Signed {
    /// The keys that may have made the signature, with their places in the keyring. Of public keys only so many are
    /// tried as [`MAX_PUBLIC`] leaves, those that accept first.
    pub(super) fn tried(&self, endpoint: &Endpoint) -> impl Iterator<Item = (usize, &Key)> {
        let is_public = endpoint.scheme.written.algorithm.has_public_key();
        let most = match is_public {
            true => MAX_PUBLIC
                .checked_div(self.candidates.len())
                .unwrap_or(MAX_PUBLIC),
            false => usize::MAX,
        };
        let keys = self.keyring.keys().iter().enumerate();
        let named = keys.filter(move |(_, (secret, _))| self.names(endpoint.secrets.get(*secret)));
        let is_first = move |place: usize| !is_public || self.accepts(endpoint, place);
        let first = named.clone().filter(move |(place, _)| is_first(*place));
        let last = named.filter(move |(place, _)| !is_first(*place));
        let tried = first.chain(last).take(most);
        tried.map(|(place, (_, key))| (place, &**key))
    }

    /// Whether a secret may have made the signature: its key is one of those that the request names, or
    /// has no name.
    fn names(&self, secret: Option<&Secret>) -> bool {
        match secret.and_then(|secret| secret.key_id.as_ref()) {
            Some(id) => self.key_ids.iter().any(|named| *named == id.as_bytes()),
            None => true,
        }
    }

    /// The secret of the key at this place in the keyring, with its own place.
    pub(super) fn secret<'e>(
        &self,
        endpoint: &'e Endpoint,
        key: usize,
    ) -> Option<(usize, &'e Secret)> {
        let (place, _) = self.keyring.keys().get(key)?;
        Some((*place, endpoint.secrets.get(*place)?))
    }

    /// Whether the secret of the key at this place may accept the request now.
    pub(super) fn accepts(&self, endpoint: &Endpoint, key: usize) -> bool {
        let secret = self.secret(endpoint, key);
        secret.is_some_and(|(_, secret)| secret.validity(self.now).is_ok())
    }

    /// Why a request is denied that nothing verified. A secret that has no value now might have: its sender
    /// shall come again.
    pub(super) fn unverified(&self, endpoint: &Endpoint) -> Denial {
        let mut missing = self.keyring.notes.iter().filter(|note| note.is_missing);
        let might = |note: &Note| {
            let secret = endpoint.secrets.get(note.secret);
            let is_valid = |secret: &Secret| secret.validity(self.now).is_ok();
            self.names(secret) && secret.is_some_and(is_valid)
        };
        match missing.any(might) {
            true => Denial::HostError,
            false => Denial::SignatureInvalid,
        }
    }
}
