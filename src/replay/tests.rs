//! The memory on its own, without a policy.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use std::time::Duration;

use proptest::prelude::*;

use super::bucket::{Bucket, ENTRY, Entry};
use super::settings::{DEFAULT_MEMORY, LARGEST_MEMORY, LEAST_MEMORY, capacity};
use super::*;
use crate::time::Monotonic;

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

fn acquire(bucket: &mut Vec<u8>, number: u8, now: Monotonic) -> Result<Lease, Denial> {
    let (change, lease) = replay(3).acquire(bucket, delivery(number), None, at(now))?;
    *bucket = change.bucket;
    Ok(lease)
}

fn complete(bucket: &mut Vec<u8>, lease: &Lease, now: Monotonic) {
    *bucket = replay(3).complete(bucket, lease, at(now)).bucket;
}

fn release(bucket: &mut Vec<u8>, lease: &Lease, now: Monotonic) {
    if let Some(change) = replay(3).release(bucket, lease, at(now)) {
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
fn a_time_never_uses_the_bit_that_marks_a_delivered_entry() {
    assert_eq!(later(1, Duration::from_millis(2)), 3);
    assert_eq!(later(u64::MAX, Duration::MAX), u64::MAX / 2);
}

#[test]
fn a_delivery_has_one_lease_and_is_remembered_for_the_window() {
    let bucket = &mut EMPTY.to_vec();
    let lease = acquire(bucket, 1, NOW).expect("a lease");
    assert_eq!(acquire(bucket, 1, NOW), Err(Denial::InFlight));
    assert!(acquire(bucket, 2, NOW).is_ok());
    complete(bucket, &lease, NOW + 15_000);
    assert_eq!(acquire(bucket, 1, NOW + 15_000), Err(Denial::Replayed));
    let last = NOW + 15_000 + 600_000;
    assert_eq!(acquire(bucket, 1, last), Err(Denial::Replayed));
    assert!(acquire(bucket, 1, last + 1).is_ok());
}

#[test]
fn a_delivery_may_be_repeated_after_its_lease_was_released_or_has_expired() {
    let bucket = &mut EMPTY.to_vec();
    let first = acquire(bucket, 1, NOW).expect("a lease");
    release(bucket, &first, NOW);
    assert_eq!(bucket, EMPTY);
    acquire(bucket, 1, NOW).expect("it was given back");
    assert_eq!(acquire(bucket, 1, NOW + 20_000), Err(Denial::InFlight));
    assert!(acquire(bucket, 1, NOW + 20_001).is_ok());
}

fn renew(bucket: &mut Vec<u8>, lease: &mut Lease, now: Monotonic) -> bool {
    let renewed = replay(3).renew(bucket, lease, at(now));
    let is_renewed = renewed.is_some();
    if let Some((change, next)) = renewed {
        (*bucket, *lease) = (change.bucket, next);
    }
    is_renewed
}

#[test]
fn a_lease_that_is_renewed_lasts() {
    let mut bucket = EMPTY.to_vec();
    let mut lease = acquire(&mut bucket, 1, NOW).expect("a lease");
    assert!(!replay(3).is_half_over(&lease, at(NOW + 9_999)));
    assert!(replay(3).is_half_over(&lease, at(NOW + 10_000)));
    assert!(renew(&mut bucket, &mut lease, NOW + 15_000));
    let end = NOW + 35_000;
    assert_eq!(acquire(&mut bucket, 1, end), Err(Denial::InFlight));
    assert!(renew(&mut bucket, &mut lease, end));
    complete(&mut bucket, &lease, end + 1);
    assert_eq!(acquire(&mut bucket, 1, end + 2), Err(Denial::Replayed));
    assert!(!renew(&mut bucket, &mut lease, end + 3));
}

#[test]
fn a_lease_that_expired_is_not_renewed() {
    let mut bucket = EMPTY.to_vec();
    let mut expired = acquire(&mut bucket, 1, NOW).expect("a lease");
    assert!(!renew(&mut bucket.clone(), &mut expired, NOW + 20_001));
    let next = acquire(&mut bucket, 1, NOW + 20_001).expect("the next lease");
    assert!(!renew(&mut bucket, &mut expired, NOW + 20_002));
    release(&mut bucket, &next, NOW + 20_003);
    assert!(acquire(&mut bucket, 1, NOW + 20_004).is_ok());
}

#[test]
fn a_lease_that_expired_does_not_release_the_next_one() {
    let bucket = &mut EMPTY.to_vec();
    let first = acquire(bucket, 1, NOW).expect("a lease");
    let second = acquire(bucket, 1, NOW + 20_001).expect("the first lapsed");
    release(bucket, &first, NOW + 20_001);
    assert_eq!(acquire(bucket, 1, NOW + 20_001), Err(Denial::InFlight));
    // The first copy was delivered, whatever happens to the second one.
    complete(bucket, &first, NOW + 20_002);
    release(bucket, &second, NOW + 20_003);
    assert_eq!(acquire(bucket, 1, NOW + 20_003), Err(Denial::Replayed));
}

#[test]
fn a_full_bucket_forgets_its_oldest_delivery_and_counts_it() {
    let bucket = &mut EMPTY.to_vec();
    let waiting = acquire(bucket, 1, NOW).expect("a lease");
    for number in [2, 3] {
        let lease = acquire(bucket, number, NOW + u64::from(number)).expect("a lease");
        complete(bucket, &lease, NOW + u64::from(number));
    }
    let (change, _) = replay(3)
        .acquire(bucket, delivery(4), None, at(NOW + 10))
        .expect("a lease");
    assert_eq!(change.evicted, 1);
    let looked = |number| lookup(&change.bucket, delivery(number), None, at(NOW + 10));
    assert_eq!(looked(1), Some(Denial::InFlight));
    assert_eq!(looked(2), None);
    assert_eq!(looked(3), Some(Denial::Replayed));
    assert_eq!(looked(4), Some(Denial::InFlight));
    let completed = replay(3).complete(&change.bucket, &waiting, at(NOW + 10));
    assert_eq!(completed.evicted, 0);
    // A smaller memory than before: the bucket shrinks to it.
    let (change, _) = replay(1)
        .acquire(bucket, delivery(5), None, at(NOW + 10))
        .expect("a lease");
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
            delivered: true,
            until: NOW + number,
            fresh_until: 0,
        };
        entry.write(&mut bucket);
    }
    let (change, _) = replay(10)
        .acquire(&bucket, delivery(255), None, at(NOW))
        .expect("a lease");
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
            lookup(bucket, DeliveryHash([1; 16]), None, at(0)),
            None,
            "{bucket:?}"
        );
        let (change, _) = replay(3)
            .acquire(bucket, delivery(9), None, at(NOW))
            .expect("a lease");
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
    let (change, lease) = replay
        .acquire(EMPTY, delivery(1), end, moment(0, 0))
        .expect("a lease");
    let bucket = replay.complete(&change.bucket, &lease, moment(0, 0)).bucket;
    let looked = |monotonic, wall| lookup(&bucket, delivery(1), end, moment(monotonic, wall));
    assert_eq!(looked(600_001, 601), None);
    // The clock was set back by more than the window exceeds the tolerance.
    assert_eq!(looked(600_001, 600), Some(Denial::Replayed));
    assert_eq!(looked(90_000_000, -1), Some(Denial::Replayed));
    // A request for another delivery removed the entry meanwhile.
    let (change, _) = replay
        .acquire(&bucket, delivery(2), None, moment(600_001, 601))
        .expect("a lease");
    let again = |end| lookup(&change.bucket, delivery(1), end, moment(600_002, 100));
    assert_eq!(again(end), Some(Denial::TimestampExpired));
    assert_eq!(again(Some(UnixMillis(1_700_000_601_000))), None);
    assert_eq!(again(None), None);
}

