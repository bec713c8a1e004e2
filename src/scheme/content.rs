//! What a body holds, for the senders that put the signature or what is signed into it: JSON or a form.
//! It is read only once the body is whole.

use std::borrow::Cow;

use super::search::{Finder, split_once};
use super::source::{Ambiguous, Found};
use super::url;
use crate::config::value::{Select, Value};
use crate::request::headers::Headers;

/// The largest whole number that a double holds exactly.
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// The longest boundary of a multipart body (RFC 2046, 5.1.1): a longer one would cost its length for each byte.
const MAX_BOUNDARY: usize = 70;

/// How a body is written, by its content-type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data`, with the boundary before each part.
    Multipart(Vec<u8>),
    /// Not the same to all readers: a form to some, or in a coding or a charset in which other bytes would be its
    /// `"` or its `&`. Nothing is read of it.
    Unclear,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind of a request's body.
    pub(crate) fn of(headers: &Headers<'_>) -> Self {
        let mut codings = headers.values("content-encoding");
        let is_coded = codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        let values: Vec<_> = headers.values("content-type").collect();
        match values.as_slice() {
            _ if is_coded || values.iter().any(|value| has_other_charset(value)) => Self::Unclear,
            [value] if is_of_form(value) => Self::of_form(value).unwrap_or(Self::Unclear),
            values if values.iter().any(|value| is_of_form(value)) => Self::Unclear,
            _ => Self::Other,
        }
    }

    /// A form's kind, if its content-type can be read in one way only.
    fn of_form(value: &[u8]) -> Option<Self> {
        let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next()?;
        let parameter = parts.next().unwrap_or_default();
        if parts.next().is_some() {
            return None;
        }
        if name.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            // In a charset that is not ASCII's, other bytes would be the form's `&` and `=`.
            let is_ascii = parameter.is_empty() || parameter.eq_ignore_ascii_case(b"charset=utf-8");
            return is_ascii.then_some(Self::Form);
        }
        let boundary = parameter.strip_prefix(b"boundary=")?;
        let quoted = boundary
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        let boundary = quoted.unwrap_or(boundary);
        // Of the characters of RFC 2046 those that end no parameter, for whatever reader.
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"_=.+-".contains(byte);
        let is_boundary = boundary.iter().all(is_letter)
            && (1..=MAX_BOUNDARY).contains(&boundary.len())
            && name.eq_ignore_ascii_case(b"multipart/form-data");
        is_boundary.then(|| Self::Multipart([b"--", boundary].concat()))
    }
}

/// Whether a content-type is that of a form, or could be taken for one.
fn is_of_form(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    split_once(&value, b"form-urlencoded").is_some() || split_once(&value, b"multipart").is_some()
}

/// Whether a content-type names another charset than UTF-8, or could be taken to do so.
fn has_other_charset(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let mut rest = &value[..];
    while let Some((_, after)) = split_once(rest, b"charset") {
        let name = after.split(|byte| *byte == b';').next();
        let name = name.unwrap_or_default().trim_ascii();
        if !matches!(name, b"=utf-8" | b"=\"utf-8\"" | b"=utf8") {
            return true;
        }
        rest = after;
    }
    false
}

/// What a scheme needs to know of a body.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wanted {
    /// The fields of its form.
    pub(crate) form: bool,
    /// Its JSON.
    pub(crate) json: bool,
    /// What of the JSON; everything, where there is none.
    pub(crate) pointers: Vec<Pointer>,
    /// The field of the form in which the JSON stands, where it is not the body itself.
    pub(crate) json_in_form: Option<String>,
    /// Nobody signs the body, so that anybody could add names to its JSON which an application takes for those
    /// that are relied on.
    pub(crate) unsigned: bool,
}

/// A form's fields.
#[derive(Debug, Default)]
struct Form {
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The names of its files: to some readers such a part is a field, to others it is none.
    files: Vec<Vec<u8>>,
}

/// A body's fields and values.
#[derive(Debug)]
pub(crate) struct Content {
    form: Form,
    json: Result<Option<Value>, Ambiguous>,
    /// See [`Wanted::unsigned`].
    unsigned: bool,
}

