//! The settings around a guard in resources of Istio and Envoy Gateway.

mod chain;
mod cluster;
mod gateway;
mod merges;
mod resources;
mod sidecar;
#[cfg(test)]
mod tests;
mod workloads;

pub(super) use cluster::Cluster;

use super::filters::chain::Chain;
use super::filters::settings::Settings;
use super::filters::values::{fields, get, mentions, text};
use super::filters::{gate, limits, logs, order, outputs, plugin, settings};
use super::finding::Finding;
use super::rule::Rule;
use crate::cli::guards::Guard;
use crate::cli::yaml::Yaml;
use crate::policy::Policy;

/// The rules of this folder, in the order of the documentation.
pub(super) const RULES: [&[&Rule]; 5] = [
    resources::RULES,
    merges::RULES,
    sidecar::RULES,
    workloads::RULES,
    gateway::RULES,
];

/// The weaknesses in the resources of a file. The policies are those of `guards`, `None` for one with errors. `cluster` has
/// the resources of all files, with those of this one.
pub(super) fn check<'f>(
    documents: &'f [Yaml],
    guards: &[Guard<'f>],
    policies: &[Option<Policy>],
    cluster: &Cluster<'f>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (guard, policy) in guards.iter().zip(policies) {
        if get(guard.document, "kind").is_some() {
            findings.extend(of_guard(guard, policy.is_some(), cluster));
        }
    }
    let resources = documents.iter().filter(|each| get(each, "kind").is_some());
    for document in resources {
        findings.extend(of_resource(document, cluster));
    }
    findings.sort_by_key(|finding| finding.span.start);
    findings.dedup();
    findings
}

/// The filters around a guard, as its resource shows them.
fn chain<'f>(guard: &Guard<'f>) -> Option<Chain<'f>> {
    let filters = match text(guard.document, "kind") {
        Some("EnvoyFilter") => chain::of_envoy_filter(guard.document),
        Some("EnvoyPatchPolicy") => chain::of_patch_policy(guard.document),
        _ => return None,
    };
    Chain::new(&filters, &|filter| {
        filter.is(guard) || filter.is_discovered_guard()
    })
}

/// Checks the resource of a guard.
fn of_guard<'f>(guard: &Guard<'f>, is_valid: bool, cluster: &Cluster<'f>) -> Vec<Finding> {
    let document = guard.document;
    // The module reports the settings of a faulty configuration.
    let configured = Settings::of(guard).filter(|_| is_valid);
    let mut findings: Vec<_> = configured.iter().flat_map(settings::check).collect();
    let kind = text(document, "kind").unwrap_or_default();
    if matches!(kind, "EnvoyFilter" | "EnvoyPatchPolicy") {
        let message = guard
            .filter
            .map(|wasm| plugin::check(wasm, configured.as_ref()));
        findings.extend(message.into_iter().flatten());
    }
    if let Some(chain) = chain(guard) {
        // Clients of a sidecar are other proxies, and a limit for each address is on the gateway.
        let is_exposed = !mentions(document, "SIDECAR_INBOUND");
        findings.extend(gate::check(&chain));
        findings.extend(limits::check(&chain, is_exposed));
        findings.extend(order::check(&chain, configured.as_ref()));
    }
    if kind == "EnvoyFilter" {
        findings.extend(merges::check(document, cluster, configured.as_ref()));
        findings.extend(sidecar::check_filter(document, cluster));
    }
    if matches!(kind, "EnvoyPatchPolicy" | "EnvoyExtensionPolicy") {
        let configured = configured.as_ref();
        findings.extend(configured.and_then(|each| gateway::buffer(document, cluster, each)));
    }
    if kind == "EnvoyExtensionPolicy" {
        findings.extend(gateway::gate(guard, cluster));
    }
    findings.extend(workloads::plugin(guard, configured.as_ref()));
    findings.extend(resources::check(guard, cluster));
    findings
}

/// Checks a resource, which can be that of a guard.
fn of_resource(document: &Yaml, cluster: &Cluster<'_>) -> Vec<Finding> {
    let lists = fields(document, "access_log");
    let items = lists.into_iter().flat_map(Yaml::items);
    let mut findings: Vec<_> = items.flat_map(logs::check).collect();
    if text(document, "kind") == Some("EnvoyFilter") {
        let chains = cluster.guards.iter().filter_map(|guard| chain(guard));
        findings.extend(chains.flat_map(|chain| merges::routes(document, &chain)));
        findings.extend(merges::later(document, cluster));
    }
    findings.extend(unset_outputs(document, cluster).into_iter().flatten());
    findings.extend(sidecar::check(document, cluster));
    findings.extend(workloads::check(document, cluster));
    findings.extend(gateway::check(document, cluster));
    findings
}

/// Reports what a resource reads, although its guard does not set it. Any guard of the files can be that of a resource
/// without one.
fn unset_outputs(document: &Yaml, cluster: &Cluster<'_>) -> Option<Vec<Finding>> {
    const GROUPS: [&str; 3] = [
        "istio.io",
        "gateway.envoyproxy.io",
        "gateway.networking.k8s.io",
    ];
    let group = text(document, "apiVersion")?.split('/').next()?;
    if !GROUPS.iter().any(|name| group.ends_with(name)) {
        return None;
    }
    let is_own = |guard: &&&Guard<'_>| std::ptr::eq(guard.document, document);
    let mut guards: Vec<_> = cluster.guards.iter().filter(is_own).collect();
    if guards.is_empty() {
        guards = cluster.guards.iter().collect();
    }
    let settings = guards.iter().map(|guard| Settings::of(guard));
    let settings: Vec<_> = settings.collect::<Option<_>>()?;
    let chains: Vec<_> = guards.iter().filter_map(|guard| chain(guard)).collect();
    let is_skipped = |value: &Yaml| {
        let mut filters = guards.iter().filter_map(|guard| guard.filter);
        filters.any(|filter| std::ptr::eq(filter, value))
            || chains
                .iter()
                .any(|chain| chain.is_at_or_before_guard(value))
    };
    let settings: Vec<_> = settings.iter().collect();
    Some(outputs::check(document, &settings, &is_skipped))
}
