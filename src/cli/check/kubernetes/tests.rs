//! Mistakes planted in the shipped manifests: each gives its rule alone, and the manifests themselves give none.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;

use super::{Cluster, RULES, check};
use crate::cli::{guards, yaml};

/// Files that a user names together.
const GATEWAY: &[&str] = &["istio/gateway.yaml", "istio/gateway-example.yaml"];
const GATEWAY_API: &[&str] = &[
    "istio/gateway.yaml+istio/gateway-api.patch",
    "istio/gateway-api-example.yaml",
];
const SIDECAR: &[&str] = &["istio/sidecar.yaml", "istio/sidecar-example.yaml"];
const REMOTE: &[&str] = &["istio/gateway.yaml+istio/ecds.patch+istio/module-remote.patch"];
const ENVOY_GATEWAY: &[&str] = &["envoy-gateway/guard.yaml", "envoy-gateway/gateway.yaml"];
const IMAGE_VOLUME: &[&str] = &[
    "istio/gateway.yaml",
    "istio/gateway-example.yaml+istio/image-volume.patch",
];
const IMAGE: &[&str] = &[
    "envoy-gateway/guard.yaml+envoy-gateway/image.patch",
    "envoy-gateway/gateway.yaml+envoy-gateway/image.patch",
];

const VOLUME: &[&str] = &[
    "envoy-gateway/guard.yaml",
    "envoy-gateway/gateway.yaml+envoy-gateway/image-volume.patch",
];

const BEFORE_ROUTER: &str = "      context: GATEWAY\n      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter";
const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const METADATA: &str = "envoy.extensions.filters.http.set_metadata.v3.Config";
const DISABLED: &str = "typed_per_filter_config: {webhook_guard: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}";

const LATER: &str = concat!(
    "kind: EnvoyFilter\nmetadata: {name: later, namespace: webhooks}\nspec:\n  priority: 200\n  configPatches:\n",
    "  - applyTo: HTTP_FILTER\n    match: {context: GATEWAY, listener: {filterChain: {filter: {subFilter: {name: envoy.filters.http.router}}}}}\n",
    "    patch: {operation: INSERT_BEFORE, value: {name: rewrite}}\n---\napiVersion: telemetry.istio.io/v1\n"
);