impl Content {
    /// Reads what is wanted of a whole body. What is not there to be read is absent from it; `None` where
    /// applications could read something else, or there is more than is read.
    pub(crate) fn read(body: &[u8], kind: &Kind, wanted: &Wanted) -> Option<Self> {
        let in_form = wanted.json_in_form.as_ref();
        let is_json = wanted.json && in_form.is_none();
        let form = match kind {
            Kind::Other => Form::default(),
            _ if body.is_empty() => Form::default(),
            // An application that goes by the content-type does not read JSON here.
            _ if is_json => return None,
            _ if !wanted.form => Form::default(),
            Kind::Form => urlencoded(body)?,
            Kind::Multipart(delimiter) => multipart(body, delimiter)?,
            Kind::Unclear => return None,
        };
        let mut content = Self {
            form,
            json: Ok(None),
            unsigned: wanted.unsigned,
        };
        let text = match in_form {
            Some(name) => content.field(name),
            None => Ok(is_json.then_some(Cow::Borrowed(body))),
        };
        content.json = match text {
            Ok(Some(text)) if !text.is_empty() => {
                let paths = Paths::of(&wanted.pointers, wanted.unsigned);
                let select: Option<&dyn Select> = match wanted.pointers.is_empty() {
                    true => None,
                    false => Some(&paths),
                };
                Ok(Some(Value::from_body(&text, select)?))
            }
            Ok(_) => Ok(None),
            Err(ambiguous) => Err(ambiguous),
        };
        Some(content)
    }

    /// The form's fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.form
            .fields
            .iter()
            .map(|(name, value)| (&name[..], &value[..]))
    }

    /// The value of the form's field `name`.
    pub(crate) fn field(&self, name: &str) -> Found<'_> {
        let mut files = self.form.files.iter();
        if files.any(|file| url::is_like(file, name)) {
            return Err(Ambiguous);
        }
        let pairs = self.fields();
        let pairs = pairs.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)));
        url::one(pairs.collect(), name)
    }

    /// Whether some application takes a field or a file for one of these names.
    pub(crate) fn has_any(&self, names: &[String]) -> bool {
        let fields = self.form.fields.iter().map(|(name, _)| name);
        let is_named = |field: &Vec<u8>| names.iter().any(|name| url::is_like(field, name));
        fields.chain(&self.form.files).any(is_named)
    }

    /// The value that `pointer` points to in the JSON.
    pub(crate) fn json(&self, pointer: &Pointer) -> Found<'_> {
        match &self.json {
            Ok(Some(json)) => find(&pointer.0, json, self.unsigned),
            Ok(None) => Ok(None),
            Err(ambiguous) => Err(*ambiguous),
        }
    }
}

/// The fields of an `application/x-www-form-urlencoded` body. What is not read cannot have been signed; and
/// a `;`, which senders escape, separates fields to some readers.
fn urlencoded(body: &[u8]) -> Option<Form> {
    if url::has_too_many(body) || body.contains(&b';') {
        return None;
    }
    let fields = url::parameters(body).into_iter();
    Some(Form {
        fields: fields
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect(),
        files: Vec::new(),
    })
}

/// The fields of a `multipart/form-data` body (RFC 7578): names and values of its parts. `None` where it is none
/// that every reader reads alike: a delimiter counts wherever it stands, and nothing stands outside the parts.
fn multipart(body: &[u8], delimiter: &[u8]) -> Option<Form> {
    let mut form = Form::default();
    let mut rest = body.strip_prefix(delimiter)?;
    let (delimiter, blank) = (Finder::new(delimiter), Finder::new(b"\r\n\r\n"));
    while let Some((part, tail)) = delimiter.split_once(rest) {
        let part = part.strip_prefix(b"\r\n")?.strip_suffix(b"\r\n")?;
        let (head, value) = blank.split_once(part)?;
        let part = part_name(std::str::from_utf8(head).ok()?, value.len())?;
        let name = part.name.as_bytes().to_vec();
        match part.is_file {
            true => form.files.push(name),
            false => form.fields.push((name, value.to_vec())),
        }
        rest = tail;
        if form.fields.len().saturating_add(form.files.len()) > url::MAX_PARAMETERS {
            return None;
        }
    }
    matches!(rest, b"--" | b"--\r\n").then_some(form)
}

