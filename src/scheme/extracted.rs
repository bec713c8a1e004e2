//! Extracts the signatures, the timestamp, the id and the hashes from a request's head. Nothing here is verified yet.

use std::borrow::Cow;
use std::slice;

use super::chunk::Chunk;
use super::facts::HeadFacts;
use super::found::{Found, optional, required};
use super::freshness::Freshness;
use super::jwt::Token;
use super::signature_field::ParsedField;
use super::source::{self, Source};
use super::{Scheme, parameters};
use crate::crypto::encoding::Encoding;
use crate::crypto::{self, AlgorithmIndex, Candidates};
use crate::request::headers::Headers;
use crate::time::UnixMillis;
use crate::verdict::Denial;

/// The unverified values of a request's head. Values that the scheme reads from the body are absent.
#[derive(Debug)]
pub(crate) struct Extracted<'h> {
    /// The algorithm of the signatures.
    pub(crate) algorithm: AlgorithmIndex,
    /// The signatures. Any of them may be valid.
    pub(crate) candidates: Candidates,
    /// The timestamp's text, as signed.
    pub(crate) timestamp: Option<Cow<'h, [u8]>>,
    /// When the request is fresh, according to its timestamp and its token.
    pub(crate) freshness: Freshness,
    /// The id's text, as signed.
    pub(crate) id: Option<Cow<'h, [u8]>>,
    /// The ids of the keys that may have signed the request. Without any, all keys may have.
    pub(crate) key_ids: Vec<Cow<'h, [u8]>>,
    /// The body's SHA-256, if the sender signs it.
    pub(crate) body_hash: Option<[u8; 32]>,
    /// The signed bytes of a token, and its claims.
    pub(crate) token: Option<(&'h [u8], Token)>,
}

impl Scheme {
    /// Extracts the values from the head, and rejects a timestamp outside the tolerance.
    ///
    /// # Errors
    /// A value is missing, duplicated, malformed or stale.
    pub(crate) fn extract<'h>(
        &self,
        headers: &Headers<'h>,
        now: UnixMillis,
    ) -> Result<Extracted<'h>, Denial> {
        if self.has_lookalike(headers) {
            return Err(Denial::SignatureDuplicated);
        }
        let (algorithm, mut items) = self.in_head(headers)?;
        if !self.names.form.is_empty()
            && parameters::has_any(source::query(headers), &self.names.form)
        {
            return Err(Denial::SignatureDuplicated);
        }
        for (name, wanted) in &self.spec.require {
            if *required(source::header(slice::from_ref(name), headers))? != *wanted.as_bytes() {
                return Err(Denial::SignatureMalformed);
            }
        }
        let token = items.token.as_ref().map(|(_, token)| token);
        let in_head = |source: &Source| source.in_head(headers, token);
        let id = match &self.spec.id {
            Some(source) if !source.is_in_body() => Some(required(in_head(source))?),
            _ => None,
        };
        let mut key_ids: Vec<_> = items.key_ids.drain(..).map(Cow::Borrowed).collect();
        if let Some(source) = &self.spec.key_id {
            key_ids.push(required(in_head(source))?);
        }
        let body_hash = match &self.spec.body_hash {
            Some(signed) => hash(in_head(&signed.source), signed.encoding)?,
            None => None,
        };
        let mut freshness = match token {
            Some(token) => token.freshness()?,
            None => Freshness::ALWAYS,
        };
        freshness.judge(now)?;
        let claimed = match &self.spec.timestamp {
            Some(rule) => rule.in_head(items.timestamp(), in_head)?,
            None => None,
        };
        let timestamp = claimed.map(|time| {
            freshness = freshness.and(time.freshness);
            time.text
        });
        freshness.judge(now)?;
        Ok(Extracted {
            algorithm,
            candidates: items.candidates,
            timestamp,
            freshness,
            id,
            key_ids,
            body_hash,
            token: items.token,
        })
    }

    /// Whether a request has a signature in its head, valid or not.
    pub(crate) fn has_signature(&self, headers: &Headers<'_>) -> bool {
        let source = &self.spec.signature_field.source;
        !matches!(source.in_head(headers, None), Ok(None))
    }

    /// The signatures in the head, by the first algorithm that makes codes of their length.
    fn in_head<'h>(
        &self,
        headers: &Headers<'h>,
    ) -> Result<(AlgorithmIndex, ParsedField<'h>), Denial> {
        let mut result = Err(Denial::InternalError);
        for index in (0..).map(AlgorithmIndex) {
            let Some(expected) = self.spec.signature_by(index) else {
                break;
            };
            let items = self.spec.signature_field.in_head(headers, expected);
            result = items.map(|items| (index, items));
            if !matches!(result, Err(Denial::SignatureMalformed)) {
                break;
            }
        }
        result
    }

    /// Compares a token's claims with their required values.
    ///
    /// # Errors
    /// A claim is missing or has another value.
    pub(crate) fn check_token(&self, token: &Token, facts: &HeadFacts<'_>) -> Result<(), Denial> {
        for (name, wanted) in &self.spec.claims {
            let wanted = wanted.write(facts)?;
            let is_right =
                |claim: &[u8]| matches!(wanted.as_slice(), [Chunk::Bytes(text)] if text == claim);
            if !is_right(&required(token.claim(name))?) {
                return Err(Denial::SignatureMalformed);
            }
        }
        if let Some(source) = &self.spec.url_hash {
            let claimed = hash(source.in_head(facts.headers, Some(token)), Encoding::Hex)?;
            if claimed != Some(crypto::sha256(&facts.url()?)) {
                return Err(Denial::SignatureMalformed);
            }
        }
        Ok(())
    }
}

/// A SHA-256 as the request gives it.
fn hash(found: Found<'_>, encoding: Encoding) -> Result<Option<[u8; 32]>, Denial> {
    let Some(text) = optional(found)? else {
        return Ok(None);
    };
    let hash = encoding
        .decode(&text)
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    hash.map(Some).ok_or(Denial::SignatureMalformed)
}
