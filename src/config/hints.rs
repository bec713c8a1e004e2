//! Hints in errors: the block that a field belongs in, similar names, and which input may be repeated.

/// The fields that exist in one block only, by block. An error about such a field in another block names its block.
const BLOCKS: [(&str, &[&str]); 6] = [
    (
        "the top level",
        &["endpoints", "health_check", "max_held_bytes", "unmatched"],
    ),
    (
        "`endpoints[]`",
        &[
            "allow",
            "allow_from",
            "answer_challenges",
            "client_address",
            "decompressed",
            "id",
            "match",
            "max_body_bytes",
            "methods",
            "mode",
            "provider",
            "query",
            "replay",
            "secrets",
            "signature",
            "tolerance",
            "verify_token",
        ],
    ),
    ("`endpoints[].match`", &["host", "prefix"]),
    (
        "`endpoints[].secrets[]`",
        &[
            "env",
            "key_id",
            "not_after",
            "not_before",
            "revoked",
            "sender",
            "version",
        ],
    ),
    (
        "`endpoints[].replay`",
        &["lease", "max_memory_bytes", "window"],
    ),
    (
        "`endpoints[].allow_from[]`",
        &["authority", "cluster", "max_age", "pointer", "refresh"],
    ),
];

/// The block of a field that exists in one block only.
pub(super) fn block_of(name: &str) -> Option<&'static str> {
    let has_it = |(_, fields): &&(&str, &[&str])| fields.contains(&name);
    BLOCKS.iter().find(has_it).map(|(block, _)| *block)
}

/// The text, if an error may repeat it. Anything but a word, or words with dots, may be a secret in the wrong place.
pub(super) fn printable(text: &str) -> Option<&str> {
    let is_word =
        |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'-' || byte == b'.';
    (text.len() <= 32 && text.bytes().all(is_word)).then_some(text)
}

/// `; did you mean X?` for the most similar of `names`, or why a known algorithm is none of them. Empty if no name is
/// similar.
#[inline(never)]
pub(crate) fn did_you_mean(text: &str, names: &[&str]) -> String {
    // A long text resembles no name, and is expensive to compare.
    if text.len() > 64 {
        return String::new();
    }
    // Names are written with and without separators, such as SHA-256.
    let folded = |text: &str| -> String {
        let letters = text.chars().filter(|letter| !"-_ ".contains(*letter));
        letters.map(|letter| letter.to_ascii_lowercase()).collect()
    };
    let text = folded(text);
    match text.as_str() {
        "md5" | "hmacmd5" => {
            return "; MD5 is not supported: choose HMAC-SHA256 at the sender".to_owned();
        }
        "rsa" | "rsasha1" | "rsasha256" | "rs256" => {
            return "; RSA is not supported: choose HMAC-SHA256 at the sender".to_owned();
        }
        _ => {}
    }
    let near = |name: &&str| {
        let name = &folded(name);
        let distance = strsim::levenshtein(&text, name);
        let part = text.len() > 3 && name.contains(&text);
        (part || distance <= name.len().div_ceil(3)).then_some(distance)
    };
    match names
        .iter()
        .filter_map(|name| Some((near(name)?, name)))
        .min()
    {
        Some((_, name)) => format!("; did you mean `{name}`?"),
        None => String::new(),
    }
}
