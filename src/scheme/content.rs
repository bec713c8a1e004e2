//! What a body holds, for the senders that put the signature or what is signed into it: JSON or a form.
//! It is read only once the body is whole.

use std::borrow::Cow;

use super::source::{Ambiguous, Found};
use super::url;
use crate::headers::Headers;
use crate::value::Value;

/// The largest whole number that a double holds exactly.
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// The longest boundary of a multipart body (RFC 2046, 5.1.1): a longer one would cost its length for each byte.
const MAX_BOUNDARY: usize = 70;

/// The most fields that a form is read with: far more than any sender's has, and each costs memory.
const MAX_FIELDS: usize = 1024;

/// How a body is written, by its content-type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data`, with the boundary before each part.
    Multipart(Vec<u8>),
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind of a request's body.
    pub(crate) fn of(headers: &Headers<'_>) -> Self {
        let value = headers
            .one("content-type")
            .ok()
            .flatten()
            .unwrap_or_default();
        let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        if name.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            return Self::Form;
        }
        let boundary = parts.find_map(|part| part.strip_prefix(b"boundary="));
        match boundary {
            Some(boundary) if name.eq_ignore_ascii_case(b"multipart/form-data") => {
                let quoted = boundary
                    .strip_prefix(b"\"")
                    .and_then(|rest| rest.strip_suffix(b"\""));
                let mut delimiter = b"--".to_vec();
                delimiter.extend(quoted.unwrap_or(boundary));
                match delimiter.len() <= MAX_BOUNDARY.saturating_add(2) {
                    true => Self::Multipart(delimiter),
                    false => Self::Other,
                }
            }
            _ => Self::Other,
        }
    }
}

/// What a scheme needs to know of a body.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wanted {
    /// The fields of its form.
    pub(crate) form: bool,
    /// Its JSON.
    pub(crate) json: bool,
    /// The field of the form in which the JSON stands, where it is not the body itself.
    pub(crate) json_in_form: Option<String>,
}

/// A body's fields and values.
#[derive(Debug, Default)]
pub(crate) struct Content {
    form: Vec<(Vec<u8>, Vec<u8>)>,
    json: Option<Value>,
}

impl Content {
    /// Reads what is wanted of a whole body. What is not there to be read is absent from it; `None` where there is
    /// more than is read.
    pub(crate) fn read(body: &[u8], kind: &Kind, wanted: &Wanted) -> Option<Self> {
        let form = match kind {
            // What is not read cannot have been signed.
            Kind::Form if wanted.form && ampersands(body) >= MAX_FIELDS => return None,
            Kind::Form if wanted.form => url::parameters(body)
                .into_iter()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
            Kind::Multipart(delimiter) if wanted.form => {
                multipart(body, delimiter).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let mut content = Self { form, json: None };
        let text = match &wanted.json_in_form {
            Some(name) => content.field(name).ok().flatten().map(Cow::into_owned),
            None if wanted.json => Some(body.to_vec()),
            None => None,
        };
        content.json = text.and_then(|text| Value::from_json(&text).ok());
        Some(content)
    }

    /// The form's fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.form
            .iter()
            .map(|(name, value)| (&name[..], &value[..]))
    }

    /// The value of the form's field `name`.
    pub(crate) fn field(&self, name: &str) -> Found<'_> {
        let pairs = self.fields();
        url::one(
            pairs.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))),
            name,
        )
    }

    /// The value that `pointer` points to in the JSON.
    pub(crate) fn json(&self, pointer: &Pointer) -> Found<'_> {
        self.json
            .as_ref()
            .map_or(Ok(None), |json| pointer.find(json))
    }
}

/// The fields of a `multipart/form-data` body (RFC 7578): names and values of its parts. `None` where it is none.
fn multipart(body: &[u8], delimiter: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut fields = Vec::new();
    let mut rest = body.strip_prefix(delimiter)?;
    let mut next = b"\r\n".to_vec();
    next.extend(delimiter);
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let (part, tail) = split_once(part, &next)?;
        let (head, value) = split_once(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(head).ok()?;
        let disposition = head
            .split("\r\n")
            .find_map(|line| {
                line.split_once(':')
                    .filter(|(name, _)| name.eq_ignore_ascii_case("content-disposition"))
            })?
            .1;
        let name = disposition
            .split(';')
            .find_map(|parameter| parameter.trim().strip_prefix("name=\"")?.strip_suffix('"'))?;
        fields.push((name.as_bytes().to_vec(), value.to_vec()));
        rest = tail;
        if fields.len() > MAX_FIELDS {
            return None;
        }
    }
    rest.starts_with(b"--").then_some(fields)
}

fn ampersands(body: &[u8]) -> usize {
    body.iter().filter(|byte| **byte == b'&').count()
}

/// What stands before and after the first `separator`.
pub(crate) fn split_once<'v>(value: &'v [u8], separator: &[u8]) -> Option<(&'v [u8], &'v [u8])> {
    let at = value
        .windows(separator.len())
        .position(|window| window == separator)?;
    let (before, after) = value.split_at_checked(at)?;
    Some((before, after.strip_prefix(separator)?))
}

/// A place in a JSON text: names of fields, or `*` for every item of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pointer(Vec<Step>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Field(String),
    Every,
}

