//! Mistakes in the text of a secret: its encoding, a prefix, and white space at its end.

use std::collections::HashSet;

use serde_json::json;

use super::hypothesis::Cause;
use super::search::Search;
use crate::crypto::encoding::{Encoding, KeyEncoding};
use crate::crypto::sha256;

/// The prefixes that senders show and operators lose, or the other way round.
const PREFIXES: [&str; 11] = [
    "whsec_",
    "v1,",
    "v1,whsec_",
    "whpk_",
    "whsk_",
    "Bearer ",
    "Basic ",
    "Token ",
    "sha256=",
    "base64:",
    "0x",
];

/// The quotation marks that a file or a shell may leave around a secret.
const QUOTES: [&str; 3] = ["\"", "'", "`"];

/// The key encodings, by their names in a configuration.
const ENCODINGS: [(&str, KeyEncoding); 7] = [
    ("utf8", KeyEncoding::Utf8),
    ("base64", KeyEncoding::Encoded(Encoding::Base64)),
    ("hex", KeyEncoding::Encoded(Encoding::Hex)),
    ("whsec", KeyEncoding::Whsec),
    ("base64url", KeyEncoding::Encoded(Encoding::Base64Url)),
    ("sha1", KeyEncoding::Sha1),
    ("ascii", KeyEncoding::Ascii),
];

/// A secret's text without a mistake.
struct Form {
    cause: Cause,
    text: String,
    /// The key encoding, if it is another one than the scheme's.
    key: Option<&'static str>,
    detail: String,
    fix: String,
}

/// Tries other forms of each secret.
pub(super) fn try_all(search: &mut Search<'_>) {
    let own = search.setup.keys();
    for secret in search.setup.secrets.clone() {
        let configured = configured(&secret.text);
        let mut seen: HashSet<_> = own.iter().map(|key| digest(key, configured)).collect();
        seen.insert(None);
        for form in forms(configured) {
            let keys = match form.key {
                Some(key) => vec![key.to_owned()],
                None => own.clone(),
            };
            // Two forms may be the same key.
            let mut is_new = false;
            for key in &keys {
                is_new |= seen.insert(digest(key, &form.text));
            }
            if !is_new {
                continue;
            }
            // The module removes one line break.
            let text = format!("{}\n", form.text);
            let mut setup = search.setup.with_secrets(vec![secret.with_text(text)]);
            if form.key.is_some() {
                setup = setup.with_field("key", json!(keys));
            }
            if search.try_setup(&setup, search.subject.request).is_some() {
                let version = &secret.version;
                search.add(
                    form.cause,
                    format!("with version {version}, {}", form.detail),
                    form.fix,
                );
                return;
            }
        }
    }
}

/// The text that the module uses: without the line break at the end of a file.
fn configured(text: &str) -> &str {
    match text.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => text,
    }
}

/// The hash of a key, so that no key is tried twice. `None` if the text is not in the encoding.
fn digest(key: &str, text: &str) -> Option<[u8; 32]> {
    let (_, encoding) = ENCODINGS.iter().find(|(name, _)| *name == key)?;
    Some(sha256(&encoding.decode(text).ok()?))
}

/// The forms that the sender's secret may have, likeliest first.
fn forms(text: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    line_breaks(text, &mut forms);
    prefixes(text, &mut forms);
    encodings(text, &mut forms);
    forms
}

fn line_breaks(text: &str, forms: &mut Vec<Form>) {
    let mut add = |text: String, detail: &str, fix: &str| {
        forms.push(Form {
            cause: Cause::SecretLineBreak,
            text,
            key: None,
            detail: detail.to_owned(),
            fix: fix.to_owned(),
        });
    };
    let fix = "set the secret again, without line breaks and white space around it";
    let trimmed = text.trim_matches(|letter: char| letter.is_whitespace() || letter == '\u{feff}');
    add(
        trimmed.to_owned(),
        "the configured secret has white space around it, and the sender's has none",
        fix,
    );
    for escape in ["\\r\\n", "\\n", "\\r"] {
        if let Some(rest) = text.strip_suffix(escape) {
            let detail = "the configured secret ends with a backslash and a letter, as a line break in quotation marks is written";
            add(rest.to_owned(), detail, fix);
        }
    }
    let joined: String = text.split_whitespace().collect();
    add(
        joined,
        "the configured secret has white space or a line break within it",
        fix,
    );
    add(
        text.replace("\\n", "\n"),
        "the configured secret has `\\n` where the sender's has a line break",
        "set the secret with real line breaks, from a file",
    );
    for (end, words) in [
        ("\n", "a line break"),
        ("\r\n", "a line break"),
        ("\r", "a carriage return"),
        (" ", "a space"),
        ("\\n", "a backslash and an n"),
    ] {
        add(
            format!("{trimmed}{end}"),
            &format!("the sender's secret ends with {words}, and the configured one does not"),
            "set the secret at the sender again, without the line break that a file or a shell added",
        );
    }
    add(
        format!(" {trimmed}"),
        "the sender's secret begins with a space, and the configured one does not",
        "set the secret at the sender again, without the space",
    );
}

