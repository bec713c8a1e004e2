//! Settings of the connection manager.

use super::values::{anchor, at, get, is_false, is_true, seconds, text};
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;
use crate::cli::yaml::Yaml;

const REMOTE_ADDRESS: Rule = Rule {
    name: "remote-address",
    what: "`use_remote_address` is not `true`",
    why: "Envoy reads the client's address from `X-Forwarded-For`, which the client writes. Lists and limits use that address.",
};

const PATHS: Rule = Rule {
    name: "path-normalization",
    what: "`normalize_path`, `merge_slashes` or `path_with_escaped_slashes_action` changes paths, or is missing",
    why: "The guard must see the path that the sender signed. A missing setting is left to Envoy's build and runtime.",
};

const UNDERSCORES: Rule = Rule {
    name: "underscores",
    what: "`headers_with_underscores_action` is missing or `ALLOW`",
    why: "Some applications read `x_signature` as `x-signature`.",
};

const HTTP_1_0: Rule = Rule {
    name: "http-1-0",
    what: "`accept_http_10` is missing",
    why: "Envoy answers senders that speak HTTP/1.0, such as WooCommerce, 426.",
};

const CONTINUE: Rule = Rule {
    name: "proxy-100-continue",
    what: "`proxy_100_continue: true`",
    why: "The sender waits for a 100 that the upstream cannot send while the guard holds the request.",
};

const TIMEOUTS: Rule = Rule {
    name: "request-timeout",
    what: "`request_timeout` or `stream_idle_timeout` is missing or off",
    why: "A slow client holds a connection and a buffer.",
};

const HEADER_SIZE: Rule = Rule {
    name: "header-size",
    what: "`max_request_headers_kb` is missing",
    why: "The default of 60 KiB for each request is memory that the guard cannot limit.",
};

const STREAMS: Rule = Rule {
    name: "http2-limits",
    what: "`max_concurrent_streams` or `initial_connection_window_size` of HTTP/2 is missing",
    why: "One connection can hold many requests, and a flood of bodies delays other senders.",
};

const UPGRADES: Rule = Rule {
    name: "upgrade-filters",
    what: "`upgrade_configs` with filters of their own",
    why: "Requests that ask for this upgrade pass these filters, and neither guard nor gate.",
};

pub(in crate::cli::check) const RULES: &[&Rule] = &[
    &UPGRADES,
    &REMOTE_ADDRESS,
    &PATHS,
    &UNDERSCORES,
    &HTTP_1_0,
    &CONTINUE,
    &TIMEOUTS,
    &HEADER_SIZE,
    &STREAMS,
];

/// Checks a whole connection manager.
pub(in crate::cli::check) fn check(manager: &Yaml) -> Vec<Finding> {
    let mut findings: Vec<_> = [
        remote_address(manager),
        underscores(manager),
        http_1_0(manager),
    ]
    .into_iter()
    .chain([
        proxied_continue(manager),
        header_size(manager),
        streams(manager),
    ])
    .flatten()
    .collect();
    findings.extend(paths(manager));
    findings.extend(upgrades(manager));
    findings.extend(
        ["request_timeout", "stream_idle_timeout"]
            .into_iter()
            .filter_map(|name| timeout(manager, name)),
    );
    findings
}

fn upgrades(manager: &Yaml) -> Option<Finding> {
    let configs = get(manager, "upgrade_configs").map_or(&[][..], Yaml::items);
    let filters = configs.iter().find_map(|config| get(config, "filters"))?;
    Some(UPGRADES.at(
        filters.span.clone(),
        "these filters replace the guard and the gate for requests that ask for the upgrade",
        "remove `filters`, so that upgrades pass the same filters",
    ))
}

fn place(manager: &Yaml, value: Option<&Yaml>) -> std::ops::Range<usize> {
    value.map_or_else(|| anchor(manager), |value| value.span.clone())
}

fn remote_address(manager: &Yaml) -> Option<Finding> {
    let value = get(manager, "use_remote_address");
    let others = ["xff_num_trusted_hops", "original_ip_detection_extensions"];
    let is_set = is_true(value) || others.iter().any(|name| get(manager, name).is_some());
    (!is_set).then(|| {
        REMOTE_ADDRESS.at(
            place(manager, value),
            "`use_remote_address` is not `true`: Envoy reads the client's address from `X-Forwarded-For`, which the client writes, so lists and limits do not hold",
            "set `use_remote_address: true`, and behind your own proxy also `xff_num_trusted_hops`",
        )
    })
}

