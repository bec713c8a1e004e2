//! The memory of the deliveries that arrived.
//!
//! The host keeps the memory, as 256 buckets for each endpoint: it knows keys and values, but can
//! neither delete nor list them. A delivery's bucket follows from its identity, so that a bucket is all that
//! has to be read and written anew for a request, and nothing else is held while that happens.
//!
//! A delivery is claimed before it goes upstream, and settled when the upstream has answered. A claim that
//! nobody settles lapses after its lease, so that a worker's end loses no event.

use std::time::Duration;

use crate::config::Node;
use crate::delivery::DeliveryHash;
use crate::scheme::{DedupBy, Scheme};
use crate::time::{self, Moment, Monotonic, UnixMillis, later};
use crate::verdict::Denial;

/// The last of the buckets that an endpoint's memory has, from 0. It depends on nothing that a configuration
/// can change, or a change would lose what was remembered.
pub const LAST_BUCKET: u8 = u8::MAX;

/// A bucket without entries: the number of the layout, and the time of the deliveries that were removed from it. A
/// bucket that is absent differs from it.
pub const EMPTY: &[u8] = &[LAYOUT, 0, 0, 0, 0];

/// The layout of a bucket that this module writes. The guard remembers nothing of a bucket in another layout.
const LAYOUT: u8 = 2;

/// The size of an entry, in bytes: the delivery's identity, its end by the monotonic clock, and the end of its
/// signature's freshness.
const ENTRY: usize = 28;

/// The size of a memory, in bytes, where `max_memory_bytes` is absent: some 60,000 deliveries before the first bucket
/// is full.
const DEFAULT_MEMORY: u32 = 2 * 1024 * 1024;

/// The smallest memory: ten deliveries in each bucket.
const LEAST_MEMORY: u32 = 64 * 1024;

/// The largest memory: each request copies one bucket of it.
const LARGEST_MEMORY: u32 = 64 * 1024 * 1024;

/// How long a claim holds where `lease` is absent: Envoy's default for a route's timeout, and five seconds.
const DEFAULT_LEASE: Duration = Duration::from_secs(20);

/// The end of a signature's freshness in seconds since 1970, rounded up; 0 where the sender signs no time.
type FreshUntil = u32;

fn fresh_until(end: Option<UnixMillis>) -> FreshUntil {
    let seconds = end.map_or(0, |UnixMillis(end)| {
        end.saturating_add(999).div_euclid(1_000)
    });
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

/// How an endpoint remembers its deliveries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replay {
    window: Duration,
    lease: Duration,
    /// How many entries a bucket holds.
    capacity: usize,
    pub(crate) status: u16,
}

/// A delivery on its way upstream, and until when nobody else may take it there. No two claims of a delivery
/// end at the same time, since the second begins after the first has lapsed or was settled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Claim {
    delivery: DeliveryHash,
    until: Monotonic,
    fresh_until: FreshUntil,
}

impl Claim {
    /// The delivery.
    #[must_use]
    pub const fn delivery(&self) -> DeliveryHash {
        self.delivery
    }

    const fn entry(&self, arrived: bool, until: Monotonic) -> Entry {
        Entry {
            delivery: self.delivery,
            arrived,
            until,
            fresh_until: self.fresh_until,
        }
    }
}

/// What the memory is asked for a verified request.
#[derive(Clone, Copy, Debug)]
pub struct Question<'e> {
    /// How its endpoint remembers.
    pub replay: &'e Replay,
    /// The delivery that it is.
    pub delivery: DeliveryHash,
    /// The end of its signature's freshness, if its sender signs a time.
    pub fresh_until: Option<UnixMillis>,
    /// Whether the delivery is claimed, or only looked for.
    pub claims: bool,
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
    delivery: DeliveryHash,
    /// It arrived; else it is on its way.
    arrived: bool,
    until: Monotonic,
    fresh_until: FreshUntil,
}

impl Entry {
    fn read(bytes: &[u8; ENTRY]) -> Option<Self> {
        let (delivery, rest) = bytes.split_first_chunk()?;
        let (word, fresh_until) = rest.split_first_chunk()?;
        let word = u64::from_le_bytes(*word);
        Some(Self {
            delivery: DeliveryHash(*delivery),
            arrived: word & 1 == 1,
            until: word >> 1,
            fresh_until: u32::from_le_bytes(fresh_until.try_into().ok()?),
        })
    }

