//! Hexadecimal digits, in which most senders write a signature.

/// Decodes digits of either case. `None` unless there are two for each byte, and nothing else.
pub(crate) fn decode(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    if bytes.len().checked_mul(2) != Some(digits.len()) {
        return None;
    }
    let (eights, last_digits) = digits.as_chunks();
    let (fours, last_bytes) = bytes.as_chunks_mut();
    for (eight, four) in eights.iter().zip(fours) {
        *four = decode_eight(*eight)?;
    }
    if last_digits.is_empty() {
        return Some(());
    }
    let mut eight = [b'0'; 8];
    eight
        .get_mut(..last_digits.len())?
        .copy_from_slice(last_digits);
    let four = decode_eight(eight)?;
    last_bytes.copy_from_slice(four.get(..last_bytes.len())?);
    Some(())
}

/// Decodes eight digits at once, each in its byte of a word. All sums stay below 256, so none carries over.
fn decode_eight(digits: [u8; 8]) -> Option<[u8; 4]> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    let word = u64::from_le_bytes(digits);
    if word & TOPS != 0 {
        return None;
    }
    // Sets the top bit of each byte that is at least the one that is subtracted from 0x80 here.
    let from = |word: u64, rest: u64| word.wrapping_add(ONES.wrapping_mul(rest));
    let numbers = from(word, 0x80 - 0x30) & !from(word, 0x80 - 0x3a) & TOPS;
    let small = word | ONES << 5;
    let letters = from(small, 0x80 - 0x61) & !from(small, 0x80 - 0x67) & TOPS;
    if numbers | letters != TOPS {
        return None;
    }
    // A letter's low bits are those of its value less nine.
    let values = (word & ONES.wrapping_mul(0x0f)).wrapping_add((letters >> 7).wrapping_mul(9));
    let pairs = values << 4 | values >> 8;
    let [a, _, b, _, c, _, d, _] = pairs.to_le_bytes();
    Some([a, b, c, d])
}

/// Encodes bytes as digits in lower case. `None` unless there is space for exactly two digits for each byte.
pub(crate) fn encode(bytes: &[u8], digits: &mut [u8]) -> Option<()> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if bytes.len().checked_mul(2) != Some(digits.len()) {
        return None;
    }
    let (pairs, _) = digits.as_chunks_mut();
    for (byte, pair) in bytes.iter().zip(pairs) {
        let digit = |value: u8| DIGITS.get(usize::from(value)).copied();
        *pair = [digit(byte >> 4)?, digit(byte & 0x0f)?];
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digit_has_its_value_at_every_place_and_no_other_byte_has_one() {
        for place in 0..24 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"0123456789abcdefABCDEF98";
                digits[place] = byte;
                let value = |byte: u8| char::from(byte).to_digit(16);
                let wanted = digits.chunks(2).map(|pair| {
                    let value = value(pair[0])? * 16 + value(pair[1])?;
                    u8::try_from(value).ok()
                });
                let wanted: Option<Vec<_>> = wanted.collect();
                for length in (0..=24).step_by(2).filter(|length| place < *length) {
                    let mut bytes = [0; 12];
                    let bytes = &mut bytes[..length / 2];
                    let decoded = decode(&digits[..length], bytes);
                    let wanted = wanted.as_ref().map(|wanted| &wanted[..length / 2]);
                    assert_eq!(
                        decoded.map(|()| &*bytes),
                        wanted,
                        "{byte} at {place} of {length}"
                    );
                }
            }
        }
    }

    #[test]
    fn bytes_are_encoded_as_they_are_decoded() {
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        let mut digits = [0; 512];
        assert_eq!(encode(&bytes, &mut digits), Some(()));
        assert!(digits.starts_with(b"000102030405060708090a0b0c0d0e0f10"));
        let mut decoded = [0; 256];
        assert_eq!(decode(&digits, &mut decoded), Some(()));
        assert_eq!(decoded, *bytes);
        assert_eq!(encode(&bytes, &mut digits[1..]), None);
        assert_eq!(decode(&digits[1..], &mut decoded), None);
        assert_eq!(decode(&digits[2..], &mut decoded), None);
    }
}
