//! The one place where a request gets its verdict once its body is complete.

use super::matched::Match;
use super::proof::{Proof, SignedValues, Verified};
use super::unverified::Unverified;
use super::verdict::{Evidence, Rejection, Verdict};
use crate::crypto::Verifier;
use crate::scheme::body::MediaType;
use crate::scheme::spec::DedupBy;
use crate::scheme::spec::SignedHash;
use crate::verdict::Denial;

/// A complete body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'b> {
    /// The bytes; empty where the guard hashed them as they arrived and needs nothing else from them.
    pub(super) bytes: &'b [u8],
    /// The SHA-256, where the signature covers one.
    pub(super) sha256: Option<[u8; 32]>,
    /// The length in bytes.
    pub(super) length: u64,
}

impl Body<'static> {
    /// A body whose bytes are no longer needed.
    pub(super) const fn hashed(sha256: Option<[u8; 32]>, length: u64) -> Self {
        Self {
            bytes: b"",
            sha256,
            length,
        }
    }
}

impl Unverified {
    /// The verdict, given the key that signed the request, and the hash of its delivery.
    ///
    /// # Errors
    /// No key signed the request, or something else that the signature must cover is not covered.
    pub(super) fn conclude(
        self,
        matched: Option<Match>,
        delivery: Option<Verifier>,
        body: &Body<'_>,
    ) -> Result<Verdict, Denial> {
        let mode = self.endpoint.mode;
        let Some(matched) = matched else {
            let tried = self.candidate_keys().map(|entry| entry.index).collect();
            let evidence = Evidence::NoMatch(tried);
            return Ok(Verdict::fail_by(self.no_match_reason(), mode, evidence));
        };
        match self.check_body(body) {
            Ok(()) => {}
            Err(denial @ Denial::SignatureInvalid) => {
                return Ok(Verdict::fail_by(denial, mode, Evidence::OtherBody));
            }
            Err(denial) => return Err(denial),
        }
        if self.id.as_deref() == Some(b"") {
            // All deliveries with an empty id would be one.
            return Err(Denial::SignatureMalformed);
        }
        let secret = &matched.key().secret;
        let delivery = delivery.and_then(|hash| self.endpoint.delivery(hash, secret));
        let may_lack_id = self.endpoint.scheme.spec.id_optional && self.id.is_none();
        let is_remembered = match self.endpoint.dedup_by() {
            DedupBy::None => false,
            DedupBy::Id => !may_lack_id,
            DedupBy::Message => true,
        };
        if delivery.is_none() && is_remembered {
            // The memory could not recognize a copy.
            return Err(Denial::InternalError);
        }
        let is_valid = matched.key().is_valid(self.now);
        let answer = match is_valid && self.may_be_challenge(body.length) {
            true => self.answer(body.bytes, Some(matched.key())),
            false => None,
        };
        if let (None, Some(denial)) = (&answer, self.not_delivery) {
            return Err(denial);
        }
        let digest = match is_valid {
            true => self.endpoint.digest(matched.code()),
            false => None,
        };
        let values = SignedValues {
            delivery_id: self.id,
            delivery,
            fresh_until: self.freshness.end(),
            message: digest,
        };
        let verified = Verified::new(&matched, values);
        if let Some(answer) = answer {
            return Ok(Verdict::challenge_answered(answer, Some(verified)));
        }
        Ok(match Proof::new(verified, secret, self.now) {
            Ok(proof) => Verdict::Accept(proof),
            Err((denial, verified)) => Verdict::Fail(Rejection {
                verified: Some(verified),
                ..Rejection::new(denial, self.endpoint.mode)
            }),
        })
    }

    /// Compares the body with the hash that is signed in its place. Without a signed hash, the message must cover the
    /// body itself, or the fields of the form in it. A sender may omit the hash only for an empty body, and only if its
    /// scheme allows that. Otherwise any other token that the secret signed would verify too.
    fn check_body(&self, body: &Body<'_>) -> Result<(), Denial> {
        let scheme = &self.endpoint.scheme;
        let covers_forms = scheme.spec.message.covers_forms();
        let is_form = self.media_type == MediaType::Form || body.length == 0;
        let is_optional = |hash: &SignedHash| hash.optional && body.length == 0;
        match &self.body_hash {
            Some(signed) if Some(*signed) == body.sha256 => Ok(()),
            Some(_) => Err(Denial::SignatureInvalid),
            None if covers_forms && is_form => Ok(()),
            None if scheme
                .spec
                .body_hash
                .as_ref()
                .map_or(!covers_forms, is_optional) =>
            {
                Ok(())
            }
            None => Err(Denial::SignatureMissing),
        }
    }
}
