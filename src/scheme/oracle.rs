//! The texts whose MACs a handshake returns. Such a sender chooses the text, which makes the guard a signing oracle. So
//! the guard accepts no signed message that could be such a text.

/// The longest text whose MAC is returned, in bytes.
const MAX_TEXT: usize = 128;

/// Whether all bytes are characters that such a text may contain.
pub(crate) fn challenge_chars_only(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_=-".contains(byte))
}

/// Whether a text may be such a text.
pub(crate) fn is_challenge_text(text: &[u8]) -> bool {
    challenge_chars_only(text) && u64::try_from(text.len()).is_ok_and(is_challenge_length)
}

/// Whether such a text may have this length in bytes.
pub(crate) fn is_challenge_length(length: u64) -> bool {
    length > 0 && u64::try_from(MAX_TEXT).is_ok_and(|longest| length <= longest)
}