/// Reports one setting. A setting that changes paths precedes one that is missing.
fn paths(manager: &Yaml) -> Option<Finding> {
    let settings = [
        ("normalize_path", "false"),
        ("merge_slashes", "false"),
        ("path_with_escaped_slashes_action", "KEEP_UNCHANGED"),
    ];
    let is_missing = |name: &str| match get(manager, name) {
        // Envoy's default is `false`, and no runtime value changes it.
        None => name != "merge_slashes",
        Some(value) => value.text() == Some("IMPLEMENTATION_SPECIFIC_DEFAULT"),
    };
    let is_changing = |name: &str| {
        get(manager, name).is_some_and(|value| {
            !is_missing(name) && !is_false(Some(value)) && value.text() != Some("KEEP_UNCHANGED")
        })
    };
    let (changing, rest): (Vec<_>, Vec<_>) = settings
        .into_iter()
        .partition(|(name, _)| is_changing(name));
    let missing: Vec<_> = rest
        .into_iter()
        .filter(|(name, _)| is_missing(name))
        .collect();
    let (name, _) = *changing.first().or_else(|| missing.first())?;
    let message = match changing.is_empty() {
        true => format!(
            "`{name}` is missing: Envoy keeps paths by default, but a runtime value or another build can change them before the guard"
        ),
        false => format!(
            "`{name}` changes or answers paths before the guard: signatures of the path fail, and the rate limit misses some requests"
        ),
    };
    let fix: Vec<_> = changing
        .iter()
        .chain(&missing)
        .map(|(name, value)| format!("`{name}: {value}`"))
        .collect();
    let fix = format!(
        "set {}: the guard itself rejects ambiguous paths",
        fix.join(" and ")
    );
    Some(PATHS.at(place(manager, get(manager, name)), message, fix))
}

fn underscores(manager: &Yaml) -> Option<Finding> {
    let value = at(
        manager,
        &[
            "common_http_protocol_options",
            "headers_with_underscores_action",
        ],
    );
    let action = value.and_then(Yaml::text);
    (!matches!(action, Some("DROP_HEADER" | "REJECT_REQUEST"))).then(|| {
        UNDERSCORES.at(
            place(manager, value),
            "Envoy forwards headers with `_` in their names: an application that reads `_` as `-` can use a header that the guard did not check",
            "set `common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}`",
        )
    })
}

fn http_1_0(manager: &Yaml) -> Option<Finding> {
    let value = at(manager, &["http_protocol_options", "accept_http_10"]);
    (value.is_none() && text(manager, "codec_type") != Some("HTTP2")).then(|| {
        HTTP_1_0.at(
            anchor(manager),
            "`accept_http_10` is missing: Envoy answers senders that speak HTTP/1.0, such as WooCommerce, 426",
            "set `http_protocol_options: {accept_http_10: true}`, or `false` if you refuse such senders",
        )
    })
}

fn proxied_continue(manager: &Yaml) -> Option<Finding> {
    let value = get(manager, "proxy_100_continue").filter(|value| is_true(Some(value)))?;
    Some(CONTINUE.at(
        value.span.clone(),
        "with `proxy_100_continue`, a sender with `Expect: 100-continue` waits for a 100 that the upstream cannot send, and gets 408",
        "remove `proxy_100_continue`",
    ))
}

fn header_size(manager: &Yaml) -> Option<Finding> {
    get(manager, "max_request_headers_kb").is_none().then(|| {
        HEADER_SIZE.at(
            anchor(manager),
            "`max_request_headers_kb` is missing: each request may have 60 KiB of headers, which is memory that the guard cannot limit",
            "set `max_request_headers_kb: 16`",
        )
    })
}

fn streams(manager: &Yaml) -> Option<Finding> {
    let names = ["max_concurrent_streams", "initial_connection_window_size"];
    let missing = names
        .iter()
        .find(|name| at(manager, &["http2_protocol_options", name]).is_none())?;
    (text(manager, "codec_type") != Some("HTTP1")).then(|| {
        STREAMS.at(
            anchor(manager),
            format!("`{missing}` of HTTP/2 is missing: one connection can make Envoy hold much memory and delay other senders"),
            "set `http2_protocol_options: {max_concurrent_streams: 8, initial_connection_window_size: 65536}`",
        )
    })
}

fn timeout(manager: &Yaml, name: &str) -> Option<Finding> {
    let value = get(manager, name);
    let is_set = value.and_then(seconds).is_some_and(|seconds| seconds > 0.0);
    (!is_set).then(|| {
        TIMEOUTS.at(
            place(manager, value),
            format!("`{name}` is missing or off: a slow client holds a connection and a buffer"),
            format!("set `{name}: 30s`"),
        )
    })
}