/// Files, a text in them, the text that replaces it, and the rule that reports the edit.
#[rustfmt::skip]
const PLANTED: &[(&[&str], &str, &str, &str)] = &[
    (GATEWAY, "  workloadSelector:\n    labels: {istio: webhook-gateway} # CHANGE: the label of your gateway's pods\n", "", "selector-missing"),
    (GATEWAY, "  priority: 100\n", "", "patch-priority"),
    (GATEWAY, BEFORE_ROUTER, "      context: ANY\n      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter", "patch-context"),
    (GATEWAY, BEFORE_ROUTER, "      context: GATEWAY\n      proxy: {proxyVersion: '^1\\.31.*'}\n      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter", "patch-proxy-version"),
    (GATEWAY, "            allow_on_headers_stop_iteration: true\n", "", "hold-flag"),
    (GATEWAY, "failure_policy: FAIL_RELOAD", "failure_policy: FAIL_OPEN", "failure-policy"),
    (GATEWAY, "[ENVIRONMENT, WEBHOOK_SECRET]", "[ENVIRONMENT]", "unlisted-variable"),
    (GATEWAY, "key: wasm.webhook_guard_verdict", "key: another", "gate-policy"),
    (GATEWAY, "      operation: INSERT_BEFORE\n      value:\n        name: gate\n", "      operation: INSERT_FIRST\n      value:\n        name: gate\n", "gate-order"),
    (GATEWAY, RBAC, METADATA, "gate-missing"),
    (GATEWAY, "always_consume_default_token_bucket: false", "", "shared-limit"),
    (GATEWAY, "path_with_escaped_slashes_action: KEEP_UNCHANGED", "path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD", "path-normalization"),
    (GATEWAY, "          request_timeout: 30s\n", "          request_timeout: 30s\n          normalize_path: true\n", "path-normalization"),
    (GATEWAY, "          request_timeout: 30s\n", "          request_timeout: 30s\n          use_remote_address: false\n", "remote-address"),
    (GATEWAY, "          request_timeout: 30s\n", "", "request-timeout"),
    (GATEWAY, "          stream_idle_timeout: 20s\n", "          stream_idle_timeout: 0s\n", "request-timeout"),
    (GATEWAY, "          max_request_headers_kb: 16\n", "", "header-size"),
    (GATEWAY, "            headers_with_underscores_action: DROP_HEADER\n", "", "underscores"),
    (GATEWAY, "            max_concurrent_streams: 8\n", "", "http2-limits"),
    (GATEWAY, "{accept_http_10: true}", "{}", "http-1-0"),
    (GATEWAY, "v3.HttpConnectionManager", "v3.Other", "manager-patch-missing"),
    (GATEWAY, "match: {path: /webhook}\n", "match: {path: /webhook}\n                  max_body_bytes: 4194304\n", "buffer-limit"),
    (GATEWAY, "        request_body_buffer_limit: 1114112\n", "        request_body_buffer_limit: 1114112\n        typed_per_filter_config: {gate: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}\n", "route-disables-filter"),
    (GATEWAY, "apiVersion: telemetry.istio.io/v1\n", LATER, "filter-after-gate"),
    (GATEWAY, "kind: Deployment\nmetadata: {name: webhook-gateway, namespace: webhooks}", "kind: Deployment\nmetadata: {name: webhook-gateway, namespace: other}", "selector-mismatch"),
    (GATEWAY, "%PATH(NQ:PATH):200%", "%PATH(NQ:PATH)%", "access-log-length"),
    (GATEWAY, "[endpoint, delivery, message]", "[endpoint, delivery]", "unset-header"),
    (GATEWAY, "log: {accepted: debug} #", "filter_states: [verdict, endpoint, reason, secret_version, delivery]\n                log: {accepted: debug} #", "unset-filter-state"),
    (GATEWAY, "  http:\n  - directResponse:\n", "  http:\n  - match: [{headers: {x-webhook-guard-secret-version: {exact: v1}}}]\n    directResponse:\n", "unset-header"),
    (SIDECAR, "[endpoint, delivery, message]", "[endpoint, delivery]", "unset-header"),
    (ENVOY_GATEWAY, "log: {accepted: debug} #", "filter_states: [verdict, endpoint, reason, secret_version, delivery]\n                log: {accepted: debug} #", "unset-filter-state"),
    (GATEWAY, "protocol: HTTP}", "protocol: TCP}", "gateway-protocol"),
    (GATEWAY, "        - name: WEBHOOK_SECRET #", "        - name: OTHER_SECRET #", "unset-variable"),
    (GATEWAY, "          valueFrom:\n            secretKeyRef: {name: webhook-secrets, key: orders}\n", "          value: the-secret\n", "secret-in-manifest"),
    (GATEWAY, "secretKeyRef: {name: webhook-secrets", "configMapKeyRef: {name: webhook-secrets", "secret-in-manifest"),
    (GATEWAY, "      labels: {istio: webhook-gateway, app", "      labels: {app", "selector-mismatch"),
    (GATEWAY, "        configMap: {name: webhook-guard}\n", "        image: {reference: registry.example.com/webhook-guard:1}\n", "module-digest"),
    (GATEWAY_API, "            - name: WEBHOOK_SECRET #", "            - name: OTHER_SECRET #", "unset-variable"),
    (REMOTE, "@sha256:0000000000000000000000000000000000000000000000000000000000000000\", timeout: 30s}\n                  sha256: \"0000000000000000000000000000000000000000000000000000000000000000\"\n", ":0.1.0\", timeout: 30s}\n", "module-digest"),
    (IMAGE_VOLUME, "@sha256:0000000000000000000000000000000000000000000000000000000000000000", ":0.1.0", "module-digest"),
    (SIDECAR, "  action: DENY\n", "  action: ALLOW\n", "sidecar-bypass"),
    (SIDECAR, "        notPaths: [\"*\"]\n", "", "sidecar-bypass"),
    (SIDECAR, "        notPorts: [\"8080\"] #", "        notPorts: [\"8080\", \"9090\"] #", "sidecar-bypass"),
    (SIDECAR, "        notPaths: [\"*\"]\n", "        notPaths: [\"*\"]\n        methods: [GET]\n", "sidecar-bypass"),
    (SIDECAR, "  selector:\n    matchLabels: {app: orders}\n  action: DENY", "  selector:\n    matchLabels: {app: other}\n  action: DENY", "sidecar-bypass"),
    (SIDECAR, "  - name: http-webhooks\n    appProtocol: http\n", "  - name: webhooks\n", "sidecar-protocol"),
    (SIDECAR, "    appProtocol: http\n", "    appProtocol: tcp\n", "sidecar-protocol"),
    (SIDECAR, "      labels: {app: orders, version", "      annotations: {traffic.sidecar.istio.io/excludeInboundPorts: \"9090,8080\"}\n      labels: {app: orders, version", "sidecar-ports"),
    (SIDECAR, "      labels: {app: orders, version", "      annotations: {traffic.sidecar.istio.io/includeInboundPorts: \"9090\"}\n      labels: {app: orders, version", "sidecar-ports"),
    (SIDECAR, "      terminationGracePeriodSeconds: 90", "      hostNetwork: true\n      terminationGracePeriodSeconds: 90", "sidecar-absent"),
    (SIDECAR, "sidecar.istio.io/inject: \"true\"", "sidecar.istio.io/inject: \"false\"", "sidecar-absent"),
    (SIDECAR, "  inboundConnectionPool:\n", "  ingress:\n  - {port: {number: 8080, protocol: HTTP}, captureMode: NONE}\n  inboundConnectionPool:\n", "sidecar-capture"),
    (SIDECAR, "        route: {timeout: 15s}", "        DISABLED\n        route: {timeout: 15s}", "route-disables-filter"),
    (ENVOY_GATEWAY, "            allow_on_headers_stop_iteration: true\n", "", "hold-flag"),
    (ENVOY_GATEWAY, "failure_policy: FAIL_RELOAD", "failure_policy: FAIL_OPEN", "failure-policy"),
    (ENVOY_GATEWAY, RBAC, METADATA, "gate-missing"),
    (ENVOY_GATEWAY, "          - name: WEBHOOK_SECRET\n", "          - name: OTHER_SECRET\n", "unset-variable"),
    (ENVOY_GATEWAY, "            valueFrom: {secretKeyRef: {name: webhook-secrets, key: orders}}\n", "            value: the-secret\n", "secret-in-manifest"),
    (IMAGE, "@sha256:0000000000000000000000000000000000000000000000000000000000000000", ":0.1.0", "module-digest"),
    (VOLUME, "@sha256:0000000000000000000000000000000000000000000000000000000000000000", ":0.1.0", "module-digest"),
    (IMAGE, "hostKeys: [ENVIRONMENT, WEBHOOK_SECRET]", "hostKeys: [ENVIRONMENT]", "unlisted-variable"),
    (IMAGE, "envoy.extensions.filters.http.rbac.v3.RBAC", "envoy.extensions.filters.http.set_metadata.v3.Config", "gate-missing"),
    (IMAGE, "      value: 1114112\n", "      value: 65536\n", "buffer-limit"),
    (ENVOY_GATEWAY, "      value: 1114112\n", "      value: 65536\n", "buffer-limit"),
    (ENVOY_GATEWAY, "      path: /request_body_buffer_limit\n", "      path: /other\n", "buffer-limit"),
    (ENVOY_GATEWAY, "  authorization:\n", "  other:\n", "lock-missing"),
    (ENVOY_GATEWAY, "defaultAction: Deny\n", "defaultAction: Allow\n", "lock-policy"),
    (ENVOY_GATEWAY, "      cel: \"filter_state['wasm.webhook_guard_verdict'] in [b'accepted', b'monitored', b'passed']\"", "      cel: \"filter_state['wasm.webhook_guard_verdict'] in [b'accepted', b'rejected']\"", "lock-policy"),
    (ENVOY_GATEWAY, "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\n", "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: own, namespace: webhooks}\nspec: {targetRefs: [{kind: HTTPRoute, name: app}]}\n---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\n", "lock-replaced"),
    (ENVOY_GATEWAY, "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\n", "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: own, namespace: webhooks}\nspec: {targetRefs: [{kind: Gateway, name: webhooks, sectionName: webhooks}]}\n---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\n", "lock-replaced"),
    (ENVOY_GATEWAY, "  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: webhooks}\n", "", "target-missing"),
    (ENVOY_GATEWAY, "    name: webhooks/webhooks/webhooks\n", "    name: webhooks/webhooks/https\n", "listener-unpatched"),
    (ENVOY_GATEWAY, "  - name: webhooks\n    # CHANGE", "  - {name: second, protocol: HTTP, port: 81}\n  - name: webhooks\n    # CHANGE", "listener-unpatched"),
    (ENVOY_GATEWAY, "      path: /request_headers_to_add\n      value:\n", "      path: /typed_per_filter_config\n      value: {gate: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}\n      other:\n", "route-disables-filter"),
    (ENVOY_GATEWAY, "kind: HTTPRoute\n", "kind: GRPCRoute\n", "grpc-route"),
    (ENVOY_GATEWAY, "%PATH(NQ:PATH):200%", "%PATH(NQ:PATH)%", "access-log-length"),
    (ENVOY_GATEWAY, "      - matches: [\"'webhooks' in metadata.filter_metadata && request.path != '/healthz'\"]\n        format:", "      - format:", "access-log-filter"),
    (ENVOY_GATEWAY, "disableMergeSlashes: true, ", "", "path-normalization"),
    (ENVOY_GATEWAY, ", escapedSlashesAction: KeepUnchanged", "", "path-normalization"),
    (ENVOY_GATEWAY, "      path: /normalize_path\n", "      path: /other\n", "path-normalization"),
    (ENVOY_GATEWAY, "      path: /max_request_headers_kb\n", "      path: /other\n", "header-size"),
    (ENVOY_GATEWAY, "withUnderscoresAction: DropHeader", "withUnderscoresAction: Allow", "underscores"),
    (ENVOY_GATEWAY, "      requestReceivedTimeout: 30s\n", "", "request-timeout"),
    (ENVOY_GATEWAY, "      streamIdleTimeout: 20s\n", "      streamIdleTimeout: 0s\n", "request-timeout"),
    (ENVOY_GATEWAY, "http1: {http10: {}}", "http1: {}", "http-1-0"),
    (ENVOY_GATEWAY, ", maxConcurrentStreams: 8", "", "http2-limits"),
    (IMAGE, "failOpen: false", "failOpen: true", "extension-fail-open"),
    (IMAGE, "      path: /allow_on_headers_stop_iteration\n", "      path: /other\n", "extension-without-flag"),
];

