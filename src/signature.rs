//! Takes from a request's headers what its scheme needs: the candidate signatures, the timestamp and
//! the id. Nothing here is verified yet.

use crate::duration::UnixMillis;
use crate::headers::Headers;
use crate::mac::Tag;
use crate::scheme::{Scheme, Slot, Timestamp, Unit};
use crate::template::Piece;
use crate::verdict::Reason;

/// The most signatures one value may hold: each costs a comparison.
const MAX_CANDIDATES: usize = 16;

/// The longest header value that is read, in bytes.
const MAX_VALUE: usize = 8 * 1024;

/// The longest timestamp, in bytes: twice what any unit needs.
const MAX_TIMESTAMP: usize = 64;

/// What a request claims.
#[derive(Debug)]
pub(crate) struct Claims<'h> {
    /// The signatures, any of which may be the right one.
    pub(crate) candidates: Vec<Tag>,
    /// The timestamp's text, as signed.
    pub(crate) timestamp: Option<&'h [u8]>,
    /// The id's text, as signed.
    pub(crate) id: Option<&'h [u8]>,
}

impl Scheme {
    /// Takes the claims from the headers, and refuses a timestamp that is off.
    ///
    /// # Errors
    /// What the scheme needs is absent, twice there, malformed or stale.
    pub(crate) fn claims<'h>(
        &self,
        headers: &Headers<'h>,
        now: UnixMillis,
    ) -> Result<Claims<'h>, Reason> {
        let found = self.find(required(headers, &self.header)?)?;
        let id = match &self.id {
            Some(name) => Some(self.unambiguous(required(headers, name)?)?),
            None => None,
        };
        let timestamp = match &self.timestamp {
            Some(rule) => Some(rule.fresh(headers, &found.timestamps, now)?),
            None => None,
        };
        Ok(Claims {
            candidates: found.candidates,
            timestamp,
            id,
        })
    }

    /// An id that cannot be cut anew. The signed `a.1.b` would also be the id `a` at the time 1, the id
    /// `a.1` at the time `b`, and so on, if an id could hold what ends it in the message.
    fn unambiguous<'h>(&self, id: &'h [u8]) -> Result<&'h [u8], Reason> {
        match self.literal_after_id() {
            Some(literal) if split_once(id, literal.as_bytes()).is_some() => {
                Err(Reason::SignatureMalformed)
            }
            _ => Ok(id),
        }
    }

    /// Takes signatures and timestamps from the value of the signature's header.
    fn find<'h>(&self, value: &'h [u8]) -> Result<Found<'h>, Reason> {
        let mut found = Found::default();
        let mut signatures = 0_usize;
        for item in items(value, self.separator.as_deref()) {
            let Some(fit) = self.formats.iter().find_map(|format| fit(format, item)) else {
                continue;
            };
            if let Some(text) = fit.signature {
                signatures = signatures.saturating_add(1);
                found
                    .candidates
                    .extend(self.encoding.decode_tag(self.algorithm, text));
            }
            found.timestamps.extend(fit.timestamp);
        }
        if found.candidates.is_empty() || signatures > MAX_CANDIDATES {
            return Err(Reason::SignatureMalformed);
        }
        Ok(found)
    }
}

#[derive(Debug, Default)]
struct Found<'h> {
    candidates: Vec<Tag>,
    timestamps: Vec<&'h [u8]>,
}

/// The one value of a header without which there is nothing to verify.
fn required<'h>(headers: &Headers<'h>, name: &str) -> Result<&'h [u8], Reason> {
    match headers.one(name) {
        Ok(Some(value)) if value.len() > MAX_VALUE => Err(Reason::SignatureMalformed),
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Reason::SignatureMissing),
        Err(_) => Err(Reason::SignatureDuplicated),
    }
}

impl Timestamp {
    /// The timestamp's text, if it is neither too old nor too new. `found` are those in the
    /// signature's header.
    fn fresh<'h>(
        &self,
        headers: &Headers<'h>,
        found: &[&'h [u8]],
        now: UnixMillis,
    ) -> Result<&'h [u8], Reason> {
        let text = match &self.header {
            Some(name) => headers.one(name).map_err(|_| Reason::TimestampMalformed)?,
            None if found.len() > 1 => return Err(Reason::TimestampMalformed),
            None => found.first().copied(),
        };
        let text = text.ok_or(Reason::TimestampMissing)?;
        if text.len() > MAX_TIMESTAMP {
            return Err(Reason::TimestampMalformed);
        }
        let time = self.unit.parse(text).ok_or(Reason::TimestampMalformed)?;
        let tolerance = i64::try_from(self.tolerance.as_millis()).unwrap_or(i64::MAX);
        if now.since(time) > tolerance {
            return Err(Reason::TimestampExpired);
        }
        if time.since(now) > tolerance {
            return Err(Reason::TimestampFuture);
        }
        Ok(text)
    }
}

