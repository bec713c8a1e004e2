//! The policy: the checked form of a configuration. A policy exists only if every part of the configuration is valid.

pub mod endpoint;
pub mod generation;
mod health_check;
mod log_settings;
mod lookup;
mod matcher;
pub mod outputs;
mod reader;
pub mod remote_lists;
mod unmatched;

use std::env::VarError;
use std::rc::Rc;
use std::time::Duration;

use crate::config::{self, Diagnostic, Diagnostics, Node};
use crate::request::path;
#[cfg(feature = "cli")]
use crate::secrets::Unset;
use crate::time::UnixMillis;
use crate::verdict::Denial;
use endpoint::Endpoint;
use health_check::HealthCheck;
pub use log_settings::LogSettings;
use lookup::Lookup;
use matcher::{Approach, Reach};
use outputs::Outputs;
use unmatched::Unmatched;

/// The endpoints, and the settings that apply to all of them.
#[derive(Debug)]
pub struct Policy {
    /// The endpoints. A request belongs to the first one that matches.
    pub endpoints: Vec<Rc<Endpoint>>,
    /// The name of the environment whose secrets are in use.
    pub environment: String,
    /// The most bytes that the held requests of one worker may use.
    pub max_held: u64,
    /// Which verdicts have a line in the log.
    pub log: LogSettings,
    /// The headers and filter states that report a verdict.
    pub outputs: Outputs,
    health_check: Option<HealthCheck>,
    unmatched: Unmatched,
    lookup: Lookup,
}

/// The index of an endpoint in [`Policy::endpoints`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndpointIndex(pub usize);

/// The owner of a request.
#[derive(Clone, Copy, Debug)]
pub enum Route<'p> {
    /// The endpoint with this index, which verifies the request.
    Guarded(EndpointIndex, &'p Rc<Endpoint>),
    /// The guard, which answers that it is ready. The request gets no verdict.
    HealthCheck,
    /// No endpoint. The request passes unverified.
    Pass,
    /// No endpoint. The request is denied.
    Deny(Denial),
}

impl Policy {
    /// Reads a configuration: JSON text or the bytes of a Struct. `variable` looks up environment variables. Returns the
    /// policy and its warnings.
    ///
    /// # Errors
    /// All errors of the configuration, in their order.
    pub fn read(
        configuration: &[u8],
        variable: &dyn Fn(&str) -> Result<String, VarError>,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        if configuration.is_empty() {
            let message = "the plugin has no configuration: add at least one endpoint";
            return Err(vec![Diagnostic::of_configuration(message)]);
        }
        let value = config::parse(configuration)
            .map_err(|error| vec![Diagnostic::of_configuration(error.message)])?;
        let diagnostics = Diagnostics::default();
        let policy = reader::read(
            Node::root(&value, &diagnostics),
            variable,
            #[cfg(feature = "cli")]
            Unset::Error,
        );
        let (errors, warnings) = diagnostics.into_parts();
        match policy {
            Some(policy) if errors.is_empty() => Ok((policy, warnings)),
            _ => Err(errors),
        }
    }

    /// Reads a configuration where its variables need not be set. Returns the policy, the errors and the warnings. A
    /// secret whose variable is not set has no key, so that the policy accepts no request with it.
    #[cfg(feature = "cli")]
    pub(crate) fn check(
        value: &config::value::Value,
        variable: &dyn Fn(&str) -> Result<String, VarError>,
    ) -> (Option<Self>, Vec<Diagnostic>, Vec<Diagnostic>) {
        let diagnostics = Diagnostics::default();
        let root = Node::root(value, &diagnostics);
        let policy = reader::read(root, variable, Unset::Unchecked);
        let (errors, warnings) = diagnostics.into_parts();
        (policy.filter(|_| errors.is_empty()), errors, warnings)
    }

    /// The schema items that the readers of this configuration expect: see [`Diagnostics::into_schema_items`].
    #[must_use]
    pub fn schema_items(
        configuration: &[u8],
        variable: &dyn Fn(&str) -> Result<String, VarError>,
    ) -> Vec<(String, config::SchemaItem)> {
        let diagnostics = Diagnostics::default();
        if let Ok(value) = config::parse(configuration) {
            reader::read(
                Node::root(&value, &diagnostics),
                variable,
                #[cfg(feature = "cli")]
                Unset::Error,
            );
        }
        diagnostics.into_schema_items()
    }