#[test]
fn a_lease_expires_whatever_the_wall_clock_says() {
    let end = Some(UnixMillis(i64::MAX));
    let (change, _) = replay(3)
        .acquire(EMPTY, delivery(1), end, at(NOW))
        .expect("a lease");
    assert!(
        replay(3)
            .acquire(&change.bucket, delivery(1), end, at(NOW + 20_001))
            .is_ok()
    );
}

proptest! {
    /// No step of the wall clock lets the guard forward a duplicate while its signature is fresh, unless the memory was
    /// too small.
    #[test]
    fn no_step_of_the_clock_lets_a_copy_through(
        past in 1_i64..600_000,
        steps in prop::collection::vec((0_u8..6, 0_u64..400_000, -4_000_000_i64..4_000_000, any::<bool>()), 0..80)
    ) {
        let replay = replay(10);
        // Both sides together are the window.
        let future = 600_000 - past;
        let mut bucket = EMPTY.to_vec();
        let mut now = at(NOW);
        let mut delivered = [false; 6];
        for (number, elapsed, step, is_set) in steps {
            now.monotonic += elapsed;
            now.wall.0 += i64::try_from(elapsed).expect("a time") + if is_set { step } else { 0 };
            let time = 1_700_000_900_000 + i64::from(number) * 500_000;
            if !(time - future..=time + past).contains(&now.wall.0) {
                continue;
            }
            let end = Some(UnixMillis(time + past));
            if let Ok((change, lease)) = replay.acquire(&bucket, delivery(number), end, now) {
                prop_assert!(!delivered[usize::from(number)], "{number} twice");
                delivered[usize::from(number)] = true;
                bucket = replay.complete(&change.bucket, &lease, now).bucket;
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
            let acquired = replay.acquire(&bucket, which, end, now);
            prop_assert!(acquired.is_ok());
            let (change, lease) = acquired.expect("a lease");
            bucket = replay.complete(&change.bucket, &lease, now).bucket;
        }
    }

    /// A delivery has one lease at a time, no duplicate is forwarded within the window, and the bucket keeps to its size.
    #[test]
    fn no_delivery_goes_upstream_twice(steps in prop::collection::vec((0_u8..4, 0_u8..3, 0_u64..30_000), 0..60)) {
        let replay = replay(4);
        let mut bucket = EMPTY.to_vec();
        let mut now = NOW;
        let mut leases: Vec<Lease> = Vec::new();
        let mut delivered = [None::<Monotonic>; 4];
        for (number, kind, elapsed) in steps {
            now = now.saturating_add(elapsed);
            let which = delivery(number);
            let own = leases.iter().position(|lease| lease.delivery == which);
            match (kind, own) {
                (0, _) => {
                    let held = leases.iter().any(|lease| lease.delivery == which && lease.until >= now);
                    let known = delivered[usize::from(number)].is_some_and(|at| now <= at.saturating_add(600_000));
                    match replay.acquire(&bucket, which, None, at(now)) {
                        Ok((change, lease)) => {
                            prop_assert!(!held && !known);
                            bucket = change.bucket;
                            leases.push(lease);
                        }
                        Err(Denial::Replayed) => prop_assert!(known),
                        Err(_) => prop_assert!(held),
                    }
                }
                (kind, Some(own)) => {
                    let lease = leases.remove(own);
                    if kind == 1 {
                        bucket = replay.complete(&bucket, &lease, at(now)).bucket;
                        delivered[usize::from(number)] = Some(now);
                    } else if let Some(change) = replay.release(&bucket, &lease, at(now)) {
                        bucket = change.bucket;
                    }
                }
                _ => {}
            }
            prop_assert!(bucket.len() <= EMPTY.len() + 4 * ENTRY);
        }
    }
}
