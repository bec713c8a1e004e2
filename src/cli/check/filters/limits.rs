//! Rate limits: a shield for each address before the guard.

use std::ops::Range;

use super::chain::{Chain, Filter};
use super::values::{at, fields, get, is_false, is_true, mentions, number};
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;
use crate::cli::yaml::Yaml;

const LOCAL: &str = "filters.http.local_ratelimit.v3.LocalRateLimit";
const GLOBAL: &str = "filters.http.ratelimit.v3.RateLimit";

/// A bucket of this size limits nothing.
const UNLIMITED: u64 = 1_000_000;

const SHARED: Rule = Rule {
    name: "shared-limit",
    what: "a rate limit before the guard has one bucket for all clients",
    why: "Unsigned requests of others use up the limit, and genuine senders get 429.",
};

const NO_SHIELD: Rule = Rule {
    name: "no-shield",
    what: "no rate limit for each address precedes the guard",
    why: "One client can keep the guard busy with unsigned requests.",
};

pub(in crate::cli::check) const RULES: &[&Rule] = &[&SHARED, &NO_SHIELD];

/// Checks the limits before the guard. `is_exposed` is true if clients reach the listener directly.
pub(in crate::cli::check) fn check(chain: &Chain<'_>, is_exposed: bool) -> Vec<Finding> {
    let mut findings: Vec<_> = chain
        .before
        .iter()
        .filter_map(|filter| shared(*filter))
        .collect();
    let limits = |filter: &Filter<'_>| [LOCAL, GLOBAL].contains(&filter.kind());
    let is_shielded = chain.before.iter().any(|filter| is_shield(*filter));
    if !is_shielded && findings.is_empty() && (is_exposed || chain.after.iter().any(limits)) {
        findings.push(NO_SHIELD.at(
            chain.guard.span(),
            "no rate limit for each address precedes the guard: one client can keep it busy with unsigned requests",
            "copy the filter `shield` of envoy/edge.yaml before the guard",
        ));
    }
    findings
}

/// A filter whose limits are in routes or in another file counts as a shield.
fn is_shield(filter: Filter<'_>) -> bool {
    match (filter.kind(), filter.message()) {
        (GLOBAL, _) | (LOCAL, None) => true,
        (LOCAL, Some(message)) => {
            let config = message.value;
            get(config, "token_bucket").is_none()
                || is_true(get(config, "local_rate_limit_per_downstream_connection"))
                || (is_active(config) && mentions(config, "remote_address"))
        }
        _ => false,
    }
}

/// Whether the limit is enabled and enforced. Envoy's default of both is 0%.
fn is_active(config: &Yaml) -> bool {
    ["filter_enabled", "filter_enforced"].iter().all(|name| {
        let share = at(config, &[name, "default_value", "numerator"]).and_then(number);
        share.is_some_and(|share| share > 0)
    })
}

fn shared(filter: Filter<'_>) -> Option<Finding> {
    let config = filter
        .message()
        .filter(|message| message.kind == LOCAL)?
        .value;
    let bucket = get(config, "token_bucket")?;
    let descriptors = get(config, "descriptors").map_or(&[][..], Yaml::items);
    let is_large = at(bucket, &["max_tokens"]).and_then(number) >= Some(UNLIMITED);
    let is_fallback =
        !descriptors.is_empty() && is_false(get(config, "always_consume_default_token_bucket"));
    let common = match is_large || is_fallback {
        true => descriptors.iter().find(|each| !has_address(each))?,
        false => bucket,
    };
    let is_own = is_true(get(config, "local_rate_limit_per_downstream_connection"));
    (is_active(config) && !is_own).then(|| shared_at(common.span.clone()))
}

/// A bucket that all clients share before the guard.
pub(in crate::cli::check) fn shared_at(span: Range<usize>) -> Finding {
    SHARED.at(
        span,
        "all clients share this bucket before the guard: unsigned requests use it up, and genuine senders get 429",
        "give each address its own bucket, as the filter `shield` of envoy/edge.yaml does, with `always_consume_default_token_bucket: false`",
    )
}

/// Whether each address has its own bucket of a descriptor.
fn has_address(descriptor: &Yaml) -> bool {
    fields(descriptor, "key").iter().any(|key| {
        key.text()
            .is_some_and(|key| key.ends_with("remote_address"))
    })
}
