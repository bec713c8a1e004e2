//! Classes of bytes. All are in one table. Two cache lines of this table serve all of ASCII.

/// Letters, digits and `-`, which all servers read alike in a header's name.
pub(crate) const NAME: u8 = 1;

/// The bytes of a host: those of a name, an address and a port.
pub(crate) const HOST: u8 = 2;

/// The bytes that mean nothing but themselves in a path. A `/` and a `.` may mean more, together with their neighbours.
pub(crate) const PATH: u8 = 4;

/// The bytes of [`PATH`] that folding leaves as they are.
pub(crate) const FOLDED: u8 = 8;

/// For each byte, the sum of its classes.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut rest: &mut [u8] = &mut classes;
    let mut byte: u8 = 0;
    while let Some((first, others)) = rest.split_first_mut() {
        *first = classes_of(byte);
        rest = others;
        byte = byte.wrapping_add(1);
    }
    classes
};

const fn classes_of(byte: u8) -> u8 {
    let is_word = byte.is_ascii_alphanumeric() || byte == b'-';
    let is_host = is_word || matches!(byte, b'.' | b':' | b'[' | b']' | b'_');
    let is_path = byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b';' | b'#' | b'?');
    let is_folded = is_path && !byte.is_ascii_uppercase() && !matches!(byte, b'.' | b':');
    class(is_word, NAME) | class(is_host, HOST) | class(is_path, PATH) | class(is_folded, FOLDED)
}

const fn class(is_in: bool, class: u8) -> u8 {
    match is_in {
        true => class,
        false => 0,
    }
}

/// Whether a byte is of this class.
#[inline(always)]
pub(crate) fn is(byte: u8, class: u8) -> bool {
    matches!(CLASSES.get(usize::from(byte)), Some(classes) if classes & class != 0)
}

/// Whether all bytes of a text are of this class.
pub(crate) fn are(text: &[u8], class: u8) -> bool {
    for byte in text {
        if !is(*byte, class) {
            return false;
        }
    }
    true
}
