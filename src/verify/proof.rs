//! The proof that a request is verified. Only the verification can make one.

use super::matched::Match;
use crate::delivery::{DeliveryHash, MessageDigest};
use crate::secrets::{Secret, SecretIndex};
use crate::time::UnixMillis;
use crate::verdict::Denial;

/// The secret that made a request's signature, and the values that it signed. The secret may be revoked or expired.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    secret: SecretIndex,
    values: SignedValues,
}

/// The values of a request that its signature covers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SignedValues {
    pub(super) delivery_id: Option<Box<[u8]>>,
    pub(super) delivery: Option<DeliveryHash>,
    pub(super) fresh_until: Option<UnixMillis>,
    pub(super) message: Option<MessageDigest>,
}

impl Verified {
    /// The values of a request that the key of `matched` signed.
    pub(super) fn new(matched: &Match, values: SignedValues) -> Self {
        Self {
            secret: matched.key().index,
            values,
        }
    }

    /// The secret, of its endpoint's list.
    #[must_use]
    pub const fn secret(&self) -> SecretIndex {
        self.secret
    }

    /// The delivery's id, where the scheme signs one.
    #[must_use]
    pub fn delivery_id(&self) -> Option<&[u8]> {
        self.values.delivery_id.as_deref()
    }

    /// The delivery's hash, where the endpoint remembers deliveries.
    #[must_use]
    pub const fn delivery(&self) -> Option<DeliveryHash> {
        self.values.delivery
    }

    /// The last moment at which the signature is fresh, where the sender signs a time.
    #[must_use]
    pub const fn fresh_until(&self) -> Option<UnixMillis> {
        self.values.fresh_until
    }

    /// The digest of the signed message, where the secret is valid and the endpoint remembers no deliveries.
    #[must_use]
    pub const fn message(&self) -> Option<MessageDigest> {
        self.values.message
    }
}

/// Proof that a valid secret signed the request.
///
/// [`Verdict::Accept`](super::Verdict::Accept) needs one:
///
/// ```
/// use webhook_guard::verify::{Proof, Verdict};
///
/// fn accept(proof: Proof) -> Verdict {
///     Verdict::Accept(proof)
/// }
/// ```
///
/// Only the verification can make one:
///
/// ```compile_fail,E0423
/// use webhook_guard::verify::{Proof, Verdict, Verified};
///
/// fn accept(verified: Verified) -> Verdict {
///     Verdict::Accept(Proof(verified))
/// }
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof(Verified);

impl Proof {
    /// The only way to make a proof.
    ///
    /// # Errors
    /// The secret that made the signature is not valid at `now`.
    pub(super) fn new(
        verified: Verified,
        secret: &Secret,
        now: UnixMillis,
    ) -> Result<Self, (Denial, Verified)> {
        match secret.validity(now) {
            Ok(()) => Ok(Self(verified)),
            Err(denial) => Err((denial, verified)),
        }
    }

    /// The secret and the signed values.
    #[must_use]
    pub const fn verified(&self) -> &Verified {
        &self.0
    }

    pub(super) fn into_verified(self) -> Verified {
        self.0
    }
}
