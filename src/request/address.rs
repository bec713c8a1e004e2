//! The client of a request: its address, whether the address can be trusted, and allow lists.

use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::{self, Node};

/// Where the guard gets the address of a client: `client_address` in the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AddressSource {
    /// The peer of the connection. Envoy then reports the port too. A port of 0 means that Envoy took the address from a
    /// header.
    Direct,
    /// A header of a proxy that Envoy is configured to trust. Envoy reports the port 0 for such an address. Another port
    /// means that the request bypassed the proxy.
    Forwarded,
    /// A PROXY protocol header, with a port.
    ProxyProtocol,
    /// The filter state with this key, which an earlier filter sets.
    FilterState(String),
}

impl AddressSource {
    /// Reads `client_address`.
    pub(crate) fn read(node: Node<'_>) -> Option<Self> {
        if !node.is_object() {
            return node.choice_or(
                &[
                    ("direct", Self::Direct),
                    ("forwarded", Self::Forwarded),
                    ("proxy_protocol", Self::ProxyProtocol),
                ],
                " or a filter state such as {filter_state: KEY}",
            );
        }
        let mut object = node.object("{filter_state: KEY}")?;
        let key = object.required(
            "filter_state",
            "add the key of the filter state, such as `filter_state: KEY`",
            config::read_filter_state,
        );
        object.close()?;
        key.map(Self::FilterState)
    }

    /// Whether a proxy reports the address. A client that bypasses the proxy can report any address.
    pub(crate) const fn is_of_proxy(&self) -> bool {
        matches!(self, Self::Forwarded | Self::ProxyProtocol)
    }

    /// Reads the host's text for this source. `None` means that the host has no such attribute.
    #[must_use]
    pub fn client(&self, text: Option<&[u8]>) -> Client {
        let Some(text) = text else {
            return Client::Absent;
        };
        let Some((ip, port)) = parse_ipv4_socket(text).or_else(|| parse_client(text)) else {
            return Client::Unreadable;
        };
        let trusted = match self {
            Self::Direct | Self::ProxyProtocol => port.is_some_and(|port| port != 0),
            Self::Forwarded => port == Some(0),
            Self::FilterState(_) => true,
        };
        if trusted {
            Client::Trusted(ip)
        } else {
            Client::Untrusted(ip)
        }
    }
}

/// The address of a client, and whether it can be trusted. IPv4-mapped IPv6 becomes IPv4.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Client {
    /// The address is from the endpoint's [`AddressSource`].
    Trusted(IpAddr),
    /// The address is from another source, and any client could have written it.
    Untrusted(IpAddr),
    /// The host's text is not an address, but a Unix socket, or the `-` of a missing value.
    Unreadable,
    /// The host has no such attribute.
    Absent,
}

impl Client {
    /// The address, trusted or not.
    #[must_use]
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Trusted(ip) | Self::Untrusted(ip) => Some(ip),
            Self::Unreadable | Self::Absent => None,
        }
    }
}

/// Reads `192.0.2.1:80`, without zeros before a number. Most clients have such an address, and the parser of the standard
/// library runs many times as much code.
fn parse_ipv4_socket(text: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let (mut address, mut parts) = (0_u32, 0_u8);
    let (mut number, mut digits) = (0_u32, 0_u8);
    for byte in text {
        match (byte, parts) {
            (b'0'..=b'9', _) if digits == 0 || (number > 0 && digits < 5) => {
                number = number.wrapping_mul(10).wrapping_add(u32::from(byte & 0xf));
                digits = digits.wrapping_add(1);
            }
            (b'.', 0..=2) | (b':', 3) if digits > 0 && number <= 255 => {
                address = address << 8 | number;
                parts = parts.wrapping_add(1);
                (number, digits) = (0, 0);
            }
            _ => return None,
        }
    }
    let port = u16::try_from(number).ok()?;
    (parts == 4 && digits > 0).then(|| (Ipv4Addr::from_bits(address).into(), Some(port)))
}

