//! The variables and the module that a guard gets from its pods.

use std::ops::Range;

use super::cluster::{Cluster, Pod, map, moved, name, selects, share_namespace, workload_labels};
use crate::cli::check::filters::plugin;
use crate::cli::check::filters::settings::Settings;
use crate::cli::check::filters::values::{anchor, at, find, get, mentions, text};
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;
use crate::cli::guards::Guard;
use crate::cli::yaml::{Kind, Yaml};

const UNSET: Rule = Rule {
    name: "unset-variable",
    what: "Envoy's container has no variable that a secret names",
    why: "The module refuses the configuration, and a new pod does not serve.",
};

const IN_MANIFEST: Rule = Rule {
    name: "secret-in-manifest",
    what: "a variable of a secret has its `value` in the manifest, or is from a ConfigMap",
    why: "Everybody who can read the manifest or the ConfigMap can sign requests.",
};

const DIGEST: Rule = Rule {
    name: "module-digest",
    what: "a module that Envoy or Envoy Gateway fetches has no `sha256` or digest",
    why: "Everybody who can write to the registry or the server can replace the guard.",
};

const UNSELECTED: Rule = Rule {
    name: "selector-mismatch",
    what: "a pod has the guard's module, but no EnvoyFilter with a guard selects the pod",
    why: "The pod has no guard, and its requests pass unverified.",
};

pub(super) const RULES: &[&Rule] = &[&UNSET, &IN_MANIFEST, &DIGEST, &UNSELECTED];

/// The variables that the secrets of a guard name in production.
fn variables(guard: &Guard<'_>) -> Vec<String> {
    let Some(settings) = Settings::of(guard) else {
        return Vec::new();
    };
    settings
        .secrets()
        .filter(|secret| matches!(text(secret, "environment"), None | Some("production")))
        .filter_map(|secret| text(secret, "env"))
        .map(str::to_owned)
        .collect()
}

/// Checks the pods of a resource.
pub(super) fn check(document: &Yaml, cluster: &Cluster<'_>) -> Vec<Finding> {
    if let Some(pod) = Pod::of(document) {
        return pods(document, pod, cluster);
    }
    match text(document, "kind") {
        Some("EnvoyProxy") => envoy_proxy(document, cluster),
        Some("ConfigMap") => config_map(document, cluster),
        _ => Vec::new(),
    }
}

fn pods(document: &Yaml, pod: Pod<'_>, cluster: &Cluster<'_>) -> Vec<Finding> {
    let near: Vec<_> = cluster
        .guards_of("EnvoyFilter")
        .filter(|guard| reaches(guard.document, document))
        .collect();
    let is_guarded = cluster.guards_of("EnvoyFilter").next().is_some();
    let labelled: Vec<_> = near
        .iter()
        .filter_map(|guard| Some((guard, workload_labels(guard.document)?)))
        .collect();
    let selecting: Vec<_> = labelled
        .iter()
        .filter(|(_, labels)| selects(Some(labels), pod.labels()))
        .map(|(guard, _)| **guard)
        .collect();
    let mut findings = reference(pod.0);
    if selecting.is_empty() && is_guarded && labelled.len() == near.len() {
        findings.extend(unselected(document, pod));
    }
    let Some(proxy) = pod.proxy() else {
        return findings;
    };
    let place = get(proxy, "env").map_or_else(|| anchor(proxy), |env| env.span.clone());
    for guard in selecting {
        findings.extend(environment(
            proxy,
            guard,
            place.start..place.start.saturating_add(1),
        ));
    }
    findings
}

/// Whether an EnvoyFilter is for pods of this namespace. Those of Istio's root namespace are for all.
fn reaches(filter: &Yaml, document: &Yaml) -> bool {
    let namespace = at(filter, &["metadata", "namespace"]).and_then(Yaml::text);
    namespace == Some("istio-system") || share_namespace(filter, document)
}

