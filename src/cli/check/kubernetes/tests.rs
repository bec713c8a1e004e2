//! Mistakes in the shipped manifests.

use super::check;
use super::resources::RULES;
use crate::cli::guards;
use crate::cli::yaml;

const GATEWAY: &str = include_str!("../../../../envoy/istio/gateway.yaml");
const SIDECAR: &str = include_str!("../../../../envoy/istio/sidecar.yaml");
const PATCHES: &str = include_str!("../../../../envoy/envoy-gateway/guard.yaml");
const OTHERS: [&str; 5] = [
    include_str!("../../../../envoy/istio/gateway-example.yaml"),
    include_str!("../../../../envoy/istio/gateway-production.yaml"),
    include_str!("../../../../envoy/istio/gateway-api-example.yaml"),
    include_str!("../../../../envoy/istio/sidecar-example.yaml"),
    include_str!("../../../../envoy/envoy-gateway/gateway.yaml"),
];

const PLUGIN: &str = "apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: webhook-guard}
spec:
  failStrategy: FAIL_CLOSE
  pluginConfig:
    endpoints:
    - {name: orders, match: {path: /webhook}, secrets: [{version: v1, env: WEBHOOK_SECRET}]}
";

/// The names of the rules, in the order of the file.
fn rules(text: &str) -> Vec<&'static str> {
    let documents = yaml::parse(text).unwrap();
    let guards = guards::find(&documents);
    let policies: Vec<_> = guards
        .iter()
        .map(|guard| {
            let read = crate::policy::Policy::read(&guard.configuration.to_bytes(), &|_| {
                Ok("dev-only-webhook-secret".to_owned())
            });
            read.ok().map(|(policy, _)| policy)
        })
        .collect();
    let findings = check(&documents, &guards, &policies);
    findings.iter().map(|finding| finding.rule).collect()
}

#[test]
fn the_shipped_manifests_have_no_finding() {
    for text in [GATEWAY, SIDECAR, PATCHES].into_iter().chain(OTHERS) {
        assert!(rules(text).is_empty(), "{:?}", rules(text));
    }
}

#[test]
fn each_planted_mistake_is_found_alone() {
    let gate_patch = "      operation: INSERT_BEFORE\n      value:\n        name: gate\n";
    let gate_first = "      operation: INSERT_FIRST\n      value:\n        name: gate\n";
    let rbac = "envoy.extensions.filters.http.rbac.v3.RBAC";
    let metadata = "envoy.extensions.filters.http.set_metadata.v3.Config";
    let plants: &[(&str, &str, &str, &[&str])] = &[
        (
            GATEWAY,
            "  workloadSelector:\n    labels: {istio: webhook-gateway} # CHANGE: the label of your gateway's pods\n",
            "",
            &["selector-missing"],
        ),
        (GATEWAY, "  priority: 100\n", "", &["patch-priority"]),
        (
            GATEWAY,
            "      context: GATEWAY\n      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter",
            "      context: ANY\n      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter",
            &["patch-context"],
        ),
        (
            GATEWAY,
            "      context: GATEWAY\n      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter",
            "      context: GATEWAY\n      proxy: {proxyVersion: '^1\\.31.*'}\n      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter",
            &["patch-proxy-version"],
        ),
        (
            GATEWAY,
            "            allow_on_headers_stop_iteration: true\n",
            "",
            &["hold-flag"],
        ),
        (
            GATEWAY,
            "failure_policy: FAIL_RELOAD",
            "failure_policy: FAIL_OPEN",
            &["failure-policy"],
        ),
        (
            GATEWAY,
            "[ENVIRONMENT, WEBHOOK_SECRET]",
            "[ENVIRONMENT]",
            &["unlisted-variable"],
        ),
        (
            GATEWAY,
            "key: wasm.webhook_guard_verdict",
            "key: another",
            &["gate-policy"],
        ),
        (
            SIDECAR,
            "  action: DENY\n",
            "  action: ALLOW\n",
            &["sidecar-bypass"],
        ),
        (
            SIDECAR,
            "        notPaths: [\"*\"]\n",
            "",
            &["sidecar-bypass"],
        ),
        (
            PATCHES,
            "            allow_on_headers_stop_iteration: true\n",
            "",
            &["hold-flag"],
        ),
        (
            PATCHES,
            "failure_policy: FAIL_RELOAD",
            "failure_policy: FAIL_OPEN",
            &["failure-policy"],
        ),
        (GATEWAY, gate_patch, gate_first, &["gate-order"]),
        (GATEWAY, rbac, metadata, &["gate-missing"]),
        (PATCHES, rbac, metadata, &["gate-missing"]),
        (PLUGIN, "metadata", "metadata", &["extension-without-flag"]),
        (
            PLUGIN,
            "FAIL_CLOSE",
            "FAIL_OPEN",
            &["extension-without-flag", "extension-fail-open"],
        ),
    ];
    for (shipped, from, to, expected) in plants {
        assert!(shipped.contains(from), "{from}");
        assert_eq!(rules(&shipped.replacen(from, to, 1)), *expected, "{from}");
    }
}

#[test]
fn the_documentation_lists_the_rules() {
    let page = include_str!("../README.md");
    for rule in RULES {
        let row = format!("| `{}` | {} | {} |\n", rule.name, rule.what, rule.why);
        assert!(page.contains(&row), "the table lacks:\n{row}");
    }
}
