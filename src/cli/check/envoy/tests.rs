//! Mistakes planted in the shipped files: each gives its rule alone, and the files themselves give none.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::check::filters;
use crate::cli::{guards, yaml};
use crate::policy::Policy;

/// A file, a text in it, the text that replaces it, and the rule that reports the edit.
const PLANTED: &[(&str, &str, &str, &str)] = &[
    (
        "edge.yaml",
        "allow_on_headers_stop_iteration: true",
        "",
        "hold-flag",
    ),
    (
        "edge.yaml",
        "failure_policy: FAIL_RELOAD",
        "failure_policy: FAIL_OPEN",
        "failure-policy",
    ),
    (
        "envoy.yaml",
        "failure_policy: FAIL_RELOAD",
        "",
        "failure-policy",
    ),
    (
        "rotating/guard.yaml",
        "failure_policy: FAIL_RELOAD",
        "",
        "failure-policy",
    ),
    (
        "edge.yaml",
        "failure_policy: FAIL_RELOAD",
        "fail_open: true",
        "failure-policy",
    ),
    (
        "edge.yaml",
        "log_format:",
        "other_format:",
        "access-log-length",
    ),
    (
        "edge.yaml",
        "event: \"%FILTER_STATE(wasm.webhook_guard_event:PLAIN)%\"",
        "",
        "access-log-event",
    ),
    (
        "edge.yaml",
        "upstream_headers: [endpoint, delivery, message]",
        "upstream_headers: [endpoint, delivery]",
        "unset-header",
    ),
    (
        "edge.yaml",
        "upstream_headers: [endpoint, delivery, message]",
        "upstream_headers: [delivery, message]",
        "unset-header",
    ),
    (
        "edge.yaml",
        "%REQ(:METHOD):16%",
        "%REQ(X-Webhook-Guard-Secret-Version?:METHOD):16%",
        "unset-header",
    ),
    (
        "edge.yaml",
        "- match: {prefix: /}\n",
        "- match: {prefix: /, headers: [{name: x-webhook-guard-secret-version, present_match: true}]}\n",
        "unset-header",
    ),
    (
        "edge.yaml",
        "health_check: {path: /healthz}",
        "health_check: {path: /healthz}\n                    filter_states: [verdict, endpoint, reason, secret_version, delivery]",
        "unset-filter-state",
    ),
    (
        "edge.yaml",
        "- name: admitted\n",
        "- name: other\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm, config: {vm_config: {vm_id: webhook_guard, code: {local: {filename: other.wasm}}}}}\n          - name: admitted\n",
        "vm-id",
    ),
    (
        "edge.yaml",
        "- match: {prefix: /}\n",
        "- match: {prefix: /}\n                typed_per_filter_config: {gate: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute, rbac: {rules: {action: ALLOW, policies: {all: {permissions: [{any: true}], principals: [{any: true}]}}}}}}\n",
        "gate-policy",
    ),
    (
        "edge.yaml",
        "backoff: {base_interval: 0.02s}",
        "backoff: {}",
        "reload-backoff",
    ),
    ("edge.yaml", "vm_id: webhook_guard #", "#", "vm-id"),
    (
        "edge.yaml",
        "host_env_keys: [ENVIRONMENT, WEBHOOK_SECRET]",
        "host_env_keys: [ENVIRONMENT]",
        "unlisted-variable",
    ),
    (
        "edge.yaml",
        "key: wasm.webhook_guard_verdict",
        "key: wasm.other",
        "gate-policy",
    ),
    (
        "edge.yaml",
        "accepted|monitored|passed",
        ".*",
        "gate-policy",
    ),
    ("edge.yaml", "action: ALLOW", "action: LOG", "gate-policy"),
    (
        "edge.yaml",
        "              rules:\n                action: ALLOW",
        "              matcher: {on_no_match: {action: {name: allow}}}\n              rules:\n                action: ALLOW",
        "gate-policy",
    ),
    (
        "edge.yaml",
        "object_key: webhook_guard.peer",
        "object_key: wasm.webhook_guard_verdict",
        "gate-policy",
    ),
    (
        "edge.yaml",
        "- name: gate\n",
        "- name: gate\n            disabled: \"true\"\n",
        "filter-disabled",
    ),
    (
        "edge.yaml",
        "use_remote_address: true",
        "use_remote_address: true\n          upgrade_configs: [{upgrade_type: websocket, filters: [{name: envoy.filters.http.router}]}]",
        "upgrade-filters",
    ),
    (
        "edge.yaml",
        "filters.http.rbac.v3.RBAC",
        "filters.http.set_metadata.v3.Config",
        "gate-missing",
    ),
    (
        "edge.yaml",
        "- name: gate\n",
        "- name: gate\n            disabled: true\n",
        "filter-disabled",
    ),
    (
        "edge.yaml",
        "- name: gate\n",
        "- name: between\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}\n          - name: gate\n",
        "gate-order",
    ),
    (
        "edge.yaml",
        "always_consume_default_token_bucket: false",
        "",
        "shared-limit",
    ),
    (
        "edge.yaml",
        "filter_enforced: {default_value: {numerator: 100}}",
        "",
        "no-shield",
    ),
    (
        "envoy.yaml",
        "address: 127.0.0.1, port_value: 10000",
        "address: 0.0.0.0, port_value: 10000",
        "no-shield",
    ),
    (
        "edge.yaml",
        "- name: admitted\n",
        "- name: rewrite\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.decompressor.v3.Decompressor}\n          - name: admitted\n",
        "rewriter-before-guard",
    ),
    (
        "edge.yaml",
        "- name: admitted\n",
        "- name: disk\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.file_system_buffer.v3.FileSystemBufferFilterConfig}\n          - name: admitted\n",
        "file-system-buffer",
    ),
    (
        "edge.yaml",
        "entries: [{key: masked_remote_address}]",
        "entries: [{key: endpoint}]",
        "shared-limit",
    ),
    (
        "edge.yaml",
        "use_remote_address: true",
        "",
        "remote-address",
    ),
    (
        "edge.yaml",
        "normalize_path: false",
        "normalize_path: true",
        "path-normalization",
    ),
    (
        "edge.yaml",
        "merge_slashes: false",
        "merge_slashes: true",
        "path-normalization",
    ),
    (
        "edge.yaml",
        "path_with_escaped_slashes_action: KEEP_UNCHANGED",
        "",
        "path-normalization",
    ),
    (
        "edge.yaml",
        "headers_with_underscores_action: DROP_HEADER",
        "",
        "underscores",
    ),
    ("edge.yaml", "accept_http_10: true", "", "http-1-0"),
    (
        "edge.yaml",
        "use_remote_address: true",
        "use_remote_address: true\n          proxy_100_continue: true",
        "proxy-100-continue",
    ),
    ("edge.yaml", "request_timeout: 30s", "", "request-timeout"),
    (
        "edge.yaml",
        "stream_idle_timeout: 20s",
        "stream_idle_timeout: 0s",
        "request-timeout",
    ),
    ("edge.yaml", "max_request_headers_kb: 16", "", "header-size"),
    ("edge.yaml", "max_concurrent_streams: 8", "", "http2-limits"),
    (
        "edge.yaml",
        "%PATH(NQ:PATH):200%",
        "%PATH(NQ:PATH)%",
        "access-log-length",
    ),
    (
        "edge.yaml",
        "%REQ(:METHOD):16%",
        "%REQ(USER-AGENT)%",
        "access-log-length",
    ),
    (
        "edge.yaml",
        "match: {path: /webhook}",
        "match: {path: /webhook}\n                      max_body_bytes: 4194304",
        "buffer-limit",
    ),
    (
        "edge.yaml",
        "match: {path: /webhook}",
        "match: {path: /webhook}\n                      max_body_bytes: 1114113",
        "buffer-limit",
    ),
    (
        "edge.yaml",
        "- match: {prefix: /}\n",
        "- match: {prefix: /}\n                typed_per_filter_config: {webhook_guard: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}\n",
        "route-disables-filter",
    ),
    (
        "edge.yaml",
        "- match: {prefix: /}\n",
        "- match: {prefix: /}\n                typed_per_filter_config: {gate: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute}}\n",
        "route-disables-filter",
    ),
    (
        "edge.yaml",
        "  listeners:\n",
        "  listeners:\n  - name: plain\n    address: {socket_address: {address: 127.0.0.1, port_value: 1}}\n    filter_chains: [{filters: [{name: tcp, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, cluster: upstream}}]}]\n",
        "unguarded-route",
    ),
    (
        "edge.yaml",
        "address: 127.0.0.1, port_value: 9901",
        "address: 0.0.0.0, port_value: 9901",
        "admin-address",
    ),
    (
        "edge.yaml",
        "transport_sockets.tls.v3.DownstreamTlsContext",
        "transport_sockets.quic.v3.QuicDownstreamTransport",
        "early-data",
    ),
    ("edge.yaml", "\nstats_config:", "\nother:", "stats-tags"),
    (
        "edge.yaml",
        "max_active_downstream_connections: 900",
        "",
        "connection-limit",
    ),
    (
        "edge.yaml",
        "health_check: {path: /healthz}",
        "health_check: {path: /healthz}\n                    unmatched: pass\n                    environment: development",
        "unmatched-pass",
    ),
    (
        "edge.yaml",
        "{version: v1, env: WEBHOOK_SECRET}]\n",
        "{version: v1, value: inline-secret-for-a-test}]\n                    environment: development\n",
        "inline-secret",
    ),
    (
        "edge.yaml",
        "            filter:\n              or_filter:",
        "            other:\n              or_filter:",
        "access-log-filter",
    ),
];

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("envoy")
}