/// Reads `192.0.2.1:80`, `[2001:db8::1]:80`, or an address without a port.
fn parse_client(text: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some((socket.ip().to_canonical(), Some(socket.port())));
    }
    Some((text.parse::<IpAddr>().ok()?.to_canonical(), None))
}

/// A set of client addresses: sorted ranges that do not overlap, so that a lookup is one binary search. IPv4 sorts before
/// IPv6.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AllowList {
    ranges: Vec<Range>,
}

impl AllowList {
    /// Reads `allow`.
    pub(crate) fn read(node: Node<'_>) -> Option<Self> {
        let ranges = node.each(|item| item.parse(Range::parse))?;
        if ranges.is_empty() {
            return node.error(
                "the list is empty, which rejects every client: add an address such as 192.0.2.7, or remove `allow`",
            );
        }
        let list = Self::new(ranges);
        if list.is_too_wide() {
            node.warn("the list covers half of all addresses or more: list the sender's addresses, or remove `allow`");
        }
        Some(list)
    }

    /// A list of these ranges, which are merged. A heap sorts them, since the
    /// standard sort adds five kilobytes to the module.
    #[must_use]
    pub fn new(ranges: Vec<Range>) -> Self {
        let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
        for range in BinaryHeap::from(ranges).into_sorted_vec() {
            match merged.last_mut() {
                Some(last) if last.reaches(&range) => last.last = last.last.max(range.last),
                _ => merged.push(range),
            }
        }
        Self { ranges: merged }
    }

    /// The number of ranges.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether the list has no address.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the list covers half of the addresses of a family, or more.
    pub(crate) fn is_too_wide(&self) -> bool {
        [(false, 1 << 31), (true, 1 << 127)]
            .iter()
            .any(|(is_v6, half)| {
                let ranges = self.ranges.iter().filter(|range| range.is_v6 == *is_v6);
                let sizes =
                    ranges.map(|range| range.last.saturating_sub(range.first).saturating_add(1));
                sizes.fold(0, u128::saturating_add) >= *half
            })
    }

    /// The list as bytes, for [`Self::from_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.ranges.len().saturating_mul(RANGE));
        for range in &self.ranges {
            bytes.push(u8::from(range.is_v6));
            bytes.extend(range.first.to_le_bytes());
            bytes.extend(range.last.to_le_bytes());
        }
        bytes
    }

    /// Reads the bytes of a list. `None` if they are invalid.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (ranges, rest) = bytes.as_chunks::<RANGE>();
        let number = |bytes: &[u8]| Some(u128::from_le_bytes(bytes.try_into().ok()?));
        let read = |[is_v6, numbers @ ..]: &[u8; RANGE]| {
            let (first, last) = numbers.split_at_checked(16)?;
            Some(Range {
                is_v6: *is_v6 == 1,
                first: number(first)?,
                last: number(last)?,
            })
        };
        let ranges: Vec<_> = ranges.iter().map(read).collect::<Option<_>>()?;
        (rest.is_empty() && !ranges.is_empty()).then_some(Self { ranges })
    }

    /// Whether the list has this address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let one = Range::one(address);
        let begins_before = |range: &Range| (range.is_v6, range.first) <= (one.is_v6, one.first);
        let after = self.ranges.partition_point(begins_before);
        after
            .checked_sub(1)
            .and_then(|index| self.ranges.get(index))
            .is_some_and(|range| range.reaches(&one))
    }
}

/// The size of a stored range, in bytes.
const RANGE: usize = 33;

/// The addresses of one prefix, of one family, as numbers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Range {
    is_v6: bool,
    first: u128,
    last: u128,
}