fn prefixes(text: &str, forms: &mut Vec<Form>) {
    let mut add = |text: String, detail: String, fix: String| {
        forms.push(Form {
            cause: Cause::SecretPrefix,
            text,
            key: None,
            detail,
            fix,
        });
    };
    let text = text.trim();
    for prefix in PREFIXES {
        if let Some(rest) = text.strip_prefix(prefix) {
            add(
                rest.to_owned(),
                format!(
                    "the sender's key does not include the prefix `{prefix}` of the configured secret"
                ),
                format!("set the secret without `{prefix}`"),
            );
        }
    }
    for quote in QUOTES {
        let inner = text
            .strip_prefix(quote)
            .and_then(|text| text.strip_suffix(quote));
        if let Some(inner) = inner {
            add(
                inner.to_owned(),
                "the configured secret is in quotation marks, and the sender's is not".to_owned(),
                "set the secret without quotation marks".to_owned(),
            );
        }
    }
    for prefix in PREFIXES {
        add(
            format!("{prefix}{text}"),
            format!(
                "the sender's key includes the prefix `{prefix}`, which the configured secret lacks"
            ),
            format!("set the secret with `{prefix}`, exactly as the sender shows it"),
        );
    }
    for quote in QUOTES {
        add(
            format!("{quote}{text}{quote}"),
            "the sender's secret includes quotation marks, and the configured one does not"
                .to_owned(),
            "set the secret at the sender again, without quotation marks".to_owned(),
        );
    }
}

fn encodings(text: &str, forms: &mut Vec<Form>) {
    let text = text.trim();
    let mut texts = vec![text];
    texts.extend(
        PREFIXES
            .iter()
            .filter_map(|prefix| text.strip_prefix(prefix)),
    );
    for (key, _) in ENCODINGS {
        for text in &texts {
            forms.push(Form {
                cause: Cause::SecretEncoding,
                text: (*text).to_owned(),
                key: Some(key),
                detail: key_words(key).to_owned(),
                fix: format!("copy the scheme to a `signature` block, and set `key: {key}`, or set the secret in the encoding of the preset"),
            });
        }
    }
    let mut add = |text: String, detail: &str, fix: &str| {
        forms.push(Form {
            cause: Cause::SecretEncoding,
            text,
            key: None,
            detail: detail.to_owned(),
            fix: fix.to_owned(),
        });
    };
    let copy = "set the secret exactly as the sender shows it";
    for inner in [decoded(text), decoded(text).as_deref().and_then(decoded)]
        .into_iter()
        .flatten()
    {
        add(
            inner,
            "the configured secret is the base64 or hex of the sender's secret",
            "set the secret without the additional encoding: `data` of a Kubernetes Secret is base64, `stringData` is not",
        );
    }
    let bytes = text.as_bytes();
    let again = "the sender's secret is in base64 or hex, and the configured one is decoded";
    for encoding in [Encoding::Base64, Encoding::Base64Url, Encoding::Hex] {
        if let Some(text) = encoding.encode(bytes) {
            add(text.clone(), again, copy);
            add(text.trim_end_matches('=').to_owned(), again, copy);
        }
    }
    let case = "the sender's secret has letters of another case";
    add(text.to_ascii_lowercase(), case, copy);
    add(text.to_ascii_uppercase(), case, copy);
    public_keys(text, &mut add);
}

/// A public key in PEM, or with the header of its algorithm.
fn public_keys(text: &str, add: &mut impl FnMut(String, &str, &str)) {
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    let joined: String = lines.flat_map(str::split_whitespace).collect();
    let detail = "the configured public key is PEM, or has the header of its algorithm";
    let fix = "set the key itself, in the encoding of the preset";
    let Some(der) = Encoding::Base64.decode(joined.as_bytes()) else {
        return;
    };
    add(joined, detail, fix);
    // The last bytes of a SubjectPublicKeyInfo are the key: 32 of Ed25519, and 65 of P-256.
    for length in [32, 65] {
        let start = der.len().saturating_sub(length);
        let key = der.get(start..).unwrap_or_default();
        for encoding in [Encoding::Hex, Encoding::Base64] {
            if let Some(text) = encoding.encode(key) {
                add(text, detail, fix);
            }
        }
    }
}

/// How a key follows from a secret.
const fn key_words(key: &str) -> &'static str {
    match key.as_bytes() {
        b"utf8" => "the sender's key is the text of the secret itself",
        b"hex" => "the sender's key is what the secret encodes in hex",
        b"base64" | b"base64url" => "the sender's key is what the secret encodes in base64",
        b"whsec" => "the sender's key is what the secret encodes in base64 after `whsec_`",
        b"sha1" => "the sender's key is the SHA-1 of the secret",
        _ => "the sender's key is the ASCII text of the secret",
    }
}

/// The text that another text encodes in base64 or hex.
fn decoded(text: &str) -> Option<String> {
    let encodings = [Encoding::Hex, Encoding::Base64, Encoding::Base64Url];
    encodings.into_iter().find_map(|encoding| {
        let bytes = encoding.decode(text.as_bytes())?;
        let text = String::from_utf8(bytes).ok()?;
        (!text.is_empty()).then_some(text)
    })
}
