//! Puts values into a body, and leaves every other byte as it is.

use std::ops::Range;

use crate::cli::Result;
use crate::cli::failure::Failure;
use crate::request::percent::{self, Plus};
use crate::scheme::json_pointer::Step;

/// The pointer as a configuration writes it.
pub(super) fn pointer(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        text.push('/');
        match step {
            Step::Field(name) => text.push_str(&name.replace('~', "~0").replace('/', "~1")),
            Step::Every => text.push('*'),
        }
    }
    text
}

/// Sets the value at a place in a JSON text. A field that is absent is added, with the objects around it.
///
/// # Errors
/// The text is not JSON, or has no object or list where the place needs one.
pub(super) fn set_json(text: &[u8], steps: &[Step], value: &str) -> Result<Vec<u8>> {
    if serde_json::from_slice::<serde::de::IgnoredAny>(text).is_err() {
        return Err(Failure::new(
            "the body is not JSON, in which the sender puts the signature: name another file",
        ));
    }
    let mut edits = Vec::new();
    let json = Json(text);
    json.edit(json.start(0), steps, value, &mut edits)
        .filter(|()| !edits.is_empty())
        .ok_or_else(|| {
            Failure::new(format!(
                "the body has no place for {}: add the objects and lists around it",
                pointer(steps)
            ))
        })?;
    let mut edited = text.to_vec();
    for (range, with) in edits.into_iter().rev() {
        edited.splice(range, with);
    }
    Ok(edited)
}

/// A text that is JSON.
struct Json<'t>(&'t [u8]);

type Edits = Vec<(Range<usize>, Vec<u8>)>;

impl Json<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or_default()
    }

    /// The next place that is not white space.
    fn start(&self, mut at: usize) -> usize {
        while self.byte(at).is_ascii_whitespace() {
            at = next(at);
        }
        at
    }

    /// The end of the string that starts here.
    fn string_end(&self, at: usize) -> usize {
        let mut at = next(at);
        while at < self.0.len() && self.byte(at) != b'"' {
            at = match self.byte(at) {
                b'\\' => next(next(at)),
                _ => next(at),
            };
        }
        next(at)
    }

    /// The end of the value that starts here.
    fn end(&self, mut at: usize) -> usize {
        let mut depth = 0_usize;
        loop {
            at = match self.byte(at) {
                b'"' => self.string_end(at),
                b'{' | b'[' => {
                    depth = depth.saturating_add(1);
                    next(at)
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    next(at)
                }
                _ if depth > 0 => next(at),
                _ => return self.scalar_end(at),
            };
            if depth == 0 || at >= self.0.len() {
                return at;
            }
        }
    }

    fn scalar_end(&self, mut at: usize) -> usize {
        while at < self.0.len() && !b",]} \t\r\n".contains(&self.byte(at)) {
            at = next(at);
        }
        at
    }

    /// Collects the edits of the value that starts here. `None` if the value is of another kind.
    fn edit(&self, at: usize, steps: &[Step], value: &str, edits: &mut Edits) -> Option<()> {
        match (steps.split_first(), self.byte(at)) {
            (None, first) => {
                let is_number =
                    first.is_ascii_digit() && value.bytes().all(|byte| byte.is_ascii_digit());
                let with = match is_number {
                    true => value.to_owned(),
                    false => serde_json::Value::from(value).to_string(),
                };
                edits.push((at..self.end(at), with.into_bytes()));
                Some(())
            }
            (Some((Step::Field(name), rest)), b'{') => {
                self.edit_field(at, (name, rest), value, edits)
            }
            (Some((Step::Every, rest)), b'[') => {
                let mut at = self.start(next(at));
                while self.byte(at) != b']' {
                    self.edit(at, rest, value, edits)?;
                    at = self.after_item(self.end(at));
                }
                Some(())
            }
            _ => None,
        }
    }

    fn edit_field(
        &self,
        object: usize,
        (name, rest): (&str, &[Step]),
        value: &str,
        edits: &mut Edits,
    ) -> Option<()> {
        let mut end = next(object);
        let mut at = self.start(end);
        let is_empty = self.byte(at) == b'}';
        while self.byte(at) != b'}' {
            let name_end = self.string_end(at);
            let field: String = serde_json::from_slice(self.0.get(at..name_end)?).ok()?;
            // After the colon.
            let start = self.start(next(self.start(name_end)));
            if field == name {
                return self.edit(start, rest, value, edits);
            }
            end = self.end(start);
            at = self.after_item(end);
        }
        let mut added = serde_json::Value::from(value);
        for step in rest.iter().rev() {
            let Step::Field(name) = step else { return None };
            added = serde_json::json!({ name: added });
        }
        let comma = if is_empty { "" } else { "," };
        let name = serde_json::Value::from(name);
        edits.push((end..end, format!("{comma}{name}:{added}").into_bytes()));
        Some(())
    }

    /// The next item's start, or the end of the list or object.
    fn after_item(&self, end: usize) -> usize {
        let at = self.start(end);
        match self.byte(at) {
            b',' => self.start(next(at)),
            _ => at,
        }
    }
}

