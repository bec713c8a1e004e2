//! Substring search in linear time for any input (Knuth, Morris and Pratt). A client chooses both the boundary of a
//! multipart body and the body. A crate for the search adds nine kilobytes to the module.

/// The text before and after the first `separator`.
pub(crate) fn split_once<'v>(value: &'v [u8], separator: &[u8]) -> Option<(&'v [u8], &'v [u8])> {
    let [byte] = separator else {
        return Finder::new(separator).split_once(value);
    };
    // Most separators are one byte, which needs no preparation.
    let mut parts = value.splitn(2, |each| each == byte);
    parts.next().zip(parts.next())
}

/// Whether a literal next to a value occurs only there, and not also within the value or across their border.
pub(super) fn occurs_once(value: &[u8], literal: &[u8], is_before: bool) -> bool {
    if let [byte] = literal {
        return !value.contains(byte);
    }
    let joined = match is_before {
        true => [literal, value],
        false => [value, literal],
    };
    let joined = joined.concat();
    let places = joined.windows(literal.len());
    places.filter(|place| place == &literal).count() == 1
}

/// A text to search for, prepared for any number of searches.
pub(crate) struct Finder<'w> {
    wanted: &'w [u8],
    /// For each prefix of the wanted text, the length of its longest border. A border is a shorter prefix that is also
    /// its suffix.
    borders: Vec<usize>,
}

impl<'w> Finder<'w> {
    pub(crate) fn new(wanted: &'w [u8]) -> Self {
        let mut finder = Self {
            wanted,
            borders: Vec::with_capacity(wanted.len()),
        };
        // Searching the wanted text in itself yields its borders.
        let mut matched = 0;
        finder.borders.push(matched);
        for byte in wanted.iter().skip(1) {
            matched = finder.step(matched, *byte);
            finder.borders.push(matched);
        }
        finder
    }

    /// The text before and after the first match.
    pub(crate) fn split_once<'v>(&self, text: &'v [u8]) -> Option<(&'v [u8], &'v [u8])> {
        let mut matched = 0;
        let last = text.iter().position(|byte| {
            matched = self.step(matched, *byte);
            matched == self.wanted.len()
        })?;
        let (before, after) = text.split_at_checked(last.checked_add(1)?)?;
        Some((before.strip_suffix(self.wanted)?, after))
    }

    /// How many bytes of the wanted text match up to `byte`, if `matched` did before it.
    fn step(&self, mut matched: usize, byte: u8) -> usize {
        while self.wanted.get(matched) != Some(&byte) {
            let Some(last) = matched.checked_sub(1) else {
                return 0;
            };
            matched = self.borders.get(last).copied().unwrap_or_default();
        }
        matched.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_is_that_of_a_search_at_every_place() {
        // All texts of up to nine of two letters, and all wanted texts of up to four, have all kinds of borders.
        let texts = |most: u32| {
            (1..=most).flat_map(|length| {
                (0..2_u32.pow(length)).map(move |bits| {
                    (0..length)
                        .map(|bit| if bits >> bit & 1 == 0 { b'-' } else { b'x' })
                        .collect::<Vec<u8>>()
                })
            })
        };
        for text in texts(9) {
            for wanted in texts(4) {
                let place = text.windows(wanted.len()).position(|part| part == wanted);
                let found = split_once(&text, &wanted).map(|(before, _)| before.len());
                assert_eq!(found, place, "{text:?} {wanted:?}");
            }
        }
        assert_eq!(split_once(b"a=b=c", b"="), Some((&b"a"[..], &b"b=c"[..])));
        assert_eq!(split_once(b"", b"="), None);
    }
}