fn shipped(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// The rules that report a file.
fn reported(text: &str) -> Vec<&'static str> {
    let documents = yaml::parse(text).unwrap();
    let guards = guards::find(&documents);
    let policies: Vec<_> = guards
        .iter()
        .map(|guard| {
            let variable = |name: &str| match name {
                "ENVIRONMENT" => Err(std::env::VarError::NotPresent),
                _ => Ok("some-secret-for-a-test".to_owned()),
            };
            let read = Policy::read(&guard.configuration.to_bytes(), &variable);
            Some(read.unwrap_or_else(|errors| panic!("{errors:?}")).0)
        })
        .collect();
    let findings = super::check(&documents, &guards, &policies);
    findings.into_iter().map(|finding| finding.rule).collect()
}

/// Applies a unified diff. Each hunk must fit at exactly one place.
fn patched(mut text: String, patch: &str) -> String {
    let (_, hunks) = patch.split_once("\n@@ ").unwrap();
    for hunk in hunks.split("\n@@ ") {
        let lines = || hunk.lines().skip(1).filter(|line| !line.starts_with('\\'));
        let side = |other: char| -> String {
            let kept = lines().filter(|line| !line.starts_with(other));
            kept.map(|line| format!("{}\n", line.get(1..).unwrap_or_default()))
                .collect()
        };
        let (old, new) = (side('+'), side('-'));
        assert_eq!(text.matches(&old).count(), 1, "{old}");
        text = text.replacen(&old, &new, 1);
    }
    text
}

