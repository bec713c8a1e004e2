//! Buffers for bodies.

use super::super::filters::settings::{Settings, endpoint_span};
use super::super::filters::values::{at, get, number};
use super::super::finding::Finding;
use super::super::rule::Rule;
use crate::cli::yaml::Yaml;

/// Envoy's default of `per_connection_buffer_limit_bytes`.
const DEFAULT: u64 = 1 << 20;

const BUFFER: Rule = Rule {
    name: "buffer-limit",
    what: "`request_body_buffer_limit` and the listener's buffer are smaller than `max_body_bytes` of an endpoint",
    why: "Envoy answers larger bodies 413 before the guard has a verdict. The larger buffer counts. Envoy 1.36 uses the listener's alone.",
};

pub(super) const RULES: &[&Rule] = &[&BUFFER];

/// Compares the buffers of each virtual host with the largest body of each endpoint.
pub(super) fn check(listener: &Yaml, manager: &Yaml, settings: &Settings<'_>) -> Vec<Finding> {
    let connection = get(listener, "per_connection_buffer_limit_bytes");
    let hosts = at(manager, &["route_config", "virtual_hosts"]).map_or(&[][..], Yaml::items);
    let of_host = |host| {
        let routes = get(host, "routes").map_or(&[][..], Yaml::items);
        let own = routes
            .iter()
            .filter_map(|route| get(route, "request_body_buffer_limit"));
        let limit = own
            .chain(get(host, "request_body_buffer_limit"))
            .max_by_key(|limit| number(limit));
        compare(limit, connection, settings)
    };
    hosts.iter().filter_map(of_host).collect()
}

/// Compares the larger of two limits, that of a virtual host and that of the listener, with the largest body of an endpoint.
/// `request_body_buffer_limit` never lowers the listener's limit.
pub(in crate::cli::check) fn compare(
    limit: Option<&Yaml>,
    connection: Option<&Yaml>,
    settings: &Settings<'_>,
) -> Option<Finding> {
    let largest = settings.largest()?;
    let body = Settings::max_body(largest);
    let place = limit.or(connection);
    let connection = connection.and_then(number).unwrap_or(DEFAULT);
    let bytes = limit.and_then(number).unwrap_or(0).max(connection);
    let span = place.map_or_else(
        || endpoint_span(settings, largest),
        |place| place.span.clone(),
    );
    let needed = body.saturating_add(65536);
    (bytes < body).then(|| {
        BUFFER.at(
            span,
            format!("Envoy buffers {bytes} bytes, but `max_body_bytes` of an endpoint is {body}, so Envoy answers larger bodies 413 before the guard has a verdict"),
            format!("set `request_body_buffer_limit: {needed}` on the virtual host, and for Envoy 1.36 also `per_connection_buffer_limit_bytes: {needed}` on the listener"),
        )
    })
}
