//! Finds one text in another in time that is linear in both, whatever they hold (Knuth, Morris and Pratt). A client
//! chooses the boundary of a multipart body as well as the body, and a crate for the search costs the module nine
//! kilobytes.

/// What stands before and after the first `separator`.
pub(crate) fn split_once<'v>(value: &'v [u8], separator: &[u8]) -> Option<(&'v [u8], &'v [u8])> {
    Finder::new(separator).split_once(value)
}

/// What is searched for, made ready for any number of texts.
pub(crate) struct Finder<'w> {
    wanted: &'w [u8],
    /// For each beginning of the wanted text: the length of the longest shorter beginning that is also its end.
    borders: Vec<usize>,
}

impl<'w> Finder<'w> {
    pub(crate) fn new(wanted: &'w [u8]) -> Self {
        let mut finder = Self {
            wanted,
            borders: Vec::with_capacity(wanted.len()),
        };
        // The borders of the wanted text are found by a search for the text in itself.
        let mut matched = 0;
        finder.borders.push(matched);
        for byte in wanted.iter().skip(1) {
            matched = finder.step(matched, *byte);
            finder.borders.push(matched);
        }
        finder
    }

    /// What stands before and after the first place of the wanted text.
    pub(crate) fn split_once<'v>(&self, text: &'v [u8]) -> Option<(&'v [u8], &'v [u8])> {
        let mut matched = 0;
        let last = text.iter().position(|byte| {
            matched = self.step(matched, *byte);
            matched == self.wanted.len()
        })?;
        let (before, after) = text.split_at_checked(last.checked_add(1)?)?;
        Some((before.strip_suffix(self.wanted)?, after))
    }

    /// How many bytes of the wanted text end at `byte`, where `matched` ended before it.
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
        // Every text of up to nine of two letters, and every wanted one of up to four: all borders that these have.
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
