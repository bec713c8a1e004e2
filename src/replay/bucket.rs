//! The bytes of a bucket: a layout number, the time of the forgotten deliveries, and entries.

use crate::delivery::DeliveryHash;
use crate::time::{Moment, Monotonic, UnixMillis};

/// The last bucket of an endpoint's memory, counted from 0. The number is constant: if a configuration could change
/// it, the change would lose the remembered deliveries.
pub const LAST_BUCKET: u8 = u8::MAX;

/// A bucket without entries. The host distinguishes it from an absent bucket.
pub const EMPTY: &[u8] = &[LAYOUT, 0, 0, 0, 0];

/// The number of this layout. A bucket in another layout counts as empty.
const LAYOUT: u8 = 2;

/// The size of an entry in bytes: the delivery (16), the end by the monotonic clock (8) and the end of the signature's
/// freshness (4).
pub(super) const ENTRY: usize = 28;

/// The end of a signature's freshness in seconds since 1970, rounded up. 0 if the sender signs no timestamp.
pub(super) type FreshUntil = u32;

pub(super) fn fresh_until(end: Option<UnixMillis>) -> FreshUntil {
    let seconds = end.map_or(0, |UnixMillis(end)| {
        end.saturating_add(999).div_euclid(1_000)
    });
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

/// An entry of a bucket.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) delivery: DeliveryHash,
    /// Whether the upstream took the delivery. Otherwise the entry is a lease.
    pub(super) delivered: bool,
    pub(super) until: Monotonic,
    pub(super) fresh_until: FreshUntil,
}

impl Entry {
    fn read(bytes: &[u8; ENTRY]) -> Option<Self> {
        let (delivery, rest) = bytes.split_first_chunk()?;
        let (word, fresh_until) = rest.split_first_chunk()?;
        let word = u64::from_le_bytes(*word);
        Some(Self {
            delivery: DeliveryHash(*delivery),
            delivered: word & 1 == 1,
            until: word >> 1,
            fresh_until: u32::from_le_bytes(fresh_until.try_into().ok()?),
        })
    }

    pub(super) fn write(self, bucket: &mut Vec<u8>) {
        bucket.extend(self.delivery.0);
        bucket.extend(((self.until << 1) | u64::from(self.delivered)).to_le_bytes());
        bucket.extend(self.fresh_until.to_le_bytes());
    }

    /// Whether the entry counts. The last millisecond does, since a request may be fresh in it.
    ///
    /// A delivered entry also counts while its signature is fresh by the wall clock, which may have been set back.
    pub(super) fn is_live(&self, now: Moment) -> bool {
        let is_fresh = self.delivered && self.fresh_until >= now.seconds();
        self.until >= now.monotonic || (is_fresh && self.fresh_until > 0)
    }
}

/// A bucket in the form in which the host stores it.
pub(super) struct Bucket<'b> {
    /// The latest end of freshness of the delivered entries that expired and were removed. While the clock only grows,
    /// a fresh request ends later. A request that does not may be a duplicate of a removed delivery.
    pub(super) forgotten: FreshUntil,
    entries: &'b [[u8; ENTRY]],
}

impl<'b> Bucket<'b> {
    pub(super) fn read(bytes: &'b [u8]) -> Self {
        let body = bytes.strip_prefix(&[LAYOUT]).unwrap_or_default();
        let (forgotten, entries) = body.split_first_chunk().unwrap_or((&[0; 4], &[]));
        Self {
            forgotten: u32::from_le_bytes(*forgotten),
            entries: entries.as_chunks().0,
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().filter_map(Entry::read)
    }

    /// The entries that count, and the time of the forgotten deliveries including those that expired now.
    pub(super) fn into_live(mut self, now: Moment) -> (FreshUntil, Vec<Entry>) {
        let mut live = Vec::with_capacity(self.entries.len().saturating_add(1));
        for entry in self.entries.iter().filter_map(Entry::read) {
            if entry.is_live(now) {
                live.push(entry);
            } else if entry.delivered {
                self.forgotten = self.forgotten.max(entry.fresh_until);
            }
        }
        (self.forgotten, live)
    }
}

/// The bytes of a bucket.
pub(super) fn write(forgotten: FreshUntil, entries: &[Entry]) -> Vec<u8> {
    let size = entries.len().saturating_mul(ENTRY);
    let mut bucket = Vec::with_capacity(size.saturating_add(EMPTY.len()));
    bucket.push(LAYOUT);
    bucket.extend(forgotten.to_le_bytes());
    entries.iter().for_each(|entry| entry.write(&mut bucket));
    bucket
}
