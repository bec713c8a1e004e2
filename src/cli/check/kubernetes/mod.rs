//! The settings around a guard in resources of Istio and Envoy Gateway.

mod chain;
mod resources;
#[cfg(test)]
mod tests;

use super::filters::chain::Chain;
use super::filters::settings::Settings;
use super::filters::values::{fields, get, mentions, text};
use super::filters::{gate, limits, logs, order, plugin, settings};
use super::finding::Finding;
use crate::cli::guards::Guard;
use crate::cli::yaml::Yaml;
use crate::policy::Policy;

/// The weaknesses around the guards of a file. The policies are those of `guards`, `None` for one with errors.
pub(super) fn check(
    documents: &[Yaml],
    guards: &[Guard<'_>],
    policies: &[Option<Policy>],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (guard, policy) in guards.iter().zip(policies) {
        let configured = Settings::of(guard).filter(|_| policy.is_some());
        let kind = text(guard.document, "kind").unwrap_or_default();
        if kind.is_empty() {
            continue;
        }
        findings.extend(configured.iter().flat_map(settings::check));
        let filters = match kind {
            "EnvoyFilter" => chain::of_envoy_filter(guard.document),
            "EnvoyPatchPolicy" => chain::of_patch_policy(guard.document),
            _ => Vec::new(),
        };
        if matches!(kind, "EnvoyFilter" | "EnvoyPatchPolicy") {
            let message = guard
                .filter
                .map(|wasm| plugin::check(wasm, configured.as_ref()));
            findings.extend(message.into_iter().flatten());
        }
        let is_guard = |filter: super::filters::chain::Filter<'_>| {
            filter.is(guard) || filter.is_discovered_guard()
        };
        if let Some(chain) = Chain::new(&filters, &is_guard) {
            // Clients of a sidecar are other proxies, and a limit for each address is on the gateway.
            let is_exposed = !mentions(guard.document, "SIDECAR_INBOUND");
            findings.extend(gate::check(&chain));
            findings.extend(limits::check(&chain, is_exposed));
            findings.extend(order::check(&chain, configured.as_ref()));
        }
        findings.extend(resources::check(documents, guard));
    }
    for document in documents.iter().filter(|each| get(each, "kind").is_some()) {
        let lists = fields(document, "access_log");
        let items = lists.into_iter().flat_map(Yaml::items);
        findings.extend(items.flat_map(logs::check));
    }
    findings.sort_by_key(|finding| finding.span.start);
    findings.dedup();
    findings
}
