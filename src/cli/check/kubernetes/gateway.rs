//! Envoy Gateway: the lock, and policies next to the guard.

use std::ops::Range;

use super::chain::of_patch_policy;
use super::cluster::{Cluster, map, moved, name, share_namespace};
use crate::cli::check::envoy::{buffers, routes};
use crate::cli::check::filters::chain::Filter;
use crate::cli::check::filters::settings::{Settings, endpoint_span};
use crate::cli::check::filters::values::{
    anchor, at, fields, find, get, is_true, mentions, number, text,
};
use crate::cli::check::filters::{connection_manager, gate, limits, logs};
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;
use crate::cli::guards::Guard;
use crate::cli::yaml::{Field, Kind, Yaml};

const VERDICT: &str = "webhook_guard_verdict";

/// The condition of the lock.
const CONDITION: &str =
    "filter_state['wasm.webhook_guard_verdict'] in [b'accepted', b'monitored', b'passed']";

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

const LOCK_MISSING: Rule = Rule {
    name: "lock-missing",
    what: "a Gateway without a SecurityPolicy that allows only the guard's verdicts",
    why: "If Envoy Gateway does not apply the patches, everything passes unverified.",
};

const LOCK_POLICY: Rule = Rule {
    name: "lock-policy",
    what: "the lock allows more than the guard's verdicts `accepted`, `monitored` and `passed`",
    why: "If Envoy Gateway does not apply the patches, requests pass unverified.",
};

const LOCK_REPLACED: Rule = Rule {
    name: "lock-replaced",
    what: "a SecurityPolicy of a route without `mergeType` or with `authorization`, or one of a listener",
    why: "This policy replaces the lock for these requests.",
};

const TARGET: Rule = Rule {
    name: "target-missing",
    what: "a policy of the guard without a target",
    why: "The policy applies to nothing.",
};

const LISTENER: Rule = Rule {
    name: "listener-unpatched",
    what: "a listener of the Gateway that no patch names, or a patch that names no listener of the Gateway",
    why: "The lock rejects all requests of this listener. Without the lock, they pass unverified.",
};

const GRPC: Rule = Rule {
    name: "grpc-route",
    what: "a GRPCRoute of the guard's Gateway",
    why: "Envoy Gateway inserts a filter behind the guard that decodes bodies after their verification.",
};

pub(super) const RULES: &[&Rule] = &[
    &LOCK_MISSING,
    &LOCK_POLICY,
    &LOCK_REPLACED,
    &TARGET,
    &LISTENER,
    &GRPC,
];

/// Checks a resource of Envoy Gateway.
pub(super) fn check(document: &Yaml, cluster: &Cluster<'_>) -> Vec<Finding> {
    let Some(kind) = text(document, "kind") else {
        return Vec::new();
    };
    let gateways = guarded(cluster);
    let mut findings: Vec<_> = target(document, kind, cluster).into_iter().collect();
    let found = match kind {
        "Gateway" => gateway(document, cluster),
        "SecurityPolicy" => security_policy(document),
        "EnvoyProxy" => access_logs(document),
        "EnvoyPatchPolicy" => {
            let mut findings = patch_names(document, cluster);
            findings.extend(disabled(document, &gateways));
            findings
        }
        "ClientTrafficPolicy" if !gateways.is_empty() => client_traffic(document, cluster),
        "BackendTrafficPolicy" if !gateways.is_empty() => shared_limit(document, cluster),
        "GRPCRoute" => grpc(document, &gateways),
        _ => Vec::new(),
    };
    findings.extend(found);
    if kind == "SecurityPolicy" {
        findings.extend(replaced(document, cluster));
    }
    findings
}

/// The targets of a policy.
fn targets(document: &Yaml) -> Vec<&Yaml> {
    let one = at(document, &["spec", "targetRef"]);
    let list = at(document, &["spec", "targetRefs"]).map_or(&[][..], Yaml::items);
    one.into_iter().chain(list).collect()
}

fn is_gateway(target: &Yaml) -> bool {
    text(target, "kind") == Some("Gateway")
}

/// The policies that insert the guard, or complete it.
fn patch_policies<'f>(cluster: &Cluster<'f>) -> Vec<&'f Yaml> {
    let policies = cluster.of_kind("EnvoyPatchPolicy");
    policies
        .filter(|policy| mentions(policy, "webhook_guard"))
        .collect()
}