/// Reports a pod that has the module, but no guard.
fn unselected(document: &Yaml, pod: Pod<'_>) -> Option<Finding> {
    let volumes = at(pod.0, &["spec", "volumes"])?;
    let has_module = ["webhook-guard", "webhook_guard"]
        .iter()
        .any(|part| mentions(volumes, part));
    (has_module && pod.proxy().is_some()).then(|| {
        UNSELECTED.at(
            pod.labels().map_or_else(|| name(document), anchor),
            "no EnvoyFilter of these files selects these pods, which have the guard's module: without one, their requests pass unverified",
            "write a label of these pods into `workloadSelector` of the EnvoyFilter, and the namespace of these pods into its `namespace`",
        )
    })
}

/// Checks the variables of a container for a guard.
fn environment(container: &Yaml, guard: &Guard<'_>, place: Range<usize>) -> Vec<Finding> {
    let items = get(container, "env").map_or(&[][..], Yaml::items);
    let is_open = get(container, "envFrom").is_some();
    let mut findings = Vec::new();
    for variable in variables(guard) {
        let mut named = items
            .iter()
            .filter(|item| text(item, "name") == Some(&variable));
        match named.next() {
            Some(item) => findings.extend(in_manifest(item, &variable)),
            None if is_open => {}
            None => findings.push(UNSET.at(
                place.clone(),
                format!("this container has no variable `{variable}`, which a secret of the guard names: the module refuses the configuration"),
                format!("add `{variable}` to `env`, with `valueFrom: {{secretKeyRef: ...}}`"),
            )),
        }
    }
    findings
}

fn in_manifest(item: &Yaml, variable: &str) -> Option<Finding> {
    let written = get(item, "value").filter(|value| match &value.kind {
        // `$(NAME)` is another variable.
        Kind::Text(text) => !text.is_empty() && !text.starts_with("$("),
        _ => true,
    });
    written.or_else(|| at(item, &["valueFrom", "configMapKeyRef"]))?;
    // The report quotes the line of the name, which is rarely that of the secret.
    Some(IN_MANIFEST.at(
        anchor(item),
        format!("the secret in `{variable}` is not in a Secret: everybody who can read the manifest or the ConfigMap can sign requests"),
        "use `valueFrom: {secretKeyRef: ...}`, and replace the secret at the sender",
    ))
}

fn envoy_proxy(document: &Yaml, cluster: &Cluster<'_>) -> Vec<Finding> {
    const CONTAINER: [&str; 5] = [
        "spec",
        "provider",
        "kubernetes",
        "envoyDeployment",
        "container",
    ];
    const DAEMON: [&str; 5] = [
        "spec",
        "provider",
        "kubernetes",
        "envoyDaemonSet",
        "container",
    ];
    let guards = cluster
        .guards_of("EnvoyPatchPolicy")
        .chain(cluster.guards_of("EnvoyExtensionPolicy"));
    let container = at(document, &CONTAINER).or_else(|| at(document, &DAEMON));
    // Another EnvoyProxy can be that of the guard's Gateway.
    let is_only = cluster.of_kind("EnvoyProxy").count() == 1;
    let mut findings = reference(document);
    let Some(container) = container else {
        return findings;
    };
    for guard in guards {
        let place = get(container, "env").map_or_else(|| anchor(container), |env| env.span.clone());
        let found = environment(container, guard, place.start..place.start.saturating_add(1));
        let is_patched =
            at(document, &["spec", "provider", "kubernetes"]).is_some_and(|provider| {
                !find(provider, &|value| {
                    get(value, "patch").is_some_and(|patch| mentions(patch, "envFrom"))
                })
                .is_empty()
            });
        findings.extend(
            found
                .into_iter()
                .filter(|finding| finding.rule != UNSET.name || is_only && !is_patched),
        );
    }
    findings
}

/// Checks the Deployment that Istio merges from a ConfigMap for a Gateway of the Kubernetes Gateway API.
fn config_map(document: &Yaml, cluster: &Cluster<'_>) -> Vec<Finding> {
    let Some(block) = at(document, &["data", "deployment"]) else {
        return Vec::new();
    };
    let Ok(documents) = crate::cli::yaml::parse(block.text().unwrap_or_default()) else {
        return Vec::new();
    };
    let place = block.span.start..block.span.start.saturating_add(1);
    let mut findings = Vec::new();
    for deployment in &documents {
        let deployment = moved(deployment, &place);
        let Some(proxy) = at(&deployment, &["spec", "template"]).and_then(|pod| Pod(pod).proxy())
        else {
            continue;
        };
        let guards = cluster
            .guards_of("EnvoyFilter")
            .filter(|guard| at(guard.document, &["spec", "targetRefs"]).is_some())
            .filter(|guard| share_namespace(guard.document, document));
        findings.extend(guards.flat_map(|guard| environment(proxy, guard, place.clone())));
    }
    findings
}