impl Range {
    /// Reads an address or a prefix, such as `203.0.113.7` or `2001:db8::/32`. A prefix within `::ffff:0:0/96` becomes an IPv4
    /// prefix.
    ///
    /// # Errors
    /// The text is not a prefix. The message says why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is not an IP prefix: {why}");
        let (address, length) = text.split_once('/').unzip();
        let Ok(address) = address.unwrap_or(text).parse::<IpAddr>() else {
            return Err(wrong(
                "write an address such as 192.0.2.7, or a prefix such as 192.0.2.0/24",
            ));
        };
        let bits: u32 = if address.is_ipv4() { 32 } else { 128 };
        let Some(length) = length.map_or(Some(bits), plain_number) else {
            return Err(wrong("write the length as a plain number, such as /24"));
        };
        let Some(free) = bits.checked_sub(length) else {
            return Err(wrong(&format!("the length is at most {bits}")));
        };
        let one = match address {
            // A prefix of more than the mapped addresses is an IPv6 prefix.
            IpAddr::V6(v6) if free > 32 => Self {
                is_v6: true,
                first: v6.to_bits(),
                last: v6.to_bits(),
            },
            _ => Self::one(address),
        };
        let host = u128::MAX
            .checked_shr(128_u32.saturating_sub(free))
            .unwrap_or(0);
        if one.first & host != 0 {
            return Err(wrong(&format!(
                "some bits after its length are set, so write the network's first address, or {address} for one address"
            )));
        }
        Ok(Self {
            last: one.last | host,
            ..one
        })
    }

    /// Whether the range is wider than any sender's network: a /8 of IPv4, or a /16 of IPv6.
    pub(crate) fn is_too_wide(&self) -> bool {
        let widest: u128 = if self.is_v6 { 1 << 112 } else { 1 << 24 };
        self.last.saturating_sub(self.first) >= widest
    }

    /// The range of one address. IPv4-mapped IPv6 becomes IPv4.
    fn one(address: IpAddr) -> Self {
        let (is_v6, bits) = match address.to_canonical() {
            IpAddr::V4(v4) => (false, v4.to_bits().into()),
            IpAddr::V6(v6) => (true, v6.to_bits()),
        };
        Self {
            is_v6,
            first: bits,
            last: bits,
        }
    }

    /// Whether `other` begins in this range.
    fn reaches(&self, other: &Self) -> bool {
        self.is_v6 == other.is_v6 && self.first <= other.first && other.first <= self.last
    }
}