#[test]
fn the_shipped_files_and_their_variants_have_no_finding() {
    let names = [
        "envoy.yaml",
        "edge.yaml",
        "rotating.yaml",
        "rotating/guard.yaml",
        "global-ratelimit.yaml",
    ];
    let mut files: Vec<_> = names
        .iter()
        .map(|name| ((*name).to_owned(), shipped(name)))
        .collect();
    let patches = std::fs::read_dir(folder()).unwrap();
    let patches = patches.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut patches: Vec<_> = patches.filter(|name| name.ends_with(".patch")).collect();
    patches.sort();
    assert_eq!(patches.len(), 9);
    for patch in patches.iter().filter(|patch| patch.starts_with("edge-")) {
        files.push((
            patch.clone(),
            patched(shipped("edge.yaml"), &shipped(patch)),
        ));
    }
    for (name, text) in files.clone() {
        let fits = name == "envoy.yaml" || name.starts_with("edge");
        for secrets in patches
            .iter()
            .filter(|patch| fits && patch.starts_with("secrets-"))
        {
            files.push((
                format!("{secrets} {name}"),
                patched(text.clone(), &shipped(secrets)),
            ));
        }
    }
    assert_eq!(files.len(), 30);
    for (name, text) in files {
        assert_eq!(reported(&text), [""; 0], "{name}");
    }
}

#[test]
fn each_planted_mistake_gives_its_rule_alone() {
    for (file, old, new, rule) in PLANTED {
        let text = shipped(file);
        assert!(text.contains(old), "{file} has no {old:?}");
        let edited = text.replacen(old, new, 1);
        assert_eq!(reported(&edited), [*rule], "{old:?} -> {new:?}");
    }
}

#[test]
fn a_filter_that_writes_a_header_does_not_read_it() {
    let text = shipped("edge.yaml");
    let place = "                request_mutations:\n";
    assert!(text.contains(place));
    for written in [
        "remove: x-webhook-guard-secret-version",
        "remove_on_match: {key_matcher: {exact: x-webhook-guard-secret-version}}",
        "append: {header: {key: x-webhook-guard-region, value: north}}",
    ] {
        let edited = text.replacen(place, &format!("{place}                - {written}\n"), 1);
        assert_eq!(reported(&edited), [""; 0], "{written}");
    }
}

