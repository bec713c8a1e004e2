//! Ways around Istio's proxies, with the resources of all files.

use super::cluster::{Cluster, Pod, name, selects, share_namespace, workload_labels};
use crate::cli::check::filters::values::{anchor, at, find, get, is_true, mentions, text};
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;
use crate::cli::yaml::Yaml;

const BYPASS: Rule = Rule {
    name: "sidecar-bypass",
    what: "a guard in a sidecar without a DENY rule for other ports and for traffic that is not HTTP",
    why: "Traffic that does not look like HTTP, such as an empty line before the request, goes to the application unverified.",
};

const PROTOCOL: Rule = Rule {
    name: "sidecar-protocol",
    what: "a port of the application's Service without `appProtocol: http` or a name that begins with `http`",
    why: "Istio guesses the protocol, and passes on what does not look like HTTP.",
};

const PORTS: Rule = Rule {
    name: "sidecar-ports",
    what: "`excludeInboundPorts` or `includeInboundPorts` leaves out a port of the application",
    why: "Requests to this port reach the application without the sidecar.",
};

const ABSENT: Rule = Rule {
    name: "sidecar-absent",
    what: "`hostNetwork: true` or `sidecar.istio.io/inject: \"false\"` in a pod that the guard is for",
    why: "The pod has no sidecar, so its requests pass unverified.",
};

const CAPTURE: Rule = Rule {
    name: "sidecar-capture",
    what: "a `Sidecar` with `captureMode: NONE` for an ingress port",
    why: "Clients reach the application's own port without the sidecar.",
};

const SERVER: Rule = Rule {
    name: "gateway-protocol",
    what: "a server of a Gateway for the guard's pods with the protocol TCP or TLS, or with `mode: PASSTHROUGH`",
    why: "Such a server passes everything on without the guard.",
};

pub(super) const RULES: &[&Rule] = &[&BYPASS, &PROTOCOL, &PORTS, &ABSENT, &CAPTURE, &SERVER];

/// The EnvoyFilters with a guard in a sidecar.
fn in_sidecars<'f>(cluster: &Cluster<'f>) -> Vec<&'f Yaml> {
    let guards = cluster.guards_of("EnvoyFilter");
    guards
        .map(|guard| guard.document)
        .filter(|document| mentions(document, "SIDECAR_INBOUND"))
        .collect()
}

/// Checks the EnvoyFilter of a guard in a sidecar.
pub(super) fn check_filter(document: &Yaml, cluster: &Cluster<'_>) -> Option<Finding> {
    if !mentions(document, "SIDECAR_INBOUND") {
        return None;
    }
    let mut policies = cluster.of_kind("AuthorizationPolicy");
    let is_closed = policies.any(|policy| {
        share_namespace(policy, document)
            && selects(
                at(policy, &["spec", "selector", "matchLabels"]),
                workload_labels(document),
            )
            && closes(policy)
    });
    (!is_closed).then(|| {
        BYPASS.at(
            name(document),
            "these files have no AuthorizationPolicy that closes the ways around the sidecar: what does not look like HTTP reaches the application unverified",
            "apply the AuthorizationPolicy and the Service of envoy/istio/sidecar.yaml with this EnvoyFilter, or name the file that has them too",
        )
    })
}

/// Whether a policy denies all other ports, and all traffic of the listed ports that is not HTTP.
fn closes(policy: &Yaml) -> bool {
    if at(policy, &["spec", "action"]).and_then(Yaml::text) != Some("DENY") {
        return false;
    }
    let rules = at(policy, &["spec", "rules"]).map_or(&[][..], Yaml::items);
    let is_for_all = |rule: &&Yaml| get(rule, "from").is_none() && get(rule, "when").is_none();
    let operations: Vec<_> = rules
        .iter()
        .filter(is_for_all)
        .flat_map(|rule| get(rule, "to").map_or(&[][..], Yaml::items))
        .filter_map(|to| get(to, "operation"))
        .collect();
    let only = |operation: &Yaml, names: &[&str]| {
        operation
            .fields()
            .iter()
            .all(|field| names.contains(&field.name.as_str()))
    };
    let texts = |value: &Yaml| -> Vec<String> { value.items().iter().map(Yaml::to_json).collect() };
    let open = operations
        .iter()
        .filter(|operation| only(operation, &["notPorts"]))
        .find_map(|operation| get(operation, "notPorts"));
    let Some(open) = open.map(texts) else {
        return false;
    };
    let denied: Vec<_> = operations
        .iter()
        .filter(|operation| only(operation, &["ports", "notPaths"]))
        .filter(|operation| {
            let paths = get(operation, "notPaths").map_or(&[][..], Yaml::items);
            paths.iter().any(|path| path.text() == Some("*"))
        })
        .collect();
    let covers = |port: &String| {
        denied.iter().any(|operation| {
            get(operation, "ports").is_none_or(|ports| texts(ports).contains(port))
        })
    };
    open.iter().all(covers)
}

