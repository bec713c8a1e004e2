//! The fields of the whole configuration, and errors about two endpoints.

use std::env::VarError;
use std::rc::Rc;

use super::Policy;
use super::endpoint::{self, Endpoint, Read};
use super::health_check;
use super::log_settings::LogSettings;
use super::lookup::Lookup;
use super::outputs::{Outputs, UpstreamHeader};
use super::unmatched::Configured;
use crate::config::Node;
use crate::scheme::public_url::PublicUrl;
#[cfg(feature = "cli")]
use crate::secrets::Unset;
use crate::secrets::{Environment, Secret, SecretIndex};

/// The most bytes of held requests if `max_held_bytes` is absent, unless a quarter of it is smaller than the largest body.
const DEFAULT_MAX_HELD: u64 = 128 * 1024 * 1024;

/// The bytes that `max_held_bytes` must leave beside the largest body, for the head of the request and its overhead.
const HEADROOM: u64 = 1024 * 1024;

/// Reads the whole configuration.
pub(super) fn read(
    node: Node<'_>,
    variable: &dyn Fn(&str) -> Result<String, VarError>,
    #[cfg(feature = "cli")] unset: Unset,
) -> Option<Policy> {
    let mut block = node.object("{endpoints: [..]}")?;
    let name = block.optional("environment", |node| match node.text()? {
        text if text.trim().is_empty() => {
            node.error("the name is empty: write production, development or test")
        }
        text => Some(text.to_owned()),
    });
    // An absent or invalid environment is the strict one.
    let name = name
        .or_else(|| variable("ENVIRONMENT").ok())
        .unwrap_or_else(|| "production".to_owned());
    let environment = Environment {
        name: &name,
        variable,
        #[cfg(feature = "cli")]
        unset,
    };
    let unmatched = Configured::read(&mut block, environment);
    let health_check = block.optional("health_check", health_check::Configured::read);
    let log = block.optional("log", LogSettings::read);
    let headers = block.optional("upstream_headers", Outputs::read_headers);
    let outputs = Outputs::new(
        headers,
        block.optional("filter_states", Outputs::read_states),
    );
    let public_url = block.optional("public_url", endpoint::read_origin);
    let max_held = block.optional("max_held_bytes", |node| {
        Some((node, node.integer(u32::MAX)?))
    });
    let endpoints = block.required("endpoints", "add at least one", |node| {
        let digests_messages = outputs.has_header(UpstreamHeader::Message);
        read_endpoints(node, public_url.as_ref(), environment, digests_messages)
    });
    if let (Some(unmatched), Some(endpoints)) = (&unmatched, &endpoints) {
        unmatched.compare(endpoints);
        if let Some(health_check) = &health_check {
            health_check.compare(endpoints, &unmatched.unmatched);
        }
    }
    block.close()?;
    let endpoints = endpoints?;
    Some(Policy {
        max_held: max_held_bytes(max_held, &endpoints)?,
        lookup: Lookup::new(&endpoints),
        endpoints,
        environment: name,
        log: log.unwrap_or_default(),
        outputs,
        health_check: health_check.map(|configured| configured.health_check),
        unmatched: unmatched?.unmatched,
    })
}

/// The most bytes of held requests. A configured value must have room for one request of each endpoint.
fn max_held_bytes(configured: Option<(Node<'_>, u32)>, endpoints: &[Rc<Endpoint>]) -> Option<u64> {
    let bodies = endpoints.iter().map(|endpoint| endpoint.max_body);
    let largest = bodies.max().unwrap_or_default();
    let Some((node, configured)) = configured else {
        return Some(DEFAULT_MAX_HELD.max(largest.saturating_mul(4)));
    };
    let least = largest.saturating_add(HEADROOM);
    match u64::from(configured) < least {
        true => node.error(format_args!(
            "too small for one request with the largest `max_body_bytes`: write at least {least}"
        )),
        false => Some(configured.into()),
    }
}

fn read_endpoints(
    node: Node<'_>,
    public_url: Option<&PublicUrl>,
    environment: Environment<'_>,
    digests_messages: bool,
) -> Option<Vec<Rc<Endpoint>>> {
    let items = node.list()?;
    if items.is_empty() {
        return node.error("the list is empty, which rejects every request: add an endpoint");
    }
    // The valid endpoints are compared even if another one has an error.
    let mut complete = true;
    let mut names = Vec::new();
    let mut read: Vec<Read<'_>> = Vec::new();
    for item in items {
        let one = endpoint::read(item, public_url, environment, &mut names);
        complete &= one.is_some();
        read.extend(one);
    }
    for (index, later) in read.iter().enumerate() {
        let mut reported = Vec::new();
        for earlier in read.iter().take(index) {
            let is_reachable = check_reachable(earlier, later).is_some();
            complete &= compare_secrets(earlier, later, &mut reported).is_some() && is_reachable;
        }
    }
    complete.then(|| {
        read.into_iter()
            .map(|Read { mut endpoint, .. }| {
                endpoint.digests_messages = digests_messages;
                Rc::new(endpoint)
            })
            .collect()
    })
}

/// Reports an endpoint whose requests all belong to an earlier one.
fn check_reachable(earlier: &Read<'_>, later: &Read<'_>) -> Option<()> {
    let name = &earlier.endpoint.name;
    match earlier.endpoint.matcher.covers(&later.endpoint.matcher) {
        true => later.node.error(format_args!(
            "this endpoint can never match, because endpoint {name:?} takes all of its requests: move it up, or change `match`"
        )),
        false => Some(()),
    }
}

/// Reports secrets that two endpoints share. `reported` has the later endpoint's secrets with a warning. One warning for each
/// is enough, even if a thousand endpoints share a secret.
fn compare_secrets(
    earlier: &Read<'_>,
    later: &Read<'_>,
    reported: &mut Vec<SecretIndex>,
) -> Option<()> {
    let name = &earlier.endpoint.name;
    let is_known = |secret: &Secret| {
        let mut known = earlier.endpoint.secrets.iter();
        known.any(|other| other.same_key(secret))
    };
    let exposes = |giving: &Endpoint, open: &Endpoint| {
        giving.scheme.spec.is_signing_oracle() && open.accepts_oracle_output()
    };
    let is_exposed =
        exposes(&earlier.endpoint, &later.endpoint) || exposes(&later.endpoint, &earlier.endpoint);
    let mut clean = Some(());
    let secrets = later.endpoint.secrets.iter().zip(&later.places);
    for (index, (secret, node)) in secrets.enumerate() {
        let index = SecretIndex(index);
        if !is_known(secret) {
            continue;
        }
        if is_exposed {
            clean = node.error(format_args!(
                "endpoint {name:?} has the same secret, and handshake answers of one are valid signatures for the other: use another secret"
            ));
        } else if !reported.contains(&index) {
            reported.push(index);
            node.warn(format_args!(
                "endpoint {name:?} has the same secret, so signatures for one are valid for the other: use another secret"
            ));
        }
    }
    clean
}