    fn write(self, bucket: &mut Vec<u8>) {
        bucket.extend(self.delivery.0);
        bucket.extend(((self.until << 1) | u64::from(self.arrived)).to_le_bytes());
        bucket.extend(self.fresh_until.to_le_bytes());
    }

    /// Whether the entry counts. The last millisecond does, since a request may be fresh in it.
    ///
    /// What arrived also counts for as long as its signature is fresh by the wall clock: the clock may have been
    /// set back since.
    fn is_live(&self, now: Moment) -> bool {
        let is_fresh = self.arrived && self.fresh_until >= now.seconds();
        self.until >= now.monotonic || (is_fresh && self.fresh_until > 0)
    }
}

/// A bucket as it is read.
struct Bucket<'b> {
    /// The latest end of freshness among the deliveries that lapsed and were removed. By a clock that only grows,
    /// a fresh request ends later. One that does not may be a copy of a removed delivery.
    forgotten: FreshUntil,
    entries: &'b [[u8; ENTRY]],
}

impl<'b> Bucket<'b> {
    fn read(bytes: &'b [u8]) -> Self {
        let body = bytes.strip_prefix(&[LAYOUT]).unwrap_or_default();
        let (forgotten, entries) = body.split_first_chunk().unwrap_or((&[0; 4], &[]));
        Self {
            forgotten: u32::from_le_bytes(*forgotten),
            entries: entries.as_chunks().0,
        }
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().filter_map(Entry::read)
    }

    /// The entries that count, after the time of those that lapsed is noted.
    fn into_live(mut self, now: Moment) -> (FreshUntil, Vec<Entry>) {
        let mut live = Vec::with_capacity(self.entries.len().saturating_add(1));
        for entry in self.entries.iter().filter_map(Entry::read) {
            if entry.is_live(now) {
                live.push(entry);
            } else if entry.arrived {
                self.forgotten = self.forgotten.max(entry.fresh_until);
            }
        }
        (self.forgotten, live)
    }
}

/// A bucket's bytes.
fn write(forgotten: FreshUntil, entries: &[Entry]) -> Vec<u8> {
    let size = entries.len().saturating_mul(ENTRY);
    let mut bucket = Vec::with_capacity(size.saturating_add(EMPTY.len()));
    bucket.push(LAYOUT);
    bucket.extend(forgotten.to_le_bytes());
    entries.iter().for_each(|entry| entry.write(&mut bucket));
    bucket
}

/// Why a delivery may not go upstream now, as its bucket has it. `end` is the end of its signature's freshness,
/// if its sender signs a time.
///
/// `TimestampExpired` where the clock was set back so far that the memory of the time is gone.
#[must_use]
pub fn look(
    bucket: &[u8],
    delivery: DeliveryHash,
    end: Option<UnixMillis>,
    now: Moment,
) -> Option<Denial> {
    let bucket = Bucket::read(bucket);
    let is_it = |entry: &Entry| entry.delivery == delivery && entry.is_live(now);
    match bucket.entries().find(is_it) {
        Some(entry) if entry.arrived => Some(Denial::Replayed),
        Some(_) => Some(Denial::InFlight),
        None => (1..=bucket.forgotten)
            .contains(&fresh_until(end))
            .then_some(Denial::TimestampExpired),
    }
}

impl Replay {
    /// Claims a delivery that may go upstream. `end` is the end of its signature's freshness.
    ///
    /// # Errors
    /// What [`look`] found.
    pub fn claim(
        &self,
        bucket: &[u8],
        delivery: DeliveryHash,
        end: Option<UnixMillis>,
        now: Moment,
    ) -> Result<(Change, Claim), Denial> {
        if let Some(reason) = look(bucket, delivery, end, now) {
            return Err(reason);
        }
        let claim = Claim {
            delivery,
            until: later(now.monotonic, self.lease),
            fresh_until: fresh_until(end),
        };
        let change = self.put(bucket, claim.entry(false, claim.until), now);
        Ok((change, claim))
    }

    /// Settles a claim: the upstream took the delivery, or it may come again. `None` where there is nothing to
    /// change, since the claim has lapsed and somebody else has the delivery.
    #[must_use]
    pub fn settle(
        &self,
        bucket: &[u8],
        claim: &Claim,
        arrived: bool,
        now: Moment,
    ) -> Option<Change> {
        if arrived {
            let entry = claim.entry(true, later(now.monotonic, self.window));
            return Some(self.put(bucket, entry, now));
        }
        let entry = claim.entry(false, claim.until);
        let (forgotten, mut live) = Bucket::read(bucket).into_live(now);
        let before = live.len();
        live.retain(|each| *each != entry);
        (live.len() < before).then(|| Change {
            bucket: write(forgotten, &live),
            evicted: 0,
        })
    }