const PLUGIN: &str = "apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: webhook-guard}
spec:
  failStrategy: FAIL_CLOSE
  url: oci://registry.example.com/webhook-guard@sha256:0000000000000000000000000000000000000000000000000000000000000000
  vmConfig: {env: [{name: WEBHOOK_SECRET, valueFrom: HOST}]}
  pluginConfig:
    endpoints:
    - {name: orders, match: {path: /webhook}, secrets: [{version: v1, env: WEBHOOK_SECRET}]}
";

fn shipped(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("envoy");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Applies the part of a unified diff that is for this file. Each hunk must fit at exactly one place.
fn patched(mut text: String, patch: &str, file: &str) -> String {
    let parts = patch.split("\n--- ").skip(1);
    let part = parts
        .into_iter()
        .find(|part| part.lines().next().unwrap().ends_with(file))
        .or_else(|| patch.split("\n--- ").nth(1))
        .unwrap();
    let (_, hunks) = part.split_once("\n@@ ").unwrap();
    for hunk in hunks.split("\n@@ ") {
        let lines = || hunk.lines().skip(1).filter(|line| !line.starts_with('\\'));
        let side = |other: char| -> String {
            let kept = lines().filter(|line| !line.starts_with(other));
            kept.map(|line| format!("{}\n", line.get(1..).unwrap_or_default()))
                .collect()
        };
        let (old, new) = (side('+'), side('-'));
        assert!(text.contains(&old), "{old}");
        text = text.replacen(&old, &new, 1);
    }
    text
}

/// A shipped file, with the patches that follow its name after `+`.
fn file(names: &str) -> String {
    let mut names = names.split('+');
    let name = names.next().unwrap();
    let short = name.rsplit('/').next().unwrap();
    names.fold(shipped(name), |text, patch| {
        patched(text, &shipped(patch), short)
    })
}

/// The texts of these files.
fn texts(files: &[&str]) -> Vec<String> {
    files.iter().map(|name| file(name)).collect()
}

/// The rules that report files which a user names together, in the order of the files.
fn rules_of(texts: &[String]) -> Vec<&'static str> {
    let documents: Vec<_> = texts
        .iter()
        .map(|text| yaml::parse(text).unwrap())
        .collect();
    let guards: Vec<_> = documents.iter().map(|each| guards::find(each)).collect();
    let cluster = Cluster::new(documents.iter().flatten(), guards.iter().flatten());
    let mut rules = Vec::new();
    for ((text, documents), guards) in texts.iter().zip(&documents).zip(&guards) {
        let policies: Vec<_> = guards
            .iter()
            .map(|guard| {
                let read = crate::policy::Policy::read(&guard.configuration.to_bytes(), &|_| {
                    Ok("dev-only-webhook-secret".to_owned())
                });
                Some(read.unwrap_or_else(|errors| panic!("{errors:?}")).0)
            })
            .collect();
        for finding in check(documents, guards, &policies, &cluster) {
            assert!(text.get(finding.span).is_some(), "{}", finding.rule);
            rules.push(finding.rule);
        }
    }
    rules
}

