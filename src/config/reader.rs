//! Readers of single values. Each part of the policy reads its own block through a [`Node`], so that a field's name,
//! default and meaning are in one place.
//!
//! A reader returns `None` exactly if it reported an error.

use std::fmt::Display;

use super::diagnostics::{Diagnostics, Place, SchemaItem, Step};
use super::hints::{block_of, did_you_mean, printable};
use super::value::{Kind, Value};

/// The most names that an error lists.
const MAX_LISTED: usize = 30;

/// A value of the configuration, at its path.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    value: &'a Value,
    place: Place,
    diagnostics: &'a Diagnostics,
}

impl<'a> Node<'a> {
    /// The whole configuration.
    #[must_use]
    pub const fn root(value: &'a Value, diagnostics: &'a Diagnostics) -> Self {
        Self {
            value,
            place: None,
            diagnostics,
        }
    }

    /// Reports an error about this value. Always returns `None`.
    pub fn error<T>(self, message: impl Display) -> Option<T> {
        self.diagnostics.error(self.place, &message);
        None
    }

    /// Reports a warning about this value.
    pub fn warn(self, message: impl Display) {
        self.diagnostics.warning(self.place, &message);
    }

    /// This value as an object, such as `example`.
    #[must_use]
    #[inline(never)]
    pub fn object(self, example: &str) -> Option<Object<'a>> {
        match self.value {
            Value::Object(fields) => Some(Object {
                node: self,
                fields,
                known: Vec::new(),
                required: Vec::new(),
                errors_before: self.diagnostics.error_count(),
            }),
            _ => self.error(format_args!(
                "expected an object such as {example}, found {}",
                self.value.kind()
            )),
        }
    }

    /// This value's items.
    #[must_use]
    #[inline(never)]
    pub fn list(self) -> Option<Vec<Self>> {
        let Value::List(items) = self.value else {
            return self.wrong_kind(Kind::List);
        };
        self.diagnostics.expect(self.place, || SchemaItem::List);
        let item = |(index, value)| self.child(Step::Item(index), value);
        Some(items.iter().enumerate().map(item).collect())
    }

    /// Reads every item of this list, even after an item with an error.
    pub fn each<T>(self, read: impl FnMut(Self) -> Option<T>) -> Option<Vec<T>> {
        let read: Vec<_> = self.list()?.into_iter().map(read).collect();
        read.into_iter().collect()
    }

    /// Reads every field of an object whose field names the user chooses.
    pub fn each_field<T>(self, mut read: impl FnMut(&'a str, Self) -> Option<T>) -> Option<Vec<T>> {
        let Value::Object(fields) = self.value else {
            return self.wrong_kind(Kind::Object);
        };
        self.diagnostics.expect(self.place, || SchemaItem::Map);
        let field = |(name, value): &'a (String, Value)| {
            read(name, self.child(Step::Named(name.clone()), value))
        };
        let read: Vec<_> = fields.iter().map(field).collect();
        read.into_iter().collect()
    }

    /// This value as a string.
    #[must_use]
    #[inline(never)]
    pub fn text(self) -> Option<&'a str> {
        match self.value {
            Value::String(text) => {
                self.diagnostics.expect(self.place, || SchemaItem::Text);
                Some(text)
            }
            _ => self.wrong_kind(Kind::String),
        }
    }

    /// This value as text that `parse` accepts. An error of `parse` is reported here.
    pub fn parse<T>(self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        parse(self.text()?).map_or_else(|message| self.error(message), Some)
    }

    /// This value as one of the words in `choices`.
    pub fn choice<T: Clone>(self, choices: &[(&'static str, T)]) -> Option<T> {
        self.choice_or(choices, "")
    }

    /// This value as one of the words in `choices`. `other` describes what the caller has tried to read before, such
    /// as ` or a list`.
    pub fn choice_or<T: Clone>(self, choices: &[(&'static str, T)], other: &str) -> Option<T> {
        let name = |index| choices.get(index).map(|(name, _)| *name);
        let index = self.position(&name, other)?;
        choices.get(index).map(|(_, choice)| choice.clone())
    }

    /// The index of this value among the names that `name` returns.
    #[inline(never)]
    fn position(self, name: &dyn Fn(usize) -> Option<&'static str>, other: &str) -> Option<usize> {
        let names: Vec<_> = (0..).map_while(name).collect();
        let Value::String(text) = self.value else {
            if names.len() > MAX_LISTED {
                return self.wrong_kind(Kind::String);
            }
            return self.error(format_args!(
                "expected one of {}{other}, found {}",
                names.join(", "),
                self.value.kind()
            ));
        };
        self.diagnostics.expect(self.place, || SchemaItem::Text);
        self.diagnostics
            .expect(self.place, || SchemaItem::Choice(names.clone()));
        let found = names.iter().position(|name| name == text);
        if found.is_none() {
            self.report_choice(text, &names, other);
        }
        found
    }

    fn report_choice(self, text: &str, names: &[&str], other: &str) {
        let nearest = did_you_mean(text, names);
        if names.len() > MAX_LISTED && printable(text).is_some() {
            return self.report_unknown(text, names.len(), &nearest);
        }
        let names = names.join(", ");
        match printable(text) {
            None if nearest.is_empty() => {
                self.error::<()>(format_args!("the value is not one of {names}{other}"))
            }
            _ => self.error::<()>(format_args!(
                "{text:?} is not one of {names}{other}{nearest}"
            )),
        };
    }

    fn report_unknown(self, text: &str, count: usize, nearest: &str) {
        match nearest {
            "" => self.error::<()>(format_args!(
                "{text:?} is not one of the {count} known names: see the configuration's schema"
            )),
            _ => self.error::<()>(format_args!("{text:?} is unknown{nearest}")),
        };
    }

    /// This value as a boolean.
    #[must_use]
    #[inline(never)]
    pub fn boolean(self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => {
                self.diagnostics.expect(self.place, || SchemaItem::Boolean);
                Some(*value)
            }
            _ => self.wrong_kind(Kind::Boolean),
        }
    }

    /// This value as an integer from 0 to `max`. Envoy passes a YAML number above `i32::MAX` as a string of digits.
    #[must_use]
    #[inline(never)]
    pub fn integer(self, max: u32) -> Option<u32> {
        let number = match self.value {
            Value::Number(number) => *number,
            Value::String(text) => match large_integer(text) {
                Some(number) => number.into(),
                None => return self.wrong_kind(Kind::Number),
            },
            _ => return self.wrong_kind(Kind::Number),
        };
        self.diagnostics
            .expect(self.place, || SchemaItem::Integer(max));
        if number.fract() != 0.0 || !(0.0..=f64::from(max)).contains(&number) {
            return self.error(format_args!("expected an integer from 0 to {max}"));
        }
        // In range and whole, so nothing is lost.
        #[expect(
            clippy::as_conversions,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        Some(number as u32)
    }

    /// Whether this value is a list.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(self.value, Value::List(_))
    }

    /// Whether this value is a boolean.
    #[must_use]
    pub const fn is_boolean(self) -> bool {
        matches!(self.value, Value::Bool(_))
    }

    /// Whether this value is an object.
    #[must_use]
    pub const fn is_object(self) -> bool {
        matches!(self.value, Value::Object(_))
    }

    fn wrong_kind<T>(self, expected: Kind) -> Option<T> {
        self.report_kind(expected);
        None
    }

    #[inline(never)]
    fn report_kind(self, expected: Kind) {
        let found = self.value.kind();
        let is_quoted = match self.value {
            Value::String(text) if expected == Kind::Number => {
                text.bytes().all(|byte| byte.is_ascii_digit())
            }
            Value::String(text) => matches!(text.as_str(), "true" | "false"),
            _ => false,
        };
        let hint = match (expected, found) {
            (Kind::String, Kind::Number | Kind::Boolean) => ": put it in quotes",
            (Kind::Number | Kind::Boolean, Kind::String) if is_quoted => {
                ": write it without quotes"
            }
            (Kind::Number, Kind::String) => ": write a whole number, such as 26214400",
            (Kind::List, Kind::String | Kind::Number | Kind::Object) => {
                ": put it in square brackets"
            }
            (_, Kind::Null) => ": give it a value, or remove it",
            _ => "",
        };
        match expected {
            Kind::Boolean => {
                self.error::<()>(format_args!("expected true or false, found {found}{hint}"))
            }
            _ => self.error::<()>(format_args!("expected {expected}, found {found}{hint}")),
        };
    }

    fn child(self, step: Step, value: &'a Value) -> Self {
        Self {
            value,
            place: self.diagnostics.enter(self.place, step, value),
            diagnostics: self.diagnostics,
        }
    }
}

/// An object whose fields are being read. A field that is never read is unknown.
#[derive(Debug)]
pub struct Object<'a> {
    /// The object itself.
    pub node: Node<'a>,
    fields: &'a [(String, Value)],
    known: Vec<&'static str>,
    required: Vec<&'static str>,
    errors_before: usize,
}

