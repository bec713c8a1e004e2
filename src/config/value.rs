//! A tree of values, from JSON text or a `google.protobuf.Struct`. The readers give the values a meaning.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The deepest nesting: far more than any configuration has, and far less than the stack allows.
pub(crate) const MAX_DEPTH: usize = 32;

/// The most values of a body: far more than any sender's body has. A value needs about 50 bytes of memory, and only two
/// bytes of a body.
const MAX_IN_BODY: u32 = 10_000;

/// One value of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any number. A Struct has only doubles.
    Number(f64),
    /// A string.
    String(String),
    /// A list.
    List(Vec<Self>),
    /// An object with its fields in their order. The readers report duplicates.
    Object(Vec<(String, Self)>),
}

/// An error in the encoding of a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ParseError {
    /// The number of bytes before the error.
    pub offset: usize,
    /// The problem. Never repeats the input, which may be a secret.
    pub message: String,
}

impl Value {
    /// Reads JSON text.
    ///
    /// # Errors
    /// The text is not JSON. The message has the line and the column.
    pub fn from_json(text: &[u8]) -> Result<Self, ParseError> {
        Self::read(text, u32::MAX)
    }

    /// Reads an untrusted body. `None` if it is not JSON or has too many values. A number with a fraction or an exponent is
    /// read as NaN: only some parsers read 13.99999999999999999999 as 14.
    ///
    /// With `select`, only the selected values are read, which takes a fraction of the time. Objects then have no other
    /// fields, and lists that are not selected have no items.
    ///
    /// A byte order mark at the start is skipped (RFC 8259, 8.1): no parser reads other values behind it.
    pub(crate) fn from_body(text: &[u8], select: Option<&dyn Select>) -> Option<Self> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        Self::read_numbers(text, MAX_IN_BODY, true, select).ok()
    }

    /// Reads JSON text with at most this many values.
    pub(crate) fn read(text: &[u8], most: u32) -> Result<Self, ParseError> {
        Self::read_numbers(text, most, false, None)
    }

    fn read_numbers(
        text: &[u8],
        most: u32,
        only_whole: bool,
        select: Option<&dyn Select>,
    ) -> Result<Self, ParseError> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let left = Cell::new(most);
        let nested = Nested {
            depth: 0,
            left: &left,
            only_whole,
            select,
        };
        nested
            .deserialize(&mut json)
            .and_then(|value| json.end().map(|()| value))
            .map_err(|error| ParseError {
                offset: offset(text, error.line(), error.column()),
                message: format!("not JSON: {error}"),
            })
    }

    /// The kind of this value, for an error message.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Bool(_) => Kind::Boolean,
            Self::Number(_) => Kind::Number,
            Self::String(_) => Kind::String,
            Self::List(_) => Kind::List,
            Self::Object(_) => Kind::Object,
        }
    }
}

/// The kind of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// Any number.
    Number,
    /// A string.
    String,
    /// A list.
    List,
    /// An object.
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Null => "nothing (null)",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::List => "a list",
            Self::Object => "an object",
        })
    }
}

/// The byte offset of a line and a column, which `serde_json` counts from 1.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    text.split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum::<usize>()
        .saturating_add(column)
        .min(text.len())
}

/// Selects the values of a JSON text that are read.
pub(crate) trait Select {
    /// The selection within this field of an object. `None` skips the field.
    fn field(&self, name: &str) -> Option<Box<dyn Select + '_>>;

    /// The selection within the items of a list. `None` skips them.
    fn items(&self) -> Option<Box<dyn Select + '_>>;
}

/// Reads a value at a depth. `serde_json::Value` would silently drop duplicate keys.
#[derive(Clone, Copy)]
struct Nested<'l> {
    depth: usize,
    /// The number of values that may still be read.
    left: &'l Cell<u32>,
    /// Whether a number with a fraction or an exponent is read as NaN.
    only_whole: bool,
    /// The selection. `None` selects everything.
    select: Option<&'l dyn Select>,
}

/// Reads the name of a field, and selects within its value. `None` skips the field.
struct Field<'l>(Option<&'l dyn Select>);

impl<'de, 'l> DeserializeSeed<'de> for Field<'l> {
    type Value = Option<(String, Option<Box<dyn Select + 'l>>)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'l> Visitor<'_> for Field<'l> {
    type Value = Option<(String, Option<Box<dyn Select + 'l>>)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(match self.0 {
            None => Some((name.to_owned(), None)),
            Some(select) => select
                .field(name)
                .map(|within| (name.to_owned(), Some(within))),
        })
    }
}

impl Nested<'_> {
    /// The reader of the values within this one.
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(E::custom(format_args!(
                "nested more than {MAX_DEPTH} levels deep"
            )));
        }
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        let left = left.ok_or_else(|| D::Error::custom("too many values"))?;
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    // No field takes an integer that a double cannot hold.
    #[expect(clippy::as_conversions, clippy::cast_precision_loss)]
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    #[expect(clippy::as_conversions, clippy::cast_precision_loss)]
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(match self.only_whole {
            true => f64::NAN,
            false => value,
        }))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let selected = self.select.map(Select::items);
        if matches!(selected, Some(None)) {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::List(Vec::new()));
        }
        let selected = selected.flatten();
        let within = Nested {
            select: selected.as_deref(),
            ..self.deeper()?
        };
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(within)? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let within = self.deeper()?;
        let mut object = Vec::new();
        while let Some(field) = fields.next_key_seed(Field(self.select))? {
            let Some((name, selected)) = field else {
                fields.next_value::<IgnoredAny>()?;
                continue;
            };
            let within = Nested {
                select: selected.as_deref(),
                ..within
            };
            object.push((name, fields.next_value_seed(within)?));
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> ParseError {
        Value::from_json(text.as_bytes()).expect_err("a fault")
    }

    #[test]
    fn json_keeps_duplicate_fields() {
        let value = Value::from_json(br#"{"a": 1, "a": [true, null, "x"]}"#);
        assert_eq!(
            value,
            Ok(Value::Object(vec![
                ("a".into(), Value::Number(1.0)),
                (
                    "a".into(),
                    Value::List(vec![
                        Value::Bool(true),
                        Value::Null,
                        Value::String("x".into())
                    ])
                ),
            ]))
        );
    }

    #[test]
    fn a_fault_in_json_is_named_by_line_and_column_without_its_text() {
        let fault = fault("{\n  \"secret\": hunter2\n}");
        assert_eq!(fault.offset, 15);
        assert_eq!(
            fault.message,
            "not JSON: expected value at line 2 column 13"
        );
    }

    #[test]
    fn text_after_the_value_is_a_fault() {
        assert!(fault("{} {}").message.contains("trailing characters"));
    }

    #[test]
    fn only_bodies_are_of_so_many_values() {
        let list = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert!(Value::from_body(list(9_999).as_bytes(), None).is_some());
        assert!(Value::from_body(list(10_000).as_bytes(), None).is_none());
        assert!(Value::from_json(list(100_000).as_bytes()).is_ok());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Value::from_json(nested(MAX_DEPTH).as_bytes()).is_ok());
        for depth in [MAX_DEPTH + 1, 1_000, 1_000_000] {
            assert!(
                fault(&nested(depth))
                    .message
                    .contains("nested more than 32 levels deep")
            );
        }
    }
}