fn rules(text: &str) -> Vec<&'static str> {
    rules_of(&[text.to_owned()])
}

/// The shipped files that a user can name together.
fn sets() -> Vec<Vec<String>> {
    let mut sets = Vec::new();
    let istio = [
        "",
        "+istio/ecds.patch",
        "+istio/ecds.patch+istio/module-remote.patch",
    ];
    let secrets = ["", "+istio/secrets-file.patch", "+istio/secrets-sds.patch"];
    for (main, api, others) in [
        (
            "istio/sidecar.yaml",
            "",
            &["istio/sidecar-example.yaml"][..],
        ),
        (
            "istio/gateway.yaml",
            "",
            &[
                "istio/gateway-example.yaml",
                "istio/gateway-production.yaml",
            ],
        ),
        (
            "istio/gateway.yaml",
            "+istio/gateway-api.patch",
            &["istio/gateway-api-example.yaml"],
        ),
    ] {
        for module in istio {
            for secret in secrets {
                let main = format!("{main}{module}{secret}{api}");
                sets.push(vec![main.clone()]);
                for other in others {
                    sets.push(vec![main.clone(), (*other).to_owned()]);
                    sets.push(vec![(*other).to_owned()]);
                }
                let all = others.iter().map(|other| (*other).to_owned());
                sets.push([main].into_iter().chain(all).collect());
            }
        }
    }
    for patch in [
        "",
        "+envoy-gateway/secret-files.patch",
        "+envoy-gateway/image.patch",
    ] {
        let guard = format!("envoy-gateway/guard.yaml{patch}");
        let gateway = format!("envoy-gateway/gateway.yaml{patch}");
        sets.extend([vec![guard.clone()], vec![gateway.clone()]]);
        sets.push(vec![guard, gateway]);
    }
    let volume = "istio/sidecar-example.yaml+istio/image-volume.patch";
    sets.push(vec!["istio/sidecar.yaml".to_owned(), volume.to_owned()]);
    for files in [IMAGE_VOLUME, VOLUME] {
        sets.push(files.iter().map(|file| (*file).to_owned()).collect());
    }
    let all = [GATEWAY, SIDECAR, ENVOY_GATEWAY].concat();
    sets.push(all.into_iter().map(str::to_owned).collect());
    sets
}

