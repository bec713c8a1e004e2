//! The settings around a guard in Envoy's own files.

pub(super) mod buffers;
mod listeners;
pub(super) mod routes;
#[cfg(test)]
mod tests;

use super::filters::chain::{Chain, Filter};
use super::filters::settings::Settings;
use super::filters::values::{Message, fields, find, get, mentions};
use super::filters::{connection_manager, gate, limits, logs, order, outputs, plugin, settings};
use super::finding::Finding;
use super::rule::Rule;
use crate::cli::guards::Guard;
use crate::cli::yaml::Yaml;
use crate::policy::Policy;

const MANAGER: &str = "filters.network.http_connection_manager.v3.HttpConnectionManager";

/// The rules of this folder, in the order of the documentation.
pub(super) const RULES: [&[&Rule]; 3] = [buffers::RULES, routes::RULES, listeners::RULES];

/// The weaknesses around the guards of a file. The policies are those of `guards`, `None` for one with errors.
pub(super) fn check(
    documents: &[Yaml],
    guards: &[Guard<'_>],
    policies: &[Option<Policy>],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in documents
        .iter()
        .filter(|document| get(document, "kind").is_none())
    {
        for (guard, policy) in guards.iter().zip(policies) {
            if std::ptr::eq(guard.document, document) {
                findings.extend(plugin_of(document, guard, policy.is_some()));
            }
        }
        for listener in listeners::listeners(document) {
            for manager in managers(listener) {
                findings.extend(around(listener, manager, guards));
            }
        }
        findings.extend(listeners::check(document, guards));
    }
    findings.sort_by_key(|finding| finding.span.start);
    findings.dedup();
    findings
}

/// The number of guards whose configuration is in another file.
pub(super) fn discovered_guards(documents: &[Yaml]) -> usize {
    let filters = documents
        .iter()
        .flat_map(|document| fields(document, "http_filters"))
        .flat_map(Yaml::items);
    filters
        .filter(|filter| Filter(filter).is_discovered_guard())
        .count()
}

/// The connection managers within a value.
fn managers(value: &Yaml) -> Vec<&Yaml> {
    find(value, &|value| {
        Message::of(value).is_some_and(|message| message.kind == MANAGER)
    })
}

/// The chain of filters with the first guard of a connection manager.
fn chain<'f>(manager: &'f Yaml, guards: &[Guard<'_>]) -> Option<Chain<'f>> {
    let filters: Vec<_> = get(manager, "http_filters")?.items().iter().collect();
    Chain::new(&filters, &|filter| {
        filter.is_discovered_guard() || guards.iter().any(|guard| filter.is(guard))
    })
}

/// Checks a guard's own filter and settings.
fn plugin_of(document: &Yaml, guard: &Guard<'_>, is_valid: bool) -> Vec<Finding> {
    let configured = Settings::of(guard);
    let mut findings = Vec::new();
    // The module reports the settings of a faulty configuration.
    if let Some(configured) = configured.as_ref().filter(|_| is_valid) {
        findings.extend(settings::check(configured));
    }
    let Some(wasm) = guard.filter else {
        return findings;
    };
    findings.extend(plugin::check(wasm, configured.as_ref()));
    let is_other = |value: &Yaml| {
        Message::of(value).is_some_and(|message| message.kind == "filters.http.wasm.v3.Wasm")
            && !std::ptr::eq(value, wasm)
    };
    findings.extend(plugin::shared_vm_id(wasm, &find(document, &is_other)));
    findings
}

/// Checks what surrounds the guard of a connection manager.
fn around(listener: &Yaml, manager: &Yaml, guards: &[Guard<'_>]) -> Vec<Finding> {
    let Some(chain) = chain(manager, guards) else {
        return Vec::new();
    };
    let guard = guards.iter().find(|guard| chain.guard.is(guard));
    let configured = guard.and_then(Settings::of);
    let is_exposed = !listeners::is_local(listener) || mentions(listener, "DownstreamTlsContext");
    let mut findings = gate::check(&chain);
    findings.extend(limits::check(&chain, is_exposed));
    findings.extend(order::check(&chain, configured.as_ref()));
    findings.extend(connection_manager::check(manager));
    findings.extend(routes::check(manager, &chain));
    let access_logs = get(manager, "access_log").map_or(&[][..], Yaml::items);
    if let Some(configured) = &configured {
        findings.extend(buffers::check(listener, manager, configured));
        findings.extend(logs::events(configured, access_logs));
        let is_skipped = |value: &Yaml| chain.is_at_or_before_guard(value);
        findings.extend(outputs::check(manager, &[configured], &is_skipped));
    }
    findings.extend(access_logs.iter().flat_map(logs::check));
    findings
}