#[test]
fn each_unset_header_is_reported_once_with_the_list_to_write() {
    let text = shipped("edge.yaml").replacen(
        "upstream_headers: [endpoint, delivery, message]",
        "upstream_headers: [delivery]",
        1,
    );
    let documents = yaml::parse(&text).unwrap();
    let guards = guards::find(&documents);
    let findings = super::check(&documents, &guards, &[None]);
    let fixes: Vec<_> = findings.into_iter().map(|finding| finding.fix).collect();
    assert_eq!(
        fixes,
        [
            "add `endpoint` to `upstream_headers` of the guard: `upstream_headers: [delivery, endpoint, message]`",
            "add `message` to `upstream_headers` of the guard: `upstream_headers: [delivery, endpoint, message]`",
        ]
    );
}

#[test]
fn a_header_that_the_guard_never_sets_is_not_proposed() {
    let text = shipped("edge.yaml")
        .replacen(
            "upstream_headers: [endpoint, delivery, message]",
            "upstream_headers: [endpoint, delivery]",
            1,
        )
        .replacen("x-webhook-guard-message", "x-webhook-guard-digest", 1);
    let documents = yaml::parse(&text).unwrap();
    let guards = guards::find(&documents);
    let findings = super::check(&documents, &guards, &[None]);
    let fixes: Vec<_> = findings.into_iter().map(|finding| finding.fix).collect();
    let correction = "write one that the guard can set: `x-webhook-guard-endpoint`, `x-webhook-guard-secret-version`, `x-webhook-guard-delivery`, `x-webhook-guard-message`";
    assert!(fixes.iter().any(|fix| fix == correction), "{fixes:?}");
    assert!(!fixes.iter().any(|fix| fix.contains("digest")), "{fixes:?}");
}

#[test]
fn each_rule_has_a_planted_mistake() {
    let planted: BTreeSet<_> = PLANTED.iter().map(|(.., rule)| *rule).collect();
    let local = super::RULES.into_iter().flatten().copied();
    let rules: BTreeSet<_> = filters::rules()
        .chain(local)
        .map(|rule| rule.name)
        .collect();
    assert_eq!(planted, rules);
}

#[test]
fn a_guard_in_another_file_is_counted() {
    let documents = yaml::parse(&shipped("rotating.yaml")).unwrap();
    assert_eq!(super::discovered_guards(&documents), 1);
}

#[test]
fn the_documentation_lists_the_rules() {
    let page = include_str!("../README.md");
    let rows: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let local = super::RULES.into_iter().flatten().copied();
    let rules: Vec<_> = filters::rules()
        .chain(local)
        .map(|rule| format!("| `{}` | {} | {} |", rule.name, rule.what, rule.why))
        .collect();
    assert!(
        rules.iter().all(|rule| rows.contains(&rule.as_str())),
        "the table must be:\n{}",
        rules.join("\n")
    );
}

/// The text of edge.yaml with one filter moved before another.
fn with_moved_filter(name: &str, before: &str) -> String {
    let text = shipped("edge.yaml");
    let begin = |name: &str| text.find(&format!("          - name: {name}\n")).unwrap();
    let moved = begin(name);
    let end = text[moved + 1..].find("\n          - name: ").unwrap() + moved + 2;
    let place = begin(before);
    assert!(place < moved, "{before} must precede {name}");
    [
        &text[..place],
        &text[moved..end],
        &text[place..moved],
        &text[end..],
    ]
    .concat()
}

#[test]
fn the_limit_of_an_endpoint_must_not_precede_the_guard() {
    let text = with_moved_filter("limit", "webhook_guard");
    assert_eq!(reported(&text), ["shared-limit"]);
}

#[test]
fn the_gate_must_not_precede_the_guard() {
    let text = with_moved_filter("gate", "webhook_guard");
    assert_eq!(reported(&text), ["gate-order"]);
}

#[test]
fn a_secret_of_another_environment_needs_the_variable() {
    let text = shipped("edge.yaml")
        .replacen("host_env_keys: [ENVIRONMENT, WEBHOOK_SECRET]", "host_env_keys: [WEBHOOK_SECRET]", 1)
        .replacen("{version: v1, env: WEBHOOK_SECRET}", "{version: v1, env: WEBHOOK_SECRET}, {version: v2, env: WEBHOOK_SECRET, environment: test}", 1);
    assert_eq!(reported(&text), ["unlisted-variable"]);
}

