//! Takes from a request's head what its scheme needs: the candidate signatures, the timestamp, the id
//! and the hashes. Nothing here is verified yet.

use std::borrow::Cow;

use super::carrier::MAX_VALUE;
use super::freshness::Freshness;
use super::jwt::Token;
use super::segment::{Facts, Segment};
use super::source::{self, Ambiguous, Found, Source};
use super::{Scheme, Timestamp, Unit, url};
use crate::crypto::encoding::Encoding;
use crate::crypto::{self, Tag};
use crate::request::headers::Headers;
use crate::time::UnixMillis;
use crate::verdict::Reason;

/// The longest timestamp, in bytes: twice what any unit needs.
const MAX_TIMESTAMP: usize = 64;

/// What a request claims in its head. A value that its scheme has in the body is absent.
#[derive(Debug)]
pub(crate) struct Claims<'h> {
    /// The signatures, any of which may be the right one.
    pub(crate) candidates: Vec<Tag>,
    /// The timestamp's text, as signed.
    pub(crate) timestamp: Option<Cow<'h, [u8]>>,
    /// When the request is fresh, by its timestamp and its token.
    pub(crate) freshness: Freshness,
    /// The id's text, as signed.
    pub(crate) id: Option<Cow<'h, [u8]>>,
    /// The keys that the request says it is signed with; without any, all may be.
    pub(crate) key_ids: Vec<Cow<'h, [u8]>>,
    /// The body's SHA-256, where it stands in what is signed.
    pub(crate) body_hash: Option<[u8; 32]>,
    /// What a token signs, and its claims.
    pub(crate) token: Option<(&'h [u8], Token)>,
}

impl Scheme {
    /// Takes the claims from the head, and refuses a timestamp that is off.
    ///
    /// # Errors
    /// What the scheme needs is absent, twice there, malformed or stale.
    pub(crate) fn claims<'h>(
        &self,
        headers: &Headers<'h>,
        now: UnixMillis,
    ) -> Result<Claims<'h>, Reason> {
        if self.has_twin(headers) {
            return Err(Reason::SignatureDuplicated);
        }
        let mut items = self.carrier.in_head(headers, self.written)?;
        if !self.names.form.is_empty() && url::has_any(source::query(headers), &self.names.form) {
            return Err(Reason::SignatureDuplicated);
        }
        for (name, wanted) in &self.require {
            let name = Source::Headers(vec![name.clone()]);
            if *required(name.in_head(headers, None))? != *wanted.as_bytes() {
                return Err(Reason::SignatureMalformed);
            }
        }
        let token = items.token.as_ref().map(|(_, token)| token);
        let in_head = |source: &Source| source.in_head(headers, token);
        let id = match &self.id {
            Some(source) if !source.is_in_body() => Some(required(in_head(source))?),
            _ => None,
        };
        let mut key_ids: Vec<_> = items.key_ids.drain(..).map(Cow::Borrowed).collect();
        if let Some(source) = &self.key_id {
            key_ids.push(required(in_head(source))?);
        }
        let body_hash = match &self.body_hash {
            Some(signed) => hash(in_head(&signed.source), signed.encoding)?,
            None => None,
        };
        let mut freshness = match token {
            Some(token) => token.freshness()?,
            None => Freshness::ALWAYS,
        };
        freshness.judge(now)?;
        let claimed = match &self.timestamp {
            Some(rule) => rule.claimed(&items.timestamps, in_head)?,
            None => None,
        };
        let timestamp = claimed.map(|time| {
            freshness = freshness.and(time.freshness);
            time.text
        });
        freshness.judge(now)?;
        Ok(Claims {
            candidates: items.candidates,
            timestamp,
            freshness,
            id,
            key_ids,
            body_hash,
            token: items.token,
        })
    }

    /// Holds a token's claims against what they must be.
    ///
    /// # Errors
    /// One is absent, or another.
    pub(crate) fn check_token(&self, token: &Token, facts: &Facts<'_>) -> Result<(), Reason> {
        for (name, wanted) in &self.claims {
            let wanted = wanted.write(facts)?;
            let is_right =
                |claim: &[u8]| matches!(wanted.as_slice(), [Segment::Bytes(text)] if text == claim);
            if !is_right(&required(token.claim(name))?) {
                return Err(Reason::SignatureMalformed);
            }
        }
        if let Some(source) = &self.url_hash {
            let claimed = hash(source.in_head(facts.headers, Some(token)), Encoding::Hex)?;
            if claimed != Some(crypto::sha256(&facts.url()?)) {
                return Err(Reason::SignatureMalformed);
            }
        }
        Ok(())
    }
}

