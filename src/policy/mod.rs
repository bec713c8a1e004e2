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
use lookup::{Host, Lookup, Site};
use matcher::Reach;
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
        let host = self.lookup.host(authority);
        let owner = self.lookup.owner(path, host);
        match owner.and_then(|index| Some((index, self.endpoints.get(index)?))) {
            Some((index, endpoint)) => {
                if endpoint.matcher.is_prefix() && self.has_rival(index, endpoint, path, host) {
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

    /// Whether an upstream might treat a path below a prefix as the path of another endpoint, which may require more. Rivals
    /// are the endpoints before the owner, and those after it whose paths the owner does not cover.
    fn has_rival(&self, index: usize, owner: &Endpoint, path: &[u8], host: Host) -> bool {
        let owner = &owner.matcher.path;
        let is_rival = |site: &Site| {
            let mut places = site.endpoints(host);
            places.any(|place| place < index || (place > index && !owner.covers(site.path())))
        };
        if self.endpoints.len() == 1 {
            return false;
        }
        let depth = owner.depth();
        let near = self.lookup.has_near(path, depth, Reach::Narrow, is_rival);
        // A path that cannot be compared might be any path.
        near.unwrap_or_else(|| self.lookup.all().any(is_rival))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::matcher::{Approach, without_port};
    use super::*;

    /// A policy of endpoints with these paths and hosts, if it is valid. All other requests pass.
    fn policy(endpoints: &[(String, Option<&str>)]) -> Option<Policy> {
        let endpoints = endpoints.iter().enumerate().map(|(number, (path, host))| {
            let kind = if path.ends_with('/') { "prefix" } else { "path" };
            let host = host.map_or(String::new(), |host| format!(r#", "host": "{host}""#));
            format!(
                r#"{{"name": "e{number}", "match": {{"{kind}": "{path}"{host}}},
                    "secrets": [{{"version": "v1", "value": "the secret number {number} of the tests"}}]}}"#
            )
        });
        let endpoints = endpoints.collect::<Vec<_>>().join(", ");
        let text = format!(
            r#"{{"environment": "test", "unmatched": "pass", "endpoints": [{endpoints}]}}"#
        );
        let read = Policy::read(text.as_bytes(), &|_| Err(VarError::NotPresent));
        read.ok().map(|(policy, _)| policy)
    }

    /// The index of the owner, `None` if the request is denied or passes, by a look at each endpoint.
    fn by_each(policy: &Policy, path: &[u8], authority: &[u8]) -> Result<Option<usize>, Denial> {
        let host = without_port(authority);
        let of_host = policy.endpoints.iter().enumerate().filter(|(_, each)| {
            let own = each.matcher.host.as_ref();
            own.is_none_or(|own| own.as_bytes().eq_ignore_ascii_case(host))
        });
        let is_near = |each: &Endpoint, granted, reach| {
            let approach = Approach::new(path, granted);
            approach.is_none_or(|approach| each.matcher.path.is_near(&approach, reach))
        };
        let mut owners = of_host.clone();
        let Some((index, owner)) = owners.find(|(_, each)| each.matcher.path.matches(path)) else {
            let mut endpoints = policy.endpoints.iter();
            return match endpoints.any(|each| is_near(each, 0, Reach::Wide)) {
                true => Err(Denial::Unmatched),
                false => Ok(None),
            };
        };
        let covers = |each: &Endpoint| owner.matcher.path.covers(&each.matcher.path);
        let mut others =
            of_host.filter(|(place, each)| *place < index || (*place > index && !covers(each)));
        let depth = owner.matcher.path.depth();
        match owner.matcher.is_prefix()
            && others.any(|(_, each)| is_near(each, depth, Reach::Narrow))
        {
            true => Err(Denial::Unmatched),
            false => Ok(Some(index)),
        }
    }

    const HOSTS: [&str; 3] = ["a.example", "ab.example", "b.example"];
    const AUTHORITIES: [&str; 6] = [
        "a.example",
        "A.example:443",
        "ab.example.",
        "b.example:",
        "b.example:x",
        "other",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn the_index_routes_as_a_look_at_each_endpoint_does(
            endpoints in prop::collection::vec((
                "(/(a|b|ab|A|a-b|index\\.php|b\\.php|b\\.x)){0,3}/?",
                prop::option::of(prop::sample::select(HOSTS.to_vec())),
            ), 1..8),
            sent in prop::collection::vec((
                prop::option::of(any::<prop::sample::Index>()),
                "(/(a|b|ab|A|a%62|a-b|abc|index\\.php|default\\.x|b\\.php|b\\.asp|x)){0,4}/?",
                prop::sample::select(AUTHORITIES.to_vec()),
            ), 1..30),
        ) {
            let slash = |path: &str| if path.is_empty() { "/".to_owned() } else { path.to_owned() };
            let endpoints: Vec<_> = endpoints.iter().map(|(path, host)| (slash(path), *host)).collect();
            let Some(policy) = policy(&endpoints) else { return Ok(()) };
            for (below, rest, authority) in sent {
                let start = below.map_or("", |below| below.get(&endpoints).0.trim_end_matches('/'));
                let path = slash(&format!("{start}{rest}"));
                let (path, authority) = (path.as_bytes(), authority.as_bytes());
                if path::is_ambiguous(path) {
                    continue;
                }
                let routed = match policy.route(b"POST", Some(path), authority, false) {
                    Route::Guarded(EndpointIndex(index), _) => Ok(Some(index)),
                    Route::Deny(denial) => Err(denial),
                    Route::Pass | Route::HealthCheck => Ok(None),
                };
                prop_assert_eq!(routed, by_each(&policy, path, authority), "{:?}", endpoints);
            }
        }
    }
}
