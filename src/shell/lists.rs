//! The allow lists that senders publish: one worker fetches each, and all of them see when another came.

use std::cell::{Cell, RefCell};

use super::host::{self, Failure, Level, Map};
use super::metrics::{Fetched, Metrics};
use crate::policy::Policy;
use crate::policy::remote_lists::{FetchState, MAX_ANSWER, RemoteAllowList};
use crate::request::address::AllowList;
use crate::request::headers::{Headers, split_pairs};
use crate::time::Monotonic;

/// The published lists of all endpoints.
pub(super) struct Lists {
    /// By endpoint, in their order.
    endpoints: Vec<Endpoint>,
    /// The calls under way, with the places of endpoint and list.
    calls: RefCell<Vec<(u32, usize, usize)>>,
    /// When this configuration was read.
    since: Monotonic,
}

/// What one endpoint has of its lists.
struct Endpoint {
    sources: Vec<Source>,
    /// The list of each, if one came that is not too old.
    lists: RefCell<Vec<Option<AllowList>>>,
}

struct Source {
    published: RemoteAllowList,
    /// Where its stamp is shared, and the list itself.
    stamp_key: String,
    list_key: String,
    /// What is known here of it.
    stamp: Cell<FetchState>,
}

impl Source {
    fn new(published: &RemoteAllowList, root_id: &str) -> Self {
        let key = format!("webhook_guard/{root_id}/published/{}", published.key());
        Self {
            published: published.clone(),
            stamp_key: [&key, "/stamp"].concat(),
            list_key: [&key, "/list"].concat(),
            stamp: Cell::default(),
        }
    }

    /// The stamp as it is shared now, with its version.
    fn shared(&self) -> Result<(FetchState, u32), Failure> {
        let (bytes, version) = host::shared_data(&self.stamp_key)?.ok_or(Failure)?;
        Ok((FetchState::read(&bytes), version))
    }

    fn share(&self, stamp: FetchState, version: u32) -> Result<bool, Failure> {
        host::swap_shared_data(&self.stamp_key, &stamp.to_bytes(), version)
    }

    /// The list that is shared, if it is another one than that which is known here.
    fn another(&self) -> Result<Option<AllowList>, Failure> {
        let (stamp, _) = self.shared()?;
        if stamp.number == self.stamp.get().number {
            return Ok(None);
        }
        let (bytes, _) = host::shared_data(&self.list_key)?.ok_or(Failure)?;
        let list = AllowList::from_bytes(&bytes).ok_or(Failure)?;
        self.stamp.set(stamp);
        Ok(Some(list))
    }
}

impl Lists {
    /// Finds the lists that came before, and makes a place for the others.
    pub(super) fn prepare(root_id: &str, policy: &Policy) -> Result<Self, Failure> {
        let endpoint = |endpoint: &std::rc::Rc<crate::policy::endpoint::Endpoint>| {
            let sources = endpoint.allow_from.iter();
            Endpoint {
                lists: RefCell::new(sources.clone().map(|_| None).collect()),
                sources: sources.map(|each| Source::new(each, root_id)).collect(),
            }
        };
        let lists = Self {
            endpoints: policy.endpoints.iter().map(endpoint).collect(),
            calls: RefCell::default(),
            since: host::monotonic()?,
        };
        for source in lists
            .endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.sources)
        {
            if host::shared_data(&source.stamp_key)?.is_none() {
                host::set_shared_data(&source.stamp_key, &FetchState::default().to_bytes())?;
            }
        }
        for endpoint in &lists.endpoints {
            // Of what cannot be taken over, the next tick tells.
            endpoint.follow(lists.since);
        }
        Ok(lists)
    }

    /// Whether there is anything to fetch.
    pub(super) fn are_none(&self) -> bool {
        self.endpoints
            .iter()
            .all(|endpoint| endpoint.sources.is_empty())
    }

    /// Hands an endpoint's lists, as far as they came, to whoever looks at them.
    pub(super) fn with<T>(
        &self,
        endpoint: usize,
        look: impl FnOnce(&[Option<AllowList>]) -> T,
    ) -> T {
        match self
            .endpoints
            .get(endpoint)
            .map(|each| each.lists.try_borrow())
        {
            Some(Ok(lists)) => look(&lists),
            _ => look(&[]),
        }
    }

    /// Looks whether a list came elsewhere or is due here.
    pub(super) fn tick(&self, metrics: &Metrics) {
        let Ok(now) = host::monotonic() else { return };
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if endpoint.sources.is_empty() {
                continue;
            }
            endpoint.follow(now);
            for (place, source) in endpoint.sources.iter().enumerate() {
                self.fetch_if_due(source, (index, place), now, metrics);
            }
            metrics.age(index, endpoint.age(self.since, now), endpoint.prefixes());
        }
    }

    fn fetch_if_due(
        &self,
        source: &Source,
        place: (usize, usize),
        now: Monotonic,
        metrics: &Metrics,
    ) {
        let Ok((stamp, version)) = source.shared() else {
            return;
        };
        let Some(turn) = stamp.claim_fetch(&source.published, now) else {
            return;
        };
        if source.share(turn, version) != Ok(true) {
            // Another worker was quicker.
            return;
        }
        let RemoteAllowList {
            cluster,
            authority,
            path,
            ..
        } = &source.published;
        match host::get(cluster, authority, path) {
            Ok(call) => self.calls.borrow_mut().push((call, place.0, place.1)),
            Err(Failure) => {
                metrics.fetched(place.0, Fetched::Failed);
                source.tell("its `cluster` is none of Envoy's", now);
            }
        }
    }

    /// Takes the response to a call, which has a body of `size` bytes.
    pub(super) fn answered(&self, call: u32, size: usize, metrics: &Metrics) {
        let mut calls = self.calls.borrow_mut();
        let Some(at) = calls.iter().position(|(each, ..)| *each == call) else {
            return;
        };
        let (_, index, place) = calls.swap_remove(at);
        drop(calls);
        let Some(endpoint) = self.endpoints.get(index) else {
            return;
        };
        let Some(source) = endpoint.sources.get(place) else {
            return;
        };
        let Ok(now) = host::monotonic() else { return };
        let result = match source.take(size, now) {
            Ok(()) => Fetched::Taken,
            Err((result, why)) => {
                source.tell(why, now);
                result
            }
        };
        endpoint.follow(now);
        metrics.fetched(index, result);
    }
}

