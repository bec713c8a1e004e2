//! The `Wasm` message that loads the guard.

use super::settings::Settings;
use super::values::{anchor, at, get, is_true, number, seconds, text};
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;
use crate::cli::yaml::Yaml;

const HOLD_FLAG: Rule = Rule {
    name: "hold-flag",
    what: "`allow_on_headers_stop_iteration: true` is missing",
    why: "The guard answers every request with a body 503.",
};

const FAILURE_POLICY: Rule = Rule {
    name: "failure-policy",
    what: "`failure_policy` is not `FAIL_RELOAD`",
    why: "`FAIL_OPEN` forwards every request unverified after a trap. The default answers 503 until Envoy restarts.",
};

const RELOAD_BACKOFF: Rule = Rule {
    name: "reload-backoff",
    what: "`reload_config.backoff.base_interval` is missing, or a second or more",
    why: "After a trap, Envoy answers the worker's requests 503 for that long.",
};

const VM_ID: Rule = Rule {
    name: "vm-id",
    what: "`vm_id` is missing, or that of another module",
    why: "Modules with one id share data. Up to Envoy 1.37, they also share the environment of the first one.",
};

const UNLISTED_VARIABLE: Rule = Rule {
    name: "unlisted-variable",
    what: "a variable that a secret names is not in `host_env_keys` or `key_values`",
    why: "The module does not see the variable, and refuses the configuration.",
};

pub(in crate::cli::check) const RULES: &[&Rule] = &[
    &HOLD_FLAG,
    &FAILURE_POLICY,
    &RELOAD_BACKOFF,
    &VM_ID,
    &UNLISTED_VARIABLE,
];