#[test]
fn the_shipped_manifests_have_no_finding_alone_and_together() {
    let sets = sets();
    for set in &sets {
        let names: Vec<_> = set.iter().map(String::as_str).collect();
        let texts = texts(&names);
        assert_eq!(rules_of(&texts), [""; 0], "{names:?}");
        assert_eq!(rules(&texts.join("\n---\n")), [""; 0], "{names:?}");
    }
    assert_eq!(sets.len(), 139);
}

#[test]
fn each_planted_mistake_gives_its_rule_alone() {
    let mut wrong = Vec::new();
    for (files, old, new, rule) in PLANTED {
        let mut texts = texts(files);
        let place = texts.iter().position(|text| text.contains(old));
        let place = place.unwrap_or_else(|| panic!("{files:?} has no {old:?}"));
        texts[place] = texts[place].replacen(old, &new.replace("DISABLED", DISABLED), 1);
        // In several files, and in one.
        for found in [rules_of(&texts), rules(&texts.join("\n---\n"))] {
            if found != [*rule] {
                wrong.push(format!("{rule}: {old:?} -> {new:?}: {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_rule_has_a_planted_mistake() {
    let planted: BTreeSet<_> = PLANTED.iter().map(|(.., rule)| *rule).collect();
    for rule in RULES.into_iter().flatten() {
        assert!(planted.contains(rule.name), "{}", rule.name);
    }
}

#[test]
fn a_limit_of_all_clients_must_not_precede_the_guard() {
    let limit = "  rateLimit: {global: {rules: [{clientSelectors: [{sourceCIDR: {value: 0.0.0.0/0, type: Distinct}}], limit: {requests: 9, unit: Minute}}]}}\n  circuitBreaker:";
    let order = "spec:\n  filterOrder: [{name: envoy.filters.http.ratelimit, before: envoy.filters.http.wasm}]\n  # Each worker";
    let text = texts(ENVOY_GATEWAY)
        .join("\n---\n")
        .replacen("  circuitBreaker:", limit, 1);
    assert_eq!(rules(&text), [""; 0]);
    let shared = text.replacen("type: Distinct", "type: Exact", 1);
    assert_eq!(rules(&shared), [""; 0]);
    let first = text.replacen("spec:\n  # Each worker", order, 1);
    assert_ne!(first, text);
    assert_eq!(rules(&first), [""; 0]);
    let shared = first.replacen("type: Distinct", "type: Exact", 1);
    assert_eq!(rules(&shared), ["shared-limit"]);
}

#[test]
fn a_limit_needs_the_header_that_it_reads() {
    let limit = "  rateLimit: {global: {rules: [{clientSelectors: [{headers: [{name: x-webhook-guard-message, type: Distinct}]}], limit: {requests: 9, unit: Minute}}]}}\n  circuitBreaker:";
    let text = texts(ENVOY_GATEWAY)
        .join("\n---\n")
        .replacen("  circuitBreaker:", limit, 1);
    assert_eq!(rules(&text), [""; 0]);
    let log = "log: {accepted: debug} #";
    let with_headers = |list: &str| {
        let edited = text.replacen(
            log,
            &format!("upstream_headers: {list}\n                {log}"),
            1,
        );
        assert_ne!(edited, text);
        rules(&edited)
    };
    assert_eq!(with_headers("[message]"), [""; 0]);
    assert_eq!(with_headers("[delivery]"), ["unset-header"]);
}

#[test]
fn a_wasm_plugin_without_a_guard_is_none() {
    let other = PLUGIN
        .replace("webhook-guard", "other")
        .replace("endpoints", "rules");
    let documents = yaml::parse(&other).unwrap();
    assert!(guards::find(&documents).is_empty());
    let guard = PLUGIN.replace("webhook-guard", "other");
    let documents = yaml::parse(&guard).unwrap();
    assert_eq!(guards::find(&documents).len(), 1);
}

#[test]
fn a_wasm_plugin_is_found() {
    let plants: &[(&str, &str, &[&str])] = &[
        ("", "", &["extension-without-flag"]),
        (
            "FAIL_CLOSE",
            "FAIL_OPEN",
            &["extension-without-flag", "extension-fail-open"],
        ),
        (
            "@sha256:",
            ":",
            &["extension-without-flag", "module-digest"],
        ),
        (
            "name: WEBHOOK_SECRET",
            "name: OTHER",
            &["extension-without-flag", "unlisted-variable"],
        ),
    ];
    for (old, new, expected) in plants {
        assert_eq!(rules(&PLUGIN.replacen(old, new, 1)), *expected, "{old}");
    }
}

#[test]
fn the_documentation_lists_the_rules() {
    let page = include_str!("../README.md");
    for rule in RULES.into_iter().flatten() {
        let row = format!("| `{}` | {} | {} |\n", rule.name, rule.what, rule.why);
        assert!(page.contains(&row), "the table lacks:\n{row}");
    }
}
