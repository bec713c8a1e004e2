//! The gate: an RBAC filter right after the guard, which rejects what the guard did not let through.

use std::ops::Range;

use super::chain::{Chain, Filter};
use super::values::{anchor, at, get, mentions, number, text};
use crate::cli::check::finding::Finding;
use crate::cli::check::rule::Rule;
use crate::cli::yaml::Yaml;

pub(in crate::cli::check) const RBAC: &str = "filters.http.rbac.v3.RBAC";

/// The filter state with the guard's verdict.
const VERDICT: &str = "wasm.webhook_guard_verdict";

/// The verdicts with which a request may go on.
const VERDICTS: [&str; 3] = ["accepted", "monitored", "passed"];

const FIX: &str = "copy the filter `gate` of envoy/envoy.yaml, and put it right after the guard";

const MISSING: Rule = Rule {
    name: "gate-missing",
    what: "the guard has no gate",
    why: "Envoy omits the guard from a worker that cannot load it. Everything passes there unverified.",
};

const ORDER: Rule = Rule {
    name: "gate-order",
    what: "the gate precedes the guard, or does not follow it directly",
    why: "Before the guard, the gate rejects every request. A filter between them sees unverified requests, or changes verified ones.",
};

const POLICY: Rule = Rule {
    name: "gate-policy",
    what: "the gate allows more than the guard's verdicts `accepted`, `monitored` and `passed`",
    why: "Requests without a verdict pass unverified.",
};

const DISABLED: Rule = Rule {
    name: "filter-disabled",
    what: "`disabled: true` at the guard or the gate",
    why: "Without the guard, the gate rejects everything. Without both, nothing is verified.",
};

pub(in crate::cli::check) const RULES: &[&Rule] = &[&MISSING, &ORDER, &POLICY, &DISABLED];

/// Filters that change no request and answer only by a limit or a denial. They may be between the guard and the gate.
const HARMLESS: [&str; 4] = [
    RBAC,
    "filters.http.local_ratelimit.v3.LocalRateLimit",
    "filters.http.ratelimit.v3.RateLimit",
    "filters.http.set_metadata.v3.Config",
];

/// Checks the gate of a chain.
pub(in crate::cli::check) fn check(chain: &Chain<'_>) -> Vec<Finding> {
    let mut findings: Vec<_> = disabled(chain.guard, "guard").into_iter().collect();
    if let Some(gate) = find(&chain.after) {
        findings.extend(disabled(gate, "gate"));
        findings.extend(policy(gate));
        findings.extend(between(chain, gate));
    } else if let Some(gate) = find(&chain.before) {
        findings.push(ORDER.at(
            gate.span(),
            "the gate precedes the guard, so it sees no verdict and rejects every request with 403",
            "move the gate right after the guard",
        ));
    } else {
        findings.push(missing(chain.guard.span()));
    }
    findings.extend(chain.before.iter().chain(&chain.after).filter_map(writer));
    findings
}

/// A filter that writes the verdict in the guard's place.
fn writer(filter: &Filter<'_>) -> Option<Finding> {
    let writes = filter.kind().ends_with("set_filter_state.v3.Config");
    (writes && mentions(filter.0, VERDICT)).then(|| {
        POLICY.at(
            filter.span(),
            format!("the filter `{}` writes the guard's verdict, so the gate lets requests pass that no guard has seen", filter.name()),
            format!("remove `{VERDICT}` from this filter"),
        )
    })
}

/// A guard without a gate.
pub(in crate::cli::check) fn missing(span: Range<usize>) -> Finding {
    MISSING.at(
        span,
        "the guard has no gate: a worker that cannot load the guard forwards every request unverified",
        FIX,
    )
}

/// The gate among these filters: an RBAC filter that names the verdict, or else one with the name of the gate.
pub(in crate::cli::check) fn find<'f>(filters: &[Filter<'f>]) -> Option<Filter<'f>> {
    let rbac = || filters.iter().filter(|filter| filter.kind() == RBAC);
    rbac()
        .find(|filter| mentions(filter.0, VERDICT))
        .or_else(|| rbac().find(|filter| filter.name() == "gate"))
        .copied()
}