/// Checks a resource next to the guards of sidecars and gateways.
pub(super) fn check(document: &Yaml, cluster: &Cluster<'_>) -> Vec<Finding> {
    let filters: Vec<_> = in_sidecars(cluster)
        .into_iter()
        .filter(|filter| share_namespace(filter, document))
        .collect();
    match text(document, "kind") {
        Some("Gateway") => servers(document, cluster),
        _ if filters.is_empty() => Vec::new(),
        Some("Service") => service(document, &filters),
        Some("Sidecar") => capture(document, &filters),
        _ => match Pod::of(document) {
            Some(pod) => workload(pod, &filters, cluster),
            None => Vec::new(),
        },
    }
}

/// Whether a selector and one of the EnvoyFilters are for the same pods.
fn is_for(selector: &Yaml, filters: &[&Yaml]) -> bool {
    filters.iter().any(|filter| {
        let labels = workload_labels(filter);
        selects(Some(selector), labels)
            || labels.is_some_and(|labels| selects(Some(labels), Some(selector)))
    })
}

fn service(document: &Yaml, filters: &[&Yaml]) -> Vec<Finding> {
    let selector = at(document, &["spec", "selector"]);
    if !selector.is_some_and(|selector| is_for(selector, filters)) {
        return Vec::new();
    }
    let is_http = |port: &Yaml| {
        let protocol = text(port, "appProtocol").or_else(|| text(port, "name"));
        protocol.is_some_and(|protocol| {
            let protocol = protocol.strip_prefix("kubernetes.io/").unwrap_or(protocol);
            ["http", "grpc", "h2c"]
                .iter()
                .any(|begin| protocol.starts_with(begin) && !protocol.starts_with("https"))
        })
    };
    let ports = at(document, &["spec", "ports"]).map_or(&[][..], Yaml::items);
    ports
        .iter()
        .filter(|port| !is_http(port))
        .map(|port| {
            PROTOCOL.at(
                get(port, "appProtocol").map_or_else(|| anchor(port), |value| value.span.clone()),
                "Istio does not treat all traffic of this port as HTTP, and passes on what does not look like it",
                "set `appProtocol: http` on the port",
            )
        })
        .collect()
}

fn capture(document: &Yaml, filters: &[&Yaml]) -> Vec<Finding> {
    let selector = at(document, &["spec", "workloadSelector", "labels"]);
    if !selector.is_none_or(|selector| is_for(selector, filters)) {
        return Vec::new();
    }
    let ingress = at(document, &["spec", "ingress"]).map_or(&[][..], Yaml::items);
    ingress
        .iter()
        .filter_map(|each| get(each, "captureMode").filter(|mode| mode.text() == Some("NONE")))
        .map(|mode| {
            CAPTURE.at(
                mode.span.clone(),
                "nothing leads this port to the sidecar: clients reach an application that listens on the pod's address",
                "remove `captureMode`, or let the application listen on 127.0.0.1 only",
            )
        })
        .collect()
}

fn workload(pod: Pod<'_>, filters: &[&Yaml], cluster: &Cluster<'_>) -> Vec<Finding> {
    let selected: Vec<_> = filters
        .iter()
        .filter(|filter| selects(workload_labels(filter), pod.labels()))
        .collect();
    if selected.is_empty() {
        return Vec::new();
    }
    let mut findings: Vec<_> = absent(pod).into_iter().collect();
    findings.extend(excluded(pod, &application_ports(pod, cluster)));
    findings
}

