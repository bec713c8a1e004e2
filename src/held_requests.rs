//! The bytes of the requests that a worker holds, and which requests to reject when they are too many.
//!
//! A held request costs memory until its verdict, and any client can send one. The worker counts the bytes of all
//! of them. Above the limit, the client network that holds most loses its largest requests first. A client keeps
//! its requests unless it holds more than each attacking network does.

use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::Duration;

use crate::request::address::Client;

/// The memory that Envoy and the module use for any held request, in bytes: the stream, its filters and the
/// state of its verification. Measured with Envoy 1.40 over HTTP/2: see tests/envoy/test_budget.py.
const BASE: u64 = 16 * 1024;

/// The memory that Envoy uses for each header besides its name and value, in bytes.
const PER_HEADER: u64 = 384;

/// The most requests that one call selects. The host answers them nested on one stack, which holds some five
/// hundred.
pub const MAX_SELECTED: usize = 64;

/// How long a held request may wait for its first byte, while the host has not shown the body of any held request.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a request without a body has waited too long. Both times are nanoseconds of the monotonic clock.
#[must_use]
pub fn is_overdue(started: u64, now: u64) -> bool {
    Duration::from_nanos(now.saturating_sub(started)) >= PATIENCE
}

/// The bits of an IPv6 address that name one customer's networks: a /48. A customer has all /64s in it.
const IPV6_NETWORK: u128 = u128::MAX << 80;

/// The memory that the head of a held request costs, in bytes.
///
/// `headers` and `bytes` are the number and the size of all headers, `kept` what the module keeps of them.
#[must_use]
pub fn head_cost(headers: usize, bytes: usize, kept: usize) -> u64 {
    let number = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
    PER_HEADER
        .saturating_mul(number(headers))
        .saturating_add(number(bytes))
        .saturating_add(number(kept))
        .saturating_add(BASE)
}

/// The network that a client's requests are counted for: an IPv4 address, or a /48 of IPv6, as an IPv6 address's
/// bits. 0 counts all clients without a readable address together.
pub type Network = u128;

/// The network of a client, whether or not the way is trusted by which the address came.
#[must_use]
pub fn network(client: Client) -> Network {
    match client.ip() {
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped().to_bits(),
        Some(IpAddr::V6(address)) => address.to_bits() & IPV6_NETWORK,
        None => 0,
    }
}

/// The place of a held request in a [`Ledger`].
#[derive(Debug)]
pub struct Place(usize);

/// The held requests of one worker. `R` is a handle by which the caller rejects a request.
#[derive(Debug)]
pub struct Ledger<R> {
    entries: Vec<Option<Entry<R>>>,
    free: Vec<usize>,
    total: u64,
}

#[derive(Debug)]
struct Entry<R> {
    request: R,
    bytes: u64,
    /// The network of its client, once [`Ledger::select`] needed it.
    network: Option<Network>,
}

impl<R> Default for Ledger<R> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            total: 0,
        }
    }
}

impl<R: Clone> Ledger<R> {
    /// The bytes of all held requests.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Adds a request.
    pub fn add(&mut self, request: R, bytes: u64) -> Place {
        let entry = Some(Entry {
            request,
            bytes,
            network: None,
        });
        self.total = self.total.saturating_add(bytes);
        let free = self.free.pop();
        if let Some(place) = free
            && let Some(slot) = self.entries.get_mut(place)
        {
            *slot = entry;
            return Place(place);
        }
        self.entries.push(entry);
        Place(self.entries.len().saturating_sub(1))
    }

    /// Sets the bytes that a request costs by now.
    pub fn resize(&mut self, place: &Place, bytes: u64) {
        if let Some(Some(entry)) = self.entries.get_mut(place.0) {
            self.total = self.total.saturating_sub(entry.bytes).saturating_add(bytes);
            entry.bytes = bytes;
        }
    }

    /// Removes a request that has its verdict.
    pub fn remove(&mut self, Place(place): Place) {
        if let Some(entry) = self.entries.get_mut(place).and_then(Option::take) {
            self.total = self.total.saturating_sub(entry.bytes);
            self.free.push(place);
        }
    }

    /// Selects the requests to reject, at most [`MAX_SELECTED`], so that the rest fits `limit` with an eighth of
    /// it to spare. Selects none while all of them fit.
    ///
    /// `network` reads the network of a request's client. Each request is asked for once at most.
    pub fn select(&mut self, limit: u64, network: impl Fn(&R) -> Network) -> Vec<R> {
        if self.total <= limit {
            return Vec::new();
        }
        let mut groups = self.by_network(network);
        let mut excess = self.total.saturating_sub(limit.saturating_sub(limit / 8));
        let mut selected = Vec::new();
        while excess > 0 && selected.len() < MAX_SELECTED {
            let Some(largest) = groups.iter_mut().max_by_key(|group| group.bytes) else {
                break;
            };
            let Some((bytes, place)) = largest.requests.pop() else {
                break;
            };
            largest.bytes = largest.bytes.saturating_sub(bytes);
            excess = excess.saturating_sub(bytes);
            if let Some(Some(entry)) = self.entries.get(place) {
                selected.push(entry.request.clone());
            }
        }
        selected
    }

