//! The keys of an endpoint's secrets at one time. Secrets in Envoy's filter state can differ for the next request. A request
//! keeps its keys from its head to its end.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use super::key::{self, KeyResult};
use super::secret::{KeySource, Secret};
use crate::crypto::Key;
use crate::scheme::Scheme;
use crate::time::UnixMillis;

/// The place of a secret in its endpoint's list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SecretIndex(pub usize);

/// A key, with the secret that it was made of.
#[derive(Debug)]
pub(crate) struct KeyEntry {
    pub(crate) key: Rc<Key>,
    pub(crate) secret: Rc<Secret>,
    pub(crate) index: SecretIndex,
}

impl KeyEntry {
    /// Whether the secret may accept a request at `now`.
    pub(crate) fn is_valid(&self, now: UnixMillis) -> bool {
        self.secret.validity(now).is_ok()
    }
}

/// The keys of an endpoint's secrets.
pub struct Keyring {
    /// The values in filter state that the keys were made of.
    values: Vec<Option<Vec<u8>>>,
    entries: Vec<Rc<KeyEntry>>,
    /// Findings about these values.
    pub notes: Vec<Note>,
}

/// A finding about a value in filter state that is unusable or doubtful.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// The secret whose value it is.
    pub secret: SecretIndex,
    /// The value is absent or unusable, so that the secret has no key.
    pub is_missing: bool,
    /// The finding, without the value itself.
    pub text: &'static str,
}

impl Keyring {
    /// Makes keys of what the filter states hold, in the order of the secrets that are read there.
    pub(crate) fn new(
        secrets: &[Rc<Secret>],
        scheme: &Scheme,
        values: Vec<Option<Vec<u8>>>,
    ) -> Self {
        let mut keyring = Self {
            values: Vec::new(),
            entries: Vec::new(),
            notes: Vec::new(),
        };
        let mut unread = values.iter();
        for (index, secret) in secrets.iter().enumerate() {
            let index = SecretIndex(index);
            let made;
            let keys = match &secret.source {
                KeySource::Held(keys) => keys,
                #[cfg(feature = "cli")]
                KeySource::Unchecked(_) => continue,
                KeySource::FilterState(_) => {
                    let value = unread.next().and_then(Option::as_deref);
                    made = keyring.note(index, key::of_value(scheme, value));
                    &made
                }
            };
            for key in keys {
                keyring.entries.push(Rc::new(KeyEntry {
                    key: Rc::clone(key),
                    secret: Rc::clone(secret),
                    index,
                }));
            }
        }
        keyring.values = values;
        keyring.revoke();
        keyring
    }

    /// Notes what was found of a value.
    fn note(&mut self, secret: SecretIndex, made: KeyResult<Vec<Rc<Key>>>) -> Vec<Rc<Key>> {
        let is_missing = made.is_err();
        let (keys, text) = match made {
            Ok((keys, warning)) => (keys, warning),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        if let Some(text) = text {
            self.notes.push(Note {
                secret,
                is_missing,
                text,
            });
        }
        keys
    }

    /// Assigns a value that is revoked to the revoked secret, even if another secret has the same value.
    fn revoke(&mut self) {
        for revoked in self.entries.clone() {
            if revoked.secret.revoked {
                let same = |entry: &&mut Rc<KeyEntry>| entry.key.same_secret(&revoked.key);
                for entry in self.entries.iter_mut().filter(same) {
                    *entry = Rc::new(KeyEntry {
                        key: Rc::clone(&entry.key),
                        secret: Rc::clone(&revoked.secret),
                        index: revoked.index,
                    });
                }
            }
        }
    }

    /// The keys, in the order in which the guard tries them.
    pub(crate) fn entries(&self) -> &[Rc<KeyEntry>] {
        &self.entries
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keyring(..)")
    }
}

/// The keys that an endpoint's last request had.
#[derive(Default)]
pub(crate) struct Latest(Cell<Option<Rc<Keyring>>>);

impl Latest {
    /// The keys made of these values, and whether the values differ from those before. Only the operator writes values,
    /// so the time that the comparison takes does not help an attacker.
    pub(crate) fn of(
        &self,
        values: Vec<Option<Vec<u8>>>,
        make: impl FnOnce(Vec<Option<Vec<u8>>>) -> Keyring,
    ) -> (Rc<Keyring>, bool) {
        let known = self.0.take().filter(|known| known.values == values);
        let is_new = known.is_none();
        let keyring = known.unwrap_or_else(|| Rc::new(make(values)));
        self.0.set(Some(Rc::clone(&keyring)));
        (keyring, is_new)
    }
}

impl fmt::Debug for Latest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Latest(..)")
    }
}
