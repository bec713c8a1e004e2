use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value as Json;

use crate::config::value::Value;
use crate::config::{Diagnostics, Node};
use crate::policy::remote_lists::{FetchState, RemoteAllowList};
use crate::request::address::AllowList;

/// Any bytes as a list that a sender publishes: an address is on the list only if a prefix in it says so. And as
/// what the workers keep of one.
pub fn lists(data: &[u8]) {
    if let Some(list) = AllowList::from_bytes(data) {
        assert_eq!(
            AllowList::from_bytes(&list.to_bytes()).as_ref(),
            Some(&list)
        );
        let _ = list.contains(IpAddr::from([192, 0, 2, 1]));
    }
    let state = FetchState::read(data);
    assert_eq!(FetchState::read(&state.to_bytes()), state);
    let text = r#"{"cluster": "c", "authority": "a", "path": "/p", "pointer": "/l"}"#;
    let block = Value::from_json(text.as_bytes()).expect("JSON");
    let remote =
        RemoteAllowList::read(Node::root(&block, &Diagnostics::default())).expect("a list");
    let Ok(list) = remote.read_answer(data) else {
        return;
    };
    assert_eq!(AllowList::from_bytes(&list.to_bytes()), Some(list.clone()));
    let json: Json = serde_json::from_slice(data).expect("something was found in it");
    let prefixes: Vec<_> = match &json["l"] {
        Json::Array(items) => items.iter().map(prefix).collect(),
        text => vec![prefix(text)],
    };
    assert!(!prefixes.is_empty());
    let edges = prefixes.iter().flat_map(|(is_v4, first, last)| {
        [first.wrapping_sub(1), *first, *last, last.wrapping_add(1)].map(|bits| (*is_v4, bits))
    });
    for (is_v4, bits) in edges {
        let address = match is_v4 {
            true => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
            false => IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical(),
        };
        assert_eq!(
            list.contains(address),
            prefixes.iter().any(|prefix| holds(*prefix, address)),
            "{address}"
        );
    }
}

/// Whether it is of IPv4, its first and its last address.
type Prefix = (bool, u128, u128);

fn prefix(text: &Json) -> Prefix {
    let text = text.as_str().expect("a text");
    let (address, length) = text.split_once('/').unzip();
    let address: IpAddr = address.unwrap_or(text).parse().expect("an address");
    let (is_v4, bits, size) = match address {
        IpAddr::V4(v4) => (true, u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (false, v6.to_bits(), 128),
    };
    let length: u32 = length.map_or(size, |length| length.parse().expect("a length"));
    let hosts = 2_u128
        .checked_pow(size - length)
        .map_or(u128::MAX, |count| count - 1);
    let first = bits & !hosts;
    // Mapped addresses are of IPv4.
    match address.to_canonical() {
        IpAddr::V4(_) if !is_v4 => {
            assert!(length >= 96, "{text}");
            (true, first & 0xffff_ffff, (first | hosts) & 0xffff_ffff)
        }
        _ => (is_v4, first, first | hosts),
    }
}

fn holds((is_v4, first, last): Prefix, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_v4 && (first..=last).contains(&v4.to_bits().into()),
        IpAddr::V6(v6) => !is_v4 && (first..=last).contains(&v6.to_bits()),
    }
}
