//! Signed tokens (JWT, RFC 7519) in the compact form of RFC 7515. Only HS256 is supported. One of the claims contains
//! the body's hash.

use std::borrow::Cow;
use std::time::Duration;

use super::found::Found;
use super::freshness::{Freshness, Tolerance};
use super::json_pointer::scalar;
use crate::config::value::Value;
use crate::crypto::encoding::Encoding;
use crate::request::headers::Ambiguous;
use crate::time::UnixMillis;
use crate::verdict::Denial;

/// The allowed difference of the sender's clock for `nbf` and `exp`.
const LEEWAY: Tolerance = Tolerance::both(Duration::from_secs(60));

/// A token's claims, not verified yet.
#[derive(Debug)]
pub(crate) struct Token(Value);

/// A token in its parts.
pub(crate) struct Parts<'t> {
    /// The signed bytes.
    pub(crate) message: &'t [u8],
    /// The signature, in base64url.
    pub(crate) signature: &'t [u8],
    /// The claims.
    pub(crate) token: Token,
}

/// Splits a token; `None` if the text is not a token, or if another algorithm signs it.
pub(crate) fn parse(text: &[u8]) -> Option<Parts<'_>> {
    let mut dots = text.iter().enumerate().filter(|(_, byte)| **byte == b'.');
    let (first, _) = dots.next()?;
    let (last, _) = dots.next()?;
    if dots.next().is_some() {
        return None;
    }
    let (message, signature) = text.split_at_checked(last)?;
    let (header, claims) = message.split_at_checked(first)?;
    let json = |part: &[u8]| Value::from_json(&Encoding::Base64Url.decode(part)?).ok();
    let header = Token(json(header)?);
    // The token may not choose how it is verified, such as by `none` or by another key's algorithm.
    if header.claim("alg").ok()??.as_ref() != b"HS256" || header.claim("crit") != Ok(None) {
        return None;
    }
    let token = Token(json(claims.strip_prefix(b".")?)?);
    let Value::Object(_) = token.0 else {
        return None;
    };
    Some(Parts {
        message,
        signature: signature.strip_prefix(b".")?,
        token,
    })
}

impl Token {
    /// The value of a claim.
    pub(crate) fn claim(&self, name: &str) -> Found<'_> {
        let Value::Object(claims) = &self.0 else {
            return Ok(None);
        };
        let mut named = claims.iter().filter(|(claim, _)| claim == name);
        match (named.next(), named.next()) {
            (Some((_, value)), None) => scalar(value),
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(Ambiguous),
        }
    }

    /// When the token is valid, according to `nbf` and `exp` (RFC 7519, 4.1).
    ///
    /// # Errors
    /// `TimestampMalformed`: a claim is not a number of seconds.
    pub(crate) fn freshness(&self) -> Result<Freshness, Denial> {
        let (end, begin) = (self.time("exp")?, self.time("nbf")?);
        Ok(Freshness::between(begin, end, LEEWAY))
    }

    fn time(&self, name: &str) -> Result<Option<UnixMillis>, Denial> {
        let malformed = |_: Ambiguous| Denial::TimestampMalformed;
        let Some(text) = self.claim(name).map_err(malformed)? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&text).map_err(|_| Denial::TimestampMalformed)?;
        let seconds: i64 = text.parse().map_err(|_| Denial::TimestampMalformed)?;
        Ok(Some(UnixMillis(seconds.saturating_mul(1_000))))
    }
}

/// A claim, independent of its token.
pub(crate) fn owned(found: Found<'_>) -> Found<'static> {
    Ok(found?.map(|value| Cow::Owned(value.into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    fn token(header: &str, claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", encode(header), encode(claims))
    }

    #[test]
    fn tokens_of_hs256_and_no_others() {
        let good = token(
            r#"{"alg":"HS256","typ":"JWT"}"#,
            r#"{"iss":"x","exp":1700000000}"#,
        );
        let parts = parse(good.as_bytes()).expect("a token");
        assert_eq!(parts.signature, b"c2ln");
        assert_eq!(parts.message, &good.as_bytes()[..good.len() - 5]);
        assert_eq!(parts.token.claim("iss"), Ok(Some(Cow::Borrowed(&b"x"[..]))));
        for (header, claims) in [
            (r#"{"alg":"none"}"#, "{}"),
            (r#"{"alg":"RS256"}"#, "{}"),
            (r#"{"alg":"hs256"}"#, "{}"),
            (r#"{"alg":"HS256","alg":"none"}"#, "{}"),
            (r#"{"alg":"HS256","crit":"x"}"#, "{}"),
            (r#"{"alg":"HS256","crit":["b64"]}"#, "{}"),
            ("{}", "{}"),
            (r#"{"alg":"HS256"}"#, "[]"),
            (r#"{"alg":"HS256"}"#, "1"),
        ] {
            assert!(
                parse(token(header, claims).as_bytes()).is_none(),
                "{header} {claims}"
            );
        }
        for text in ["", "a", "a.b", "..", "a.b.c.d", &good.replace('.', "!")] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_token_holds_for_its_time() {
        let holds = |claims: &str, now: i64| {
            let text = token(r#"{"alg":"HS256"}"#, claims);
            parse(text.as_bytes())
                .expect("a token")
                .token
                .freshness()?
                .judge(UnixMillis(now * 1_000))
        };
        let claims = r#"{"nbf":1000,"exp":2000}"#;
        assert_eq!(holds(claims, 940), Ok(()));
        assert_eq!(holds(claims, 939), Err(Denial::TimestampFuture));
        assert_eq!(holds(claims, 2060), Ok(()));
        assert_eq!(holds(claims, 2061), Err(Denial::TimestampExpired));
        assert_eq!(
            holds(r#"{"exp":"soon"}"#, 0),
            Err(Denial::TimestampMalformed)
        );
        assert_eq!(holds("{}", 0), Ok(()));
    }
}
