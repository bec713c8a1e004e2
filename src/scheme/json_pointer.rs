//! Places in a JSON text (RFC 6901).

use std::borrow::Cow;

use super::found::Found;
use super::parameters;
use crate::config::value::{Select, Value};
use crate::request::headers::Ambiguous;

/// The largest whole number that a double represents exactly.
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// A place in a JSON text: names of fields, or `*` for every item of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pointer(pub(crate) Vec<Step>);

/// A step of a pointer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// To the field with this name.
    Field(String),
    /// To every item of a list.
    Every,
}

impl Pointer {
    /// Reads a pointer (RFC 6901). A number may not select an item of a list, since the items next to it would stay
    /// unchecked. `*` selects every item, and all must have the same value.
    ///
    /// # Errors
    /// The text is not such a pointer.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!(
                "{text:?} is not a JSON pointer: write one such as /data/id"
            ));
        };
        let steps = path.split('/').map(|step| match step {
            "*" => Ok(Step::Every),
            _ if !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) => Err(format!(
                "{text:?} selects one list item, which leaves the others unchecked: write `*` for every item"
            )),
            _ => Ok(Step::Field(step.replace("~1", "/").replace("~0", "~"))),
        });
        steps.collect::<Result<_, _>>().map(Self)
    }

    /// Collects every text at this place, or in a list there. `None` if other values are there.
    pub(crate) fn collect<'v>(&self, json: &'v Value, texts: &mut Vec<&'v str>) -> Option<()> {
        collect(&self.0, json, texts)
    }

    /// The value in `json`: a text, a whole number or a boolean. With `alone`, the value is ambiguous if some
    /// application could read another field under a step's name.
    pub(super) fn find<'v>(&self, json: &'v Value, alone: bool) -> Found<'v> {
        find(&self.0, json, alone)
    }
}

/// The remaining steps of several pointers.
pub(super) struct Paths<'p> {
    steps: Vec<&'p [Step]>,
    /// See [`find`].
    alone: bool,
}

impl<'p> Paths<'p> {
    pub(super) fn of(pointers: &'p [Pointer], alone: bool) -> Self {
        let steps = pointers.iter().map(|pointer| &pointer.0[..]).collect();
        Self { steps, alone }
    }

    /// The pointers that continue with this step.
    fn after(&self, is_next: &dyn Fn(&Step) -> bool) -> Option<Box<dyn Select + '_>> {
        let mut steps = Vec::new();
        // Most pointers share their steps. Check each step once.
        let mut last: Option<(&Step, bool)> = None;
        for (step, rest) in self.steps.iter().filter_map(|steps| steps.split_first()) {
            let is_next = match last {
                Some((known, is_next)) if known == step => is_next,
                _ => is_next(step),
            };
            last = Some((step, is_next));
            steps.extend(is_next.then_some(rest));
        }
        let alone = self.alone;
        match steps.is_empty() {
            true => None,
            false => Some(Box::new(Self { steps, alone })),
        }
    }
}

impl Select for Paths<'_> {
    fn field(&self, name: &str) -> Option<Box<dyn Select + '_>> {
        self.after(
            &|step| matches!(step, Step::Field(wanted) if is_named(name, wanted, self.alone)),
        )
    }

    fn items(&self) -> Option<Box<dyn Select + '_>> {
        self.after(&|step| *step == Step::Every)
    }
}

/// Whether a field has this name. With `alone`, whether some application could read it under this name.
fn is_named(field: &str, name: &str, alone: bool) -> bool {
    match alone {
        true => parameters::is_like(field.as_bytes(), name),
        false => field == name,
    }
}

/// With `alone`, a second field that some application could read under a step's name makes the value ambiguous.
fn find<'v>(steps: &[Step], value: &'v Value, alone: bool) -> Found<'v> {
    let Some((step, steps)) = steps.split_first() else {
        return scalar(value);
    };
    match (step, value) {
        (Step::Field(name), Value::Object(fields)) => {
            let mut named = fields
                .iter()
                .filter(|(field, _)| is_named(field, name, alone));
            match (named.next(), named.next()) {
                (Some((field, value)), None) if field == name => find(steps, value, alone),
                (None, _) => Ok(None),
                (Some(_), _) => Err(Ambiguous),
            }
        }
        (Step::Every, Value::List(items)) => {
            let mut found = items.iter().map(|item| find(steps, item, alone));
            let Some(first) = found.next() else {
                return Ok(None);
            };
            let first = first?;
            match found.all(|other| other.as_ref() == Ok(&first)) {
                true => Ok(first),
                false => Err(Ambiguous),
            }
        }
        _ => Ok(None),
    }
}

fn collect<'v>(steps: &[Step], value: &'v Value, texts: &mut Vec<&'v str>) -> Option<()> {
    match (steps.split_first(), value) {
        (None, Value::String(text)) => texts.push(text),
        // A list's own items, if they are texts.
        (None, Value::List(_)) => return collect(&[Step::Every], value, texts),
        (Some((Step::Every, steps)), Value::List(items)) => {
            for item in items {
                if steps.is_empty() && !matches!(item, Value::String(_)) {
                    return None;
                }
                collect(steps, item, texts)?;
            }
        }
        (Some((Step::Field(name), steps)), Value::Object(fields)) => {
            let mut named = fields.iter().filter(|(field, _)| field == name);
            let (Some((_, value)), None) = (named.next(), named.next()) else {
                return None;
            };
            collect(steps, value, texts)?;
        }
        _ => return None,
    }
    Some(())
}

pub(super) fn scalar(value: &Value) -> Found<'_> {
    match value {
        Value::String(text) => Ok(Some(Cow::Borrowed(text.as_bytes()))),
        Value::Bool(value) => Ok(Some(Cow::Borrowed(if *value { b"true" } else { b"false" }))),
        // Only numbers with one spelling: 1, but neither 1.5 nor 1e300.
        Value::Number(number) if number.fract() == 0.0 && number.abs() <= MAX_EXACT => {
            Ok(Some(Cow::Owned(whole(*number).into_bytes())))
        }
        Value::Null => Ok(None),
        Value::Number(_) | Value::List(_) | Value::Object(_) => Err(Ambiguous),
    }
}

/// A whole number's digits.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "whole and exact"
)]
fn whole(number: f64) -> String {
    (number as i64).to_string()
}