const fn next(at: usize) -> usize {
    at.saturating_add(1)
}

fn has_name(pair: &[u8], name: &str) -> bool {
    let written = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    percent::decode(written, Plus::Space, |_| true) == name.as_bytes()
}

/// Sets a parameter of a query or of an urlencoded form, which may be absent.
pub(super) fn set_parameter(text: &[u8], name: &str, value: &[u8]) -> Vec<u8> {
    const KEPT: &[u8] = b"-_.~";
    let pair = [
        &percent::encode(name.as_bytes(), KEPT)[..],
        b"=",
        &percent::encode(value, KEPT),
    ]
    .concat();
    let mut pairs: Vec<&[u8]> = text.split(|byte| *byte == b'&').collect();
    let place = pairs.iter_mut().find(|pair| has_name(pair, name));
    match place {
        Some(place) => *place = &pair,
        None if text.is_empty() => pairs = vec![&pair],
        None => pairs.push(&pair),
    }
    pairs.join(&b'&')
}

/// Sets a field of a multipart form, which may be absent. `delimiter` is the line before each part. `None` if the body has no
/// end.
pub(super) fn set_part(body: &[u8], delimiter: &[u8], name: &str, value: &[u8]) -> Option<Vec<u8>> {
    let mut pieces = split(body, delimiter);
    let end = pieces.pop().filter(|end| end.starts_with(b"--"))?;
    let named = format!("; name=\"{name}\"").into_bytes();
    let place = pieces.iter_mut().find_map(|piece| {
        let length = place_of(piece, b"\r\n\r\n")?.checked_add(4)?;
        let (head, _) = piece.split_at_checked(length)?;
        place_of(head, &named)?;
        let head = head.to_vec();
        Some((piece, head))
    });
    let new_head = [
        b"\r\nContent-Disposition: form-data",
        &named[..],
        b"\r\n\r\n",
    ]
    .concat();
    match place {
        Some((piece, head)) => *piece = [&head, value, b"\r\n"].concat(),
        None => pieces.push([&new_head, value, b"\r\n"].concat()),
    }
    pieces.push(end);
    Some(pieces.join(delimiter))
}

fn split(mut text: &[u8], separator: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while let Some(at) = place_of(text, separator) {
        let (piece, rest) = text.split_at_checked(at).unwrap_or((text, b""));
        pieces.push(piece.to_vec());
        text = rest.strip_prefix(separator).unwrap_or_default();
    }
    pieces.push(text.to_vec());
    pieces
}

