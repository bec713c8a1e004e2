//! The policy: a configuration made usable. Where one exists, every part of it can do its work.

pub mod endpoint;
pub mod generation;
mod matcher;
pub mod remote_lists;
mod unmatched;

use std::env::VarError;
use std::rc::Rc;

use crate::config::{self, Diagnostic, Diagnostics, Node};
use crate::request::path;
use crate::secrets::secret::{Environment, Secret};
use crate::time::UnixMillis;
use crate::verdict::Denial;
use endpoint::{Endpoint, Read};
use matcher::Reach;
use unmatched::{Configured, Unmatched};

/// The most bytes of held requests where `max_held_bytes` is absent, unless a body may be larger than a quarter of it.
const DEFAULT_MAX_HELD: u64 = 128 * 1024 * 1024;

/// The bytes that `max_held_bytes` must leave beside the largest body: the head of the request, and its cost.
const HEADROOM: u64 = 1024 * 1024;

/// What the guard does, for every request alike.
#[derive(Debug)]
pub struct Policy {
    /// Where webhooks arrive; the first that matches a request has it.
    pub endpoints: Vec<Rc<Endpoint>>,
    /// The environment whose secrets are in use.
    pub environment: String,
    /// The most bytes that the held requests of one worker may use.
    pub max_held: u64,
    unmatched: Unmatched,
}

/// An endpoint's place in [`Policy::endpoints`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndpointIndex(pub usize);

/// Whose a request is.
#[derive(Clone, Copy, Debug)]
pub enum Route<'p> {
    /// This endpoint's, by its place and itself: it must show a signature.
    Guarded(EndpointIndex, &'p Rc<Endpoint>),
    /// Nobody's, and it may go on.
    Pass,
    /// Nobody's, and it is denied.
    Deny(Denial),
}

impl Policy {
    /// Reads a configuration, JSON text or the bytes of a Struct. `variable` looks up environment
    /// variables. Returns the policy and what is doubtful about it.
    ///
    /// # Errors
    /// Every fault of the configuration, in the order written.
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
        let findings = Diagnostics::default();
        let policy = Self::read_node(Node::root(&value, &findings), variable);
        let (faults, warnings) = findings.into_parts();
        match policy {
            Some(policy) if faults.is_empty() => Ok((policy, warnings)),
            _ => Err(faults),
        }
    }

    /// What is asked of this configuration, and where: see [`Diagnostics::into_schema_items`].
    #[must_use]
    pub fn schema_items(
        configuration: &[u8],
        variable: &dyn Fn(&str) -> Result<String, VarError>,
    ) -> Vec<(String, config::SchemaItem)> {
        let findings = Diagnostics::default();
        if let Ok(value) = config::parse(configuration) {
            Self::read_node(Node::root(&value, &findings), variable);
        }
        findings.into_schema_items()
    }

    fn read_node(
        node: Node<'_>,
        variable: &dyn Fn(&str) -> Result<String, VarError>,
    ) -> Option<Self> {
        let mut block = node.object("{endpoints: [..]}")?;
        let name = block.optional("environment", |node| match node.text()? {
            text if text.trim().is_empty() => {
                node.error("the name is empty: write production, development or test")
            }
            text => Some(text.to_owned()),
        });
        // A faulty or forgotten environment opens nothing.
        let name = name
            .or_else(|| variable("ENVIRONMENT").ok())
            .unwrap_or_else(|| "production".to_owned());
        let environment = Environment {
            name: &name,
            variable,
        };
        let unmatched = Configured::read(&mut block, environment);
        let origin = block.optional("public_url", endpoint::read_origin);
        let max_held = block.optional("max_held_bytes", |node| {
            Some((node, node.integer(u32::MAX)?))
        });
        let endpoints = block.required("endpoints", "add at least one", |node| {
            read_endpoints(node, origin.as_deref(), environment)
        });
        if let (Some(unmatched), Some(endpoints)) = (&unmatched, &endpoints) {
            unmatched.compare(endpoints);
        }
        block.close()?;
        let endpoints = endpoints?;
        Some(Self {
            max_held: read_max_held(max_held, &endpoints)?,
            endpoints,
            environment: name,
            unmatched: unmatched?.unmatched,
        })
    }

    /// The endpoints that accept nothing at `now`, since no secret of theirs is valid. That refuses no
    /// configuration: one that was accepted must be accepted again when a worker reads it anew.
    pub fn stale(&self, now: UnixMillis) -> impl Iterator<Item = &str> {
        let stale = self
            .endpoints
            .iter()
            .filter(move |endpoint| !endpoint.accepts_at(now));
        stale.map(|endpoint| endpoint.name.as_str())
    }

    /// Finds out whose a request is. `target` is `:path`, which only CONNECT does not have; `upgrades` says
    /// whether the request asks for another protocol.
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
                // A tunnel could carry anything to the upstream, requests for endpoints among it.
                b"CONNECT" => Denial::UpgradeRefused,
                _ => Denial::HostError,
            });
        };
        let path = path::without_query(target);
        if path::is_ambiguous(path) || !matcher::is_host_chars(authority) {
            return Route::Deny(Denial::PathAmbiguous);
        }
        let mut endpoints = self.endpoints.iter().enumerate();
        let matches = |endpoint: &Endpoint| endpoint.matcher.matches(path, authority);
        match endpoints.find(|(_, endpoint)| matches(endpoint)) {
            Some((index, endpoint)) => {
                if endpoint.matcher.is_prefix() && self.has_rival(index, endpoint, path, authority)
                {
                    return Route::Deny(Denial::Unmatched);
                }
                Route::Guarded(EndpointIndex(index), endpoint)
            }
            None if !self.unmatched.passes(path, &self.endpoints) => Route::Deny(Denial::Unmatched),
            // So could what follows an upgrade.
            None if upgrades || method == b"CONNECT" => Route::Deny(Denial::UpgradeRefused),
            None => Route::Pass,
        }
    }

    /// Whether an upstream might take a path that belongs to a prefix for the path of another endpoint, which may
    /// ask for more. Rivals are the endpoints before it, and those after it that lie elsewhere.
    fn has_rival(&self, index: usize, owner: &Endpoint, path: &[u8], authority: &[u8]) -> bool {
        let owner = &owner.matcher.path;
        let others = self.endpoints.iter().enumerate();
        let mut rivals = others
            .filter(|(place, rival)| {
                *place < index || (*place > index && !owner.covers(&rival.matcher.path))
            })
            .map(|(_, rival)| &rival.matcher)
            .filter(|rival| rival.is_for(authority))
            .peekable();
        if rivals.peek().is_none() {
            return false;
        }
        // A path that cannot be compared might be any.
        path::fold(path).is_none_or(|folded| {
            rivals.any(|rival| rival.path.is_near(&folded, owner.depth(), Reach::Narrow))
        })
    }
}