impl<'a> Object<'a> {
    /// Whether an error was reported since this object was opened.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.node.diagnostics.error_count() > self.errors_before
    }

    /// The field `name`, if it was written.
    #[inline(never)]
    pub fn field(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.known.push(name);
        let (_, value) = self.fields.iter().find(|(field, _)| field == name)?;
        Some(self.node.child(Step::Field(name.to_owned()), value))
    }

    /// Reads the field `name`. `None` if it is absent or has an error; [`Self::close`] distinguishes the two.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Node<'a>) -> Option<T>,
    ) -> Option<T> {
        self.field(name).and_then(read)
    }

    /// Reads the field `name`. Its absence is an error, and `hint` says how to fix it.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        hint: &str,
        read: impl FnOnce(Node<'a>) -> Option<T>,
    ) -> Option<T> {
        self.required.push(name);
        match self.field(name) {
            Some(node) => read(node),
            None => self.node.error(format_args!("`{name}` is missing: {hint}")),
        }
    }

    /// Reports unknown and duplicate fields. Returns `None` if the object has any error.
    #[must_use]
    #[inline(never)]
    pub fn close(self) -> Option<()> {
        for (index, (name, value)) in self.fields.iter().enumerate() {
            let mut earlier = self.fields.iter().take(index);
            let node = || self.node.child(Step::Field(name.clone()), value);
            if !self.known.contains(&name.as_str()) {
                let hint = match block_of(name) {
                    Some(block) => format!(": move it to {block}"),
                    None => did_you_mean(name, &self.known),
                };
                node().error::<()>(format_args!("unknown field{hint}"));
            } else if earlier.any(|(field, _)| field == name) {
                node().error::<()>("the field is written twice: keep one");
            }
        }
        self.node.diagnostics.expect(self.node.place, || {
            SchemaItem::Object(self.known.clone(), self.required.clone())
        });
        (!self.has_errors()).then_some(())
    }
}

/// Whether a text can be a label's value in metrics: 1 to 63 letters, digits, dashes and underscores,
/// the first a letter or digit.
pub(crate) fn is_label(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    text.starts_with(|char: char| char.is_ascii_alphanumeric())
        && text.bytes().all(is_part)
        && text.len() <= 63
}

/// Reads the key of a filter state.
pub(crate) fn read_filter_state(node: Node<'_>) -> Option<String> {
    match node.text()? {
        "" => {
            node.error("the key is empty: write the key of a filter state, such as webhook.secret")
        }
        text => Some(text.to_owned()),
    }
}

/// The number above `i32::MAX` that a text contains in digits.
fn large_integer(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let number: u32 = text.parse().ok().filter(|_| is_plain)?;
    (i32::try_from(number).is_err()).then_some(number)
}
