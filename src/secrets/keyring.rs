//! The keys of an endpoint's secrets, as they are at one time. Those that Envoy hands over in its filter
//! state may be others for the next request; a request has the same ones from its head to its end.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use crate::crypto::Key;
use crate::scheme::Scheme;
use crate::secrets::key::{self, Made};
use crate::secrets::secret::{KeySource, Secret};

/// The keys of an endpoint's secrets.
pub struct Keyring {
    /// What the filter states held that keys were made of.
    values: Vec<Option<Vec<u8>>>,
    /// Each key with the place of its secret, in the order in which they are tried.
    keys: Vec<(usize, Rc<Key>)>,
    /// What was found of the values.
    pub notes: Vec<Note>,
}

/// What is unusable or doubtful about a value in filter state.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// The place of the secret whose value it is.
    pub secret: usize,
    /// There is no usable value, so that the secret has no key.
    pub is_missing: bool,
    /// What it is, and never the value itself.
    pub text: &'static str,
}

impl Keyring {
    /// Makes keys of what the filter states hold, in the order of the secrets that are read there.
    pub(crate) fn new(secrets: &[Secret], scheme: &Scheme, values: Vec<Option<Vec<u8>>>) -> Self {
        let mut keyring = Self {
            values: Vec::new(),
            keys: Vec::new(),
            notes: Vec::new(),
        };
        let mut unread = values.iter();
        for (place, secret) in secrets.iter().enumerate() {
            let made;
            let keys = match &secret.source {
                KeySource::Held(keys) => keys,
                KeySource::FilterState(_) => {
                    let value = unread.next().and_then(Option::as_deref);
                    made = keyring.note(place, key::of_value(scheme, value));
                    &made
                }
            };
            for key in keys {
                keyring.keys.push((place, Rc::clone(key)));
            }
        }
        keyring.values = values;
        keyring.revoke(secrets);
        keyring
    }

    /// Notes what was found of a value.
    fn note(&mut self, secret: usize, made: Made<Vec<Rc<Key>>>) -> Vec<Rc<Key>> {
        let is_missing = made.is_err();
        let (keys, text) = match made {
            Ok((keys, doubt)) => (keys, doubt),
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

    /// A value that is revoked stays so, whichever other version has come to hold it.
    fn revoke(&mut self, secrets: &[Secret]) {
        let is_revoked = |place: usize| secrets.get(place).is_some_and(|secret| secret.revoked);
        for (place, key) in self.keys.clone() {
            if is_revoked(place) {
                let twins = self.keys.iter_mut().filter(|(_, other)| *other == key);
                twins.for_each(|(other, _)| *other = place);
            }
        }
    }

    /// The keys with the places of their secrets, in the order in which they are tried.
    pub(crate) fn keys(&self) -> &[(usize, Rc<Key>)] {
        &self.keys
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
    /// The keys that are made of these values, and whether they are others than those before. Nobody but
    /// the operator writes values, so the time that their comparison takes tells nothing to anybody else.
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