/// A value without which there is nothing to verify.
pub(crate) fn required(found: Found<'_>) -> Result<Cow<'_, [u8]>, Reason> {
    match found {
        Ok(Some(value)) if value.len() > MAX_VALUE => Err(Reason::SignatureMalformed),
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Reason::SignatureMissing),
        Err(Ambiguous) => Err(Reason::SignatureDuplicated),
    }
}

/// A SHA-256 as it is claimed, if it is.
fn hash(found: Found<'_>, encoding: Encoding) -> Result<Option<[u8; 32]>, Reason> {
    let Some(text) = found.map_err(|_| Reason::SignatureDuplicated)? else {
        return Ok(None);
    };
    let hash = encoding
        .decode(&text)
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    hash.map(Some).ok_or(Reason::SignatureMalformed)
}

/// A timestamp as it is signed, and when a request with it is fresh.
pub(crate) struct SignedTime<'v> {
    pub(crate) text: Cow<'v, [u8]>,
    pub(crate) freshness: Freshness,
}

impl Timestamp {
    /// The timestamp's text, if the head has it, and when the request is fresh. `items` are those in the
    /// signature's value.
    fn claimed<'h>(
        &self,
        items: &[&'h [u8]],
        in_head: impl Fn(&Source) -> Found<'h>,
    ) -> Result<Option<SignedTime<'h>>, Reason> {
        let found = match &self.source {
            Some(source) if source.is_in_body() => return Ok(None),
            Some(source) => in_head(source),
            None if items.len() > 1 => Err(Ambiguous),
            None => Ok(items.first().map(|text| Cow::Borrowed(*text))),
        };
        self.read_time(found).map(Some)
    }

    /// The timestamp's text as found, and when a request with it is fresh.
    pub(crate) fn read_time<'v>(&self, found: Found<'v>) -> Result<SignedTime<'v>, Reason> {
        let text = found.map_err(|_| Reason::TimestampMalformed)?;
        let text = text.ok_or(Reason::TimestampMissing)?;
        if text.len() > MAX_TIMESTAMP {
            return Err(Reason::TimestampMalformed);
        }
        let time = self.unit.parse(&text).ok_or(Reason::TimestampMalformed)?;
        Ok(SignedTime {
            text,
            freshness: Freshness::around(time, self.tolerance),
        })
    }
}

/// Where [`Unit::SecondsOrMillis`] has a number for milliseconds: as seconds it would be the year 5138.
const FIRST_MILLIS: i64 = 100_000_000_000;

impl Unit {
    pub(crate) fn parse(self, text: &[u8]) -> Option<UnixMillis> {
        let text = std::str::from_utf8(text).ok()?;
        match self {
            Self::Rfc3339 => return UnixMillis::from_rfc3339(text),
            Self::HttpDate => return UnixMillis::from_http_date(text),
            Self::Seconds | Self::Millis | Self::SecondsOrMillis => {}
        }
        // Digits alone: `+1`, ` 1` or `1e9` would be numbers to some, and the sender writes none. A zero
        // before them could be the end of what stands before the timestamp in the signed bytes.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) || text.starts_with('0') {
            return None;
        }
        let number: i64 = text.parse().ok()?;
        let is_millis =
            self == Self::Millis || (self == Self::SecondsOrMillis && number >= FIRST_MILLIS);
        let factor = if is_millis { 1 } else { 1_000 };
        Some(UnixMillis(number.saturating_mul(factor)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_what_senders_write_and_nothing_else() {
        let parse = |unit: Unit, text: &str| unit.parse(text.as_bytes()).map(|time| time.0);
        assert_eq!(parse(Unit::Seconds, "1700000000"), Some(1_700_000_000_000));
        assert_eq!(
            parse(Unit::Millis, "1700000000123"),
            Some(1_700_000_000_123)
        );
        assert_eq!(parse(Unit::Seconds, "9223372036854775807"), Some(i64::MAX));
        assert_eq!(
            parse(Unit::Rfc3339, "2023-11-14T22:13:20Z"),
            Some(1_700_000_000_000)
        );
        for text in [
            "",
            "-1",
            "+1",
            " 1",
            "1.0",
            "1e9",
            "0x1",
            "99999999999999999999",
            "١",
        ] {
            assert_eq!(parse(Unit::Seconds, text), None, "{text:?}");
        }
        assert_eq!(Unit::Seconds.parse(b"\xff"), None);
    }
}