/// A second listener to the cluster behind the guard, with this filter before its router.
fn with_second_listener(filter: &str) -> String {
    let any = "{\"@type\": type.googleapis.com/envoy.extensions.filters";
    let router = format!("{{name: router, typed_config: {any}.http.router.v3.Router}}}}");
    let routes = "{virtual_hosts: [{name: all, domains: [\"*\"], routes: [{match: {prefix: /}, route: {cluster: upstream}}]}]}";
    let manager = format!(
        "{any}.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: second, route_config: {routes}, http_filters: [{filter}, {router}]}}"
    );
    let listener = format!(
        "  listeners:\n  - name: second\n    address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}\n    filter_chains: [{{filters: [{{name: http, typed_config: {manager}}}]}}]\n"
    );
    shipped("edge.yaml").replacen("  listeners:\n", &listener, 1)
}

/// A filter named `gate` with this principal.
fn gate_filter(action: &str, principal: &str) -> String {
    let rules = format!(
        "{{action: {action}, policies: {{verified: {{permissions: [{{any: true}}], principals: [{principal}]}}}}}}"
    );
    format!(
        "{{name: gate, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {rules}}}}}"
    )
}

#[test]
fn the_content_of_a_filter_makes_a_gate_and_not_its_name() {
    const VERIFIED: &str =
        "{filter_state: {key: wasm.webhook_guard_verdict, string_match: {exact: accepted}}}";
    let real = gate_filter("ALLOW", VERIFIED);
    let renamed = real.replace("name: gate", "name: lock");
    let off = real.replace("name: gate", "name: gate, disabled: true");
    for (filter, expected) in [
        (real, &[][..]),
        (renamed, &[]),
        (off, &["unguarded-route"]),
        (gate_filter("DENY", VERIFIED), &["unguarded-route"]),
        (gate_filter("ALLOW", "{any: true}"), &["unguarded-route"]),
    ] {
        assert_eq!(
            reported(&with_second_listener(&filter)),
            expected,
            "{filter}"
        );
    }
}

#[test]
fn the_larger_buffer_counts() {
    let text = shipped("edge.yaml");
    let host = (
        "request_body_buffer_limit: 1114112",
        "request_body_buffer_limit: 65536",
    );
    let listener = (
        "    per_connection_buffer_limit_bytes: 1114112\n    ",
        "    per_connection_buffer_limit_bytes: 65536\n    ",
    );
    let edit = |text: &str, (old, new): (&str, &str)| {
        assert!(text.contains(old), "{old}");
        text.replacen(old, new, 1)
    };
    assert_eq!(reported(&edit(&text, host)), [""; 0]);
    assert_eq!(reported(&edit(&text, listener)), [""; 0]);
    assert_eq!(
        reported(&edit(&edit(&text, host), listener)),
        ["buffer-limit"]
    );
}

#[test]
fn a_missing_path_setting_has_its_own_message() {
    let message = |old: &str, new: &str| {
        let text = shipped("edge.yaml").replacen(old, new, 1);
        let documents = yaml::parse(&text).unwrap();
        let guards = guards::find(&documents);
        let findings = super::check(&documents, &guards, &[None]);
        let found = findings
            .iter()
            .find(|finding| finding.rule == "path-normalization");
        found
            .map(|finding| finding.message.clone())
            .unwrap_or_default()
    };
    let escaped = "path_with_escaped_slashes_action: KEEP_UNCHANGED";
    for (old, new, expected) in [
        ("normalize_path: false", "", "`normalize_path` is missing"),
        (
            "normalize_path: false",
            "normalize_path: true",
            "`normalize_path` changes",
        ),
        (escaped, "", "`path_with_escaped_slashes_action` is missing"),
        (
            escaped,
            "path_with_escaped_slashes_action: IMPLEMENTATION_SPECIFIC_DEFAULT",
            "`path_with_escaped_slashes_action` is missing",
        ),
        (
            escaped,
            "path_with_escaped_slashes_action: REJECT_REQUEST",
            "`path_with_escaped_slashes_action` changes",
        ),
    ] {
        let message = message(old, new);
        assert!(message.starts_with(expected), "{new}: {message:?}");
    }
    assert_eq!(message("merge_slashes: false", ""), "");
}