/// Checks a `Wasm` message.
pub(in crate::cli::check) fn check(wasm: &Yaml, settings: Option<&Settings<'_>>) -> Vec<Finding> {
    let Some(plugin) = get(wasm, "config") else {
        return Vec::new();
    };
    let mut findings: Vec<_> = [
        hold_flag(plugin),
        failure_policy(plugin),
        reload_backoff(plugin),
        vm_id(plugin),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(settings) = settings {
        findings.extend(unlisted_variables(plugin, settings));
    }
    findings
}

fn hold_flag(plugin: &Yaml) -> Option<Finding> {
    let flag = get(plugin, "allow_on_headers_stop_iteration");
    (!is_true(flag)).then(|| {
        HOLD_FLAG.at(
            flag.map_or_else(|| anchor(plugin), |flag| flag.span.clone()),
            "Envoy does not show the body while the guard holds the headers: the guard answers every request with a body 503",
            "set `allow_on_headers_stop_iteration: true` next to the plugin's `configuration`, with Envoy 1.35 or later",
        )
    })
}

fn failure_policy(plugin: &Yaml) -> Option<Finding> {
    const FIX: &str = "set `failure_policy: FAIL_RELOAD`";
    if let Some(open) = get(plugin, "fail_open").filter(|open| is_true(Some(open))) {
        let message = "`fail_open` forwards every request unverified after the module has trapped";
        return Some(FAILURE_POLICY.at(
            open.span.clone(),
            message,
            "write `failure_policy: FAIL_RELOAD` instead",
        ));
    }
    let policy = get(plugin, "failure_policy");
    let named = policy.and_then(|policy| match number(policy) {
        Some(2) => Some("FAIL_OPEN"),
        Some(3) => Some("FAIL_RELOAD"),
        _ => policy.text(),
    });
    let message = match named {
        Some("FAIL_RELOAD") => return None,
        Some("FAIL_OPEN") => {
            "`FAIL_OPEN` forwards every request unverified after the module has trapped"
        }
        _ => {
            "`failure_policy` is not `FAIL_RELOAD`: after the module has trapped, its worker answers every request 503 until Envoy restarts"
        }
    };
    let span = policy.map_or_else(|| anchor(plugin), |policy| policy.span.clone());
    Some(FAILURE_POLICY.at(span, message, FIX))
}

/// Applies only to `FAIL_RELOAD`, because another policy has its own finding.
fn reload_backoff(plugin: &Yaml) -> Option<Finding> {
    if text(plugin, "failure_policy") != Some("FAIL_RELOAD") {
        return None;
    }
    let interval = at(plugin, &["reload_config", "backoff", "base_interval"]);
    let is_short = interval
        .and_then(seconds)
        .is_some_and(|seconds| seconds < 1.0);
    let place = interval.or_else(|| get(plugin, "failure_policy"))?;
    (!is_short).then(|| {
        RELOAD_BACKOFF.at(
            place.span.clone(),
            "after a trap, the worker answers its requests 503 for a second or longer",
            "set `reload_config: {backoff: {base_interval: 0.02s}}`",
        )
    })
}

fn vm_id(plugin: &Yaml) -> Option<Finding> {
    let vm = get(plugin, "vm_config")?;
    let id = text(vm, "vm_id").unwrap_or_default();
    id.is_empty().then(|| {
        VM_ID.at(
            get(vm, "vm_id").map_or_else(|| anchor(vm), |id| id.span.clone()),
            "`vm_id` is missing: the guard shares its data with every module without one, and up to Envoy 1.37 the environment, too",
            "set an id of its own in `vm_config`: `vm_id: webhook_guard`",
        )
    })
}

/// Reports a `vm_id` that a filter with another module, or with other variables, has too. `others` are the plugins of the
/// file's other `Wasm` messages.
pub(in crate::cli::check) fn shared_vm_id(wasm: &Yaml, others: &[&Yaml]) -> Option<Finding> {
    let vm = at(wasm, &["config", "vm_config"])?;
    let id = get(vm, "vm_id").filter(|id| id.text().is_some_and(|text| !text.is_empty()))?;
    let parts = |vm: &Yaml| {
        let part = |name| get(vm, name).map(Yaml::to_json);
        (part("code"), part("environment_variables"))
    };
    let is_shared = others
        .iter()
        .filter_map(|other| at(other, &["config", "vm_config"]))
        .any(|other| text(other, "vm_id") == id.text() && parts(other) != parts(vm));
    is_shared.then(|| {
        VM_ID.at(
            id.span.clone(),
            "another Wasm filter with other code or variables has the same `vm_id`, so both share data and, up to Envoy 1.37, the environment",
            "give each of them its own `vm_id`",
        )
    })
}

/// Reports variables that secrets name, and that `vm_config` of the plugin does not list.
pub(in crate::cli::check) fn unlisted_variables(
    plugin: &Yaml,
    settings: &Settings<'_>,
) -> Vec<Finding> {
    let variables = at(plugin, &["vm_config", "environment_variables"]);
    let is_listed = |name: &str| {
        variables.is_some_and(|variables| {
            let keys = get(variables, "host_env_keys").map_or(&[][..], Yaml::items);
            let values = get(variables, "key_values").map_or(&[][..], Yaml::fields);
            keys.iter().any(|key| key.text() == Some(name))
                || values.iter().any(|field| field.name == name)
        })
    };
    let mut findings = Vec::new();
    let tokens = settings
        .endpoints()
        .iter()
        .filter_map(|each| get(each, "verify_token"));
    for secret in settings
        .secrets()
        .chain(tokens)
        .filter(|secret| is_in_use(secret, settings))
    {
        let Some(variable) = get(secret, "env") else {
            continue;
        };
        let Some(name) = variable.text().filter(|name| !is_listed(name)) else {
            continue;
        };
        findings.push(UNLISTED_VARIABLE.at(
            settings.span(variable),
            format!("the module does not see the variable `{name}`, so it refuses the configuration"),
            format!("add it to the plugin's variables: `environment_variables: {{host_env_keys: [{name}]}}`"),
        ));
    }
    findings.extend(unlisted_environment(settings, &is_listed));
    findings
}

/// Whether a secret can be in use, judging by the environments that the file names.
fn is_in_use(secret: &Yaml, settings: &Settings<'_>) -> bool {
    match (text(secret, "environment"), settings.environment()) {
        (Some(of_secret), Some(environment)) => of_secret == environment,
        _ => true,
    }
}

/// The variable `ENVIRONMENT` selects secrets only if the configuration does not name the environment.
fn unlisted_environment(
    settings: &Settings<'_>,
    is_listed: &dyn Fn(&str) -> bool,
) -> Option<Finding> {
    if settings.environment().is_some() || is_listed("ENVIRONMENT") {
        return None;
    }
    let other =
        |secret: &&Yaml| text(secret, "environment").is_some_and(|name| name != "production");
    let secret = settings.secrets().find(other)?;
    Some(UNLISTED_VARIABLE.at(
        settings.span(get(secret, "environment")?),
        "the module does not see the variable `ENVIRONMENT`, so the environment is always production and this secret is never in use",
        "add it to the plugin's variables: `environment_variables: {host_env_keys: [ENVIRONMENT]}`",
    ))
}
