//! The memory of deliveries: the host keeps it for all workers, and it outlives each of them.

use super::host::{self, Failure, Level};
use super::metrics::Metrics;
use super::telemetry::Matched;
use crate::delivery::DeliveryHash;
use crate::policy::Policy;
use crate::policy::endpoint::Endpoint;
use crate::replay::{self, Change, LAST_BUCKET, Lease, ReplayCheck};
use crate::time::Moment;
use crate::verdict::Denial;

/// How often the guard retries to change a bucket that another worker changes at the same time.
const ATTEMPTS: usize = 64;

/// The memory of all endpoints.
pub(super) struct Memory {
    /// The first part of the keys of shared data.
    prefix: String,
}

/// Why the lease of a delivery was not acquired.
pub(super) enum NotAcquired {
    /// The delivery must not be forwarded now.
    Rejected(Denial),
    /// The host failed.
    Host(Failure),
}

impl From<Failure> for NotAcquired {
    fn from(failure: Failure) -> Self {
        Self::Host(failure)
    }
}

impl Memory {
    /// Makes the buckets that are absent. The host does not protect an absent bucket against two workers at once. But
    /// the main thread reads each configuration before any worker does.
    pub(super) fn prepare(root_id: &str, policy: &Policy) -> Result<Self, Failure> {
        let memory = Self {
            prefix: format!("webhook_guard/{root_id}/replay/"),
        };
        let remembering = |endpoint: &&std::rc::Rc<Endpoint>| endpoint.replay.is_some();
        for endpoint in policy.endpoints.iter().filter(remembering) {
            // The guard makes them in their order.
            if host::shared_data(&memory.key(&endpoint.name, LAST_BUCKET))?.is_some() {
                continue;
            }
            for bucket in 0..=LAST_BUCKET {
                let key = memory.key(&endpoint.name, bucket);
                if host::shared_data(&key)?.is_none() {
                    host::set_shared_data(&key, replay::EMPTY)?;
                }
            }
        }
        Ok(memory)
    }

    fn key(&self, endpoint: &str, bucket: u8) -> String {
        [&self.prefix, endpoint, "/", &bucket.to_string()].concat()
    }

    /// Why a delivery must not be forwarded now. Changes nothing.
    pub(super) fn lookup(
        &self,
        endpoint: &str,
        check: &ReplayCheck<'_>,
        now: Moment,
    ) -> Result<Option<Denial>, Failure> {
        let delivery = check.delivery;
        let (bucket, _) =
            host::shared_data(&self.key(endpoint, delivery.bucket()))?.ok_or(Failure)?;
        Ok(replay::lookup(&bucket, delivery, check.fresh_until, now))
    }

    /// Acquires the lease of a delivery.
    pub(super) fn acquire(
        &self,
        matched: &Matched,
        check: &ReplayCheck<'_>,
        now: Moment,
        metrics: &Metrics,
    ) -> Result<Lease, NotAcquired> {
        let mut acquired = Err(NotAcquired::Host(Failure));
        let (delivery, end) = (check.delivery, check.fresh_until);
        let replay = check.replay;
        self.change(matched, delivery, metrics, &mut |bucket| match replay
            .acquire(bucket, delivery, end, now)
        {
            Ok((change, lease)) => {
                acquired = Ok(lease);
                Some(change)
            }
            Err(denial) => {
                acquired = Err(NotAcquired::Rejected(denial));
                None
            }
        })?;
        acquired
    }

    /// Remembers that the upstream took a delivery. If this fails, a duplicate is forwarded once the lease has expired.
    pub(super) fn complete(&self, matched: &Matched, lease: &Lease, metrics: &Metrics) {
        let Some(replay) = &matched.endpoint.replay else {
            return;
        };
        let completed = host::moment().and_then(|now| {
            self.change(matched, lease.delivery(), metrics, &mut |bucket| {
                Some(replay.complete(bucket, lease, now))
            })
        });
        if completed.is_err() {
            host::log(
                Level::Error,
                format_args!(
                    "webhook-guard: the guard could not remember a delivery, so a duplicate of it may be forwarded"
                ),
            );
        }
    }

    /// Renews a lease if half of it has passed. If this fails, the next call retries.
    pub(super) fn renew(
        &self,
        matched: &Matched,
        lease: &mut Lease,
        now: Moment,
        metrics: &Metrics,
    ) {
        let Some(replay) = &matched.endpoint.replay else {
            return;
        };
        if !replay.is_half_over(lease, now) {
            return;
        }
        let mut renewed = None;
        let changed = self.change(matched, lease.delivery(), metrics, &mut |bucket| {
            let (change, next) = replay.renew(bucket, lease, now)?;
            renewed = Some(next);
            Some(change)
        });
        if let (Ok(()), Some(renewed)) = (changed, renewed) {
            *lease = renewed;
        }
    }

    /// Ends a lease, so that the sender can deliver the event again. If this fails, the lease expires.
    pub(super) fn release(&self, matched: &Matched, lease: &Lease, metrics: &Metrics) {
        let Some(replay) = &matched.endpoint.replay else {
            return;
        };
        let _ = host::moment().and_then(|now| {
            self.change(matched, lease.delivery(), metrics, &mut |bucket| {
                replay.release(bucket, lease, now)
            })
        });
    }

    /// Changes a delivery's bucket. `change` gets the bucket as it is, and returns `None` to leave it.
    fn change(
        &self,
        matched: &Matched,
        delivery: DeliveryHash,
        metrics: &Metrics,
        change: &mut dyn FnMut(&[u8]) -> Option<Change>,
    ) -> Result<(), Failure> {
        let key = self.key(&matched.endpoint.name, delivery.bucket());
        for _ in 0..ATTEMPTS {
            let (bucket, version) = host::shared_data(&key)?.ok_or(Failure)?;
            let Some(change) = change(&bucket) else {
                return Ok(());
            };
            if host::swap_shared_data(&key, &change.bucket, version)? {
                if let Some(metrics) = metrics.endpoint(matched.index) {
                    metrics.report_memory(bucket.len(), &change);
                }
                return Ok(());
            }
        }
        Err(Failure)
    }
}