/// The most bytes of held requests: `max_held_bytes`, which must hold one request of each endpoint, or a default.
fn read_max_held(written: Option<(Node<'_>, u32)>, endpoints: &[Rc<Endpoint>]) -> Option<u64> {
    let bodies = endpoints.iter().map(|endpoint| endpoint.max_body);
    let largest = bodies.max().unwrap_or_default();
    let Some((node, written)) = written else {
        return Some(DEFAULT_MAX_HELD.max(largest.saturating_mul(4)));
    };
    let least = largest.saturating_add(HEADROOM);
    match u64::from(written) < least {
        true => node.error(format_args!(
            "too small for one request with the largest `max_body_bytes`: write at least {least}"
        )),
        false => Some(written.into()),
    }
}

fn read_endpoints(
    node: Node<'_>,
    origin: Option<&str>,
    environment: Environment<'_>,
) -> Option<Vec<Rc<Endpoint>>> {
    let items = node.list()?;
    if items.is_empty() {
        return node.error("the list is empty, which rejects every request: add an endpoint");
    }
    // Whatever can be read is compared, even where a neighbour is faulty.
    let mut complete = true;
    let mut names = Vec::new();
    let mut read: Vec<Read<'_>> = Vec::new();
    for item in items {
        let one = endpoint::read(item, origin, environment, &mut names);
        complete &= one.is_some();
        read.extend(one);
    }
    for (index, later) in read.iter().enumerate() {
        let mut reported = Vec::new();
        for earlier in read.iter().take(index) {
            complete &= compare(earlier, later, &mut reported).is_some();
        }
    }
    complete.then(|| {
        read.into_iter()
            .map(|read| Rc::new(read.endpoint))
            .collect()
    })
}

/// Reports what two endpoints may not have in common. `reported` are the later one's secrets, by their places, of which it was
/// said already that another has them: of a thousand endpoints with one secret, that is enough.
fn compare(earlier: &Read<'_>, later: &Read<'_>, reported: &mut Vec<usize>) -> Option<()> {
    let name = &earlier.endpoint.name;
    let mut clean = Some(());
    if earlier.endpoint.matcher.covers(&later.endpoint.matcher) {
        clean = later.node.error(format_args!(
            "this endpoint can never match, because endpoint {name:?} takes all of its requests: move it up, or change `match`"
        ));
    }
    let known = &earlier.endpoint.secrets;
    let secrets = later.endpoint.secrets.iter().zip(&later.places);
    let is_known = |secret| {
        known
            .iter()
            .any(|other: &Rc<Secret>| other.same_key(secret))
    };
    for (place, (_, node)) in secrets
        .enumerate()
        .filter(|(_, (secret, _))| is_known(secret))
    {
        let pairs = [(earlier, later), (later, earlier)];
        let gives_away = |(giving, open): (&Read<'_>, &Read<'_>)| {
            giving.endpoint.scheme.spec.is_signing_oracle() && open.endpoint.accepts_oracle_output()
        };
        if pairs.into_iter().any(gives_away) {
            clean = node.error(format_args!(
                "endpoint {name:?} has the same secret, and handshake answers of one are valid signatures for the other: use another secret"
            ));
        } else if !reported.contains(&place) {
            reported.push(place);
            node.warn(format_args!(
                "endpoint {name:?} has the same secret, so signatures for one are valid for the other: use another secret"
            ));
        }
    }
    clean
}
