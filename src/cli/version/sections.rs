//! The custom sections of a WebAssembly module: <https://webassembly.github.io/spec/core/binary/modules.html>.
//!
//! The file is untrusted. Nothing is copied, and each step makes the rest of the bytes shorter.

/// The first bytes of a module, with the version of the format.
const HEADER: &[u8] = b"\0asm\x01\0\0\0";

/// The number of a custom section.
const CUSTOM: u8 = 0;

/// The shifts of the bytes of a number with 32 bits.
const SHIFTS: [u32; 5] = [0, 7, 14, 21, 28];

/// The names and contents of a module's custom sections with a wanted name. `None` if the bytes are not a module.
///
/// A file of 64 MiB can have 22 million sections. A list of all of them would need ten times the memory of the file.
pub(super) fn custom(
    module: &[u8],
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Option<Vec<(&[u8], &[u8])>> {
    let mut rest = module.strip_prefix(HEADER)?;
    let mut found = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        let (content, after) = sized(after)?;
        if *kind == CUSTOM {
            let section = sized(content)?;
            if is_wanted(section.0) {
                found.push(section);
            }
        }
        rest = after;
    }
    Some(found)
}

/// Splits off the bytes whose number is before them.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = number(bytes)?;
    rest.split_at_checked(usize::try_from(size).ok()?)
}

/// Splits off a number of 32 bits in LEB128.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0;
    let mut rest = bytes;
    for shift in SHIFTS {
        let (byte, after) = rest.split_first()?;
        rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A custom section `a` with the content `b`, a type section, and a custom section without a name.
    const SMALL: &[u8] = b"\0asm\x01\0\0\0\0\x03\x01ab\x01\x01\0\0\x82\x00\0c";

    #[test]
    fn sections_are_found_by_their_sizes() {
        let expected: Vec<(&[u8], &[u8])> = vec![(b"a", b"b"), (b"", b"c")];
        assert_eq!(custom(SMALL, |_| true), Some(expected));
        let expected: Vec<(&[u8], &[u8])> = vec![(b"a", b"b")];
        assert_eq!(custom(SMALL, |name| name == b"a"), Some(expected));
    }

    #[test]
    fn a_module_that_was_cut_is_none_except_between_sections() {
        let whole: Vec<_> = (0..=SMALL.len())
            .filter(|end| custom(&SMALL[..*end], |_| true).is_some())
            .collect();
        assert_eq!(whole, [8, 13, 16, SMALL.len()]);
    }

    #[test]
    fn numbers_have_32_bits() {
        let largest = b"\xff\xff\xff\xff\x0f";
        assert_eq!(number(largest), Some((u32::MAX, &b""[..])));
        for wrong in [
            &b""[..],
            b"\x80",
            b"\xff\xff\xff\xff\x1f",
            b"\x80\x80\x80\x80\x80\0",
        ] {
            assert_eq!(number(wrong), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_module_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let module = [HEADER, &bytes].concat();
            for (name, content) in custom(&module, |_| true).unwrap_or_default() {
                prop_assert!([name, content].concat().len() < bytes.len());
            }
        }
    }
}
