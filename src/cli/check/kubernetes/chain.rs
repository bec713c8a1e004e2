//! The order of HTTP filters that the patches of a resource produce.

use crate::cli::check::filters::values::{at, get, text};
use crate::cli::yaml::Yaml;

const ROUTER: &str = "envoy.filters.http.router";

/// The filter of Envoy Gateway's SecurityPolicy.
const LOCK: &str = "envoy.filters.http.rbac";

/// A filter of the resource, or of the control plane (without a value).
type Slot<'f> = (&'f str, Option<&'f Yaml>);

/// The filters that an EnvoyFilter inserts, in the order that istiod produces.
pub(super) fn of_envoy_filter(document: &Yaml) -> Vec<&Yaml> {
    let mut slots: Vec<Slot<'_>> = vec![(ROUTER, None)];
    let patches = at(document, &["spec", "configPatches"]).map_or(&[][..], Yaml::items);
    for item in patches
        .iter()
        .filter(|item| text(item, "applyTo") == Some("HTTP_FILTER"))
    {
        let Some(value) = at(item, &["patch", "value"]) else {
            continue;
        };
        let slot = (text(value, "name").unwrap_or_default(), Some(value));
        let filter = ["match", "listener", "filterChain", "filter", "subFilter"];
        let anchor = at(item, &filter).and_then(|filter| text(filter, "name"));
        let found = anchor.map(|anchor| slots.iter().position(|(name, _)| *name == anchor));
        let place = match (
            at(item, &["patch", "operation"]).and_then(Yaml::text),
            found,
        ) {
            (Some("INSERT_BEFORE"), Some(found)) => found,
            (Some("INSERT_BEFORE"), None) | (Some("INSERT_FIRST"), _) => Some(0),
            (Some("INSERT_AFTER"), Some(found)) => found.map(|index| index.saturating_add(1)),
            (Some("INSERT_AFTER"), None) | (Some("ADD"), _) => Some(slots.len()),
            _ => None,
        };
        // istiod skips a patch whose anchor is absent.
        if let Some(place) = place {
            slots.insert(place, slot);
        }
    }
    slots.into_iter().filter_map(|(_, value)| value).collect()
}

/// The filters that an EnvoyPatchPolicy inserts into its listeners, in the order that Envoy Gateway produces.
pub(super) fn of_patch_policy(document: &Yaml) -> Vec<&Yaml> {
    let mut slots: Vec<Slot<'_>> = vec![(LOCK, None), (ROUTER, None)];
    let patches = at(document, &["spec", "jsonPatches"]).map_or(&[][..], Yaml::items);
    let operations = patches.iter().filter_map(|item| get(item, "operation"));
    for operation in operations.filter(|operation| get(operation, "path").is_none()) {
        let path = text(operation, "jsonPath").unwrap_or_default();
        let anchor = path
            .split_once("http_filters[?(@.name=='")
            .and_then(|(_, rest)| rest.split_once("')]"))
            .map(|(name, _)| name);
        let place = slots.iter().position(|(name, _)| Some(*name) == anchor);
        if let (Some(place), Some(value)) = (place, get(operation, "value")) {
            let name = text(value, "name").unwrap_or_default();
            slots.insert(place, (name, Some(value)));
        }
    }
    slots.into_iter().filter_map(|(_, value)| value).collect()
}