/// The names of the Gateways that a guard or a lock is for.
fn guarded<'f>(cluster: &Cluster<'f>) -> Vec<&'f str> {
    let extensions = cluster.guards_of("EnvoyExtensionPolicy");
    let policies = patch_policies(cluster)
        .into_iter()
        .chain(extensions.map(|guard| guard.document))
        .chain(
            cluster
                .of_kind("SecurityPolicy")
                .filter(|each| is_lock(each)),
        );
    policies
        .flat_map(targets)
        .filter(|target| is_gateway(target))
        .filter_map(|target| text(target, "name"))
        .collect()
}

fn is_lock(policy: &Yaml) -> bool {
    at(policy, &["spec", "authorization"]).is_some_and(|rules| mentions(rules, VERDICT))
}

fn target(document: &Yaml, kind: &str, cluster: &Cluster<'_>) -> Option<Finding> {
    let is_guards = cluster
        .guards
        .iter()
        .any(|guard| std::ptr::eq(guard.document, document));
    let is_ours = match kind {
        "EnvoyPatchPolicy" => mentions(document, "webhook_guard"),
        "EnvoyExtensionPolicy" => is_guards,
        "SecurityPolicy" => is_lock(document),
        _ => false,
    };
    let has_selectors = at(document, &["spec", "targetSelectors"]).is_some();
    (is_ours && targets(document).is_empty() && !has_selectors).then(|| {
        TARGET.at(
            name(document),
            "this policy has no target, so it applies to nothing",
            "name the Gateway: `targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: ...}]`, in an EnvoyPatchPolicy `targetRef`",
        )
    })
}

/// Whether a resource is a Gateway of the Kubernetes Gateway API with this name.
fn is_named(document: &Yaml, wanted: &str) -> bool {
    let version = text(document, "apiVersion").unwrap_or_default();
    version.starts_with("gateway.networking.k8s.io")
        && at(document, &["metadata", "name"]).and_then(Yaml::text) == Some(wanted)
}

fn gateway(document: &Yaml, cluster: &Cluster<'_>) -> Vec<Finding> {
    let is_for = |policy: &&Yaml| {
        let mut targets = targets(policy).into_iter();
        share_namespace(policy, document)
            && targets.any(|target| {
                is_gateway(target)
                    && text(target, "name").is_some_and(|name| is_named(document, name))
            })
    };
    let patches: Vec<_> = patch_policies(cluster)
        .into_iter()
        .filter(|each| is_for(each))
        .collect();
    if patches.is_empty() {
        return Vec::new();
    }
    let mut findings = unpatched(document, &patches);
    let mut locks = cluster.of_kind("SecurityPolicy").filter(is_for);
    let has_selector = cluster
        .of_kind("SecurityPolicy")
        .any(|policy| is_lock(policy) && at(policy, &["spec", "targetSelectors"]).is_some());
    if !locks.any(is_lock) && !has_selector {
        findings.push(LOCK_MISSING.at(
            name(document),
            "these files have no lock for this Gateway: if Envoy Gateway does not apply the patches, everything passes unverified",
            "copy the SecurityPolicy `webhook-guard-lock` from envoy/envoy-gateway/gateway.yaml, or name the file that has it too",
        ));
    }
    findings
}

/// The names of the listeners that patches change.
fn patched(policy: &Yaml) -> Vec<&Yaml> {
    let patches = at(policy, &["spec", "jsonPatches"]).map_or(&[][..], Yaml::items);
    let is_listener =
        |patch: &&Yaml| text(patch, "type").is_some_and(|kind| kind.ends_with(".Listener"));
    patches
        .iter()
        .filter(is_listener)
        .filter_map(|patch| get(patch, "name"))
        .collect()
}

/// The names that Envoy Gateway gives to the listeners of a Gateway.
fn listener_names(gateway: &Yaml) -> Vec<(String, Range<usize>)> {
    let part = |field: &str| at(gateway, &["metadata", field]).and_then(Yaml::text);
    let (Some(namespace), Some(gateway_name)) = (part("namespace"), part("name")) else {
        return Vec::new();
    };
    let listeners = at(gateway, &["spec", "listeners"]).map_or(&[][..], Yaml::items);
    let mut ports = Vec::new();
    let mut names = Vec::new();
    for listener in listeners {
        let port = get(listener, "port").map(Yaml::to_json);
        // Listeners on one port share one listener of Envoy, with the name of the first.
        if ports.contains(&port) {
            continue;
        }
        ports.push(port);
        if let Some(name) = get(listener, "name") {
            let text = name.text().unwrap_or_default();
            let full = format!("{namespace}/{gateway_name}/{text}");
            names.push((full, name.span.clone()));
        }
    }
    names
}

