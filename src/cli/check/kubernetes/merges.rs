//! Settings that the `MERGE` patches of EnvoyFilters make around the guard.

use super::cluster::{Cluster, merged, moved, name, selects, share_namespace, workload_labels};
use crate::cli::check::envoy::{buffers, routes};
use crate::cli::check::filters::chain::Chain;
use crate::cli::check::filters::connection_manager;
use crate::cli::check::filters::settings::{Settings, endpoint_span};
use crate::cli::check::filters::values::{Message, anchor, at, get, mentions, number, text};
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;
use crate::cli::yaml::{self, Yaml};

const MANAGER: &str = "filters.network.http_connection_manager.v3.HttpConnectionManager";

/// Defaults of Istio. Its mesh configuration decides about the normalization of paths.
const ISTIO: &str = "{use_remote_address: true, normalize_path: false, merge_slashes: false}";

const UNPATCHED: Rule = Rule {
    name: "manager-patch-missing",
    what: "a guard without a `MERGE` patch of the connection manager",
    why: "Istio's defaults have no time limit for a request, and let clients use more memory.",
};

const LATER: Rule = Rule {
    name: "filter-after-gate",
    what: "another EnvoyFilter with a higher `priority` inserts filters before the router",
    why: "These filters are between the gate and the router, and can change what was verified.",
};

pub(super) const RULES: &[&Rule] = &[&UNPATCHED, &LATER];

/// The patches of an EnvoyFilter.
pub(super) fn patches(document: &Yaml) -> &[Yaml] {
    at(document, &["spec", "configPatches"]).map_or(&[], Yaml::items)
}

/// The values that patches of this kind merge.
fn merges<'f>(document: &'f Yaml, kinds: &[&str]) -> Vec<&'f Yaml> {
    let is_merge = |patch: &&Yaml| {
        let operation = at(patch, &["patch", "operation"]).and_then(Yaml::text);
        operation == Some("MERGE") && text(patch, "applyTo").is_some_and(|to| kinds.contains(&to))
    };
    let patches = patches(document).iter().filter(is_merge);
    patches
        .filter_map(|patch| at(patch, &["patch", "value"]))
        .collect()
}

/// The other EnvoyFilters that can apply to the same pods.
fn others<'f>(document: &'f Yaml, cluster: &Cluster<'f>) -> Vec<&'f Yaml> {
    let filters = cluster.of_kind("EnvoyFilter");
    filters
        .filter(|each| !std::ptr::eq(*each, document) && share_namespace(each, document))
        .collect()
}

/// Checks the settings around the guard of an EnvoyFilter.
pub(super) fn check(
    document: &Yaml,
    cluster: &Cluster<'_>,
    settings: Option<&Settings<'_>>,
) -> Vec<Finding> {
    let others = others(document, cluster);
    let mut findings = manager(document, &others);
    findings.extend(settings.and_then(|settings| buffer(document, &others, settings)));
    findings
}

fn priority(document: &Yaml) -> i64 {
    let value = at(document, &["spec", "priority"]);
    value
        .and_then(|value| value.to_json().parse().ok())
        .unwrap_or_default()
}

/// Reports the first filter that an EnvoyFilter inserts between the gate and the router of a guard.
pub(super) fn later(document: &Yaml, cluster: &Cluster<'_>) -> Option<Finding> {
    let is_earlier = |guarded: &Yaml| {
        let (own, other) = (workload_labels(document), workload_labels(guarded));
        !std::ptr::eq(guarded, document)
            && share_namespace(guarded, document)
            && priority(document) > priority(guarded)
            && other.is_some()
            && (selects(own, other) || selects(other, own))
    };
    let mut guards = cluster.guards_of("EnvoyFilter");
    let guarded = guards.find(|guard| is_earlier(guard.document))?;
    let context = |patch| at(patch, &["match", "context"]).and_then(Yaml::text);
    let contexts: Vec<_> = patches(guarded.document)
        .iter()
        .filter_map(context)
        .collect();
    let patch = patches(document).iter().find(|patch| {
        let anchor = ["match", "listener", "filterChain", "filter", "subFilter"];
        let anchor = at(patch, &anchor).and_then(|filter| text(filter, "name"));
        text(patch, "applyTo") == Some("HTTP_FILTER")
            && at(patch, &["patch", "operation"]).and_then(Yaml::text) == Some("INSERT_BEFORE")
            && anchor == Some("envoy.filters.http.router")
            && context(patch).is_none_or(|name| name == "ANY" || contexts.contains(&name))
    })?;
    let value = at(patch, &["patch", "value"])?;
    Some(LATER.at(
        anchor(value),
        "this filter is between the gate and the router of the guard, and can change what was verified",
        "give this EnvoyFilter a lower `priority` than that of the guard",
    ))
}

/// Reports routes of an EnvoyFilter that replace a guard or a gate.
pub(super) fn routes(document: &Yaml, chain: &Chain<'_>) -> Vec<Finding> {
    routes::check(document, chain)
}

fn managers(document: &Yaml) -> Vec<&Yaml> {
    let values = merges(document, &["NETWORK_FILTER"]).into_iter();
    values
        .filter_map(|value| get(value, "typed_config"))
        .filter(|any| Message::of(any).is_some_and(|message| message.kind == MANAGER))
        .collect()
}

fn manager(document: &Yaml, others: &[&Yaml]) -> Vec<Finding> {
    let own = managers(document);
    let place = own
        .first()
        .map_or_else(|| name(document), |value| anchor(value));
    let foreign: Vec<_> = others
        .iter()
        .flat_map(|other| managers(other))
        .map(|value| moved(value, &place))
        .collect();
    if own.is_empty() && foreign.is_empty() {
        return vec![UNPATCHED.at(
            place,
            "these files do not set the time limits and sizes of the connection manager: a slow client holds a connection and a buffer",
            "copy the patch of the connection manager (NETWORK_FILTER) from envoy/istio/gateway.yaml, or name the file that has it too",
        )];
    }
    let defaults = yaml::parse(ISTIO).unwrap_or_default();
    let defaults = defaults.iter().map(|value| moved(value, &place));
    // Istio applies later patches over earlier ones.
    let values = own.into_iter().rev().cloned();
    let values = values.chain(foreign).chain(defaults);
    let Some(value) = values.reduce(|over, under| merged(&over, &under)) else {
        return Vec::new();
    };
    // Clients of a sidecar are other proxies, and Istio reads their addresses from `X-Forwarded-For`.
    let is_sidecar = mentions(document, "SIDECAR_INBOUND");
    let mut findings = connection_manager::check(&value);
    findings.retain(|finding| !is_sidecar || finding.rule != "remote-address");
    findings
}

fn buffer(document: &Yaml, others: &[&Yaml], settings: &Settings<'_>) -> Option<Finding> {
    let place = endpoint_span(settings, Settings::largest(settings)?);
    let largest = |kinds: &[&str], field: &str| {
        let of = |document| {
            let values = merges(document, kinds).into_iter();
            values
                .filter_map(|value| get(value, field).cloned())
                .max_by_key(number)
        };
        let foreign = others.iter().filter_map(|other| of(other));
        of(document).or_else(|| {
            foreign
                .max_by_key(number)
                .map(|value| moved(&value, &place))
        })
    };
    let limit = largest(&["VIRTUAL_HOST", "HTTP_ROUTE"], "request_body_buffer_limit");
    let connection = largest(&["LISTENER"], "per_connection_buffer_limit_bytes");
    buffers::compare(limit.as_ref(), connection.as_ref(), settings)
}