    /// A bucket with this entry in the place of what it had of the delivery. Where there is no room, what is
    /// forgotten is what would be first, deliveries on their way only where there is nothing else.
    fn put(&self, bucket: &[u8], entry: Entry, now: Moment) -> Change {
        let (forgotten, mut others) = Bucket::read(bucket).into_live(now);
        others.retain(|each| each.delivery != entry.delivery);
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
        others.push(entry);
        Change {
            bucket: write(forgotten, &others),
            evicted,
        }
    }
}

/// Reads a `replay` block, of which `None` is that the endpoint remembers nothing.
pub(crate) fn read(node: Node<'_>, scheme: Option<&Scheme>) -> Option<Option<Replay>> {
    let mut block = node.object("{window: 24h}")?;
    let window = block.optional("window", |node| Some((node, node.parse(time::parse)?)));
    let lease = block.optional("lease", |node| {
        let lease = node.parse(time::parse)?;
        if lease.is_zero() {
            return node.error(
                "the lease must be longer than 0s: write the route's timeout plus a few seconds, such as 20s",
            );
        }
        Some(lease)
    });
    let memory = block.optional("max_memory_bytes", |node| {
        let memory = node.integer(LARGEST_MEMORY)?;
        if memory < LEAST_MEMORY {
            return node.error(format_args!("too small: write at least {LEAST_MEMORY}"));
        }
        Some(memory)
    });
    let status = block.optional("status", |node| match node.integer(999)? {
        // All of them may have a body.
        status @ (200..=203 | 400..=499) => u16::try_from(status).ok(),
        _ => node.error("not a status for duplicates: write 200 to 203, or 400 to 499"),
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
    if scheme.dedup_by == DedupBy::None {
        return node.error("this scheme signs neither id nor timestamp, so duplicates cannot be detected: remove `replay`, or set `identity: message` if bodies are unique");
    }
    let Some((node, window)) = window else {
        return scheme.default_window().or_else(|| {
            node.error(
                "`window` is missing: set how long duplicates are rejected, such as `window: 24h`",
            )
        });
    };
    let least = scheme.least_window().unwrap_or_default();
    if window < least {
        return node.error(format_args!(
            "a duplicate could arrive after the window and within twice the tolerance: write at least {}s, or 0s to disable",
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
            status: if scheme.dedup_by == DedupBy::Id {
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

    /// A moment, when the wall clock has never been set.
    fn at(monotonic: Monotonic) -> Moment {
        Moment {
            monotonic,
            wall: UnixMillis(1_700_000_000_000 + i64::try_from(monotonic).expect("a time")),
        }
    }

    fn replay(capacity: usize) -> Replay {
        Replay {
            window: Duration::from_secs(600),
            lease: Duration::from_secs(20),
            capacity,
            status: 409,
        }
    }

    fn delivery(number: u8) -> DeliveryHash {
        DeliveryHash([number; 16])
    }

    fn claim(bucket: &mut Vec<u8>, number: u8, now: Monotonic) -> Result<Claim, Denial> {
        let (change, claim) = replay(3).claim(bucket, delivery(number), None, at(now))?;
        *bucket = change.bucket;
        Ok(claim)
    }

    fn settle(bucket: &mut Vec<u8>, claim: &Claim, arrived: bool, now: Monotonic) {
        if let Some(change) = replay(3).settle(bucket, claim, arrived, at(now)) {
            *bucket = change.bucket;
        }
    }

    #[test]
    fn a_delivery_is_shown_in_hexadecimal_digits_and_its_first_byte_is_its_bucket() {
        let delivery = DeliveryHash(std::array::from_fn(|place| 0xf0 - place as u8));
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
        assert_eq!(claim(bucket, 1, NOW), Err(Denial::InFlight));
        assert!(claim(bucket, 2, NOW).is_ok());
        settle(bucket, &claimed, true, NOW + 15_000);
        assert_eq!(claim(bucket, 1, NOW + 15_000), Err(Denial::Replayed));
        let last = NOW + 15_000 + 600_000;
        assert_eq!(claim(bucket, 1, last), Err(Denial::Replayed));
        assert!(claim(bucket, 1, last + 1).is_ok());
    }

    #[test]
    fn what_did_not_arrive_may_come_again_and_so_may_what_nobody_settled() {
        let bucket = &mut EMPTY.to_vec();
        let first = claim(bucket, 1, NOW).expect("a claim");
        settle(bucket, &first, false, NOW);
        assert_eq!(bucket, EMPTY);
        claim(bucket, 1, NOW).expect("it was given back");
        assert_eq!(claim(bucket, 1, NOW + 20_000), Err(Denial::InFlight));
        assert!(claim(bucket, 1, NOW + 20_001).is_ok());
    }

    #[test]
    fn a_claim_that_lapsed_gives_back_nobody_elses() {
        let bucket = &mut EMPTY.to_vec();
        let first = claim(bucket, 1, NOW).expect("a claim");
        let second = claim(bucket, 1, NOW + 20_001).expect("the first lapsed");
        settle(bucket, &first, false, NOW + 20_001);
        assert_eq!(claim(bucket, 1, NOW + 20_001), Err(Denial::InFlight));
        // But what arrived, arrived, whatever the second copy comes to.
        settle(bucket, &first, true, NOW + 20_002);
        settle(bucket, &second, false, NOW + 20_003);
        assert_eq!(claim(bucket, 1, NOW + 20_003), Err(Denial::Replayed));
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
            .claim(bucket, delivery(4), None, at(NOW + 10))
            .expect("a claim");
        assert_eq!(change.evicted, 1);
        let looked = |number| look(&change.bucket, delivery(number), None, at(NOW + 10));
        assert_eq!(looked(1), Some(Denial::InFlight));
        assert_eq!(looked(2), None);
        assert_eq!(looked(3), Some(Denial::Replayed));
        assert_eq!(looked(4), Some(Denial::InFlight));
        let settled = replay(3).settle(&change.bucket, &waiting, true, at(NOW + 10));
        assert_eq!(settled.map(|change| change.evicted), Some(0));
        // A smaller memory than before: the bucket shrinks to it.
        let (change, _) = replay(1)
            .claim(bucket, delivery(5), None, at(NOW + 10))
            .expect("a claim");
        assert_eq!(
            (change.evicted, change.bucket.len()),
            (3, EMPTY.len() + ENTRY)
        );
    }

    #[test]
    fn a_bucket_that_was_much_larger_shrinks_in_one_pass() {
        let mut bucket = EMPTY.to_vec();
        for number in 0_u64..10_000 {
            let mut identity = [0; 16];
            identity[..8].copy_from_slice(&number.to_le_bytes());
            let entry = Entry {
                delivery: DeliveryHash(identity),
                arrived: true,
                until: NOW + number,
                fresh_until: 0,
            };
            entry.write(&mut bucket);
        }
        let (change, _) = replay(10)
            .claim(&bucket, delivery(255), None, at(NOW))
            .expect("a claim");
        assert_eq!(change.evicted, 9_991);
        // The youngest are left.
        let kept = Bucket::read(&change.bucket);
        assert_eq!(kept.entries().count(), 10);
        assert!(
            kept.entries()
                .take(9)
                .all(|entry| entry.until > NOW + 9_990)
        );
    }

    #[test]
    fn a_layout_that_is_not_known_holds_nothing() {
        for bucket in [&b""[..], &[1; 25], &[1; 33], &[2; 4], &[0]] {
            assert_eq!(
                look(bucket, DeliveryHash([1; 16]), None, at(0)),
                None,
                "{bucket:?}"
            );
            let (change, _) = replay(3)
                .claim(bucket, delivery(9), None, at(NOW))
                .expect("a claim");
            assert_eq!(change.bucket.len(), EMPTY.len() + ENTRY);
        }
    }

    #[test]
    fn the_memory_stays_within_its_bytes() {
        for memory in [LEAST_MEMORY, DEFAULT_MEMORY, LARGEST_MEMORY] {
            let bucket = EMPTY.len() + capacity(memory) * ENTRY;
            assert!(u32::try_from(bucket * 256).expect("a size") <= memory);
        }
        assert_eq!(capacity(DEFAULT_MEMORY) * 256, 74_752);
    }

    #[test]
    fn a_delivery_is_remembered_for_as_long_as_the_wall_clock_calls_it_fresh() {
        let end = Some(UnixMillis(1_700_000_600_000));
        let moment = |monotonic, wall: i64| Moment {
            monotonic,
            wall: UnixMillis(1_700_000_000_000 + wall * 1_000),
        };
        let replay = replay(3);
        let (change, claim) = replay
            .claim(EMPTY, delivery(1), end, moment(0, 0))
            .expect("a claim");
        let bucket = replay
            .settle(&change.bucket, &claim, true, moment(0, 0))
            .expect("it arrives")
            .bucket;
        let looked = |monotonic, wall| look(&bucket, delivery(1), end, moment(monotonic, wall));
        assert_eq!(looked(600_001, 601), None);
        // The clock was set back by more than the window exceeds the tolerance.
        assert_eq!(looked(600_001, 600), Some(Denial::Replayed));
        assert_eq!(looked(90_000_000, -1), Some(Denial::Replayed));
        // A request for another delivery removed the entry meanwhile.
        let (change, _) = replay
            .claim(&bucket, delivery(2), None, moment(600_001, 601))
            .expect("a claim");
        let again = |end| look(&change.bucket, delivery(1), end, moment(600_002, 100));
        assert_eq!(again(end), Some(Denial::TimestampExpired));
        assert_eq!(again(Some(UnixMillis(1_700_000_601_000))), None);
        assert_eq!(again(None), None);
    }

    #[test]
    fn a_claim_lapses_with_its_lease_whatever_the_wall_clock_says() {
        let end = Some(UnixMillis(i64::MAX));
        let (change, _) = replay(3)
            .claim(EMPTY, delivery(1), end, at(NOW))
            .expect("a claim");
        assert!(
            replay(3)
                .claim(&change.bucket, delivery(1), end, at(NOW + 20_001))
                .is_ok()
        );
    }

    proptest! {
        /// Whatever steps the wall clock makes, no copy of a delivery that arrived goes upstream while its signature
        /// is fresh, unless the memory was too small.
        #[test]
        fn no_step_of_the_clock_lets_a_copy_through(
            steps in prop::collection::vec((0_u8..6, 0_u64..400_000, -4_000_000_i64..4_000_000, any::<bool>()), 0..80)
        ) {
            let replay = replay(10);
            let tolerance = 300_000;
            let mut bucket = EMPTY.to_vec();
            let mut now = at(NOW);
            let mut arrived = [false; 6];
            for (number, elapsed, step, is_set) in steps {
                now.monotonic += elapsed;
                now.wall.0 += i64::try_from(elapsed).expect("a time") + if is_set { step } else { 0 };
                let time = 1_700_000_900_000 + i64::from(number) * 500_000;
                if (now.wall.0 - time).abs() > tolerance {
                    continue;
                }
                let end = Some(UnixMillis(time + tolerance));
                if let Ok((change, claim)) = replay.claim(&bucket, delivery(number), end, now) {
                    prop_assert!(!arrived[usize::from(number)], "{number} twice");
                    arrived[usize::from(number)] = true;
                    bucket = replay.settle(&change.bucket, &claim, true, now).expect("it arrives").bucket;
                }
            }
        }

        /// A clock that only grows costs no delivery.
        #[test]
        fn a_clock_that_grows_refuses_no_new_delivery(
            steps in prop::collection::vec((0_u64..400_000, 0_i64..2_000_000, 0_i64..600_000), 0..80)
        ) {
            let replay = replay(10);
            let mut bucket = EMPTY.to_vec();
            let mut now = at(NOW);
            for (number, (elapsed, step, ahead)) in steps.into_iter().enumerate() {
                now.monotonic += elapsed;
                now.wall.0 += i64::try_from(elapsed).expect("a time") + step;
                let end = Some(UnixMillis(now.wall.0 + ahead));
                let which = delivery(u8::try_from(number).expect("a number"));
                let claimed = replay.claim(&bucket, which, end, now);
                prop_assert!(claimed.is_ok());
                let (change, claim) = claimed.expect("a claim");
                bucket = replay.settle(&change.bucket, &claim, true, now).expect("it arrives").bucket;
            }
        }

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
                        match replay.claim(&bucket, which, None, at(now)) {
                            Ok((change, claim)) => {
                                prop_assert!(!held && !known);
                                bucket = change.bucket;
                                claims.push(claim);
                            }
                            Err(Denial::Replayed) => prop_assert!(known),
                            Err(_) => prop_assert!(held),
                        }
                    }
                    (kind, Some(own)) => {
                        let claim = claims.remove(own);
                        if let Some(change) = replay.settle(&bucket, &claim, kind == 1, at(now)) {
                            bucket = change.bucket;
                        }
                        if kind == 1 {
                            arrived[usize::from(number)] = Some(now);
                        }
                    }
                    _ => {}
                }
                prop_assert!(bucket.len() <= EMPTY.len() + 4 * ENTRY);
            }
        }
    }
}
