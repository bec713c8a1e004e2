//! Keys from the texts of secrets. Texts that cannot be a secret are rejected, such as an empty file.

use std::rc::Rc;

use crate::crypto::{Key, significant};
use crate::scheme::Scheme;
use crate::scheme::spec::Spec;

/// The guard warns about keys that are shorter than this, in bytes, since they can be guessed.
const SHORT_KEY: usize = 16;

/// A result with an optional warning, or an error.
pub(crate) type KeyResult<T> = Result<(T, Option<&'static str>), &'static str>;

/// The secret in a text, without the line break at the end of its file. Rejects blanks, and the `-` that Envoy writes for
/// a missing value.
pub(crate) fn secret_in(text: &str) -> KeyResult<&str> {
    let text = match text.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => text,
    };
    match text.trim() {
        "" => Err("the secret is blank, so any client could sign: set it to the sender's secret"),
        "-" => Err(
            "the secret is \"-\", which Envoy writes for a missing value: set it to the sender's secret",
        ),
        _ => Ok((text, doubt(text))),
    }
}

/// A sign that an operator pasted more than the secret.
fn doubt(text: &str) -> Option<&'static str> {
    let is_in = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    if text.starts_with('\u{feff}') {
        Some("the secret starts with a byte order mark: save its file without one")
    } else if text.starts_with("v1,whsec_") {
        Some("the secret starts with `v1,`: remove it, so that the secret starts with `whsec_`")
    } else if text.contains("-----BEGIN ") {
        Some("the secret is PEM: set it to the base64 between the BEGIN and END lines, in one line")
    } else if is_in('"') || is_in('\'') {
        Some("the secret is in quotation marks: remove them unless the sender's secret has them")
    } else if text.ends_with("\\n") {
        Some(
            "the secret ends with a backslash and an n: remove them unless the sender's secret has them",
        )
    } else if text.trim().len() < text.len() {
        Some(
            "the secret starts or ends with white space: remove it unless the sender's secret has it",
        )
    } else {
        None
    }
}

/// Makes keys of the value of a filter state.
pub(crate) fn of_value(scheme: &Scheme, value: Option<&[u8]>) -> KeyResult<Vec<Rc<Key>>> {
    let value = value.ok_or("its filter state is absent: check that an earlier filter sets this key, and that its file is not empty")?;
    let text = std::str::from_utf8(value).map_err(
        |_| "its filter state is not UTF-8: encode the secret, and set `key` to the encoding",
    )?;
    let (text, warning) = secret_in(text)?;
    let (keys, other) = make(scheme, text)?;
    Ok((keys, warning.or(other)))
}

/// Makes a key of a text for each key encoding of the scheme. One valid encoding is enough.
pub(crate) fn make(scheme: &Scheme, text: &str) -> KeyResult<Vec<Rc<Key>>> {
    let (mut keys, mut warning, mut error) = (Vec::new(), None, "the scheme has no keys");
    for encoding in &scheme.spec.key_encodings {
        let made = encoding.decode(text).and_then(|bytes| {
            let (key, found) = make_one(&scheme.spec, &bytes)?;
            keys.push(Rc::new(key));
            warning = warning.or(found);
            Ok(())
        });
        error = made.err().unwrap_or(error);
    }
    match keys.is_empty() {
        true => Err(doubt(text).unwrap_or(error)),
        false => Ok((keys, warning)),
    }
}

fn make_one(spec: &Spec, bytes: &[u8]) -> KeyResult<Key> {
    let algorithm = spec.signature.algorithm;
    let is_public = algorithm.has_public_key();
    if !is_public && matches!(significant(bytes).trim_ascii(), b"" | b"-") {
        return Err("the secret decodes to blanks: set it to the sender's secret");
    }
    let is_short = !is_public && bytes.len() < SHORT_KEY;
    let warning = "the secret is shorter than 16 bytes and could be guessed: make it longer";
    let key = Key::new(algorithm, bytes);
    match key.and_then(|key| key.also_for(&spec.other_algorithms, bytes)) {
        Some(key) => Ok((key, is_short.then_some(warning))),
        None if is_public => Err(
            "not a public key of the scheme's algorithm: check that it is the sender's, and encoded as `key` says",
        ),
        None => Err(
            "the secret is empty or, for `sha256`, contains a NUL byte: set it to the sender's secret",
        ),
    }
}