fn unpatched(gateway: &Yaml, policies: &[&Yaml]) -> Vec<Finding> {
    let names: Vec<_> = policies
        .iter()
        .flat_map(|policy| patched(policy))
        .filter_map(Yaml::text)
        .collect();
    let listeners = listener_names(gateway);
    let missing = listeners
        .iter()
        .filter(|(name, _)| !names.contains(&name.as_str()));
    missing
        .map(|(name, span)| {
            LISTENER.at(
                span.clone(),
                format!("no patch of these files names `{name}`, so this listener has no guard: the lock rejects its requests"),
                "repeat all patches of envoy/envoy-gateway/guard.yaml for this name, NAMESPACE/GATEWAY/LISTENER",
            )
        })
        .collect()
}

/// Reports a patch for a listener that its Gateway does not have. Patches for another one are not reported again.
fn patch_names(document: &Yaml, cluster: &Cluster<'_>) -> Vec<Finding> {
    if !mentions(document, "webhook_guard") {
        return Vec::new();
    }
    let targets = targets(document);
    let mut gateways = cluster.of_kind("Gateway").filter(|gateway| {
        share_namespace(gateway, document)
            && targets
                .iter()
                .any(|target| text(target, "name").is_some_and(|name| is_named(gateway, name)))
    });
    let Some(gateway) = gateways.next() else {
        return Vec::new();
    };
    let listeners = listener_names(gateway);
    // The Gateway has the finding if none of the patches fits.
    let is_known = |name: &Yaml| {
        listeners
            .iter()
            .any(|(known, _)| Some(known.as_str()) == name.text())
    };
    let names = patched(document);
    if listeners.is_empty() || !names.iter().any(|name| is_known(name)) {
        return Vec::new();
    }
    let wrong = names.into_iter().filter(|name| !is_known(name));
    wrong
        .map(|name| {
            LISTENER.at(
                name.span.clone(),
                format!(
                    "the Gateway has no listener `{}`, so Envoy Gateway does not apply this patch",
                    name.text().unwrap_or_default()
                ),
                "write NAMESPACE/GATEWAY/LISTENER, as the Gateway names them",
            )
        })
        .collect()
}

/// Reports patches that turn the guard or the gate off for routes.
fn disabled(document: &Yaml, gateways: &[&str]) -> Vec<Finding> {
    const NAMES: [&str; 2] = ["webhook_guard", "gate"];
    let is_ours = targets(document)
        .iter()
        .any(|target| text(target, "name").is_some_and(|name| gateways.contains(&name)));
    let patches = at(document, &["spec", "jsonPatches"]).map_or(&[][..], Yaml::items);
    let mut findings = Vec::new();
    for operation in patches.iter().filter_map(|patch| get(patch, "operation")) {
        let path = text(operation, "path").unwrap_or_default();
        let Some(value) = get(operation, "value").filter(|_| is_ours) else {
            continue;
        };
        let entries = match path.split_once("/typed_per_filter_config") {
            Some((_, "")) => value.fields().to_vec(),
            Some((_, name)) => vec![Field {
                name: name.trim_start_matches('/').to_owned(),
                span: value.span.clone(),
                value: value.clone(),
            }],
            None => fields(value, "typed_per_filter_config")
                .into_iter()
                .flat_map(Yaml::fields)
                .cloned()
                .collect(),
        };
        let entries = entries.iter();
        findings.extend(
            entries
                .filter(|entry| NAMES.contains(&entry.name.as_str()))
                .filter_map(routes::report),
        );
    }
    findings
}