/// Whether a filter rejects every request without one of the verdicts, judging by its content.
pub(in crate::cli::check) fn closes(filter: Filter<'_>) -> bool {
    let message = filter.message().filter(|message| message.kind == RBAC);
    let is_gate = message.is_some_and(|message| {
        mentions(message.value, VERDICT) && policy_fault(message.value).is_none()
    });
    is_gate && filter.disabled().is_none()
}

fn disabled(filter: Filter<'_>, which: &str) -> Option<Finding> {
    let disabled = filter.disabled()?;
    let consequence = match which {
        "gate" => "requests without a verdict can pass there",
        _ => "the gate rejects the requests there, or without a gate they pass unverified",
    };
    Some(DISABLED.at(
        disabled.span.clone(),
        format!("the {which} is off on every route that does not enable it, so {consequence}"),
        format!("remove `disabled` from the {which}"),
    ))
}

fn between(chain: &Chain<'_>, gate: Filter<'_>) -> Option<Finding> {
    let before_gate = chain
        .after
        .iter()
        .take_while(|filter| !std::ptr::eq(filter.0, gate.0));
    let other = before_gate
        .into_iter()
        .find(|filter| !HARMLESS.contains(&filter.kind()))?;
    Some(ORDER.at(
        other.span(),
        format!("the filter `{}` is between the guard and its gate, so it gets unverified requests from a worker without the guard", other.name()),
        "move the filter behind the gate",
    ))
}

fn policy(gate: Filter<'_>) -> Option<Finding> {
    let message = gate.message()?;
    let (span, what) = policy_fault(message.value)?;
    Some(POLICY.at(span, what, FIX))
}

/// Reports what a gate allows beyond the verdicts, for the configuration of a route that replaces it.
pub(in crate::cli::check) fn policy_of(rbac: &Yaml) -> Option<Finding> {
    let (span, what) = policy_fault(rbac)?;
    Some(POLICY.at(span, what, FIX))
}

/// The place at which a gate allows more than the verdicts.
fn policy_fault(rbac: &Yaml) -> Option<(Range<usize>, &'static str)> {
    if let Some(matcher) = get(rbac, "matcher") {
        return Some((
            matcher.span.clone(),
            "the gate has a `matcher`, which Envoy uses instead of `rules`, and which may allow requests without a verdict",
        ));
    }
    let Some(rules) = get(rbac, "rules") else {
        return Some((
            anchor(rbac),
            "the gate has no `rules`, so it rejects nothing",
        ));
    };
    // 0 is the number of `ALLOW`, which is also the default.
    let is_allow = |action: &&Yaml| action.text() == Some("ALLOW") || number(action) == Some(0);
    if let Some(action) = get(rules, "action").filter(|action| !is_allow(action)) {
        return Some((
            action.span.clone(),
            "the gate's action is not `ALLOW`, so requests without a verdict pass",
        ));
    }
    let policies = get(rules, "policies").map_or(&[][..], Yaml::fields);
    let principals = policies
        .iter()
        .flat_map(|policy| get(&policy.value, "principals").map_or(&[][..], Yaml::items));
    let wide = principals
        .into_iter()
        .find(|principal| !is_verdict(principal))?;
    Some((
        wide.span.clone(),
        "the gate allows requests that the guard did not accept, so they reach the application unverified",
    ))
}

/// Whether a principal is a request with one of the verdicts.
fn is_verdict(principal: &Yaml) -> bool {
    if let Some(ids) = at(principal, &["and_ids", "ids"]) {
        return ids.items().iter().any(is_verdict);
    }
    if let Some(ids) = at(principal, &["or_ids", "ids"]) {
        return ids.items().iter().all(is_verdict);
    }
    let Some(state) = get(principal, "filter_state") else {
        return false;
    };
    let Some(matcher) = get(state, "string_match").filter(|_| text(state, "key") == Some(VERDICT))
    else {
        return false;
    };
    let exact = text(matcher, "exact");
    let regex = at(matcher, &["safe_regex", "regex"]).and_then(Yaml::text);
    let regex = regex.map(|regex| regex.trim_matches(['(', ')', '^', '$']));
    exact.is_some_and(|verdict| VERDICTS.contains(&verdict))
        || regex.is_some_and(|regex| regex.split('|').all(|verdict| VERDICTS.contains(&verdict)))
}
