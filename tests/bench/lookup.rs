//! The cost of a lookup in an allow list, by the list's length. Native code, one thread, the mean over many addresses,
//! best of seven rounds. In Envoy the same code runs as WebAssembly, at about half the speed.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "a benchmark may panic"
)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use webhook_guard::request::address::{AllowList, Range};

const LOOKUPS: u32 = 1_000_000;

fn main() {
    println!("prefixes   ns per look-up   against one prefix");
    let mut first = None;
    for length in [1, 100, 10_000, 50_000] {
        let nanos = (0..7)
            .map(|_| measure(length))
            .fold(f64::INFINITY, f64::min);
        let ratio = nanos / *first.get_or_insert(nanos);
        println!("{length:>8}   {nanos:>14.1}   x {ratio:.1}");
    }
}

fn measure(length: u32) -> f64 {
    // Every other /24 from 16.0.0.0 on, so that they do not merge.
    let prefix = |number: u32| {
        let network = Ipv4Addr::from_bits((16 << 24) + (number << 9));
        Range::parse(&format!("{network}/24")).expect("a prefix")
    };
    let list = AllowList::new((0..length).map(prefix).collect());
    let span = length << 9;
    let start = Instant::now();
    let mut found = 0;
    for number in 0..LOOKUPS {
        let address = Ipv4Addr::from_bits((16 << 24) + number.wrapping_mul(2_654_435_761) % span);
        found += u32::from(list.contains(black_box(IpAddr::V4(address))));
    }
    let elapsed = start.elapsed();
    assert!(found > LOOKUPS / 3, "{found}");
    elapsed.as_secs_f64() * 1e9 / f64::from(LOOKUPS)
}