fn absent(pod: Pod<'_>) -> Option<Finding> {
    const INJECT: &str = "sidecar.istio.io/inject";
    let host = at(pod.0, &["spec", "hostNetwork"]).filter(|host| is_true(Some(host)));
    let label = pod.labels().and_then(|labels| labels.get(INJECT));
    let inject = label.or_else(|| pod.annotation(INJECT));
    let off = inject.filter(|inject| inject.to_json().trim_matches('"') == "false");
    let value = host.or(off)?;
    Some(ABSENT.at(
        value.span.clone(),
        "this pod gets no sidecar, so its requests reach the application without the guard",
        "remove this setting from the pods that the guard is for",
    ))
}

/// The ports of the application that the files name.
fn application_ports(pod: Pod<'_>, cluster: &Cluster<'_>) -> Vec<String> {
    let containers = pod.containers().iter();
    let declared = containers
        .filter(|container| text(container, "name") != Some("istio-proxy"))
        .flat_map(|container| get(container, "ports").map_or(&[][..], Yaml::items))
        .filter_map(|port| get(port, "containerPort"));
    let policies = cluster.of_kind("AuthorizationPolicy").filter(|policy| {
        selects(
            at(policy, &["spec", "selector", "matchLabels"]),
            pod.labels(),
        )
    });
    let listed = policies.flat_map(|policy| {
        let operations = find(policy, &|value| get(value, "notPorts").is_some());
        let lists = operations
            .into_iter()
            .filter_map(|each| get(each, "notPorts"));
        lists.flat_map(Yaml::items).collect::<Vec<_>>()
    });
    declared
        .chain(listed)
        .map(|port| port.to_json().trim_matches('"').to_owned())
        .collect()
}

fn excluded(pod: Pod<'_>, ports: &[String]) -> Vec<Finding> {
    let list = |value: &Yaml| -> Vec<String> {
        let json = value.to_json();
        let items = json.trim_matches('"').split(',');
        items.map(|item| item.trim().to_owned()).collect()
    };
    let annotation = |name: &str| pod.annotation(&format!("traffic.sidecar.istio.io/{name}"));
    let excluded = annotation("excludeInboundPorts").filter(|value| {
        let excluded = list(value);
        let is_any = ports.is_empty() && excluded.iter().any(|port| !port.is_empty());
        is_any || ports.iter().any(|port| excluded.contains(port))
    });
    let included = annotation("includeInboundPorts").filter(|value| {
        let included = list(value);
        let is_all = included.iter().any(|port| port == "*");
        !is_all && (ports.is_empty() || ports.iter().any(|port| !included.contains(port)))
    });
    let found = excluded.into_iter().chain(included);
    found
        .map(|value| {
            PORTS.at(
                value.span.clone(),
                "requests to a port of the application do not go through the sidecar, so they are not verified",
                "remove the annotation, or leave out only ports that the application does not use",
            )
        })
        .collect()
}

fn servers(document: &Yaml, cluster: &Cluster<'_>) -> Vec<Finding> {
    let filters: Vec<_> = cluster
        .guards_of("EnvoyFilter")
        .map(|guard| guard.document)
        .filter(|filter| mentions(filter, "GATEWAY"))
        .collect();
    let selector = at(document, &["spec", "selector"]);
    if !selector.is_some_and(|selector| is_for(selector, &filters)) {
        return Vec::new();
    }
    let servers = at(document, &["spec", "servers"]).map_or(&[][..], Yaml::items);
    let open = servers.iter().filter_map(|server| {
        let protocol = at(server, &["port", "protocol"])
            .filter(|protocol| matches!(protocol.text(), Some("TCP" | "TLS")));
        let mode = at(server, &["tls", "mode"])
            .filter(|mode| matches!(mode.text(), Some("PASSTHROUGH" | "AUTO_PASSTHROUGH")));
        protocol.or(mode)
    });
    open.map(|value| {
        SERVER.at(
            value.span.clone(),
            "this server of the guard's gateway passes everything on without the guard",
            "use the protocol HTTP, or HTTPS with `mode: SIMPLE`, or other pods for this server",
        )
    })
    .collect()
}
