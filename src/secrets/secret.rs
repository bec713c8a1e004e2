//! Secrets and their versions. A revoked or expired one accepts no request, but the guard reports its use.

use std::rc::Rc;

use crate::crypto::Key;
use crate::time::UnixMillis;
use crate::verdict::Denial;

/// One version of an endpoint's secret.
#[derive(Debug)]
pub struct Secret {
    /// The version's name, unique within the endpoint.
    pub version: String,
    pub(crate) source: KeySource,
    /// The sender's name of the key, if requests name their key.
    pub(crate) key_id: Option<String>,
    /// The sender with this secret, if several senders share the endpoint.
    pub(crate) sender: Option<String>,
    pub(super) not_before: Option<UnixMillis>,
    pub(super) not_after: Option<UnixMillis>,
    pub(crate) revoked: bool,
}

/// Where a secret's key comes from.
#[derive(Debug)]
pub(crate) enum KeySource {
    /// The configuration: one key for each key encoding of the scheme.
    Held(Vec<Rc<Key>>),
    /// The filter state with this key, which is read for each request.
    FilterState(String),
    /// An environment variable with this name, which is not set while the configuration is checked.
    #[cfg(feature = "cli")]
    Unchecked(String),
}

impl KeySource {
    /// Whether both have the same key. Values in filter state are unknown here.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Held(keys), Self::Held(others)) => keys
                .iter()
                .any(|key| others.iter().any(|other| other.same_secret(key))),
            (Self::FilterState(name), Self::FilterState(other)) => name == other,
            #[cfg(feature = "cli")]
            (Self::Unchecked(name), Self::Unchecked(other)) => name == other,
            _ => false,
        }
    }

    /// The most keys that this source makes. `encodings` is the number of key encodings of the scheme.
    pub(super) const fn count(&self, encodings: usize) -> usize {
        match self {
            Self::Held(keys) => keys.len(),
            Self::FilterState(_) => encodings,
            #[cfg(feature = "cli")]
            Self::Unchecked(_) => encodings,
        }
    }
}

impl Secret {
    /// Whether another secret has the same key. Values in filter state are unknown here.
    pub(crate) fn same_key(&self, other: &Self) -> bool {
        self.source.is(&other.source)
    }

    /// The key of the filter state that contains the secret.
    #[must_use]
    pub fn filter_state(&self) -> Option<&str> {
        match &self.source {
            KeySource::Held(_) => None,
            KeySource::FilterState(name) => Some(name),
            #[cfg(feature = "cli")]
            KeySource::Unchecked(_) => None,
        }
    }

    /// The end of the secret's validity.
    pub(crate) fn expiry(&self) -> Expiry {
        match (self.revoked, self.not_after) {
            (true, _) => Expiry::Revoked,
            (false, Some(end)) => Expiry::At(end),
            (false, None) => Expiry::Never,
        }
    }

    /// Whether the secret may accept a request at `now`.
    ///
    /// # Errors
    /// The secret is revoked, expired or not yet valid.
    pub(crate) fn validity(&self, now: UnixMillis) -> Result<(), Denial> {
        if self.revoked {
            Err(Denial::SecretRevoked)
        } else if self.not_after.is_some_and(|end| now >= end) {
            Err(Denial::SecretExpired)
        } else if self.not_before.is_some_and(|begin| now < begin) {
            Err(Denial::SecretNotYetValid)
        } else {
            Ok(())
        }
    }
}

/// The end of a secret's validity, or of the last one of several. Later ends are greater.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Expiry {
    /// Revoked already.
    Revoked,
    /// At this time.
    At(UnixMillis),
    /// Never.
    Never,
}

impl Expiry {
    /// The value of the metric, in seconds since 1970: 0 means never, and 1 revoked.
    #[must_use]
    pub fn metric_value(self) -> u64 {
        match self {
            Self::Revoked => 1,
            Self::At(UnixMillis(end)) => end.max(1_000).unsigned_abs() / 1_000,
            Self::Never => 0,
        }
    }
}
