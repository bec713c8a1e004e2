//! The memory of deliveries: the host keeps it for all workers, and it outlives each of them.

use super::host::{self, Failure};
use super::metrics::Metrics;
use crate::delivery::DeliveryHash;
use crate::policy::Policy;
use crate::policy::endpoint::Endpoint;
use crate::replay::{self, Change, Claim, LAST_BUCKET, Question};
use crate::time::Moment;
use crate::verdict::Denial;

/// How often a bucket is read anew that another worker has changed meanwhile.
const ATTEMPTS: usize = 64;

/// The memory of all endpoints.
pub(super) struct Memory {
    /// What its keys begin with.
    prefix: String,
}

/// An endpoint's place in the policy, and itself.
type Of<'e> = (usize, &'e Endpoint);

impl Memory {
    /// Makes the buckets that are not there yet. The host does not guard a bucket that is absent against two
    /// workers at once, but reads each configuration on its main thread before any worker has it.
    pub(super) fn prepare(root_id: &str, policy: &Policy) -> Result<Self, Failure> {
        let memory = Self {
            prefix: format!("webhook_guard/{root_id}/replay/"),
        };
        let remembering = |endpoint: &&std::rc::Rc<Endpoint>| endpoint.replay.is_some();
        for endpoint in policy.endpoints.iter().filter(remembering) {
            // They are made in their order.
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

    /// Why a delivery may not go upstream, if so.
    pub(super) fn look(
        &self,
        endpoint: &str,
        question: &Question<'_>,
        now: Moment,
    ) -> Result<Option<Denial>, Failure> {
        let delivery = question.delivery;
        let (bucket, _) =
            host::shared_data(&self.key(endpoint, delivery.bucket()))?.ok_or(Failure)?;
        Ok(replay::look(&bucket, delivery, question.fresh_until, now))
    }

    /// Claims a delivery, or says why it may not go upstream.
    pub(super) fn claim(
        &self,
        of: Of<'_>,
        question: &Question<'_>,
        now: Moment,
        metrics: &Metrics,
    ) -> Result<Result<Claim, Denial>, Failure> {
        let mut claimed = Err(Denial::HostError);
        let (delivery, end) = (question.delivery, question.fresh_until);
        let replay = question.replay;
        self.change(of, delivery, metrics, &mut |bucket| match replay
            .claim(bucket, delivery, end, now)
        {
            Ok((change, claim)) => {
                claimed = Ok(claim);
                Some(change)
            }
            Err(reason) => {
                claimed = Err(reason);
                None
            }
        })?;
        Ok(claimed)
    }

    /// Settles a claim. Should it fail, the claim lapses with its lease, and the delivery may come again.
    pub(super) fn settle(&self, of: Of<'_>, claim: &Claim, arrived: bool, metrics: &Metrics) {
        let Some(replay) = &of.1.replay else { return };
        let settled = host::moment().and_then(|now| {
            self.change(of, claim.delivery(), metrics, &mut |bucket| {
                replay.settle(bucket, claim, arrived, now)
            })
        });
        if settled.is_err() && arrived {
            host::log(
                host::Level::Error,
                format_args!(
                    "webhook-guard: a delivery that arrived could not be remembered, and may come again"
                ),
            );
        }
    }

    /// Changes a delivery's bucket, if it is to be changed as it then stands.
    fn change(
        &self,
        (index, endpoint): Of<'_>,
        delivery: DeliveryHash,
        metrics: &Metrics,
        change: &mut dyn FnMut(&[u8]) -> Option<Change>,
    ) -> Result<(), Failure> {
        let key = self.key(&endpoint.name, delivery.bucket());
        for _ in 0..ATTEMPTS {
            let (bucket, version) = host::shared_data(&key)?.ok_or(Failure)?;
            let Some(change) = change(&bucket) else {
                return Ok(());
            };
            if host::swap_shared_data(&key, &change.bucket, version)? {
                metrics.remember(index, bucket.len(), &change);
                return Ok(());
            }
        }
        Err(Failure)
    }
}
