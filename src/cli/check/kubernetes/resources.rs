//! Rules for the resources of Istio and Envoy Gateway themselves.

use super::cluster::{Cluster, name};
use super::merges::patches;
use crate::cli::check::filters::values::{anchor, at, find, get, is_true, text};
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;
use crate::cli::guards::Guard;
use crate::cli::yaml::Yaml;

const SELECTOR: Rule = Rule {
    name: "selector-missing",
    what: "an EnvoyFilter with neither `workloadSelector` nor `targetRefs`",
    why: "The guard is in every pod of the namespace, or of the mesh in its root namespace.",
};

const CONTEXT: Rule = Rule {
    name: "patch-context",
    what: "a guard or gate patch whose `context` is neither `GATEWAY` nor `SIDECAR_INBOUND`",
    why: "The guard also answers the application's own requests, with 404.",
};

const VERSION: Rule = Rule {
    name: "patch-proxy-version",
    what: "`match.proxy` of a patch",
    why: "Istio skips the patch silently in a proxy that does not match.",
};

const PRIORITY: Rule = Rule {
    name: "patch-priority",
    what: "an EnvoyFilter without a `priority` above 0",
    why: "A later EnvoyFilter inserts its filters between the gate and the router, and can change what was verified.",
};

const EXTENSION: Rule = Rule {
    name: "extension-without-flag",
    what: "a WasmPlugin, a TrafficExtension, or an EnvoyExtensionPolicy without a patch of the hold flag",
    why: "These resources have no `allow_on_headers_stop_iteration`: signed requests get 503.",
};

const OPEN: Rule = Rule {
    name: "extension-fail-open",
    what: "`failStrategy: FAIL_OPEN` or `failOpen: true`",
    why: "Without the module, every request passes unverified.",
};

/// The rules of this folder, in the order of the documentation.
pub(super) const RULES: &[&Rule] = &[&SELECTOR, &CONTEXT, &VERSION, &PRIORITY, &EXTENSION, &OPEN];

/// Checks the resource of a guard.
pub(super) fn check(guard: &Guard<'_>, cluster: &Cluster<'_>) -> Vec<Finding> {
    match text(guard.document, "kind") {
        Some("EnvoyFilter") => envoy_filter(guard.document),
        Some("WasmPlugin" | "TrafficExtension" | "EnvoyExtensionPolicy") => {
            extension(guard, cluster)
        }
        _ => Vec::new(),
    }
}

fn envoy_filter(document: &Yaml) -> Vec<Finding> {
    let filters: Vec<_> = patches(document)
        .iter()
        .filter(|patch| {
            matches!(
                text(patch, "applyTo"),
                Some("HTTP_FILTER" | "EXTENSION_CONFIG")
            )
        })
        .filter(|patch| is_judge(patch))
        .collect();
    let mut findings: Vec<_> = selector(document).into_iter().collect();
    findings.extend(priority(document));
    findings.extend(filters.iter().filter_map(|patch| context(patch)));
    findings.extend(filters.iter().filter_map(|patch| version(patch)));
    findings
}

/// Whether a patch is of the guard or the gate.
fn is_judge(patch: &Yaml) -> bool {
    let name = at(patch, &["patch", "value"]).and_then(|value| text(value, "name"));
    matches!(name, Some("webhook_guard" | "gate"))
}

fn selector(document: &Yaml) -> Option<Finding> {
    let has = |path: &[&str]| at(document, path).is_some();
    let selected = has(&["spec", "workloadSelector"]) || has(&["spec", "targetRefs"]);
    (!selected).then(|| {
        SELECTOR.at(
            name(document),
            "the EnvoyFilter selects no workload, so it puts the guard into every pod of the namespace",
            "set `workloadSelector: {labels: ...}`, or `targetRefs` for a Gateway of the Kubernetes Gateway API",
        )
    })
}

fn priority(document: &Yaml) -> Option<Finding> {
    let priority = at(document, &["spec", "priority"]);
    let value = priority.and_then(|value| value.to_json().parse::<i64>().ok());
    (value.unwrap_or_default() <= 0).then(|| {
        PRIORITY.at(
            priority.map_or_else(|| name(document), |value| value.span.clone()),
            "another EnvoyFilter can insert its filters between the gate and the router, and change what was verified",
            "set `priority: 100`, so that these filters are the last before the router",
        )
    })
}

fn context(patch: &Yaml) -> Option<Finding> {
    if text(patch, "applyTo") == Some("EXTENSION_CONFIG") {
        return None;
    }
    let context = at(patch, &["match", "context"]);
    let is_inbound = matches!(
        context.and_then(Yaml::text),
        Some("GATEWAY" | "SIDECAR_INBOUND")
    );
    let message = match context.and_then(Yaml::text) {
        Some("SIDECAR_OUTBOUND") => {
            "the patch is for outgoing requests of a sidecar: the guard answers them 404, and does not see incoming ones"
        }
        _ => "the patch is also for outgoing requests of a sidecar, which the guard answers 404",
    };
    (!is_inbound).then(|| {
        CONTEXT.at(
            context.map_or_else(|| anchor(patch), |value| value.span.clone()),
            message,
            "set `context: GATEWAY`, or `context: SIDECAR_INBOUND` in a sidecar",
        )
    })
}

fn version(patch: &Yaml) -> Option<Finding> {
    let proxy = at(patch, &["match", "proxy"])?;
    Some(VERSION.at(
        proxy.span.clone(),
        "Istio skips this patch silently in a proxy that does not match, and the guard or the gate is absent there",
        "remove `proxy` from the `match` of the guard and the gate",
    ))
}

fn extension(guard: &Guard<'_>, cluster: &Cluster<'_>) -> Vec<Finding> {
    let Some(filter) = guard.filter else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let strategy = get(filter, "failStrategy").filter(|each| each.text() == Some("FAIL_OPEN"));
    let open = get(filter, "failOpen").filter(|open| is_true(Some(open)));
    if let Some(value) = strategy.or(open) {
        findings.push(OPEN.at(
            value.span.clone(),
            "if the module cannot be loaded, every request passes unverified",
            "set `failOpen: false` in an EnvoyExtensionPolicy, or `failStrategy: FAIL_RELOAD` in a WasmPlugin",
        ));
    }
    let sets_flag = |operation: &Yaml| {
        text(operation, "path") == Some("/allow_on_headers_stop_iteration")
            && is_true(get(operation, "value"))
    };
    let is_patched = text(guard.document, "kind") == Some("EnvoyExtensionPolicy")
        && cluster
            .of_kind("EnvoyPatchPolicy")
            .any(|each| !find(each, &sets_flag).is_empty());
    if !is_patched {
        findings.push(EXTENSION.at(
            name(guard.document),
            "this resource cannot set `allow_on_headers_stop_iteration`, so the guard answers signed requests 503",
            "use the EnvoyFilter in envoy/istio, or the EnvoyPatchPolicy in envoy/envoy-gateway",
        ));
    }
    findings
}
