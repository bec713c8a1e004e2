//! The signed timestamp: where a sender puts it, how it is written and how far it may be off.

use std::borrow::Cow;
use std::time::Duration;

use super::found::Found;
use super::freshness::{Freshness, Tolerance};
use super::source::Source;
use crate::config::Node;
use crate::time::UnixMillis;
use crate::verdict::Denial;

/// The tolerance where neither the scheme nor the endpoint sets one. Most senders recommend this value.
const DEFAULT_TOLERANCE: Tolerance = Tolerance::both(Duration::from_secs(300));

/// The longest timestamp, in bytes: twice the length that any unit needs.
const MAX_TIMESTAMP: usize = 64;

/// The most digits of a number that fits in 63 bits. As many digits always fit in 64 bits.
const MAX_DIGITS: usize = 19;

/// The first number that [`Unit::SecondsOrMillis`] reads as milliseconds. As seconds, it would be the year 5138.
const FIRST_MILLIS: i64 = 100_000_000_000;

/// The timestamp that a scheme signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Timestamp {
    /// Where it is; `None`: among the items of the signature's value.
    pub(crate) source: Option<Source>,
    /// How it is written.
    pub(crate) unit: Unit,
    /// How far it may be off.
    pub(crate) tolerance: Tolerance,
}

/// How a timestamp is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    Seconds,
    Millis,
    /// For senders that changed from seconds to milliseconds, or back.
    SecondsOrMillis,
    Rfc3339,
    HttpDate,
}

/// A timestamp as signed, and when a request with it is fresh.
pub(crate) struct SignedTime<'v> {
    pub(crate) text: Cow<'v, [u8]>,
    pub(crate) freshness: Freshness,
}

impl Timestamp {
    /// Reads a `timestamp` block.
    pub(super) fn read(node: Node<'_>) -> Option<Self> {
        let mut block = node.object("{header: NAME}")?;
        let source = Source::read(&mut block);
        let unit = block.optional("unit", |node| {
            node.choice(&[
                ("s", Unit::Seconds),
                ("ms", Unit::Millis),
                ("s-or-ms", Unit::SecondsOrMillis),
                ("rfc3339", Unit::Rfc3339),
                ("http-date", Unit::HttpDate),
            ])
        });
        let tolerance =
            block.optional("tolerance", |node| Tolerance::read(node, DEFAULT_TOLERANCE));
        block.close()?;
        Some(Self {
            source,
            unit: unit.unwrap_or(Unit::Seconds),
            tolerance: tolerance.unwrap_or(DEFAULT_TOLERANCE),
        })
    }

    /// The timestamp of a scheme that has {timestamp} in its `format` and no `timestamp` block.
    pub(super) const fn in_format() -> Self {
        Self {
            source: None,
            unit: Unit::Seconds,
            tolerance: DEFAULT_TOLERANCE,
        }
    }

    /// The timestamp, if it is in the head. `in_field` is that in the signature's field.
    pub(super) fn in_head<'h>(
        &self,
        in_field: Found<'h>,
        in_head: impl Fn(&Source) -> Found<'h>,
    ) -> Result<Option<SignedTime<'h>>, Denial> {
        let found = match &self.source {
            Some(source) if source.is_in_body() => return Ok(None),
            Some(source) => in_head(source),
            None => in_field,
        };
        self.read_time(found).map(Some)
    }

    /// The timestamp as found.
    ///
    /// # Errors
    /// `TimestampMissing` or `TimestampMalformed`.
    pub(crate) fn read_time<'v>(&self, found: Found<'v>) -> Result<SignedTime<'v>, Denial> {
        let text = found.map_err(|_| Denial::TimestampMalformed)?;
        let text = text.ok_or(Denial::TimestampMissing)?;
        if text.len() > MAX_TIMESTAMP {
            return Err(Denial::TimestampMalformed);
        }
        let time = self.unit.parse(&text).ok_or(Denial::TimestampMalformed)?;
        Ok(SignedTime {
            text,
            freshness: Freshness::around(time, self.tolerance),
        })
    }
}

impl Unit {
    pub(crate) fn parse(self, text: &[u8]) -> Option<UnixMillis> {
        match self {
            // A sender does not know its receivers' zones, so a time without one is in UTC.
            Self::Rfc3339 => {
                let text = str::from_utf8(text).ok()?;
                return UnixMillis::from_rfc3339(text)
                    .or_else(|| UnixMillis::from_rfc3339(&format!("{text}Z")));
            }
            Self::HttpDate => return UnixMillis::from_http_date(str::from_utf8(text).ok()?),
            Self::Seconds | Self::Millis | Self::SecondsOrMillis => {}
        }
        // Only digits: some parsers would accept `+1`, ` 1` or `1e9`, which senders do not write. A leading zero could
        // belong to the value before the timestamp in the signed bytes.
        if text.is_empty() || text.len() > MAX_DIGITS || text.starts_with(b"0") {
            return None;
        }
        let mut number: u64 = 0;
        for byte in text {
            let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
            number = number.wrapping_mul(10).wrapping_add(digit.into());
        }
        let number = i64::try_from(number).ok()?;
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
        assert_eq!(
            parse(Unit::Rfc3339, "2023-11-14T22:13:20.551"),
            Some(1_700_000_000_551)
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
