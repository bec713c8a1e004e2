//! The allow lists that senders publish. One worker fetches each list, and all workers use it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::host::{self, Failure, Level, Map};
use super::metrics::{Fetched, Metrics};
use crate::policy::endpoint::Endpoint;
use crate::policy::remote_lists::{FetchState, MAX_ANSWER, RemoteAllowList};
use crate::policy::{EndpointIndex, Policy};
use crate::request::address::AllowList;
use crate::request::headers::{Headers, split_pairs};
use crate::time::Monotonic;

/// The number of the format of shared states and lists. A module with another number does not read them, because it
/// could take other bytes for addresses. The module fetches the lists again.
const FORMAT: u8 = 1;

/// The published lists of all endpoints.
pub(super) struct Lists {
    /// In the order of the policy's endpoints.
    endpoints: Vec<EndpointLists>,
    /// The calls without a response.
    calls: RefCell<Vec<Fetch>>,
    /// When this configuration was read.
    since: Monotonic,
}

/// A call that fetches a list.
struct Fetch {
    call: u32,
    endpoint: EndpointIndex,
    /// The list's place among those of its endpoint.
    list: usize,
}

/// The lists of one endpoint.
struct EndpointLists {
    remote: Vec<RemoteList>,
    /// The content of each list. `None` if no fetch has succeeded for `max_age`.
    lists: RefCell<Vec<Option<AllowList>>>,
}

struct RemoteList {
    published: RemoteAllowList,
    /// The key of shared data that holds the state.
    state_key: String,
    /// The key of shared data that holds the list.
    list_key: String,
    /// The state of the list that this worker uses.
    state: Cell<FetchState>,
}

impl RemoteList {
    fn new(published: &RemoteAllowList, root_id: &str) -> Self {
        let key = format!(
            "webhook_guard/{root_id}/published/{FORMAT}/{}",
            published.key()
        );
        Self {
            published: published.clone(),
            state_key: [&key, "/stamp"].concat(),
            list_key: [&key, "/list"].concat(),
            state: Cell::default(),
        }
    }

    /// The state as it is shared now, with its version.
    fn shared(&self) -> Result<(FetchState, u32), Failure> {
        let (bytes, version) = host::shared_data(&self.state_key)?.ok_or(Failure)?;
        Ok((FetchState::read(&bytes), version))
    }

    fn share(&self, state: FetchState, version: u32) -> Result<bool, Failure> {
        host::swap_shared_data(&self.state_key, &state.to_bytes(), version)
    }

    /// The shared list, if it is not the one that this worker uses.
    fn newer(&self) -> Result<Option<AllowList>, Failure> {
        let (state, _) = self.shared()?;
        if state.number == self.state.get().number {
            return Ok(None);
        }
        let (bytes, _) = host::shared_data(&self.list_key)?.ok_or(Failure)?;
        let list = AllowList::from_bytes(&bytes).ok_or(Failure)?;
        self.state.set(state);
        Ok(Some(list))
    }
}

impl Lists {
    /// Finds the lists that were fetched before, and makes room for the others.
    pub(super) fn prepare(root_id: &str, policy: &Policy) -> Result<Self, Failure> {
        let endpoint = |endpoint: &Rc<Endpoint>| {
            let remote = endpoint.allow_from.iter();
            EndpointLists {
                lists: RefCell::new(remote.clone().map(|_| None).collect()),
                remote: remote.map(|each| RemoteList::new(each, root_id)).collect(),
            }
        };
        let lists = Self {
            endpoints: policy.endpoints.iter().map(endpoint).collect(),
            calls: RefCell::default(),
            since: host::monotonic()?,
        };
        let endpoints = lists.endpoints.iter();
        for remote in endpoints.flat_map(|endpoint| &endpoint.remote) {
            if host::shared_data(&remote.state_key)?.is_none() {
                host::set_shared_data(&remote.state_key, &FetchState::default().to_bytes())?;
            }
        }
        for endpoint in &lists.endpoints {
            // The next tick reports a list that this worker cannot use.
            endpoint.follow(lists.since);
        }
        Ok(lists)
    }

    /// Whether no endpoint has such lists.
    pub(super) fn are_none(&self) -> bool {
        self.endpoints
            .iter()
            .all(|endpoint| endpoint.remote.is_empty())
    }

    /// Calls `act` with the lists of an endpoint.
    pub(super) fn with<T>(
        &self,
        EndpointIndex(endpoint): EndpointIndex,
        act: impl FnOnce(&[Option<AllowList>]) -> T,
    ) -> T {
        match self
            .endpoints
            .get(endpoint)
            .map(|each| each.lists.try_borrow())
        {
            Some(Ok(lists)) => act(&lists),
            _ => act(&[]),
        }
    }