/// The name of a part, if its head says it once and nothing by which its value, of so many bytes, could be another.
fn part_name(head: &str, length: usize) -> Option<Part<'_>> {
    let mut name = None;
    for line in head.split("\r\n") {
        let (field, value) = line.split_once(':')?;
        let value = value.trim();
        if line.contains(char::is_control) {
            return None;
        }
        match field.to_ascii_lowercase().as_str() {
            "content-disposition" if name.is_none() => name = Some(disposition(value)?),
            "content-type"
                if !is_of_form(value.as_bytes()) && !has_other_charset(value.as_bytes()) => {}
            "content-transfer-encoding" if matches!(value, "8bit" | "binary") => {}
            "content-length" if value == length.to_string() => {}
            _ => return None,
        }
    }
    name
}

/// What a part is, by its disposition.
struct Part<'h> {
    name: &'h str,
    is_file: bool,
}

/// The name in a part's disposition, whose only other parameter may be a file's name.
fn disposition(value: &str) -> Option<Part<'_>> {
    let rest = value
        .strip_prefix("form-data; name=\"")?
        .strip_suffix('"')?;
    let (name, file) = match rest.split_once("\"; filename=\"") {
        Some((name, file)) => (name, Some(file)),
        None => (rest, None),
    };
    let is_plain = |text: &str| !text.contains(['"', '\\']);
    let is_clear = is_plain(name) && !name.contains('%') && file.is_none_or(is_plain);
    is_clear.then_some(Part {
        name,
        is_file: file.is_some(),
    })
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
        find(&self.0, json, false)
    }
}

/// The steps that lead to what is read, from where they are.
struct Paths<'p> {
    steps: Vec<&'p [Step]>,
    /// See [`find`].
    alone: bool,
}

impl<'p> Paths<'p> {
    fn of(pointers: &'p [Pointer], alone: bool) -> Self {
        let steps = pointers.iter().map(|pointer| &pointer.0[..]).collect();
        Self { steps, alone }
    }

    /// The paths of which this is the next step.
    fn after(&self, is_next: &dyn Fn(&Step) -> bool) -> Option<Box<dyn Select + '_>> {
        let mut steps = Vec::new();
        // Most paths share their steps: each is asked for once.
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

/// Whether a field has this name, or where it must stand alone, one that some application takes for it.
fn is_named(field: &str, name: &str, alone: bool) -> bool {
    match alone {
        true => url::is_like(field.as_bytes(), name),
        false => field == name,
    }
}

/// `alone`: no other name may be one that some application takes for that of a step.
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
        for not_whole in [
            "1.0",
            "1e0",
            "-0",
            "13.99999999999999999999",
            "1.00000000000000000001",
        ] {
            let text = format!("{{\"n\": {not_whole}}}");
            assert_eq!(json(&text, "/n"), Err(Ambiguous), "{not_whole}");
        }
        assert_eq!(json("", "/a"), Ok(None));
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
        assert!(Content::read(cut, &multipart, &wanted).is_none());
        assert_eq!(read(b"a=1", &Kind::Other, &wanted).field("a"), Ok(None));
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        assert_eq!(kind(long.as_bytes()), Kind::Unclear);
        let many = "a=1&".repeat(1_000);
        assert!(Content::read(many.as_bytes(), &Kind::Form, &wanted).is_none());
        let nested = Wanted {
            form: true,
            json: true,
            json_in_form: Some("json".to_owned()),
            unsigned: true,
            ..Wanted::default()
        };
        let content = read(body, &multipart, &nested);
        assert_eq!(
            content.json(&pointer("/k")),
            Ok(Some(Cow::Borrowed(&b"1"[..])))
        );
    }
}