impl Endpoint {
    /// Takes over the lists that came, and drops those that are too old.
    fn follow(&self, now: Monotonic) {
        let Ok(mut lists) = self.lists.try_borrow_mut() else {
            return;
        };
        for (source, list) in self.sources.iter().zip(lists.iter_mut()) {
            if let Ok(Some(another)) = source.another() {
                *list = Some(another);
            }
            if list.is_some() && source.rest(now) == 0 {
                *list = None;
                source.warn(
                    "no longer counts: it is older than `max_age`, and every fetch since failed",
                );
            }
        }
    }

    /// How old its oldest list is, in milliseconds; one that never came is as old as the configuration.
    fn age(&self, since: Monotonic, now: Monotonic) -> Monotonic {
        let born = |source: &Source| match source.stamp.get() {
            FetchState { number: 0, .. } => since,
            stamp => stamp.fetched,
        };
        now.saturating_sub(self.sources.iter().map(born).min().unwrap_or(now))
    }

    fn prefixes(&self) -> usize {
        self.lists
            .borrow()
            .iter()
            .flatten()
            .map(AllowList::len)
            .sum()
    }
}

impl Source {
    /// Reads the response, and shares the list in it.
    fn take(&self, size: usize, now: Monotonic) -> Result<(), (Fetched, &'static str)> {
        let map = host::header_map(Map::CallHeaders).unwrap_or_default();
        let pairs = split_pairs(&map).unwrap_or_default();
        match Headers(&pairs).one(":status") {
            Ok(Some(b"200")) => {}
            Ok(Some(_)) => {
                return Err((
                    Fetched::Failed,
                    "its status is not 200: it may be Envoy's own 503, where nobody could be reached",
                ));
            }
            _ => return Err((Fetched::Failed, "no response came")),
        }
        if size > MAX_ANSWER {
            return Err((Fetched::Refused, "it is larger than 4 MiB"));
        }
        let failed = |_| (Fetched::Failed, "the host did not do its part");
        let answer = host::call_body(size).map_err(failed)?;
        let list = self
            .published
            .list(&answer)
            .map_err(|why| (Fetched::Refused, why))?;
        host::set_shared_data(&self.list_key, &list.to_bytes()).map_err(failed)?;
        let (stamp, _) = self.shared().map_err(failed)?;
        let renewed = stamp.renewed(&self.published, now).to_bytes();
        host::set_shared_data(&self.stamp_key, &renewed).map_err(failed)
    }

    /// How much longer the list counts that is known here, in milliseconds.
    fn rest(&self, now: Monotonic) -> Monotonic {
        self.stamp.get().remaining(&self.published, now)
    }

    /// Says why a fetch failed, and for how long the last list still counts.
    fn tell(&self, why: &str, now: Monotonic) {
        self.warn(&match self.rest(now) / 1_000 {
            0 => format!("was not taken: {why}"),
            rest => format!("was not taken: {why}; the last one counts for {rest} s more"),
        });
    }

    fn warn(&self, what: &str) {
        let RemoteAllowList {
            authority, path, ..
        } = &self.published;
        host::log(
            Level::Warn,
            format_args!("webhook-guard: the allow list at {authority}{path} {what}"),
        );
    }
}