    /// Uses the lists that other workers have fetched, and fetches those that are due.
    pub(super) fn tick(&self, metrics: &Metrics) {
        let Ok(now) = host::monotonic() else { return };
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if endpoint.remote.is_empty() {
                continue;
            }
            endpoint.follow(now);
            let index = EndpointIndex(index);
            for (place, remote) in endpoint.remote.iter().enumerate() {
                self.fetch_if_due(remote, (index, place), now, metrics);
            }
            if let Some(metrics) = metrics.endpoint(index) {
                metrics.report_lists(endpoint.age(self.since, now), endpoint.prefixes());
            }
        }
    }

    fn fetch_if_due(
        &self,
        remote: &RemoteList,
        (endpoint, list): (EndpointIndex, usize),
        now: Monotonic,
        metrics: &Metrics,
    ) {
        let Ok((state, version)) = remote.shared() else {
            return;
        };
        let Some(turn) = state.claim_fetch(&remote.published, now) else {
            return;
        };
        if remote.share(turn, version) != Ok(true) {
            // Another worker was faster.
            return;
        }
        let RemoteAllowList {
            cluster,
            authority,
            path,
            ..
        } = &remote.published;
        match host::get(cluster, authority, path) {
            Ok(call) => {
                if let Ok(mut calls) = self.calls.try_borrow_mut() {
                    calls.push(Fetch {
                        call,
                        endpoint,
                        list,
                    });
                }
            }
            Err(Failure) => {
                count(metrics, endpoint, Fetched::Failed);
                remote.warn_of_fetch("Envoy has no cluster of the name in `cluster`", now);
            }
        }
    }

    /// Takes the response to a call. Its body has `size` bytes.
    pub(super) fn answered(&self, call: u32, size: usize, metrics: &Metrics) {
        let Some(fetch) = self.take_call(call) else {
            return;
        };
        let EndpointIndex(index) = fetch.endpoint;
        let Some(endpoint) = self.endpoints.get(index) else {
            return;
        };
        let Some(remote) = endpoint.remote.get(fetch.list) else {
            return;
        };
        let Ok(now) = host::monotonic() else { return };
        let result = match remote.take(size, now) {
            Ok(()) => Fetched::Taken,
            Err((result, why)) => {
                remote.warn_of_fetch(why, now);
                result
            }
        };
        endpoint.follow(now);
        count(metrics, fetch.endpoint, result);
    }

    fn take_call(&self, call: u32) -> Option<Fetch> {
        let mut calls = self.calls.try_borrow_mut().ok()?;
        let place = calls.iter().position(|each| each.call == call)?;
        Some(calls.swap_remove(place))
    }
}

fn count(metrics: &Metrics, endpoint: EndpointIndex, result: Fetched) {
    if let Some(metrics) = metrics.endpoint(endpoint) {
        metrics.count_fetch(result);
    }
}

impl EndpointLists {
    /// Uses the lists that were fetched, and drops those that are too old.
    fn follow(&self, now: Monotonic) {
        let Ok(mut lists) = self.lists.try_borrow_mut() else {
            return;
        };
        for (remote, list) in self.remote.iter().zip(lists.iter_mut()) {
            if let Ok(Some(newer)) = remote.newer() {
                *list = Some(newer);
            }
            if list.is_some() && remote.rest(now) == 0 {
                *list = None;
                remote.warn(
                    "no longer counts, because it is older than `max_age` and every fetch since then has failed: check the endpoint's `allow_from`",
                );
            }
        }
    }

    /// The age of the oldest list, in milliseconds. A list that was never fetched is as old as the configuration.
    fn age(&self, since: Monotonic, now: Monotonic) -> Monotonic {
        let born = |remote: &RemoteList| match remote.state.get() {
            FetchState { number: 0, .. } => since,
            state => state.fetched,
        };
        now.saturating_sub(self.remote.iter().map(born).min().unwrap_or(now))
    }

    fn prefixes(&self) -> usize {
        let lists = self.lists.try_borrow();
        lists.map_or(0, |lists| lists.iter().flatten().map(AllowList::len).sum())
    }
}

impl RemoteList {
    /// Reads the response, and shares the list in it.
    fn take(&self, size: usize, now: Monotonic) -> Result<(), (Fetched, &'static str)> {
        let map = host::header_map(Map::CallHeaders).unwrap_or_default();
        let pairs = split_pairs(&map).unwrap_or_default();
        match Headers::of_answer(&pairs).one(":status") {
            Ok(Some(b"200")) => {}
            Ok(Some(_)) => {
                return Err((
                    Fetched::Failed,
                    "its status is not 200. Envoy itself answers 503 if it cannot reach the server",
                ));
            }
            _ => return Err((Fetched::Failed, "no response arrived")),
        }
        if size > MAX_ANSWER {
            return Err((Fetched::Refused, "it is larger than 4 MiB"));
        }
        let failed = |_| (Fetched::Failed, "a call to the host failed");
        let answer = host::call_body(size).map_err(failed)?;
        let list = self
            .published
            .read_answer(&answer)
            .map_err(|why| (Fetched::Refused, why))?;
        host::set_shared_data(&self.list_key, &list.to_bytes()).map_err(failed)?;
        let (state, _) = self.shared().map_err(failed)?;
        let renewed = state.renewed(&self.published, now).to_bytes();
        host::set_shared_data(&self.state_key, &renewed).map_err(failed)
    }

    /// How much longer the list of this worker counts, in milliseconds.
    fn rest(&self, now: Monotonic) -> Monotonic {
        self.state.get().remaining(&self.published, now)
    }

    /// Logs why a fetch failed, and for how long the last list still counts.
    fn warn_of_fetch(&self, why: &str, now: Monotonic) {
        self.warn(&match self.rest(now) / 1_000 {
            0 => format!("was not taken: {why}"),
            rest => format!("was not taken: {why}. The last good list counts for {rest} s more"),
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