/// Reports volumes with an image of the guard without a digest.
fn reference(pod: &Yaml) -> Vec<Finding> {
    let images = find(pod, &|value| get(value, "reference").is_some());
    let references = images
        .into_iter()
        .filter_map(|image| get(image, "reference"));
    references
        .filter(|reference| {
            let text = reference.text().unwrap_or_default();
            text.replace('-', "_").contains("webhook_guard") && !text.contains("@sha256:")
        })
        .map(digest)
        .collect()
}

fn digest(value: &Yaml) -> Finding {
    DIGEST.at(
        value.span.clone(),
        "nothing compares the module with a digest: everybody who can write to the registry or the server can replace the guard",
        "name the digest: `sha256` next to the address, or `@sha256:...` at the end of an image's reference",
    )
}

/// Checks the module and the variables of a guard's own resource.
pub(super) fn plugin(guard: &Guard<'_>, settings: Option<&Settings<'_>>) -> Vec<Finding> {
    let Some(filter) = guard.filter else {
        return Vec::new();
    };
    let mut findings: Vec<_> = remote(filter).map(digest).into_iter().collect();
    let Some(settings) = settings else {
        return findings;
    };
    let listed = match text(guard.document, "kind") {
        Some("EnvoyExtensionPolicy") => {
            let keys = at(filter, &["env", "hostKeys"]).map_or(&[][..], Yaml::items);
            keys.to_vec()
        }
        Some("WasmPlugin") => {
            let variables = at(filter, &["vmConfig", "env"]).map_or(&[][..], Yaml::items);
            let names = variables.iter().filter_map(|each| get(each, "name"));
            names.cloned().collect()
        }
        _ => return findings,
    };
    let fix = match text(guard.document, "kind") {
        Some("WasmPlugin") => "add it to `vmConfig: {env: [{name: ..., valueFrom: HOST}]}`",
        _ => "add it to `env: {hostKeys: [...]}`",
    };
    let span = anchor(filter);
    let keys = Yaml {
        kind: Kind::List(listed),
        span: span.clone(),
    };
    let keys = map(vec![("host_env_keys", keys)], &span);
    let vm = map(vec![("environment_variables", keys)], &span);
    let like = map(vec![("vm_config", vm)], &span);
    findings.extend(
        plugin::unlisted_variables(&like, settings)
            .into_iter()
            .map(|finding| Finding {
                fix: fix.to_owned(),
                ..finding
            }),
    );
    findings
}

/// The address of a module that is fetched without a digest.
fn remote(filter: &Yaml) -> Option<&Yaml> {
    let has_digest = |value: &Yaml| {
        let digest = ["sha256", "digest"]
            .iter()
            .find_map(|name| text(value, name));
        digest.is_some_and(|digest| !digest.is_empty())
    };
    let is_named = |address: &Yaml| address.text().is_some_and(|text| text.contains("@sha256:"));
    // An EnvoyFilter.
    if let Some(remote) = at(filter, &["config", "vm_config", "code", "remote"]) {
        let address = at(remote, &["http_uri", "uri"]).unwrap_or(remote);
        return (!has_digest(remote) && !is_named(address)).then_some(address);
    }
    // An EnvoyExtensionPolicy.
    for kind in ["image", "http"] {
        if let Some(source) = at(filter, &["code", kind]) {
            let address = get(source, "url").unwrap_or(source);
            return (!has_digest(source) && !is_named(address)).then_some(address);
        }
    }
    // A WasmPlugin.
    let address = get(filter, "url").filter(|url| {
        let text = url.text().unwrap_or_default();
        !text.starts_with("file:")
    })?;
    (!has_digest(filter) && !is_named(address)).then_some(address)
}