fn security_policy(document: &Yaml) -> Vec<Finding> {
    let Some(authorization) = at(document, &["spec", "authorization"]) else {
        return Vec::new();
    };
    if !is_lock(document) {
        return Vec::new();
    }
    let default = get(authorization, "defaultAction");
    let default = default.filter(|action| action.text() != Some("Deny"));
    let rules = get(authorization, "rules").map_or(&[][..], Yaml::items);
    let spaces = |text: &str| text.split_whitespace().collect::<String>();
    let open = rules.iter().find(|rule| {
        let cel = text(rule, "cel").unwrap_or_default();
        text(rule, "action") == Some("Allow") && spaces(cel) != spaces(CONDITION)
    });
    let span = default.map(|action| action.span.clone()).or_else(|| {
        open.map(|rule| get(rule, "cel").map_or_else(|| anchor(rule), |cel| cel.span.clone()))
    });
    span.map(|span| {
        LOCK_POLICY.at(
            span,
            "the lock allows requests that the guard did not accept, if Envoy Gateway does not apply the patches",
            "restore `authorization` from envoy/envoy-gateway/gateway.yaml",
        )
    })
    .into_iter()
    .collect()
}

fn replaced(document: &Yaml, cluster: &Cluster<'_>) -> Option<Finding> {
    let mut locks = cluster.of_kind("SecurityPolicy").filter(|policy| {
        !std::ptr::eq(*policy, document) && is_lock(policy) && share_namespace(policy, document)
    });
    locks.next()?;
    if is_lock(document) {
        return None;
    }
    let targets = targets(document);
    let section = targets
        .iter()
        .filter(|target| is_gateway(target))
        .find_map(|target| get(target, "sectionName"));
    let is_route = targets
        .iter()
        .any(|target| text(target, "kind").is_some_and(|kind| kind.ends_with("Route")));
    let authorization = at(document, &["spec", "authorization"]);
    let merges = at(document, &["spec", "mergeType"]).is_some();
    let place = match (section, authorization) {
        (Some(section), _) => section.span.clone(),
        (None, Some(rules)) if is_route => anchor(rules),
        (None, None) if is_route && !merges => name(document),
        _ => return None,
    };
    Some(LOCK_REPLACED.at(
        place,
        "this policy replaces the lock for these requests",
        "target a route, set `mergeType: StrategicMerge`, and remove `authorization`",
    ))
}

fn access_logs(document: &Yaml) -> Vec<Finding> {
    let settings = at(document, &["spec", "telemetry", "accessLog", "settings"]);
    let settings = settings.map_or(&[][..], Yaml::items);
    let is_file = |setting: &&Yaml| {
        let sinks = get(setting, "sinks").map_or(&[][..], Yaml::items);
        sinks.iter().any(|sink| text(sink, "type") == Some("File"))
    };
    let mut findings = Vec::new();
    for setting in settings.iter().filter(is_file) {
        if let Some(format) = get(setting, "format") {
            findings.extend(logs::lengths(format));
        }
        if get(setting, "matches").is_none() {
            let fix = "copy `matches` of the access log of envoy/envoy-gateway/gateway.yaml";
            findings.push(Finding {
                fix: fix.to_owned(),
                ..logs::unfiltered(anchor(setting))
            });
        }
    }
    findings
}

/// A duration of the Kubernetes Gateway API as Envoy writes it.
fn duration(value: &Yaml) -> Yaml {
    let is_set = value
        .text()
        .is_some_and(|text| text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)));
    let kind = Kind::Text(if is_set { "1s" } else { "0s" }.to_owned());
    Yaml {
        kind,
        span: value.span.clone(),
    }
}

