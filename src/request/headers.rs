//! A request's headers as bytes: names and values come from the wire and need not be UTF-8.

use super::bytes;
use crate::config::Node;

/// The name and the value of a header.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// A request's headers, pseudo-headers among them, names in lower case as Envoy keeps them.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    pub(crate) pairs: &'a [Pair<'a>],
    known: Known<'a>,
}

/// The value of a header that a request may have once.
pub type One<'a> = Result<Option<&'a [u8]>, Ambiguous>;

/// The headers that the guard needs of every request.
#[derive(Clone, Copy, Debug)]
struct Known<'a> {
    method: One<'a>,
    path: One<'a>,
    authority: One<'a>,
    upgrades: bool,
    is_grpc: bool,
    has_length: bool,
    is_plain: bool,
}

/// Splits the host's encoding of a header map. `None` if the bytes are not a header map.
///
/// The encoding has the number of pairs, then the sizes of each name and value, all as 32 bits in little-endian order.
/// The names and values follow, each with a NUL byte after it.
#[must_use]
pub fn split_pairs(map: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    if map.is_empty() {
        return Some(Vec::new());
    }
    let (count, mut sizes) = split_u32(map)?;
    // The slice bounds the count before any memory is reserved for it.
    let mut text = sizes.get(count.checked_mul(8)?..)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let (name_size, rest) = split_u32(sizes)?;
        let (value_size, rest) = split_u32(rest)?;
        sizes = rest;
        let (name, rest) = text.split_at_checked(name_size)?;
        let (value, rest) = rest.strip_prefix(b"\0")?.split_at_checked(value_size)?;
        text = rest.strip_prefix(b"\0")?;
        pairs.push((name, value));
    }
    Some(pairs)
}

fn split_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

/// Encodes a header map for [`split_pairs`]. `None` if a size does not fit in 32 bits.
#[must_use]
pub fn join_pairs(pairs: &[(&str, &str)]) -> Option<Vec<u8>> {
    let mut map = u32::try_from(pairs.len()).ok()?.to_le_bytes().to_vec();
    for (name, value) in pairs {
        map.extend(u32::try_from(name.len()).ok()?.to_le_bytes());
        map.extend(u32::try_from(value.len()).ok()?.to_le_bytes());
    }
    for (name, value) in pairs {
        map.extend(name.bytes().chain([0]).chain(value.bytes()).chain([0]));
    }
    Some(map)
}

/// A request holds several values where one is wanted, or one that applications read differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ambiguous;

impl<'a> Headers<'a> {
    /// The headers of these pairs. One pass finds what the guard needs of every request.
    #[must_use]
    pub fn new(pairs: &'a [Pair<'a>]) -> Self {
        let mut known = Known {
            is_plain: true,
            ..Known::NOTHING
        };
        for (name, value) in pairs {
            known.add(name, value);
        }
        Self { pairs, known }
    }

    /// The headers or trailers of an answer. The guard reads only one or two of them.
    #[must_use]
    pub const fn of_answer(pairs: &'a [Pair<'a>]) -> Self {
        let known = Known::NOTHING;
        Self { pairs, known }
    }

    /// The method: `:method`.
    ///
    /// # Errors
    /// The request has the header more than once.
    pub const fn method(&self) -> One<'a> {
        self.known.method
    }

    /// The path and the query: `:path`.
    ///
    /// # Errors
    /// The request has the header more than once.
    pub const fn target(&self) -> One<'a> {
        self.known.path
    }

    /// The host: `:authority`.
    ///
    /// # Errors
    /// The request has the header more than once.
    pub const fn authority(&self) -> One<'a> {
        self.known.authority
    }

    /// Whether a request asks for another protocol: by Upgrade, or by extended CONNECT.
    #[must_use]
    pub const fn upgrades(&self) -> bool {
        self.known.upgrades
    }

    /// Whether Envoy takes the request for a gRPC call.
    #[must_use]
    pub const fn is_grpc(&self) -> bool {
        self.known.is_grpc
    }

    /// Whether there is a content-length.
    #[must_use]
    pub const fn has_length(&self) -> bool {
        self.known.has_length
    }

    /// Whether all names are portable, and none is one of the guard's own.
    pub(crate) const fn is_plain(&self) -> bool {
        self.known.is_plain
    }

    /// The value of the header `name`, if the request has it.
    ///
    /// # Errors
    /// The request has the header more than once.
    #[inline(never)]
    pub fn one(&self, name: &str) -> One<'a> {
        let mut values = self.values(name);
        let first = values.next();
        match values.next() {
            Some(_) => Err(Ambiguous),
            None => Ok(first),
        }
    }

    /// Every value of the header `name`.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.pairs
            .iter()
            .filter(move |(header, _)| header.len() == name.len() && is_same(header, name))
            .map(|(_, value)| *value)
    }

    /// Whether PHP or CGI could read another header as the header `name`.
    pub(crate) fn has_lookalike(&self, name: &str) -> bool {
        let name = name.as_bytes();
        let mut headers = self.pairs.iter();
        headers.any(|(header, _)| folds_to(header, name) && !header.eq_ignore_ascii_case(name))
    }
}

