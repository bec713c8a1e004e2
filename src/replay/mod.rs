//! The memory of delivered requests, which rejects duplicates.
//!
//! The host stores the memory as 256 buckets per endpoint. Its storage has keys and values, but no way to delete or
//! list them. The hash of a delivery selects its bucket, so a request reads and writes one bucket only.
//!
//! A delivery acquires a lease before the guard forwards it, and renews the lease until the request ends. The upstream's
//! answer then completes or releases the lease. If the worker ends before that, the lease expires, and the sender can deliver
//! the event again.

mod bucket;
mod settings;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::delivery::DeliveryHash;
use crate::time::{Moment, Monotonic, UnixMillis, later};
use crate::verdict::Denial;
use bucket::{Bucket, Entry, FreshUntil, fresh_until};
pub use bucket::{EMPTY, LAST_BUCKET};
pub(crate) use settings::{Setting, read};

/// How an endpoint remembers its deliveries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replay {
    window: Duration,
    pub(crate) lease: Duration,
    /// The number of entries that fit in a bucket.
    capacity: usize,
    /// The HTTP status that answers a duplicate.
    pub(crate) status: u16,
}

/// The exclusive right to forward a delivery, until a point in time. Two leases of one delivery never end at the same
/// time, since the second one begins after the end of the first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lease {
    delivery: DeliveryHash,
    until: Monotonic,
    fresh_until: FreshUntil,
}

impl Lease {
    /// The delivery.
    #[must_use]
    pub const fn delivery(&self) -> DeliveryHash {
        self.delivery
    }

    const fn entry(&self) -> Entry {
        Entry {
            delivery: self.delivery,
            delivered: false,
            until: self.until,
            fresh_until: self.fresh_until,
        }
    }
}

/// A verified request to check against the memory.
#[derive(Clone, Copy, Debug)]
pub struct ReplayCheck<'e> {
    /// How the endpoint remembers deliveries.
    pub replay: &'e Replay,
    /// The request's delivery.
    pub delivery: DeliveryHash,
    /// The end of the signature's freshness, if the sender signs a timestamp.
    pub fresh_until: Option<UnixMillis>,
    /// Whether the check acquires a lease. Otherwise it changes nothing.
    pub acquires: bool,
}

/// The new content of a bucket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The bytes to store.
    pub bucket: Vec<u8>,
    /// The number of deliveries that were removed early to make room.
    pub evicted: usize,
}

/// Why a delivery must not be forwarded now, by its bucket. `end` is the end of the signature's freshness, if the
/// sender signs a timestamp.
///
/// `TimestampExpired` means that the wall clock was set back to a time whose deliveries the memory no longer has.
#[must_use]
pub fn lookup(
    bucket: &[u8],
    delivery: DeliveryHash,
    end: Option<UnixMillis>,
    now: Moment,
) -> Option<Denial> {
    let bucket = Bucket::read(bucket);
    let is_it = |entry: &Entry| entry.delivery == delivery && entry.is_live(now);
    match bucket.entries().find(is_it) {
        Some(entry) if entry.delivered => Some(Denial::Replayed),
        Some(_) => Some(Denial::InFlight),
        None => (1..=bucket.forgotten)
            .contains(&fresh_until(end))
            .then_some(Denial::TimestampExpired),
    }
}

impl Replay {
    /// Acquires the lease of a delivery. `end` is the end of the signature's freshness, if the sender signs a
    /// timestamp. The lease counts once the change is stored.
    ///
    /// # Errors
    /// The result of [`lookup`], if the delivery must not be forwarded.
    pub fn acquire(
        &self,
        bucket: &[u8],
        delivery: DeliveryHash,
        end: Option<UnixMillis>,
        now: Moment,
    ) -> Result<(Change, Lease), Denial> {
        if let Some(denial) = lookup(bucket, delivery, end, now) {
            return Err(denial);
        }
        let lease = Lease {
            delivery,
            until: later(now.monotonic, self.lease),
            fresh_until: fresh_until(end),
        };
        Ok((self.put(bucket, lease.entry(), now), lease))
    }

    /// Remembers that the upstream took the delivery, even if the lease has expired.
    #[must_use]
    pub fn complete(&self, bucket: &[u8], lease: &Lease, now: Moment) -> Change {
        let entry = Entry {
            delivered: true,
            until: later(now.monotonic, self.window),
            ..lease.entry()
        };
        self.put(bucket, entry, now)
    }

    /// Whether half of a lease has passed.
    #[must_use]
    pub fn is_half_over(&self, lease: &Lease, now: Moment) -> bool {
        let half = self.lease.checked_div(2).unwrap_or_default();
        later(now.monotonic, half) >= lease.until
    }

    /// Renews a lease. `None` if the bucket does not have the lease: it has expired, and another request may have acquired the
    /// next one.
    #[must_use]
    pub fn renew(&self, bucket: &[u8], lease: &Lease, now: Moment) -> Option<(Change, Lease)> {
        let entry = lease.entry();
        let (forgotten, mut live) = Bucket::read(bucket).into_live(now);
        let own = live.iter_mut().find(|each| **each == entry)?;
        let lease = Lease {
            until: later(now.monotonic, self.lease),
            ..*lease
        };
        *own = lease.entry();
        let change = Change {
            bucket: bucket::write(forgotten, &live),
            evicted: 0,
        };
        Some((change, lease))
    }

    /// Ends a lease, so that the sender can deliver the event again. `None` if the bucket does not have the lease: it
    /// has expired, and another request may have acquired the next one.
    #[must_use]
    pub fn release(&self, bucket: &[u8], lease: &Lease, now: Moment) -> Option<Change> {
        let entry = lease.entry();
        let (forgotten, mut live) = Bucket::read(bucket).into_live(now);
        let before = live.len();
        live.retain(|each| *each != entry);
        (live.len() < before).then(|| Change {
            bucket: bucket::write(forgotten, &live),
            evicted: 0,
        })
    }

    /// Puts an entry in the place of the earlier one of its delivery. If the bucket is full, the oldest entries are
    /// removed: delivered ones first, and leases only if nothing else is left.
    fn put(&self, bucket: &[u8], entry: Entry, now: Moment) -> Change {
        let (forgotten, mut others) = Bucket::read(bucket).into_live(now);
        others.retain(|each| each.delivery != entry.delivery);
        // The newest entry is the last one.
        let evicted = others.len().saturating_add(1).saturating_sub(self.capacity);
        let mut excess = evicted;
        for delivered in [true, false] {
            others.retain(|each| {
                let is_removed = excess > 0 && each.delivered == delivered;
                excess = excess.saturating_sub(usize::from(is_removed));
                !is_removed
            });
        }
        others.push(entry);
        Change {
            bucket: bucket::write(forgotten, &others),
            evicted,
        }
    }
}