/// Checks a ClientTrafficPolicy as the connection manager that Envoy Gateway makes of it.
fn client_traffic(document: &Yaml, cluster: &Cluster<'_>) -> Vec<Finding> {
    let gateways = guarded(cluster);
    let is_ours = targets(document)
        .iter()
        .any(|target| text(target, "name").is_some_and(|name| gateways.contains(&name)));
    if !is_ours {
        return Vec::new();
    }
    let place = name(document);
    let spec = |path: &[&str]| at(document, &[&["spec"], path].concat());
    let word = |text: &str, at: Option<&Yaml>| Yaml {
        kind: Kind::Text(text.to_owned()),
        span: at.map_or_else(|| place.clone(), |at| at.span.clone()),
    };
    let flag = |value: bool, at: Option<&Yaml>| Yaml {
        kind: Kind::Bool(value),
        span: at.map_or_else(|| place.clone(), |at| at.span.clone()),
    };
    let merging = spec(&["path", "disableMergeSlashes"]);
    let escaped = spec(&["path", "escapedSlashesAction"]);
    let kept = match escaped.and_then(Yaml::text) {
        Some("KeepUnchanged") => "KEEP_UNCHANGED",
        _ => "UNESCAPE_AND_REDIRECT",
    };
    let underscores = spec(&["headers", "withUnderscoresAction"]);
    let action = match underscores.and_then(Yaml::text) {
        Some("Allow") => "ALLOW",
        _ => "REJECT_REQUEST",
    };
    let mut manager = vec![
        ("use_remote_address", flag(true, None)),
        ("merge_slashes", flag(!is_true(merging), merging)),
        ("path_with_escaped_slashes_action", word(kept, escaped)),
        (
            "common_http_protocol_options",
            map(
                vec![("headers_with_underscores_action", word(action, underscores))],
                &place,
            ),
        ),
    ];
    for (field, path) in [
        ("request_timeout", "requestReceivedTimeout"),
        ("stream_idle_timeout", "streamIdleTimeout"),
    ] {
        if let Some(value) = spec(&["timeout", "http", path]) {
            manager.push((field, duration(value)));
        }
    }
    if spec(&["http1", "http10"]).is_some() {
        let options = map(vec![("accept_http_10", flag(true, None))], &place);
        manager.push(("http_protocol_options", options));
    }
    let streams = ["max_concurrent_streams", "initial_connection_window_size"];
    let sizes = ["maxConcurrentStreams", "initialConnectionWindowSize"];
    let options = streams.into_iter().zip(sizes).filter_map(|(field, path)| {
        let value = spec(&["http2", path])?;
        Some((field, value.clone()))
    });
    manager.push(("http2_protocol_options", map(options.collect(), &place)));
    manager.extend(patched_fields(cluster, &place));
    let manager = map(manager, &place);
    let findings = connection_manager::check(&manager).into_iter();
    findings
        .map(|finding| {
            let fix = fix(finding.rule).map_or(finding.fix, str::to_owned);
            Finding { fix, ..finding }
        })
        .collect()
}

/// The fields of the connection manager that patches set. Without a patch policy, another file has them.
fn patched_fields(cluster: &Cluster<'_>, place: &Range<usize>) -> Vec<(&'static str, Yaml)> {
    let policies = patch_policies(cluster);
    let default = |name| match name {
        "normalize_path" => Kind::Bool(false),
        _ => Kind::Number("16".to_owned()),
    };
    let names = ["normalize_path", "max_request_headers_kb"].into_iter();
    names
        .filter_map(|name| {
            let is_wanted = |value: &Yaml| {
                text(value, "path") == Some(&format!("/{name}"))
                    && text(value, "jsonPath").is_some_and(|path| path.contains(MANAGER))
            };
            let found = policies
                .iter()
                .flat_map(|policy| find(policy, &is_wanted))
                .find_map(|operation| get(operation, "value"));
            let kind = match found {
                Some(value) => value.kind.clone(),
                None if policies.is_empty() => default(name),
                None => return None,
            };
            let span = place.clone();
            Some((name, Yaml { kind, span }))
        })
        .collect()
}

/// The fix in the fields of Envoy Gateway.
fn fix(rule: &str) -> Option<&'static str> {
    Some(match rule {
        "path-normalization" => {
            "set `path: {disableMergeSlashes: true, escapedSlashesAction: KeepUnchanged}`, and patch `/normalize_path` as envoy/envoy-gateway/guard.yaml does"
        }
        "underscores" => "set `headers: {withUnderscoresAction: DropHeader}`",
        "http-1-0" => "set `http1: {http10: {}}`, unless you refuse such senders",
        "request-timeout" => {
            "set `timeout: {http: {requestReceivedTimeout: 30s, streamIdleTimeout: 20s}}`"
        }
        "header-size" => "patch `/max_request_headers_kb` as envoy/envoy-gateway/guard.yaml does",
        "http2-limits" => {
            "set `http2: {maxConcurrentStreams: 8, initialConnectionWindowSize: 64Ki}`"
        }
        _ => return None,
    })
}