impl Unit {
    fn parse(self, text: &[u8]) -> Option<UnixMillis> {
        let text = std::str::from_utf8(text).ok()?;
        let factor = match self {
            Self::Rfc3339 => return UnixMillis::from_rfc3339(text),
            Self::Seconds => 1_000,
            Self::Millis => 1,
        };
        // Digits alone: `+1`, ` 1` or `1e9` would be numbers to some, and the sender writes none.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: i64 = text.parse().ok()?;
        Some(UnixMillis(number.saturating_mul(factor)))
    }
}

/// The trimmed items of a header's value.
fn items<'v>(value: &'v [u8], separator: Option<&str>) -> impl Iterator<Item = &'v [u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let value = rest?;
        let cut = separator.and_then(|separator| split_once(value, separator.as_bytes()));
        let (item, tail) = cut.map_or((value, None), |(item, tail)| (item, Some(tail)));
        rest = tail;
        Some(item.trim_ascii())
    })
}

#[derive(Debug, Default, Eq, PartialEq)]
struct Fit<'v> {
    signature: Option<&'v [u8]>,
    timestamp: Option<&'v [u8]>,
}

/// Fits an item to a format: a placeholder reaches to the literal after it, the last to the end.
fn fit<'v>(format: &[Piece<Slot>], item: &'v [u8]) -> Option<Fit<'v>> {
    let mut fit = Fit::default();
    let mut rest = item;
    let mut pieces = format.iter();
    while let Some(piece) = pieces.next() {
        let slot = match piece {
            Piece::Literal(literal) => {
                rest = rest.strip_prefix(literal.as_bytes())?;
                continue;
            }
            Piece::Placeholder(slot) => slot,
        };
        let (text, tail) = match pieces.next() {
            // Two placeholders never meet, so a literal follows.
            Some(Piece::Literal(literal)) if pieces.len() == 0 => {
                (rest.strip_suffix(literal.as_bytes())?, &b""[..])
            }
            Some(Piece::Literal(literal)) => split_once(rest, literal.as_bytes())?,
            Some(Piece::Placeholder(_)) | None => (rest, &b""[..]),
        };
        match slot {
            Slot::Signature => fit.signature = Some(text),
            Slot::Timestamp => fit.timestamp = Some(text),
        }
        rest = tail;
    }
    rest.is_empty().then_some(fit)
}

fn split_once<'v>(value: &'v [u8], separator: &[u8]) -> Option<(&'v [u8], &'v [u8])> {
    let at = value
        .windows(separator.len())
        .position(|window| window == separator)?;
    let (before, after) = value.split_at_checked(at)?;
    Some((before, after.strip_prefix(separator)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme;
    use crate::template;

    fn fits<'v>(format: &str, item: &'v str) -> Option<Fit<'v>> {
        fit(
            &template::parse(format, scheme::SLOTS).expect(format),
            item.as_bytes(),
        )
    }

    #[test]
    fn items_fit_formats_whole_or_not_at_all() {
        let signature = |text: &'static str| {
            Some(Fit {
                signature: Some(text.as_bytes()),
                timestamp: None,
            })
        };
        assert_eq!(fits("sha256={signature}", "sha256=ab"), signature("ab"));
        assert_eq!(fits("sha256={signature}", "sha256="), signature(""));
        assert_eq!(fits("sha256={signature}", "SHA256=ab"), None);
        assert_eq!(fits("sha256={signature}", " sha256=ab"), None);
        assert_eq!(fits("<{signature}>", "<a>b>"), signature("a>b"));
        assert_eq!(fits("<{signature}>", "<ab> "), None);
        assert_eq!(fits("{signature}==", "ab=="), signature("ab"));
        assert_eq!(
            fits("{timestamp}.{signature}", "12.ab.cd"),
            Some(Fit {
                signature: Some(b"ab.cd"),
                timestamp: Some(b"12")
            })
        );
        assert_eq!(fits("{timestamp}.{signature}", "12"), None);
    }

    #[test]
    fn values_split_into_trimmed_items() {
        let split =
            |value: &'static str, separator| items(value.as_bytes(), separator).collect::<Vec<_>>();
        assert_eq!(split("a, b,,c ", Some(",")), [&b"a"[..], b"b", b"", b"c"]);
        assert_eq!(split("a,b", None), [b"a,b"]);
        assert_eq!(split("", Some(",")), [b""]);
        assert_eq!(split("a; b;c", Some("; ")), [&b"a"[..], b"b;c"]);
    }

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
