//! What makes two deliveries the same, and the memory of those that arrived.
//!
//! The host keeps the memory, as 256 buckets for each endpoint: it knows keys and values, but can
//! neither delete nor list them. A delivery's bucket follows from its identity, so that a bucket is all that
//! has to be read and written anew for a request, and nothing else is held while that happens.
//!
//! A delivery is claimed before it goes upstream, and settled when the upstream has answered. A claim that
//! nobody settles lapses after its lease, so that a worker's end loses no event.

use std::fmt;
use std::time::Duration;

use crate::config::Node;
use crate::duration;
use crate::endpoint::Endpoint;
use crate::mac::Mac;
use crate::scheme::{Identity, Scheme};
use crate::verdict::{Mode, Outcome, Reason, Verdict};

/// The last of the buckets that an endpoint's memory has, from 0. It depends on nothing that a configuration
/// can change, or a change would lose what was remembered.
pub const LAST_BUCKET: u8 = u8::MAX;

/// What a bucket begins with: the layout of its entries, and what tells an empty one from one that is absent.
pub const EMPTY: &[u8] = &[1];

/// The size of an entry, in bytes: the delivery's identity, and until when it is what.
const ENTRY: usize = 24;

/// The size of a memory, in bytes, where `max_memory_bytes` is absent: some 70,000 deliveries before the first bucket
/// is full.
const DEFAULT_MEMORY: u32 = 2 * 1024 * 1024;

/// The smallest memory: ten deliveries in each bucket.
const LEAST_MEMORY: u32 = 64 * 1024;

/// The largest memory: each request copies one bucket of it.
const LARGEST_MEMORY: u32 = 64 * 1024 * 1024;

/// How long a claim holds where `lease` is absent: Envoy's default for a route's timeout, and five seconds.
const DEFAULT_LEASE: Duration = Duration::from_secs(20);

/// A time that only grows, whatever becomes of the host's clock: milliseconds since some moment.
pub type Monotonic = u64;

/// A delivery's identity: the first bytes of the HMAC-SHA-512 of what its sender signed, by the endpoint's name. The name
/// is no secret: it keeps the endpoints apart.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Delivery([u8; 16]);

impl Delivery {
    /// The delivery of which this is the hash.
    pub(crate) fn end(hash: Mac) -> Option<Self> {
        let code = hash.code()?;
        code.as_bytes().first_chunk().copied().map(Self)
    }

    /// Its bucket in the endpoint's memory.
    #[must_use]
    pub const fn bucket(self) -> u8 {
        let Self([bucket, ..]) = self;
        bucket
    }
}

/// In hexadecimal digits, as the upstream sees it.
impl fmt::Display for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        let written = hex::encode_to_slice(self.0, &mut digits).ok();
        let digits = written.and_then(|()| std::str::from_utf8(&digits).ok());
        formatter.write_str(digits.unwrap_or_default())
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// How an endpoint remembers its deliveries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replay {
    window: Duration,
    lease: Duration,
    /// How many entries a bucket holds.
    capacity: usize,
    status: u16,
}

/// A delivery on its way upstream, and until when nobody else may take it there. No two claims of a delivery
/// end at the same time, since the second begins after the first has lapsed or was settled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Claim {
    delivery: Delivery,
    until: Monotonic,
}

impl Claim {
    /// The delivery.
    #[must_use]
    pub const fn delivery(&self) -> Delivery {
        self.delivery
    }
}

/// A bucket as it shall be, and how many deliveries it had to forget before their time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The bucket's new text.
    pub bucket: Vec<u8>,
    /// How many deliveries were forgotten to make room.
    pub evicted: usize,
}

/// An entry of a bucket.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Entry {
    delivery: Delivery,
    /// It arrived; else it is on its way.
    arrived: bool,
    until: Monotonic,
}

impl Entry {
    fn read(bytes: &[u8; ENTRY]) -> Option<Self> {
        let (delivery, word) = bytes.split_first_chunk()?;
        let word = u64::from_le_bytes(word.try_into().ok()?);
        Some(Self {
            delivery: Delivery(*delivery),
            arrived: word & 1 == 1,
            until: word >> 1,
        })
    }