    /// The names of the endpoints without a valid secret at `now`. They are not an error: a worker that restarts must accept
    /// the configuration again.
    pub fn stale(&self, now: UnixMillis) -> impl Iterator<Item = &str> {
        let stale = self
            .endpoints
            .iter()
            .filter(move |endpoint| !endpoint.accepts_at(now));
        stale.map(|endpoint| endpoint.name.as_str())
    }

    /// The shortest lease of an endpoint.
    pub(crate) fn shortest_lease(&self) -> Duration {
        let replays = self
            .endpoints
            .iter()
            .filter_map(|each| each.replay.as_ref());
        replays
            .map(|replay| replay.lease)
            .min()
            .unwrap_or(Duration::MAX)
    }

    /// Finds the owner of a request. `target` is `:path`, which is absent only for CONNECT. `upgrades` is true if the request
    /// asks for another protocol.
    #[must_use]
    pub fn route(
        &self,
        method: &[u8],
        target: Option<&[u8]>,
        authority: &[u8],
        upgrades: bool,
    ) -> Route<'_> {
        let Some(target) = target else {
            return Route::Deny(match method {
                // A tunnel could carry unverified requests for endpoints to the upstream.
                b"CONNECT" => Denial::UpgradeRefused,
                _ => Denial::HostError,
            });
        };
        if self
            .health_check
            .as_ref()
            .is_some_and(|check| check.is_at(target))
        {
            return match HealthCheck::accepts(method, upgrades) {
                true => Route::HealthCheck,
                false => Route::Deny(Denial::Unmatched),
            };
        }
        let path = path::without_query(target);
        if path::is_ambiguous(path) || !matcher::is_host_chars(authority) {
            return Route::Deny(Denial::PathAmbiguous);
        }
        match self.owner(path, authority) {
            Some((index, endpoint)) => {
                if endpoint.matcher.is_prefix() && self.has_rival(index, endpoint, path, authority)
                {
                    return Route::Deny(Denial::Unmatched);
                }
                Route::Guarded(EndpointIndex(index), endpoint)
            }
            None if !self.unmatched.passes(path, self) => Route::Deny(Denial::Unmatched),
            // So could the protocol after an upgrade.
            None if upgrades || method == b"CONNECT" => Route::Deny(Denial::UpgradeRefused),
            None => Route::Pass,
        }
    }

    /// The first endpoint that matches.
    fn owner(&self, path: &[u8], authority: &[u8]) -> Option<(usize, &Rc<Endpoint>)> {
        let starts = self.lookup.starts_of(path);
        let endpoints = starts.filter_map(|index| Some((index, self.endpoints.get(index)?)));
        endpoints
            .filter(|(_, endpoint)| endpoint.matcher.matches(path, authority))
            .min_by_key(|(index, _)| *index)
    }

    /// The endpoints, with their indexes, whose path an upstream might take for that of a request.
    fn near<'p>(
        &'p self,
        approach: &'p Approach,
        reach: Reach,
    ) -> impl Iterator<Item = (usize, &'p Endpoint)> {
        let indexes = self.lookup.near(approach);
        let endpoints = indexes.filter_map(|index| Some((index, &**self.endpoints.get(index)?)));
        endpoints.filter(move |(_, endpoint)| endpoint.matcher.path.is_near(approach, reach))
    }

    /// Whether an upstream might treat a path below a prefix as the path of another endpoint, which may require more. Rivals
    /// are the endpoints before the owner, and those after it whose paths the owner does not cover.
    fn has_rival(&self, index: usize, owner: &Endpoint, path: &[u8], authority: &[u8]) -> bool {
        let owner = &owner.matcher.path;
        let is_rival = |place: usize, rival: &Endpoint| {
            let rival = &rival.matcher;
            (place < index || (place > index && !owner.covers(&rival.path)))
                && rival.is_for(authority)
        };
        if self.endpoints.len() == 1 {
            return false;
        }
        let Some(approach) = Approach::new(path, owner.depth()) else {
            // A path that cannot be compared might be any path.
            let mut others = self.endpoints.iter().enumerate();
            return others.any(|(place, other)| is_rival(place, other));
        };
        let mut near = self.near(&approach, Reach::Narrow);
        near.any(|(place, other)| is_rival(place, other))
    }
}
