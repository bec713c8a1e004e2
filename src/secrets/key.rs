//! What a secret's text means as a key, and what is no secret at all: an empty file, a value that was never
//! delivered.

use std::rc::Rc;

use crate::crypto::{Algorithm, Key, significant};
use crate::scheme::Scheme;

/// Keys shorter than this, in bytes, are warned of: they can be guessed.
const SHORT_KEY: usize = 16;

/// What was made of a text, and what is doubtful about that; or why nothing was.
pub(crate) type KeyResult<T> = Result<(T, Option<&'static str>), &'static str>;

/// Refuses a text that is no secret: nothing, blanks, or the `-` that Envoy writes for a missing value.
pub(crate) fn check_text(text: &str) -> KeyResult<()> {
    let trimmed = text.trim();
    let warning = "the secret starts or ends with white space, which is used as part of it: check the sender's secret";
    match trimmed {
        "" => Err("the secret is blank, so any client could sign: set it to the sender's secret"),
        "-" => Err(
            "the secret is \"-\", which Envoy writes for a missing value: set it to the sender's secret",
        ),
        _ => Ok(((), (trimmed.len() < text.len()).then_some(warning))),
    }
}

/// Makes keys of what a filter state holds. One line break at the end is the file's, not the secret's.
pub(crate) fn of_value(scheme: &Scheme, value: Option<&[u8]>) -> KeyResult<Vec<Rc<Key>>> {
    let value = value.ok_or("its filter state is absent: check that an earlier filter sets this key, and that its file is not empty")?;
    let text = std::str::from_utf8(value).map_err(
        |_| "its filter state is not UTF-8: encode the secret, and set `key` to the encoding",
    )?;
    let text = match text.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => text,
    };
    let ((), warning) = check_text(text)?;
    let (keys, other) = make(scheme, text)?;
    Ok((keys, warning.or(other)))
}

/// Makes a key of a text in each way that the scheme has. Where there are several, a text need not suit all.
pub(crate) fn make(scheme: &Scheme, text: &str) -> KeyResult<Vec<Rc<Key>>> {
    let algorithm = scheme.spec.signature.algorithm;
    let (mut keys, mut warning, mut fault) = (Vec::new(), None, "the scheme has no keys");
    for encoding in &scheme.spec.key_encodings {
        let made = encoding.decode(text).and_then(|bytes| {
            let (key, found) = make_one(algorithm, &bytes)?;
            keys.push(Rc::new(key));
            warning = warning.or(found);
            Ok(())
        });
        fault = made.err().unwrap_or(fault);
    }
    match keys.is_empty() {
        true => Err(fault),
        false => Ok((keys, warning)),
    }
}

fn make_one(algorithm: Algorithm, bytes: &[u8]) -> KeyResult<Key> {
    let is_public = algorithm.has_public_key();
    if !is_public && matches!(significant(bytes).trim_ascii(), b"" | b"-") {
        return Err("the secret decodes to blanks: set it to the sender's secret");
    }
    let is_short = !is_public && bytes.len() < SHORT_KEY;
    let warning = "the secret is shorter than 16 bytes and could be guessed: make it longer";
    match Key::new(algorithm, bytes) {
        Some(key) => Ok((key, is_short.then_some(warning))),
        None if is_public => Err(
            "not a public key of the scheme's algorithm: check that it is the sender's, and encoded as `key` says",
        ),
        None => Err(
            "the secret is empty or, for `sha256`, contains a NUL byte: set it to the sender's secret",
        ),
    }
}
