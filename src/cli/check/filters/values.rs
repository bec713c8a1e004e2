//! Values as protobuf's JSON writes them.

use std::ops::Range;

use crate::cli::yaml::{Kind, Yaml};

/// The value of a field, in either spelling: `use_remote_address` or `useRemoteAddress`. A null is an absent field.
pub(in crate::cli::check) fn get<'f>(value: &'f Yaml, name: &str) -> Option<&'f Yaml> {
    let found = value.get(name).or_else(|| value.get(&camel_case(name)));
    found.filter(|found| !matches!(found.kind, Kind::Null))
}

/// The value below these fields.
pub(in crate::cli::check) fn at<'f>(value: &'f Yaml, names: &[&str]) -> Option<&'f Yaml> {
    names.iter().try_fold(value, |value, name| get(value, name))
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

pub(in crate::cli::check) fn is_true(value: Option<&Yaml>) -> bool {
    is(value, true)
}

pub(in crate::cli::check) fn is_false(value: Option<&Yaml>) -> bool {
    is(value, false)
}

/// Whether a value is this boolean, which protobuf's JSON also accepts as a text.
fn is(value: Option<&Yaml>, wanted: bool) -> bool {
    match value.map(|value| &value.kind) {
        Some(Kind::Bool(value)) => *value == wanted,
        Some(Kind::Text(text)) => *text == wanted.to_string(),
        _ => false,
    }
}

/// The text of a field.
pub(in crate::cli::check) fn text<'f>(value: &'f Yaml, name: &str) -> Option<&'f str> {
    get(value, name)?.text()
}

/// A number, which protobuf's JSON also accepts as a text.
pub(in crate::cli::check) fn number(value: &Yaml) -> Option<u64> {
    match &value.kind {
        Kind::Number(number) => number.parse().ok(),
        Kind::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// The seconds of a duration such as `0.02s`.
pub(in crate::cli::check) fn seconds(value: &Yaml) -> Option<f64> {
    value.text()?.strip_suffix('s')?.parse().ok()
}

/// The place to report about a map in which a field is missing: its name, or its first field.
pub(in crate::cli::check) fn anchor(value: &Yaml) -> Range<usize> {
    let name = get(value, "name").filter(|name| name.text().is_some());
    match (name, value.fields().first()) {
        (Some(name), _) => name.span.clone(),
        (None, Some(first)) => first.span.clone(),
        (None, None) => value.span.clone(),
    }
}

/// A message within a `google.protobuf.Any`.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::check) struct Message<'f> {
    /// The type without the prefix that Envoy's extensions share, such as `filters.http.rbac.v3.RBAC`.
    pub(in crate::cli::check) kind: &'f str,
    pub(in crate::cli::check) value: &'f Yaml,
}

impl<'f> Message<'f> {
    /// Reads an `Any`, also one with a `TypedStruct`.
    pub(in crate::cli::check) fn of(any: &'f Yaml) -> Option<Self> {
        let kind = short_type(text(any, "@type")?);
        match kind.rsplit('.').next() {
            Some("TypedStruct") => Some(Self {
                kind: short_type(text(any, "type_url")?),
                value: get(any, "value")?,
            }),
            _ => Some(Self { kind, value: any }),
        }
    }
}

/// The type that a URL names, without the prefix that Envoy's extensions share.
pub(in crate::cli::check) fn short_type(url: &str) -> &str {
    let name = url.rsplit('/').next().unwrap_or_default();
    name.strip_prefix("envoy.extensions.").unwrap_or(name)
}

/// All values that `is_wanted` accepts, from the outermost. The values within an accepted one are searched, too.
pub(in crate::cli::check) fn find<'f>(
    value: &'f Yaml,
    is_wanted: &dyn Fn(&'f Yaml) -> bool,
) -> Vec<&'f Yaml> {
    let mut found = Vec::new();
    visit(value, is_wanted, &mut found);
    found
}

fn visit<'f>(value: &'f Yaml, is_wanted: &dyn Fn(&'f Yaml) -> bool, found: &mut Vec<&'f Yaml>) {
    if is_wanted(value) {
        found.push(value);
    }
    for item in value.items() {
        visit(item, is_wanted, found);
    }
    for field in value.fields() {
        visit(&field.value, is_wanted, found);
    }
}

/// All values of the fields with this name, at any depth.
pub(in crate::cli::check) fn fields<'f>(value: &'f Yaml, name: &str) -> Vec<&'f Yaml> {
    let within = find(value, &|within| get(within, name).is_some());
    within
        .into_iter()
        .filter_map(|within| get(within, name))
        .collect()
}

/// Whether a text within a value contains `part`.
pub(in crate::cli::check) fn mentions(value: &Yaml, part: &str) -> bool {
    let contains = |value: &Yaml| value.text().is_some_and(|text| text.contains(part));
    !find(value, &contains).is_empty()
}