impl Pointer {
    /// Reads a pointer (RFC 6901). Items of a list have no numbers here: what stood beside the one that is
    /// pointed to would be checked by nobody. `*` is every item, and all must hold the same value.
    ///
    /// # Errors
    /// Says how a pointer is written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!(
                "{text:?} is not a JSON pointer: write one such as /data/id"
            ));
        };
        let steps = path.split('/').map(|step| match step {
            "*" => Ok(Step::Every),
            _ if !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) => Err(format!(
                "{text:?} picks one item of a list, and those beside it would be checked by nobody: write `*` for every item"
            )),
            _ => Ok(Step::Field(step.replace("~1", "/").replace("~0", "~"))),
        });
        steps.collect::<Result<_, _>>().map(Self)
    }

    /// The pointer to a field of the outermost object.
    pub(crate) fn field(name: &str) -> Self {
        Self(vec![Step::Field(name.to_owned())])
    }

    /// Takes every text that is there, or in a list there; `None` where there is something else.
    pub(crate) fn collect<'v>(&self, json: &'v Value, texts: &mut Vec<&'v str>) -> Option<()> {
        collect(&self.0, json, texts)
    }

    /// The value in `json`: a text, a whole number or a boolean.
    pub(crate) fn find<'v>(&self, json: &'v Value) -> Found<'v> {
        find(&self.0, json)
    }
}

fn find<'v>(steps: &[Step], value: &'v Value) -> Found<'v> {
    let Some((step, steps)) = steps.split_first() else {
        return scalar(value);
    };
    match (step, value) {
        (Step::Field(name), Value::Object(fields)) => {
            let mut named = fields.iter().filter(|(field, _)| field == name);
            match (named.next(), named.next()) {
                (Some((_, value)), None) => find(steps, value),
                (None, _) => Ok(None),
                (Some(_), Some(_)) => Err(Ambiguous),
            }
        }
        (Step::Every, Value::List(items)) => {
            let mut found = items.iter().map(|item| find(steps, item));
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
        // The list's own items, if they are texts.
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

fn scalar(value: &Value) -> Found<'_> {
    match value {
        Value::String(text) => Ok(Some(Cow::Borrowed(text.as_bytes()))),
        Value::Bool(value) => Ok(Some(Cow::Borrowed(if *value { b"true" } else { b"false" }))),
        // Only what can be written in one way: 1, but neither 1.5 nor 1e300.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], kind: &Kind, wanted: &Wanted) -> Content {
        Content::read(body, kind, wanted).expect("a content")
    }

    fn json(text: &str, path: &str) -> Result<Option<String>, Ambiguous> {
        let wanted = Wanted {
            json: true,
            ..Wanted::default()
        };
        let content = read(text.as_bytes(), &Kind::Other, &wanted);
        content
            .json(&pointer(path))
            .map(|found| found.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    fn pointer(text: &str) -> Pointer {
        Pointer::parse(text).expect(text)
    }

    #[test]
    fn pointers_find_one_value_or_none() {
        let text = r#"{"a": {"b/c": "x", "n": 12, "f": 1.5, "t": true, "z": null}, "d": 1, "d": 2,
            "l": [{"k": "v"}, {"k": "v"}], "m": [{"k": "v"}, {"k": "w"}], "e": []}"#;
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(json(text, "/a/b~1c"), some("x"));
        assert_eq!(json(text, "/a/n"), some("12"));
        assert_eq!(json(text, "/a/t"), some("true"));
        assert_eq!(json(text, "/l/*/k"), some("v"));
        for absent in ["/a/z", "/x", "/a/n/x", "/e/*/k", "/a/*"] {
            assert_eq!(json(text, absent), Ok(None), "{absent}");
        }
        for ambiguous in ["/d", "/a/f", "/a", "/m/*/k"] {
            assert_eq!(json(text, ambiguous), Err(Ambiguous), "{ambiguous}");
        }
        assert_eq!(json("no json", "/a"), Ok(None));
        assert!(Pointer::parse("/a/0/b").is_err());
        assert!(Pointer::parse("a").is_err());
    }

    #[test]
    fn forms_in_either_encoding() {
        let wanted = Wanted {
            form: true,
            ..Wanted::default()
        };
        let kind = |value: &[u8]| Kind::of(&Headers(&[(b"content-type", value)]));
        let form = read(
            b"a=1&b=x%20y",
            &kind(b"application/x-www-form-urlencoded; charset=utf-8"),
            &wanted,
        );
        assert_eq!(form.field("b"), Ok(Some(Cow::Borrowed(&b"x y"[..]))));
        let body = b"--xx\r\nContent-Disposition: form-data; name=\"json\"\r\nContent-Type: a/b\r\n\r\n{\"k\":1}\r\n--xx--\r\n";
        let multipart = kind(b"multipart/form-data; boundary=\"xx\"");
        let form = read(body, &multipart, &wanted);
        assert_eq!(
            form.field("json"),
            Ok(Some(Cow::Borrowed(&b"{\"k\":1}"[..])))
        );
        let cut = body.split_at(body.len() - 4).0;
        assert_eq!(read(cut, &multipart, &wanted).field("json"), Ok(None));
        assert_eq!(read(b"a=1", &Kind::Other, &wanted).field("a"), Ok(None));
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        assert_eq!(kind(long.as_bytes()), Kind::Other);
        let many = "a=1&".repeat(1024);
        assert!(Content::read(many.as_bytes(), &Kind::Form, &wanted).is_none());
        let nested = Wanted {
            form: true,
            json: true,
            json_in_form: Some("json".to_owned()),
        };
        let content = read(body, &multipart, &nested);
        assert_eq!(
            content.json(&pointer("/k")),
            Ok(Some(Cow::Borrowed(&b"1"[..])))
        );
    }
}