    /// The held requests of each network, the largest request last.
    fn by_network(&mut self, network: impl Fn(&R) -> Network) -> Vec<Group> {
        let mut sorted = BinaryHeap::with_capacity(self.entries.len());
        for (place, slot) in self.entries.iter_mut().enumerate() {
            if let Some(entry) = slot {
                let network = *entry.network.get_or_insert_with(|| network(&entry.request));
                sorted.push((network, entry.bytes, place));
            }
        }
        let mut groups: Vec<Group> = Vec::new();
        for (network, bytes, place) in sorted.into_sorted_vec() {
            match groups.last_mut() {
                Some(group) if group.network == network => {
                    group.bytes = group.bytes.saturating_add(bytes);
                    group.requests.push((bytes, place));
                }
                _ => groups.push(Group {
                    network,
                    bytes,
                    requests: vec![(bytes, place)],
                }),
            }
        }
        groups
    }
}

/// The held requests of one network, by size and place.
struct Group {
    network: Network,
    bytes: u64,
    requests: Vec<(u64, usize)>,
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(last: u8) -> Network {
        network(Client::Trusted(IpAddr::from([192, 0, 2, last])))
    }

    #[test]
    fn nothing_is_rejected_within_the_limit() {
        let mut ledger = Ledger::default();
        ledger.add(1, 500);
        ledger.add(2, 500);
        assert_eq!(ledger.select(1_000, |_| of(1)), Vec::<i32>::new());
    }

    #[test]
    fn the_client_that_holds_most_is_rejected_and_not_the_newcomer() {
        let mut ledger = Ledger::default();
        for request in 0..10 {
            ledger.add((1, request), 90);
        }
        ledger.add((2, 0), 150);
        assert_eq!(ledger.total(), 1_050);
        let selected = ledger.select(1_000, |(client, _)| of(*client));
        assert_eq!(selected, [(1, 9), (1, 8)]);
    }

    #[test]
    fn the_largest_request_of_a_client_goes_first() {
        let mut ledger = Ledger::default();
        let small = ledger.add("small", 100);
        ledger.add("large", 1_000);
        ledger.add("other", 50);
        ledger.resize(&small, 200);
        assert_eq!(ledger.select(1_200, |_| of(1)), ["large"]);
    }

    #[test]
    fn clients_without_an_address_count_as_one() {
        let mut ledger = Ledger::default();
        for request in 0..5 {
            ledger.add((network(Client::Unreadable), request), 100);
        }
        ledger.add((of(1), 0), 200);
        let selected = ledger.select(600, |(network, _)| *network);
        assert!(selected.iter().all(|(network, _)| *network == 0));
    }

    #[test]
    fn one_call_selects_no_more_than_the_host_can_answer() {
        let mut ledger = Ledger::default();
        for request in 0..1_000 {
            ledger.add(request, 100);
        }
        assert_eq!(ledger.select(1_000, |_| of(1)).len(), MAX_SELECTED);
    }

    #[test]
    fn a_request_is_overdue_after_two_seconds() {
        let start = 5_000_000_000;
        assert!(!is_overdue(start, start));
        assert!(!is_overdue(start, start + 1_999_999_999));
        assert!(is_overdue(start, start + 2_000_000_000));
        // A clock that runs backwards makes no request overdue.
        assert!(!is_overdue(start, 0));
    }

    #[test]
    fn an_ipv6_network_is_a_48() {
        let of = |text: &str| network(Client::Trusted(text.parse().expect(text)));
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:ffff::1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    proptest! {
        /// The total is the sum of what is there, and each selection is a set of held requests.
        #[test]
        fn the_total_is_the_sum(steps in prop::collection::vec((0_u8..3, 0_u64..1_000), 0..200)) {
            let mut ledger = Ledger::default();
            let mut held: Vec<(Place, u64, usize)> = Vec::new();
            for (number, (kind, bytes)) in steps.into_iter().enumerate() {
                match (kind, held.len()) {
                    (0, _) | (_, 0) => held.push((ledger.add(number, bytes), bytes, number)),
                    (1, _) => {
                        let last = held.last_mut().expect("a request");
                        ledger.resize(&last.0, bytes);
                        last.1 = bytes;
                    }
                    _ => {
                        let (place, ..) = held.remove(number % held.len());
                        ledger.remove(place);
                    }
                }
                prop_assert_eq!(ledger.total(), held.iter().map(|(_, bytes, _)| bytes).sum::<u64>());
                let mut selected = ledger.select(700, |request| of(u8::from(request % 2 == 0)));
                selected.sort_unstable();
                prop_assert!(selected.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(selected.iter().all(|request| held.iter().any(|(.., known)| known == request)));
            }
        }
    }
}