/// Reports a limit of a BackendTrafficPolicy that EnvoyProxy's `filterOrder` puts before the guard.
fn shared_limit(document: &Yaml, cluster: &Cluster<'_>) -> Vec<Finding> {
    let is_moved = |filter: &str| {
        let orders = cluster
            .of_kind("EnvoyProxy")
            .filter_map(|proxy| at(proxy, &["spec", "filterOrder"]));
        orders
            .flat_map(Yaml::items)
            .any(|order| text(order, "name") == Some(filter) && get(order, "before").is_some())
    };
    let mut findings = Vec::new();
    for (kind, filter) in [
        ("local", "envoy.filters.http.local_ratelimit"),
        ("global", "envoy.filters.http.ratelimit"),
    ] {
        let Some(limit) = at(document, &["spec", "rateLimit", kind]) else {
            continue;
        };
        let rules = get(limit, "rules").map_or(&[][..], Yaml::items);
        let shared = rules.iter().find(|rule| {
            let addresses = find(rule, &|value| get(value, "sourceCIDR").is_some());
            !addresses
                .iter()
                .filter_map(|each| get(each, "sourceCIDR"))
                .any(|each| text(each, "type") == Some("Distinct"))
        });
        if let Some(rule) = shared.filter(|_| is_moved(filter)) {
            findings.push(limits::shared_at(anchor(rule)));
        }
    }
    findings
}

fn grpc(document: &Yaml, gateways: &[&str]) -> Vec<Finding> {
    let parents = at(document, &["spec", "parentRefs"]).map_or(&[][..], Yaml::items);
    let found = parents
        .iter()
        .filter_map(|parent| get(parent, "name"))
        .find(|name| name.text().is_some_and(|name| gateways.contains(&name)));
    found
        .map(|parent| {
            GRPC.at(
                parent.span.clone(),
                "for this route, Envoy Gateway inserts a filter behind the guard that decodes bodies after their verification",
                "use an HTTPRoute, or another Gateway",
            )
        })
        .into_iter()
        .collect()
}

/// Compares the buffers that patches and policies set with the largest body of a guard.
pub(super) fn buffer(
    document: &Yaml,
    cluster: &Cluster<'_>,
    settings: &Settings<'_>,
) -> Option<Finding> {
    /// Envoy Gateway's default of `bufferLimit`.
    const DEFAULT: u64 = 32 << 10;
    let place = endpoint_span(settings, settings.largest()?);
    let is_limit = |value: &Yaml| text(value, "path") == Some("/request_body_buffer_limit");
    let limits = patch_policies(cluster).into_iter().flat_map(|policy| {
        let is_own = std::ptr::eq(policy, document);
        let operations = find(policy, &is_limit).into_iter();
        let values = operations.filter_map(|operation| get(operation, "value"));
        let values = values.map(|value| match is_own {
            true => value.clone(),
            false => moved(value, &place),
        });
        values.collect::<Vec<_>>()
    });
    let limit = limits.max_by_key(number);
    let policy = cluster.of_kind("ClientTrafficPolicy").next();
    if limit.is_none() && policy.is_none() {
        // Another file can have the ClientTrafficPolicy.
        return None;
    }
    let connection = policy.and_then(|policy| at(policy, &["spec", "connection", "bufferLimit"]));
    let bytes = match connection {
        Some(connection) => quantity(connection)?,
        None => DEFAULT,
    };
    let connection = Yaml {
        kind: Kind::Number(bytes.to_string()),
        span: place,
    };
    buffers::compare(limit.as_ref(), Some(&connection), settings)
}

/// The bytes of a quantity of Kubernetes.
fn quantity(value: &Yaml) -> Option<u64> {
    let Some(text) = value.text() else {
        return number(value);
    };
    let units = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];
    let units = units.into_iter().chain([("k", 1_000), ("M", 1_000_000)]);
    for (unit, factor) in units {
        if let Some(count) = text.strip_suffix(unit) {
            return count.parse::<u64>().ok()?.checked_mul(factor);
        }
    }
    text.parse().ok()
}

/// Checks the gate of a guard in an EnvoyExtensionPolicy. An EnvoyPatchPolicy inserts the gate.
pub(super) fn gate(guard: &Guard<'_>, cluster: &Cluster<'_>) -> Vec<Finding> {
    let policies = patch_policies(cluster);
    let (Some(filter), false) = (guard.filter, policies.is_empty()) else {
        return Vec::new();
    };
    let filters = policies.iter().flat_map(|policy| of_patch_policy(policy));
    let after: Vec<_> = filters.map(Filter).collect();
    match gate::find(&after) {
        Some(_) => Vec::new(),
        None => vec![gate::missing(anchor(filter))],
    }
}
