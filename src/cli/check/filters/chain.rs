//! The HTTP filters of a connection manager, with the guard among them.

use std::ops::Range;

use super::values::{Message, anchor, find, get, is_true, short_type, text};
use crate::cli::guards::Guard;
use crate::cli::yaml::Yaml;

const WASM: &str = "filters.http.wasm.v3.Wasm";

/// An HTTP filter: a map with `name` and `typed_config`.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::check) struct Filter<'f>(pub(in crate::cli::check) &'f Yaml);

impl<'f> Filter<'f> {
    pub(in crate::cli::check) fn name(self) -> &'f str {
        text(self.0, "name").unwrap_or_default()
    }

    /// The type of the filter's configuration, such as `filters.http.rbac.v3.RBAC`. Empty if the file does not show it.
    pub(in crate::cli::check) fn kind(self) -> &'f str {
        if let Some(message) = self.message() {
            return message.kind;
        }
        let urls = get(self.0, "config_discovery").and_then(|found| get(found, "type_urls"));
        let url = urls.and_then(|urls| urls.items().first()?.text());
        url.map(short_type).unwrap_or_default()
    }

    /// The filter's configuration. `None` if it is in another file.
    pub(in crate::cli::check) fn message(self) -> Option<Message<'f>> {
        Message::of(get(self.0, "typed_config")?)
    }

    /// The field `disabled`, if the filter is off except on routes that enable it.
    pub(in crate::cli::check) fn disabled(self) -> Option<&'f Yaml> {
        get(self.0, "disabled").filter(|disabled| is_true(Some(disabled)))
    }

    /// The place to report about the filter as a whole.
    pub(in crate::cli::check) fn span(self) -> Range<usize> {
        anchor(self.0)
    }

    /// Whether the filter is this guard.
    pub(in crate::cli::check) fn is(self, guard: &Guard<'_>) -> bool {
        let Some(filter) = guard.filter else {
            return false;
        };
        !find(self.0, &|value| std::ptr::eq(value, filter)).is_empty()
    }

    /// Whether the filter is a guard whose configuration is in another file.
    pub(in crate::cli::check) fn is_discovered_guard(self) -> bool {
        let name = self.name().replace('-', "_");
        self.message().is_none() && self.kind() == WASM && name.contains("webhook_guard")
    }
}

/// The filters around a guard, in their order.
#[derive(Debug)]
pub(in crate::cli::check) struct Chain<'f> {
    pub(in crate::cli::check) before: Vec<Filter<'f>>,
    pub(in crate::cli::check) guard: Filter<'f>,
    pub(in crate::cli::check) after: Vec<Filter<'f>>,
}

impl<'f> Chain<'f> {
    /// Whether a value is the guard or a filter before it.
    pub(in crate::cli::check) fn is_at_or_before_guard(&self, value: &Yaml) -> bool {
        let filters = self.before.iter().chain([&self.guard]);
        filters
            .into_iter()
            .any(|filter| std::ptr::eq(filter.0, value))
    }

    /// The chain of these filters. `None` if `is_guard` accepts none of them.
    pub(in crate::cli::check) fn new(
        filters: &[&'f Yaml],
        is_guard: &dyn Fn(Filter<'f>) -> bool,
    ) -> Option<Self> {
        let filters: Vec<_> = filters.iter().map(|filter| Filter(filter)).collect();
        let place = filters.iter().position(|filter| is_guard(*filter))?;
        let (before, rest) = filters.split_at_checked(place)?;
        let (guard, after) = rest.split_first()?;
        Some(Self {
            before: before.to_vec(),
            guard: *guard,
            after: after.to_vec(),
        })
    }
}
