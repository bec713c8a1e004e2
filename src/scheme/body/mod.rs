//! The values in a body, for senders that put the signature or signed values there: JSON or a form. The guard parses
//! the body only once all of it has arrived.

mod form;
mod media_type;
mod multipart;

use std::borrow::Cow;

use super::found::Found;
use super::json_pointer::{Paths, Pointer};
use super::parameters;
use crate::config::value::{Select, Value};
use crate::request::headers::Ambiguous;
use form::Form;
pub(crate) use media_type::MediaType;

/// The parts of a body that a scheme needs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct BodyNeeds {
    /// The fields of a form.
    pub(crate) form: bool,
    /// Only of an urlencoded form. The senders of sorted forms do not send multipart, which costs more.
    pub(crate) only_urlencoded: bool,
    /// JSON.
    pub(crate) json: bool,
    /// The places to read in the JSON. Without any, all of it.
    pub(crate) pointers: Vec<Pointer>,
    /// The field of the form that contains the JSON. Without one, the body is the JSON.
    pub(crate) json_in_form: Option<String>,
    /// The sender does not sign the body. A client could add JSON fields that an application reads under the scheme's
    /// names.
    pub(crate) unsigned: bool,
    /// The guard reads only an id in the JSON, which may be absent.
    pub(crate) only_optional_id: bool,
}

/// A body's fields and values.
#[derive(Debug)]
pub(crate) struct ParsedBody {
    form: Form,
    json: Result<Option<Value>, Ambiguous>,
    /// See [`BodyNeeds::unsigned`].
    unsigned: bool,
}

impl ParsedBody {
    /// Parses the needed parts of a whole body. Parts that the body does not have are absent. `None` if applications
    /// could read other values, or if the body exceeds a limit.
    pub(crate) fn read(body: &[u8], kind: &MediaType, wanted: &BodyNeeds) -> Option<Self> {
        if wanted.only_optional_id {
            return Some(Self::of_signed_json(body, wanted));
        }
        let in_form = wanted.json_in_form.as_ref();
        let is_json = wanted.json && in_form.is_none();
        let form = match kind {
            MediaType::Other => Form::default(),
            _ if body.is_empty() => Form::default(),
            // An application that follows the content-type does not read JSON here.
            _ if is_json => return None,
            _ if !wanted.form => Form::default(),
            MediaType::Form => Form::urlencoded(body)?,
            MediaType::Multipart(_) if wanted.only_urlencoded => Form::default(),
            MediaType::Multipart(delimiter) => multipart::read(body, delimiter)?,
            MediaType::Unclear => return None,
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

    /// The values of a body that is signed as a whole, if it is JSON. The headers decide nothing: by another
    /// content-type, a client could otherwise hide the id of a copy.
    fn of_signed_json(body: &[u8], wanted: &BodyNeeds) -> Self {
        let paths = Paths::of(&wanted.pointers, false);
        Self {
            form: Form::default(),
            json: Ok(Value::from_body(body, Some(&paths))),
            unsigned: false,
        }
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
        let mut others = self.form.others.iter();
        if others.any(|other| parameters::is_like(other, name)) {
            return Err(Ambiguous);
        }
        let pairs = self.fields();
        let pairs = pairs.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)));
        parameters::one(pairs.collect(), name)
    }

    /// Whether some application reads a part under one of these names.
    pub(crate) fn has_any(&self, names: &[String]) -> bool {
        let fields = self.form.fields.iter().map(|(name, _)| name);
        let is_named = |field: &Vec<u8>| names.iter().any(|name| parameters::is_like(field, name));
        fields.chain(&self.form.others).any(is_named)
    }

    /// The value that `pointer` points to in the JSON.
    pub(crate) fn json(&self, pointer: &Pointer) -> Found<'_> {
        match &self.json {
            Ok(Some(json)) => pointer.find(json, self.unsigned),
            Ok(None) => Ok(None),
            Err(ambiguous) => Err(*ambiguous),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::headers::Headers;

    fn read(body: &[u8], kind: &MediaType, wanted: &BodyNeeds) -> ParsedBody {
        ParsedBody::read(body, kind, wanted).expect("a content")
    }

    fn json(text: &str, path: &str) -> Result<Option<String>, Ambiguous> {
        let wanted = BodyNeeds {
            json: true,
            ..BodyNeeds::default()
        };
        let content = read(text.as_bytes(), &MediaType::Other, &wanted);
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
        assert_eq!(json("\u{feff}{\"a\": 1}", "/a"), some("1"));
        assert_eq!(json("", "/a"), Ok(None));
        assert!(Pointer::parse("/a/0/b").is_err());
        assert!(Pointer::parse("a").is_err());
    }

    #[test]
    fn forms_in_either_encoding() {
        let wanted = BodyNeeds {
            form: true,
            ..BodyNeeds::default()
        };
        let kind = |value: &[u8]| MediaType::of(&Headers::new(&[(b"content-type", value)]));
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
        assert!(ParsedBody::read(cut, &multipart, &wanted).is_none());
        assert_eq!(
            read(b"a=1", &MediaType::Other, &wanted).field("a"),
            Ok(None)
        );
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        assert_eq!(kind(long.as_bytes()), MediaType::Unclear);
        let many = "a=1&".repeat(1_000);
        assert!(ParsedBody::read(many.as_bytes(), &MediaType::Form, &wanted).is_none());
        let nested = BodyNeeds {
            form: true,
            json: true,
            json_in_form: Some("json".to_owned()),
            unsigned: true,
            ..BodyNeeds::default()
        };
        let content = read(body, &multipart, &nested);
        assert_eq!(
            content.json(&pointer("/k")),
            Ok(Some(Cow::Borrowed(&b"1"[..])))
        );
    }
}
