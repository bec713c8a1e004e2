//! Finds one text in another in time that is linear in both, whatever they hold (Knuth, Morris and Pratt). A client
//! chooses the boundary of a multipart body as well as the body, and a crate for the search costs the module nine
//! kilobytes.

/// What stands before and after the first `separator`.
pub(crate) fn split_once<'v>(value: &'v [u8], separator: &[u8]) -> Option<(&'v [u8], &'v [u8])> {
    let (before, after) = value.split_at_checked(find(value, separator)?)?;
    Some((before, after.strip_prefix(separator)?))
}

/// Where `wanted` first begins.
fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut search = Search {
        wanted,
        borders: Vec::with_capacity(wanted.len()),
        matched: 0,
    };
    // The borders of the wanted text are found by a search for the text in itself.
    search.borders.push(0);
    for byte in wanted.iter().skip(1) {
        search.step(*byte);
        search.borders.push(search.matched);
    }
    search.matched = 0;
    let end = text.iter().position(|byte| {
        search.step(*byte);
        search.matched == wanted.len()
    })?;
    end.checked_add(1)?.checked_sub(wanted.len())
}

/// A search, up to some byte of the text.
struct Search<'w> {
    wanted: &'w [u8],
    /// For each beginning of the wanted text: the length of the longest shorter beginning that is also its end.
    borders: Vec<usize>,
    /// How many bytes of the wanted text end here.
    matched: usize,
}

impl Search<'_> {
    fn step(&mut self, byte: u8) {
        while self.wanted.get(self.matched) != Some(&byte) {
            let Some(last) = self.matched.checked_sub(1) else {
                return;
            };
            self.matched = self.borders.get(last).copied().unwrap_or_default();
        }
        self.matched = self.matched.saturating_add(1);
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
                assert_eq!(find(&text, &wanted), place, "{text:?} {wanted:?}");
            }
        }
        assert_eq!(split_once(b"a=b=c", b"="), Some((&b"a"[..], &b"b=c"[..])));
        assert_eq!(split_once(b"", b"="), None);
    }
}