    fn write(self, bucket: &mut Vec<u8>) {
        bucket.extend(self.delivery.0);
        bucket.extend(((self.until << 1) | u64::from(self.arrived)).to_le_bytes());
    }
}

/// The entries of a bucket that still count. Of a layout that is not known, nothing does.
fn entries(bucket: &[u8], now: Monotonic) -> impl Iterator<Item = Entry> {
    let entries = bucket.strip_prefix(EMPTY).unwrap_or_default();
    let (entries, _) = entries.as_chunks::<ENTRY>();
    let entries = entries.iter().filter_map(Entry::read);
    // The last millisecond counts: a request may be fresh in it.
    entries.filter(move |entry| entry.until >= now)
}

/// Why a delivery may not go upstream now, as its bucket has it.
#[must_use]
pub fn look(bucket: &[u8], delivery: Delivery, now: Monotonic) -> Option<Reason> {
    let found = entries(bucket, now).find(|entry| entry.delivery == delivery)?;
    Some(match found.arrived {
        true => Reason::Replayed,
        false => Reason::InFlight,
    })
}

impl Replay {
    /// Claims a delivery that may go upstream.
    ///
    /// # Errors
    /// It has arrived, or is on its way.
    pub fn claim(
        &self,
        bucket: &[u8],
        delivery: Delivery,
        now: Monotonic,
    ) -> Result<(Change, Claim), Reason> {
        if let Some(reason) = look(bucket, delivery, now) {
            return Err(reason);
        }
        let until = later(now, self.lease);
        let entry = Entry {
            delivery,
            arrived: false,
            until,
        };
        let change = self.put(bucket, entry, now);
        Ok((change, Claim { delivery, until }))
    }

    /// Settles a claim: the upstream took the delivery, or it may come again. `None` where there is nothing to
    /// change, since the claim has lapsed and somebody else has the delivery.
    #[must_use]
    pub fn settle(
        &self,
        bucket: &[u8],
        claim: &Claim,
        arrived: bool,
        now: Monotonic,
    ) -> Option<Change> {
        let entry = Entry {
            delivery: claim.delivery,
            arrived,
            until: match arrived {
                true => later(now, self.window),
                false => claim.until,
            },
        };
        if arrived {
            return Some(self.put(bucket, entry, now));
        }
        let mut found = false;
        let mut kept = EMPTY.to_vec();
        for each in entries(bucket, now) {
            if each == entry {
                found = true;
            } else {
                each.write(&mut kept);
            }
        }
        found.then_some(Change {
            bucket: kept,
            evicted: 0,
        })
    }

    /// A bucket with this entry in the place of what it had of the delivery. Where there is no room, what is
    /// forgotten is what would be first, deliveries on their way only where there is nothing else.
    fn put(&self, bucket: &[u8], entry: Entry, now: Monotonic) -> Change {
        let others = entries(bucket, now).filter(|each| each.delivery != entry.delivery);
        let mut others: Vec<_> = others.collect();
        // What was written last stands last.
        let evicted = others.len().saturating_add(1).saturating_sub(self.capacity);
        let mut excess = evicted;
        for arrived in [true, false] {
            others.retain(|each| {
                let goes = excess > 0 && each.arrived == arrived;
                excess = excess.saturating_sub(usize::from(goes));
                !goes
            });
        }
        let mut bucket = Vec::with_capacity(bucket.len().saturating_add(ENTRY));
        bucket.extend(EMPTY);
        for each in others.into_iter().chain([entry]) {
            each.write(&mut bucket);
        }
        Change { bucket, evicted }
    }
}

/// The time that comes after another by so much.
pub(crate) fn later(now: Monotonic, by: Duration) -> Monotonic {
    // A shift keeps the highest bit free.
    let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    now.saturating_add(by).min(u64::MAX >> 1)
}

impl Endpoint {
    /// Whether the memory is asked for the delivery of a request with this verdict, and whether it is claimed.
    #[must_use]
    pub fn remembers(&self, verdict: &Verdict) -> Option<(&Replay, Delivery, bool)> {
        let delivery = verdict.verified.as_ref()?.delivery?;
        let goes_on = matches!(verdict.outcome, Outcome::Accepted | Outcome::Challenged);
        let replay = self.replay.as_ref().filter(|_| goes_on)?;
        let claims = verdict.outcome == Outcome::Accepted && self.mode == Mode::Enforce;
        Some((replay, delivery, claims))
    }