fn place_of(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len().max(1))
        .position(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::scheme::json_pointer::Pointer;

    fn set(text: &str, path: &str, value: &str) -> Option<String> {
        let Pointer(steps) = Pointer::parse(path).expect(path);
        let edited = set_json(text.as_bytes(), &steps, value).ok()?;
        Some(String::from_utf8(edited).expect("UTF-8"))
    }

    #[test]
    fn a_value_is_replaced_or_added_and_nothing_else_changes() {
        for (text, path, edited) in [
            ("{}", "/a", r#"{"a":"1"}"#),
            (" { } ", "/a/b", r#" {"a":{"b":"1"} } "#),
            (
                r#"{"b" : [1.50, {"a": 2}] }"#,
                "/a",
                r#"{"b" : [1.50, {"a": 2}],"a":"1" }"#,
            ),
            (r#"{"a": 22, "b": 3}"#, "/a", r#"{"a": 1, "b": 3}"#),
            (r#"{"a":"2\"}","b":3}"#, "/a", r#"{"a":"1","b":3}"#),
            (
                r#"{"\u0061":null,"b":"\\"}"#,
                "/a",
                r#"{"\u0061":"1","b":"\\"}"#,
            ),
            (
                r#"{"v":[{"a":"x"}, {"b":[]}]}"#,
                "/v/*/a",
                r#"{"v":[{"a":"1"}, {"b":[],"a":"1"}]}"#,
            ),
            (r#"{"a/b":{"c~":0}}"#, "/a~1b/c~0", r#"{"a/b":{"c~":1}}"#),
        ] {
            assert_eq!(set(text, path, "1").as_deref(), Some(edited), "{text}");
        }
        for (text, path) in [
            ("", "/a"),
            ("[]", "/a"),
            ("{", "/a"),
            (r#"{"a":1}"#, "/a/b"),
            (r#"{"v":[]}"#, "/v/*/a"),
            ("{}", "/v/*/a"),
            ("{} x", "/a"),
        ] {
            assert_eq!(set(text, path, "1"), None, "{text}");
        }
        assert_eq!(
            set(r#"{"a":1}"#, "/a", "x\"y").as_deref(),
            Some(r#"{"a":"x\"y"}"#)
        );
    }

    /// Any JSON, with names and texts that a careless search would confuse.
    fn any_json() -> impl Strategy<Value = Value> {
        let text = "[ab\"\\\\{}\\[\\],:é]{0,3}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(text, inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn only_the_value_at_the_place_changes(before in any_json(), after in any_json(), is_pretty in any::<bool>()) {
            let wrapped = json!({"before": before, "x": {"list": [{"y": after}, {}]}, "z": before});
            let text = match is_pretty {
                true => format!("{wrapped:#}"),
                false => wrapped.to_string(),
            };
            let edited = set(&text, "/x/list/*/y", "v").expect("a place");
            let mut expected = wrapped;
            for item in expected["x"]["list"].as_array_mut().expect("a list") {
                item["y"] = json!("v");
            }
            let edited: Value = serde_json::from_str(&edited).expect("JSON");
            prop_assert_eq!(edited, expected);
        }
    }

    #[test]
    fn a_pointer_is_written_as_it_was_read() {
        for path in ["/a", "/a~1b/*/c~0"] {
            let Pointer(steps) = Pointer::parse(path).expect(path);
            assert_eq!(pointer(&steps), path);
        }
    }

    #[test]
    fn a_part_is_replaced_or_added() {
        let set = |body: &str, name: &str| {
            let edited = set_part(body.as_bytes(), b"--x", name, b"new")?;
            Some(String::from_utf8(edited).expect("UTF-8"))
        };
        let part = |name: &str, value: &str| {
            format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let body = format!("{}{}--x--\r\n", part("a", "1"), part("b", ""));
        let replaced = format!("{}{}--x--\r\n", part("a", "new"), part("b", ""));
        assert_eq!(set(&body, "a"), Some(replaced));
        let added = format!(
            "{}{}{}--x--\r\n",
            part("a", "1"),
            part("b", ""),
            part("c", "new")
        );
        assert_eq!(set(&body, "c"), Some(added));
        for body in ["", "--x", "a=1", "--x\r\n\r\n1\r\n"] {
            assert_eq!(set(body, "a"), None, "{body}");
        }
    }

    #[test]
    fn a_parameter_is_replaced_or_added() {
        let set = |text: &str| String::from_utf8(set_parameter(text.as_bytes(), "a b", b"x&/"));
        assert_eq!(set("").as_deref(), Ok("a%20b=x%26%2F"));
        assert_eq!(set("c=1").as_deref(), Ok("c=1&a%20b=x%26%2F"));
        assert_eq!(
            set("a+b=old&c=1").as_deref(),
            Ok("a%20b=x%26%2F&c=1"),
            "a form writes a space as a plus"
        );
    }
}