impl<'a> Known<'a> {
    const NOTHING: Self = Self {
        method: Ok(None),
        path: Ok(None),
        authority: Ok(None),
        upgrades: false,
        is_grpc: false,
        has_length: false,
        is_plain: false,
    };

    /// Notes a header. The length of its name excludes most names.
    fn add(&mut self, name: &'a [u8], value: &'a [u8]) {
        // Envoy keeps names in lower case.
        let is = |known: &[u8]| name == known || name.eq_ignore_ascii_case(known);
        match name.len() {
            5 if is(b":path") => add_one(&mut self.path, value),
            7 if is(b":method") => add_one(&mut self.method, value),
            7 if is(b"upgrade") => self.upgrades = true,
            9 if is(b":protocol") => self.upgrades = true,
            10 if is(b":authority") => add_one(&mut self.authority, value),
            12 if is(b"content-type") => self.is_grpc |= value.starts_with(b"application/grpc"),
            14 if is(b"content-length") => self.has_length = true,
            _ => self.is_plain = self.is_plain && is_portable_name(name) && !is_reserved(name),
        }
    }
}

fn add_one<'a>(one: &mut One<'a>, value: &'a [u8]) {
    *one = match one {
        Ok(None) => Ok(Some(value)),
        Ok(Some(_)) | Err(Ambiguous) => Err(Ambiguous),
    };
}

/// Whether two names are the same, in any spelling. Not inlined: each copy of the comparison would take its own place in the
/// caches of the processor.
#[inline(never)]
fn is_same(header: &[u8], name: &str) -> bool {
    header.eq_ignore_ascii_case(name.as_bytes())
}

/// A content-length, if it is a plain number. Envoy forwards a `013`, and version 1.36 also a `+13` over HTTP/2. Upstreams
/// may read these differently.
#[inline(never)]
pub(crate) fn plain_length(length: &[u8]) -> Option<u64> {
    // A number of 19 digits fits in 64 bits.
    if length.is_empty() || length.len() > 19 || (length.len() > 1 && length.starts_with(b"0")) {
        return None;
    }
    let mut number = 0_u64;
    for byte in length {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number = number.wrapping_mul(10).wrapping_add(digit.into());
    }
    Some(number)
}

/// Whether a header is one of the guard's own, `x-webhook-guard-*`, in any spelling.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-webhook-guard-";
    // Most names end the comparison at their first letter.
    matches!(name.first(), Some(b'x' | b'X'))
        && name
            .get(..PREFIX.len())
            .is_some_and(|start| folds_to(start, PREFIX))
}

/// Whether PHP and CGI read two names as the same one. Both replace every byte that is not a letter or a digit.
pub(crate) fn folds_to(name: &[u8], other: &[u8]) -> bool {
    let folded = |byte: &u8| match byte.is_ascii_alphanumeric() {
        true => byte.to_ascii_lowercase(),
        false => b'-',
    };
    name.len() == other.len() && name.iter().map(folded).eq(other.iter().map(folded))
}

/// Whether all servers read a name in the same way: it has only letters, digits and `-`, after the `:` of a pseudo-header.
pub(crate) fn is_portable_name(name: &[u8]) -> bool {
    let name = name.strip_prefix(b":").unwrap_or(name);
    bytes::are(name, bytes::NAME)
}