/// Reads one to three digits without a leading zero: `+8` and `08` are typing errors here.
fn plain_number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && text.len() <= 3 && (text == "0" || !text.starts_with('0')))
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(prefixes: &[&str]) -> AllowList {
        AllowList::new(
            prefixes
                .iter()
                .map(|text| Range::parse(text).expect(text))
                .collect(),
        )
    }

    fn holds(prefixes: &[&str], address: &str) -> bool {
        list(prefixes).contains(address.parse().expect(address))
    }

    #[test]
    fn the_edges_of_a_prefix() {
        let prefixes = ["192.30.252.0/22", "2a0a:a440::/29", "203.0.113.7"];
        for inside in [
            "192.30.252.0",
            "192.30.255.255",
            "2a0a:a440::",
            "2a0a:a447:ffff::1",
            "203.0.113.7",
        ] {
            assert!(holds(&prefixes, inside), "{inside}");
        }
        for outside in [
            "192.30.251.255",
            "192.31.0.0",
            "2a0a:a43f:ffff::",
            "2a0a:a448::",
            "203.0.113.6",
            "203.0.113.8",
        ] {
            assert!(!holds(&prefixes, outside), "{outside}");
        }
    }

    #[test]
    fn overlapping_prefixes_are_merged() {
        let merged = list(&["10.0.0.0/8", "10.1.0.0/16", "10.255.255.255", "11.0.0.1"]);
        assert_eq!(merged, list(&["10.0.0.0/8", "11.0.0.1"]));
        assert_eq!((merged.len(), merged.is_empty()), (2, false));
        assert!(list(&[]).is_empty());
        assert!(merged.contains("10.200.0.1".parse().expect("an address")));
    }

    #[test]
    fn mapped_addresses_are_ipv4_and_the_families_stay_apart() {
        assert!(holds(&["10.0.0.0/8"], "::ffff:10.1.2.3"));
        assert!(holds(&["::ffff:10.0.0.0/104"], "10.1.2.3"));
        assert!(!holds(&["::/0"], "10.1.2.3"));
        assert!(!holds(&["0.0.0.0/0"], "::1"));
        assert!(holds(&["0.0.0.0/0"], "255.255.255.255"));
    }

    #[test]
    fn each_kind_of_invalid_prefix_has_its_error() {
        for (text, why) in [
            ("10.0.0.0/33", "the length is at most 32"),
            ("2001:db8::/129", "the length is at most 128"),
            ("10.0.0.0/-1", "as a plain number"),
            ("10.0.0.0/+8", "as a plain number"),
            ("10.0.0.0/08", "as a plain number"),
            ("10.0.0.0/", "as a plain number"),
            ("10.0.0.0/8/8", "as a plain number"),
            ("10.0.0.1/8", "bits after its length"),
            ("10.0.0", "write an address"),
            ("010.0.0.1", "write an address"),
            ("example.com", "write an address"),
            ("", "write an address"),
        ] {
            let fault = Range::parse(text).expect_err(text);
            assert!(fault.contains(why), "{fault}");
        }
    }

    #[test]
    fn a_client_is_trusted_by_the_way_its_address_came() {
        let ip = IpAddr::from([10, 1, 2, 3]);
        let state = AddressSource::FilterState("peer".into());
        for (source, text, client) in [
            (&AddressSource::Direct, "10.1.2.3:4711", Client::Trusted(ip)),
            (&AddressSource::Direct, "10.1.2.3:0", Client::Untrusted(ip)),
            (&AddressSource::Direct, "10.1.2.3", Client::Untrusted(ip)),
            (
                &AddressSource::ProxyProtocol,
                "10.1.2.3:4711",
                Client::Trusted(ip),
            ),
            (
                &AddressSource::ProxyProtocol,
                "10.1.2.3:0",
                Client::Untrusted(ip),
            ),
            (&AddressSource::Forwarded, "10.1.2.3:0", Client::Trusted(ip)),
            (
                &AddressSource::Forwarded,
                "10.1.2.3:4711",
                Client::Untrusted(ip),
            ),
            (
                &AddressSource::Forwarded,
                "[::ffff:10.1.2.3]:0",
                Client::Trusted(ip),
            ),
            (&state, "10.1.2.3", Client::Trusted(ip)),
            (&state, "-", Client::Unreadable),
            (&state, "", Client::Unreadable),
            (
                &AddressSource::Direct,
                "/run/envoy.sock",
                Client::Unreadable,
            ),
        ] {
            assert_eq!(
                source.client(Some(text.as_bytes())),
                client,
                "{source:?} {text}"
            );
        }
        assert_eq!(AddressSource::Direct.client(None), Client::Absent);
        assert_eq!(
            AddressSource::Direct.client(Some(b"\xff")),
            Client::Unreadable
        );
    }

    #[test]
    fn an_address_has_four_parts_whatever_follows() {
        let wrapped = format!("9.9.9.9:{}127.0.0.1:80", "0.".repeat(252));
        for text in ["1.2.3.4:5.", "1.2.3.4:5:6", "1.2.3.4.5:6", &wrapped] {
            assert_eq!(parse_ipv4_socket(text.as_bytes()), None, "{text}");
            assert_eq!(
                AddressSource::FilterState("peer".into()).client(Some(text.as_bytes())),
                Client::Unreadable
            );
        }
    }

    proptest! {
        #[test]
        fn the_short_parser_agrees_with_that_of_the_standard_library(
            text in r"[0-9]{1,4}(\.[0-9]{1,4}){2,4}:[0-9]{0,6}|[0-9.:]{0,24}|([0-9]{1,3}\.){3}[0-9]{1,3}:[0-9]{1,5}|[ -~]{0,24}"
        ) {
            let standard = parse_client(text.as_bytes());
            let short = parse_ipv4_socket(text.as_bytes());
            prop_assert!(short.is_none() || short == standard);
            // Both read what Envoy writes.
            let is_canonical = text.parse::<std::net::SocketAddrV4>().is_ok_and(|it| it.to_string() == text);
            prop_assert_eq!(short.is_some(), is_canonical);
        }
    }
}