    /// The verdict on a verified request whose delivery may not go upstream now.
    #[must_use]
    pub fn again(&self, verdict: Verdict, reason: Reason) -> Verdict {
        let replay = self.replay.as_ref();
        let status = replay.filter(|_| reason == Reason::Replayed);
        Verdict {
            verified: verdict.verified,
            status: status.map(|replay| replay.status),
            ..Verdict::new(reason, self.mode)
        }
    }
}

/// Reads a `replay` block, of which `None` is that the endpoint remembers nothing.
pub(crate) fn read(node: Node<'_>, scheme: Option<&Scheme>) -> Option<Option<Replay>> {
    let mut block = node.object()?;
    let window = block.optional("window", |node| Some((node, node.parse(duration::parse)?)));
    let lease = block.optional("lease", |node| {
        let lease = node.parse(duration::parse)?;
        if lease.is_zero() {
            return node.fault(
                "no claim would hold: write the route's timeout and some seconds more, such as 20s",
            );
        }
        Some(lease)
    });
    let memory = block.optional("max_memory_bytes", |node| {
        let memory = node.integer(LARGEST_MEMORY)?;
        if memory < LEAST_MEMORY {
            return node.fault(format_args!(
                "too small to be of use: at least {LEAST_MEMORY}"
            ));
        }
        Some(memory)
    });
    let status = block.optional("status", |node| match node.integer(999)? {
        // All of them may have a body.
        status @ (200..=203 | 400..=499) => u16::try_from(status).ok(),
        _ => {
            node.fault("not a status that a copy can be answered: write 200 to 203, or 400 to 499")
        }
    });
    block.close()?;
    if window.is_some_and(|(_, window)| window.is_zero()) {
        return Some(None);
    }
    let replay = Replay::new(scheme?, read_window(node, window, scheme?)?);
    Some(Some(Replay {
        lease: lease.unwrap_or(replay.lease),
        capacity: memory.map_or(replay.capacity, capacity),
        status: status.unwrap_or(replay.status),
        ..replay
    }))
}

