//! Routes that replace the guard or its gate.

use super::super::filters::chain::Chain;
use super::super::filters::gate;
use super::super::filters::values::{Message, fields, get, is_true};
use super::super::finding::Finding;
use super::super::rule::Rule;
use crate::cli::yaml::{Field, Yaml};

const DISABLES: Rule = Rule {
    name: "route-disables-filter",
    what: "`typed_per_filter_config` of a route, a virtual host or a cluster disables or replaces the guard or the gate",
    why: "If the guard alone is off, the gate rejects the requests. If the gate is off, unverified requests can pass.",
};

pub(super) const RULES: &[&Rule] = &[&DISABLES];

/// Checks the configurations that routes give to the guard and the gate.
pub(in crate::cli::check) fn check(manager: &Yaml, chain: &Chain<'_>) -> Vec<Finding> {
    let gate = gate::find(&chain.after).map(|gate| gate.name());
    let names = [Some(chain.guard.name()), gate];
    let configs = fields(manager, "typed_per_filter_config");
    let overrides = configs.into_iter().flat_map(Yaml::fields);
    overrides
        .filter(|field| names.contains(&Some(field.name.as_str())))
        .filter_map(report)
        .collect()
}

/// Reports an entry of `typed_per_filter_config` that turns a filter off, or replaces its configuration.
pub(in crate::cli::check) fn report(field: &Field) -> Option<Finding> {
    let message = Message::of(&field.value)?;
    let span = match message.kind {
        "envoy.config.route.v3.FilterConfig" => match get(message.value, "disabled") {
            Some(disabled) if is_true(Some(disabled)) => disabled.span.clone(),
            // Enables the filter.
            _ if get(message.value, "config").is_none_or(|config| config.fields().is_empty()) => {
                return None;
            }
            _ => field.span.clone(),
        },
        "filters.http.rbac.v3.RBACPerRoute" => match get(message.value, "rbac") {
            Some(rbac) => return gate::policy_of(rbac),
            None => field.span.clone(),
        },
        _ => field.span.clone(),
    };
    Some(DISABLES.at(
        span,
        format!("the filter `{}` is off or replaced here, so these requests are rejected or pass unverified", field.name),
        "remove this entry of `typed_per_filter_config`: `unmatched: {pass: [/app/]}` lets other paths pass",
    ))
}