/// Reads the method of a request that can have a body.
pub(crate) fn read_method(node: Node<'_>) -> Option<String> {
    node.parse(|text| match text {
        "CONNECT" => Err("CONNECT has no body to sign: remove it".to_owned()),
        _ if !is_token(text) => Err(format!("{text:?} is not a method: write one such as POST")),
        _ if text.bytes().any(|byte| byte.is_ascii_lowercase()) => Err(format!(
            "methods are upper case: write {}",
            text.to_ascii_uppercase()
        )),
        _ => Ok(text.to_owned()),
    })
}

/// Whether a text is a token (RFC 9110, 5.6.2): a header's name or a method.
pub(crate) fn is_token(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_is_a_plain_number() {
        for (text, length) in [
            ("0", 0),
            ("13", 13),
            ("9999999999999999999", 9_999_999_999_999_999_999),
        ] {
            assert_eq!(plain_length(text.as_bytes()), Some(length), "{text}");
        }
        for text in [
            "",
            "013",
            "00",
            "+13",
            "-1",
            "1 ",
            "1a",
            "1,1",
            "10000000000000000000",
            "\u{661}",
        ] {
            assert_eq!(plain_length(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn one_pass_finds_what_a_search_for_each_name_finds(
            named in prop::collection::vec(("(?i)(:method|:path|:authority|:protocol|upgrade|content-(type|length)|x[-_]a|x-webhook[-_]guard-a)|.{0,14}",
                prop::sample::select(vec!["POST", "application/grpc", "application/json"])), 0..8),
        ) {
            let pairs: Vec<_> = named.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            let headers = Headers::new(&pairs);
            prop_assert_eq!(headers.method(), headers.one(":method"));
            prop_assert_eq!(headers.target(), headers.one(":path"));
            prop_assert_eq!(headers.authority(), headers.one(":authority"));
            let has = |name| headers.values(name).next().is_some();
            prop_assert_eq!(headers.upgrades(), has("upgrade") || has(":protocol"));
            prop_assert_eq!(headers.has_length(), has("content-length"));
            let is_grpc = |value: &[u8]| value.starts_with(b"application/grpc");
            prop_assert_eq!(headers.is_grpc(), headers.values("content-type").any(is_grpc));
            let is_plain = |(name, _): &Pair<'_>| is_portable_name(name) && !is_reserved(name);
            prop_assert_eq!(headers.is_plain(), pairs.iter().all(is_plain));
        }
    }

    #[test]
    fn one_value_or_none_or_a_duplicate() {
        let pairs: [(&[u8], &[u8]); 4] =
            [(b"a", b"1"), (b"b", b"2"), (b"B", b"3"), (b"c", b"\xff")];
        let headers = Headers::new(&pairs);
        assert_eq!(headers.one("a"), Ok(Some(&b"1"[..])));
        assert_eq!(headers.one("b"), Err(Ambiguous));
        assert_eq!(headers.one("c"), Ok(Some(&b"\xff"[..])));
        assert_eq!(headers.one("d"), Ok(None));
    }

    #[test]
    fn a_map_is_split_as_it_was_joined_and_no_cut_panics() {
        let map = join_pairs(&[(":path", "/a"), ("empty", ""), ("x", "1")]).expect("a map");
        let pairs = split_pairs(&map).expect("pairs");
        assert_eq!(
            pairs,
            [(&b":path"[..], &b"/a"[..]), (b"empty", b""), (b"x", b"1")]
        );
        for cut in 1..map.len() {
            assert_eq!(split_pairs(&map[..cut]), None, "cut at {cut}");
        }
        assert_eq!(split_pairs(b""), Some(vec![]));
        assert_eq!(split_pairs(&[0xff; 64]), None);
    }

    #[test]
    fn reserved_names_in_any_spelling() {
        for name in [
            "x-webhook-guard-endpoint",
            "X_Webhook_Guard_Verdict",
            "x-webhook_guard-",
            "x.webhook.guard.endpoint",
            "X!webhook~guard|verdict",
            "x-webhook-guard-é",
        ] {
            assert!(is_reserved(name.as_bytes()), "{name}");
        }
        for name in [
            "x-webhook-guard",
            "x-webhook-guardian",
            "x-webhook-signature",
            "webhook-guard-endpoint",
            "x-webhookxguard-endpoint",
        ] {
            assert!(!is_reserved(name.as_bytes()), "{name}");
        }
    }
}