/// For how long deliveries are remembered: as it is written at a node, if it is.
fn read_window(
    node: Node<'_>,
    window: Option<(Node<'_>, Duration)>,
    scheme: &Scheme,
) -> Option<Duration> {
    if scheme.identity == Identity::None {
        return node.fault("the scheme tells no delivery from another, since two of them may have the same body: remove it, or if no two bodies are the same, write the scheme with `identity: message`");
    }
    let Some((node, window)) = window else {
        return scheme.default_window().or_else(|| {
            node.fault(
                "`window` is missing: add `window: 24h`, or how long a copy shall be refused",
            )
        });
    };
    let least = scheme.least_window().unwrap_or_default();
    if window < least {
        return node.fault(format_args!(
            "a request is fresh for twice the tolerance, and could come again after it is forgotten: write at least {}s, or 0s for no memory",
            least.as_secs().saturating_add(u64::from(least.subsec_nanos() > 0))
        ));
    }
    Some(window)
}

impl Replay {
    /// How an endpoint remembers its deliveries that says no more than for how long.
    fn new(scheme: &Scheme, window: Duration) -> Self {
        Self {
            window,
            lease: DEFAULT_LEASE,
            capacity: capacity(DEFAULT_MEMORY),
            // Who signs ids sends one until it is taken, so that a copy has to be taken too.
            status: if scheme.identity == Identity::Id {
                200
            } else {
                409
            },
        }
    }

    /// How an endpoint remembers its deliveries that does not say.
    pub(crate) fn default_of(scheme: &Scheme) -> Option<Self> {
        Some(Self::new(scheme, scheme.default_window()?))
    }
}

/// How many entries a bucket holds of a memory of this size.
fn capacity(memory: u32) -> usize {
    usize::try_from(memory / 256)
        .unwrap_or(usize::MAX)
        .saturating_sub(EMPTY.len())
        / ENTRY
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Monotonic = 1_000_000;

    fn replay(capacity: usize) -> Replay {
        Replay {
            window: Duration::from_secs(600),
            lease: Duration::from_secs(20),
            capacity,
            status: 409,
        }
    }

    fn delivery(number: u8) -> Delivery {
        Delivery([number; 16])
    }

    fn claim(bucket: &mut Vec<u8>, number: u8, now: Monotonic) -> Result<Claim, Reason> {
        let (change, claim) = replay(3).claim(bucket, delivery(number), now)?;
        *bucket = change.bucket;
        Ok(claim)
    }

    fn settle(bucket: &mut Vec<u8>, claim: &Claim, arrived: bool, now: Monotonic) {
        if let Some(change) = replay(3).settle(bucket, claim, arrived, now) {
            *bucket = change.bucket;
        }
    }

    #[test]
    fn a_delivery_is_shown_in_hexadecimal_digits_and_its_first_byte_is_its_bucket() {
        let delivery = Delivery(std::array::from_fn(|place| 0xf0 - place as u8));
        assert_eq!(delivery.to_string(), "f0efeeedecebeae9e8e7e6e5e4e3e2e1");
        assert_eq!(delivery.bucket(), 0xf0);
    }

    #[test]
    fn no_time_has_the_bit_that_tells_of_arrival() {
        assert_eq!(later(1, Duration::from_millis(2)), 3);
        assert_eq!(later(u64::MAX, Duration::MAX), u64::MAX / 2);
    }

    #[test]
    fn a_delivery_is_claimed_once_and_remembered_for_the_window() {
        let bucket = &mut EMPTY.to_vec();
        let claimed = claim(bucket, 1, NOW).expect("a claim");
        assert_eq!(claim(bucket, 1, NOW), Err(Reason::InFlight));
        assert!(claim(bucket, 2, NOW).is_ok());
        settle(bucket, &claimed, true, NOW + 15_000);
        assert_eq!(claim(bucket, 1, NOW + 15_000), Err(Reason::Replayed));
        let last = NOW + 15_000 + 600_000;
        assert_eq!(claim(bucket, 1, last), Err(Reason::Replayed));
        assert!(claim(bucket, 1, last + 1).is_ok());
    }

    #[test]
    fn what_did_not_arrive_may_come_again_and_so_may_what_nobody_settled() {
        let bucket = &mut EMPTY.to_vec();
        let first = claim(bucket, 1, NOW).expect("a claim");
        settle(bucket, &first, false, NOW);
        assert_eq!(bucket, EMPTY);
        claim(bucket, 1, NOW).expect("it was given back");
        assert_eq!(claim(bucket, 1, NOW + 20_000), Err(Reason::InFlight));
        assert!(claim(bucket, 1, NOW + 20_001).is_ok());
    }

    #[test]
    fn a_claim_that_lapsed_gives_back_nobody_elses() {
        let bucket = &mut EMPTY.to_vec();
        let first = claim(bucket, 1, NOW).expect("a claim");
        let second = claim(bucket, 1, NOW + 20_001).expect("the first lapsed");
        settle(bucket, &first, false, NOW + 20_001);
        assert_eq!(claim(bucket, 1, NOW + 20_001), Err(Reason::InFlight));
        // But what arrived, arrived, whatever the second copy comes to.
        settle(bucket, &first, true, NOW + 20_002);
        settle(bucket, &second, false, NOW + 20_003);
        assert_eq!(claim(bucket, 1, NOW + 20_003), Err(Reason::Replayed));
    }

    #[test]
    fn a_full_bucket_forgets_the_oldest_that_arrived_and_says_so() {
        let bucket = &mut EMPTY.to_vec();
        let waiting = claim(bucket, 1, NOW).expect("a claim");
        for number in [2, 3] {
            let claimed = claim(bucket, number, NOW + u64::from(number)).expect("a claim");
            settle(bucket, &claimed, true, NOW + u64::from(number));
        }
        let (change, _) = replay(3)
            .claim(bucket, delivery(4), NOW + 10)
            .expect("a claim");
        assert_eq!(change.evicted, 1);
        let looked = |number| look(&change.bucket, delivery(number), NOW + 10);
        assert_eq!(looked(1), Some(Reason::InFlight));
        assert_eq!(looked(2), None);
        assert_eq!(looked(3), Some(Reason::Replayed));
        assert_eq!(looked(4), Some(Reason::InFlight));
        let settled = replay(3).settle(&change.bucket, &waiting, true, NOW + 10);
        assert_eq!(settled.map(|change| change.evicted), Some(0));
        // A smaller memory than before: the bucket shrinks to it.
        let (change, _) = replay(1)
            .claim(bucket, delivery(5), NOW + 10)
            .expect("a claim");
        assert_eq!((change.evicted, change.bucket.len()), (3, 1 + ENTRY));
    }

    #[test]
    fn a_bucket_that_was_much_larger_shrinks_in_one_pass() {
        let mut bucket = EMPTY.to_vec();
        for number in 0_u64..10_000 {
            let mut identity = [0; 16];
            identity[..8].copy_from_slice(&number.to_le_bytes());
            let entry = Entry {
                delivery: Delivery(identity),
                arrived: true,
                until: NOW + number,
            };
            entry.write(&mut bucket);
        }
        let (change, _) = replay(10)
            .claim(&bucket, delivery(255), NOW)
            .expect("a claim");
        assert_eq!(change.evicted, 9_991);
        // The youngest are left.
        assert_eq!(entries(&change.bucket, NOW).count(), 10);
        assert!(
            entries(&change.bucket, NOW)
                .take(9)
                .all(|entry| entry.until > NOW + 9_990)
        );
    }

    #[test]
    fn a_layout_that_is_not_known_holds_nothing() {
        for bucket in [&b""[..], &[2; 25], &[1; 24], &[0]] {
            assert_eq!(look(bucket, Delivery([1; 16]), 0), None, "{bucket:?}");
            let (change, _) = replay(3).claim(bucket, delivery(9), NOW).expect("a claim");
            assert_eq!(change.bucket.len(), 1 + ENTRY);
        }
    }

    #[test]
    fn the_memory_stays_within_its_bytes() {
        for memory in [LEAST_MEMORY, DEFAULT_MEMORY, LARGEST_MEMORY] {
            let bucket = EMPTY.len() + capacity(memory) * ENTRY;
            assert!(u32::try_from(bucket * 256).expect("a size") <= memory);
        }
        assert_eq!(capacity(DEFAULT_MEMORY) * 256, 87_296);
    }

    proptest! {
        /// Whatever comes, no delivery has two claims that hold at once, none goes on after it arrived within
        /// the window, and the bucket keeps to its size.
        #[test]
        fn no_delivery_goes_upstream_twice(steps in prop::collection::vec((0_u8..4, 0_u8..3, 0_u64..30_000), 0..60)) {
            let replay = replay(4);
            let mut bucket = EMPTY.to_vec();
            let mut now = NOW;
            let mut claims: Vec<Claim> = Vec::new();
            let mut arrived = [None::<Monotonic>; 4];
            for (number, kind, elapsed) in steps {
                now = now.saturating_add(elapsed);
                let which = delivery(number);
                let own = claims.iter().position(|claim| claim.delivery == which);
                match (kind, own) {
                    (0, _) => {
                        let held = claims.iter().any(|claim| claim.delivery == which && claim.until >= now);
                        let known = arrived[usize::from(number)].is_some_and(|at| now < at.saturating_add(600_000));
                        match replay.claim(&bucket, which, now) {
                            Ok((change, claim)) => {
                                prop_assert!(!held && !known);
                                bucket = change.bucket;
                                claims.push(claim);
                            }
                            Err(Reason::Replayed) => prop_assert!(known),
                            Err(_) => prop_assert!(held),
                        }
                    }
                    (kind, Some(own)) => {
                        let claim = claims.remove(own);
                        if let Some(change) = replay.settle(&bucket, &claim, kind == 1, now) {
                            bucket = change.bucket;
                        }
                        if kind == 1 {
                            arrived[usize::from(number)] = Some(now);
                        }
                    }
                    _ => {}
                }
                prop_assert!(bucket.len() <= 1 + 4 * ENTRY);
            }
        }
    }
}
