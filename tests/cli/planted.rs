//! `check` as CI runs it, on the shipped files and on copies with one mistake.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use serde_json::Value;

/// The mistakes: the text of edge.yaml, its replacement, and the rule that reports it.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("allow_on_headers_stop_iteration: true", "", "hold-flag"),
    (
        "failure_policy: FAIL_RELOAD",
        "failure_policy: FAIL_OPEN",
        "failure-policy",
    ),
    ("use_remote_address: true", "", "remote-address"),
    // Both buffers: the larger one counts.
    ("1114112", "65536", "buffer-limit"),
    (
        "filters.http.rbac.v3.RBAC",
        "filters.http.set_metadata.v3.Config",
        "gate-missing",
    ),
    (
        "filter_enforced: {default_value: {numerator: 100}}",
        "",
        "no-shield",
    ),
    (
        "entries: [{key: masked_remote_address}]",
        "entries: [{key: endpoint}]",
        "shared-limit",
    ),
    ("normalize_path: false", "", "path-normalization"),
    (
        "{version: v1, env: WEBHOOK_SECRET}]\n",
        "{version: v1, value: inline-secret-for-a-test}]\n                    environment: test\n",
        "inline-secret",
    ),
    (
        "max_held_bytes: 134217728",
        "max_held_bytes: 134217728\n                    unmatched: pass\n                    environment: test",
        "unmatched-pass",
    ),
    (
        "- match: {prefix: /}\n",
        "- match: {prefix: /}\n                typed_per_filter_config: {webhook_guard: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}\n",
        "route-disables-filter",
    ),
    (
        "host_env_keys: [ENVIRONMENT, WEBHOOK_SECRET]",
        "host_env_keys: [ENVIRONMENT]",
        "unlisted-variable",
    ),
    (
        "%PATH(NQ:PATH):200%",
        "%PATH(NQ:PATH)%",
        "access-log-length",
    ),
];

fn check(arguments: &[&str], file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webhook-guard"));
    command.arg("check").args(arguments).arg(file);
    command.env_remove("ENVIRONMENT").output().unwrap()
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("envoy")
        .join(name)
}

#[test]
fn each_mistake_in_a_shipped_file_gives_its_rule_at_its_line() {
    let folder = env::temp_dir().join(format!("webhook-guard-planted-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let text = fs::read_to_string(shipped("edge.yaml")).unwrap();
    for (number, (old, new, rule)) in MISTAKES.iter().enumerate() {
        assert!(text.contains(old), "edge.yaml has no {old:?}");
        let file = folder.join(format!("{number}.yaml"));
        fs::write(&file, text.replace(old, new)).unwrap();
        let output = check(&["--format", "json"], &file);
        assert_eq!(output.status.code(), Some(0), "{rule}: {output:?}");
        assert_eq!(check(&["--strict"], &file).status.code(), Some(1), "{rule}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let rules: Vec<_> = findings.iter().map(|finding| &finding["rule"]).collect();
        assert_eq!(rules, [rule], "{old}");
        assert!(findings[0]["line"].as_u64().unwrap() > 1, "{rule}");
        assert!(!findings[0]["fix"].as_str().unwrap().is_empty(), "{rule}");
        let shown = String::from_utf8(check(&[], &file).stdout).unwrap();
        assert!(!shown.contains("inline-secret-for-a-test"), "{shown}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_shipped_files_with_a_guard_have_no_finding() {
    for name in [
        "envoy.yaml",
        "edge.yaml",
        "global-ratelimit.yaml",
        "rotating.yaml",
        "rotating/guard.yaml",
        "istio/gateway.yaml",
        "istio/sidecar.yaml",
        "envoy-gateway/guard.yaml",
    ] {
        let output = check(&["--strict"], &shipped(name));
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
    }
}
