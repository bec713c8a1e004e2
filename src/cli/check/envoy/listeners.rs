//! Listeners, and ways around the guard.

use super::super::filters::chain::Filter;
use super::super::filters::gate;
use super::super::filters::values::{Message, anchor, at, fields, find, get, is_false};
use super::super::finding::Finding;
use super::super::rule::Rule;
use super::{chain, managers};
use crate::cli::guards::Guard;
use crate::cli::yaml::Yaml;

const UNGUARDED: Rule = Rule {
    name: "unguarded-route",
    what: "another connection manager or TCP proxy of the file leads to a cluster behind the guard",
    why: "Requests reach the application unverified.",
};

const ADMIN: Rule = Rule {
    name: "admin-address",
    what: "the admin interface listens on an address other than loopback",
    why: "Clients of the admin interface can stop Envoy and read its configuration.",
};

const EARLY_DATA: Rule = Rule {
    name: "early-data",
    what: "HTTP/3 without `enable_early_data: false`",
    why: "Envoy accepts a recorded request of early data (0-RTT) again.",
};

const STATS: Rule = Rule {
    name: "stats-tags",
    what: "`stats_config` has no tags of the guard",
    why: "The labels of the metrics stay part of their names, and the alerts do not find them.",
};

const CONNECTIONS: Rule = Rule {
    name: "connection-limit",
    what: "`overload_manager` has no `max_active_downstream_connections`",
    why: "The memory that Envoy uses before the guard counts it has no bound.",
};

pub(super) const RULES: &[&Rule] = &[&UNGUARDED, &ADMIN, &EARLY_DATA, &STATS, &CONNECTIONS];

/// The listeners of a document, with those of a discovery response.
pub(super) fn listeners(document: &Yaml) -> Vec<&Yaml> {
    find(document, &|value| get(value, "filter_chains").is_some())
}

/// Whether only this machine reaches a listener.
pub(super) fn is_local(value: &Yaml) -> bool {
    at(value, &["address", "socket_address", "address"])
        .and_then(Yaml::text)
        .is_none_or(|address| address.starts_with("127.") || matches!(address, "::1" | "localhost"))
}

/// Checks the listeners of a document together, and the rest of a bootstrap.
pub(super) fn check(document: &Yaml, guards: &[Guard<'_>]) -> Vec<Finding> {
    let guarded: Vec<_> = managers(document)
        .into_iter()
        .filter(|manager| chain(manager, guards).is_some())
        .collect();
    if guarded.is_empty() {
        return Vec::new();
    }
    let mut findings = unguarded(document, &guarded, guards);
    findings.extend(early_data(document));
    if get(document, "static_resources").is_some() {
        findings.extend(
            [admin(document), stats(document), connections(document)]
                .into_iter()
                .flatten(),
        );
    }
    findings
}

/// The clusters that routes or a TCP proxy name.
fn clusters(value: &Yaml) -> Vec<&Yaml> {
    let weighted = fields(value, "weighted_clusters");
    let items = weighted
        .into_iter()
        .filter_map(|each| get(each, "clusters"));
    let names = items
        .flat_map(Yaml::items)
        .filter_map(|item| get(item, "name"));
    let named = fields(value, "cluster").into_iter();
    named
        .filter(|name| name.text().is_some())
        .chain(names)
        .collect()
}

fn unguarded(document: &Yaml, guarded: &[&Yaml], guards: &[Guard<'_>]) -> Vec<Finding> {
    let behind: Vec<_> = guarded
        .iter()
        .filter_map(|manager| get(manager, "route_config"))
        .flat_map(clusters)
        .filter_map(Yaml::text)
        .collect();
    let is_closed = |manager: &&Yaml| {
        let filters = get(manager, "http_filters").map_or(&[][..], Yaml::items);
        let is_gated = filters.iter().any(|filter| gate::closes(Filter(filter)));
        is_gated || chain(manager, guards).is_some()
    };
    let others = managers(document);
    let others = others
        .iter()
        .filter(|manager| !is_closed(manager))
        .filter_map(|manager| get(manager, "route_config"))
        .flat_map(clusters);
    let proxies = find(document, &|value| {
        Message::of(value)
            .is_some_and(|message| message.kind == "filters.network.tcp_proxy.v3.TcpProxy")
    });
    let proxied = proxies.into_iter().flat_map(clusters);
    others
        .chain(proxied)
        .filter_map(|cluster| {
            let name = cluster.text().filter(|name| behind.contains(name))?;
            Some(UNGUARDED.at(
                cluster.span.clone(),
                format!("requests reach the cluster `{name}` here without the guard, which protects it elsewhere in the file"),
                "put the guard and its gate before this route too, or remove the route",
            ))
        })
        .collect()
}

fn early_data(document: &Yaml) -> Vec<Finding> {
    let quic = find(document, &|value| {
        Message::of(value).is_some_and(|message| message.kind.ends_with("QuicDownstreamTransport"))
    });
    let open = quic
        .into_iter()
        .filter(|quic| !is_false(get(quic, "enable_early_data")));
    open.map(|quic| {
        EARLY_DATA.at(
            get(quic, "enable_early_data").map_or_else(|| anchor(quic), |value| value.span.clone()),
            "`enable_early_data` is not `false`: Envoy accepts a recorded request of early data (0-RTT) again",
            "set `enable_early_data: false`",
        )
    })
    .collect()
}

fn admin(document: &Yaml) -> Option<Finding> {
    let admin = get(document, "admin")?;
    let address = at(admin, &["address", "socket_address", "address"])?;
    (!is_local(admin)).then(|| {
        ADMIN.at(
            address.span.clone(),
            format!("the admin interface listens on {}: its clients can stop Envoy and read its configuration", text_of(address)),
            "set `address: 127.0.0.1`",
        )
    })
}

fn text_of(value: &Yaml) -> &str {
    value.text().unwrap_or_default()
}

fn stats(document: &Yaml) -> Option<Finding> {
    let stats = get(document, "stats_config");
    let tags = stats.map_or(Vec::new(), |stats| fields(stats, "regex"));
    let is_there = tags
        .iter()
        .any(|tag| text_of(tag).contains("webhook_guard"));
    (!is_there).then(|| {
        STATS.at(
            stats.map_or_else(|| anchor(document), |stats| stats.span.clone()),
            "`stats_config` has no tags of the guard: the labels of its metrics stay part of their names, and the alerts do not find them",
            "copy `stats_config` of envoy/envoy.yaml",
        )
    })
}

fn connections(document: &Yaml) -> Option<Finding> {
    let overload = get(document, "overload_manager");
    let limits = overload.map_or(Vec::new(), |overload| {
        fields(overload, "max_active_downstream_connections")
    });
    limits.is_empty().then(|| {
        CONNECTIONS.at(
            overload.map_or_else(|| anchor(document), anchor),
            "`overload_manager` has no `max_active_downstream_connections`: any number of connections may be open, and each uses memory before the guard counts it",
            "copy `overload_manager` of envoy/envoy.yaml",
        )
    })
}
