//! YAML and JSON with the position of each value.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// The deepest nesting. Envoy's own parsers accept less.
const MAX_DEPTH: usize = 100;

/// The most values of a file, with those that an anchor or an alias repeats.
const MAX_VALUES: usize = 1_000_000;

/// The largest text, in bytes. Anchors and aliases repeat at most as much.
const MAX_TEXT: usize = 8 * 1024 * 1024;

/// A value and its position.
#[derive(Clone, Debug)]
pub(super) struct Yaml {
    pub(super) kind: Kind,
    /// The bytes of the value in its file.
    pub(super) span: Range<usize>,
}

/// The kinds of values.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    /// A number as JSON.
    Number(String),
    Text(String),
    /// A text with its lines in a block (`|`), which may contain another document.
    Block(String),
    List(Vec<Yaml>),
    Map(Vec<Field>),
}

/// A field of a map.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// The bytes of the name in its file.
    pub(super) span: Range<usize>,
    pub(super) value: Yaml,
}

/// An error in a file.
#[derive(Debug)]
pub(super) struct Fault {
    /// The byte at which the parser failed.
    pub(super) offset: usize,
    pub(super) message: String,
}

impl Yaml {
    /// The value of a field, the last one as in Envoy. `None` if this is not a map, or has no such field.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.fields()
            .iter()
            .rfind(|field| field.name == name)
            .map(|field| &field.value)
    }

    /// The value below these fields.
    pub(super) fn at(&self, names: &[&str]) -> Option<&Self> {
        names.iter().try_fold(self, |value, name| value.get(name))
    }

    pub(super) fn fields(&self) -> &[Field] {
        match &self.kind {
            Kind::Map(fields) => fields,
            _ => &[],
        }
    }

    pub(super) fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) | Kind::Block(text) => Some(text),
            _ => None,
        }
    }

    /// The value as JSON. Duplicate fields remain, so that the reader of the JSON reports them.
    pub(super) fn to_json(&self) -> String {
        let mut json = String::new();
        self.write_json(&mut json);
        json
    }

    fn write_json(&self, json: &mut String) {
        match &self.kind {
            Kind::Null => json.push_str("null"),
            Kind::Bool(value) => json.push_str(if *value { "true" } else { "false" }),
            Kind::Number(number) => json.push_str(number),
            Kind::Text(text) | Kind::Block(text) => json.push_str(&quoted(text)),
            Kind::List(items) => {
                json.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        json.push(',');
                    }
                    item.write_json(json);
                }
                json.push(']');
            }
            Kind::Map(fields) => {
                json.push('{');
                for (index, field) in fields.iter().enumerate() {
                    if index > 0 {
                        json.push(',');
                    }
                    json.push_str(&quoted(&field.name));
                    json.push(':');
                    field.value.write_json(json);
                }
                json.push('}');
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Reads the documents of a file. JSON is YAML too.
///
/// # Errors
/// The file is not YAML, nested too deeply, or too large with its aliases.
pub(super) fn parse(text: &str) -> Result<Vec<Yaml>, Fault> {
    if text.len() > MAX_TEXT {
        return Err(Fault {
            offset: 0,
            message: "larger than 8 MiB, and a configuration is far smaller".to_owned(),
        });
    }
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        offsets: text
            .char_indices()
            .map(|(offset, _)| offset)
            .chain([text.len()])
            .collect(),
        anchors: HashMap::new(),
        left: MAX_VALUES,
        bytes_left: MAX_TEXT,
    };
    reader.documents()
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    /// The byte of each character.
    offsets: Vec<usize>,
    anchors: HashMap<usize, Yaml>,
    /// The number of values that may still be read.
    left: usize,
    /// The bytes of text that may still be repeated.
    bytes_left: usize,
}

impl Reader<'_> {
    fn documents(&mut self) -> Result<Vec<Yaml>, Fault> {
        let mut documents = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(documents),
                Event::DocumentStart(_) => {
                    self.anchors.clear();
                    let (event, span) = self.next()?;
                    documents.push(self.value(event, span, 0)?);
                }
                _ => {
                    // The start of the stream, and the ends of documents.
                    let _ = span;
                }
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'static>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((owned(event), span)),
            Some(Err(error)) => Err(Fault {
                offset: self.offset(error.marker().index()),
                message: format!("not YAML: {}", error.info()),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn offset(&self, index: usize) -> usize {
        let last = self.offsets.last().copied().unwrap_or_default();
        self.offsets.get(index).copied().unwrap_or(last)
    }

    fn range(&self, span: Span) -> Range<usize> {
        self.offset(span.start.index())..self.offset(span.end.index())
    }

    fn fault<T>(&self, span: Span, message: &str) -> Result<T, Fault> {
        Err(Fault {
            offset: self.offset(span.start.index()),
            message: message.to_owned(),
        })
    }

    fn value(&mut self, event: Event<'_>, span: Span, depth: usize) -> Result<Yaml, Fault> {
        if depth > MAX_DEPTH {
            return self.fault(span, "nested more than 100 levels deep");
        }
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return self.fault(span, "more than a million values"),
        };
        let (kind, anchor, end) = match event {
            Event::Alias(id) => return self.alias(id, span),
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| tag.suffix == "str");
                (scalar(&text, style, is_text), anchor, span)
            }
            Event::SequenceStart(anchor, _) => {
                let (items, end) = self.list(depth)?;
                (Kind::List(items), anchor, end)
            }
            Event::MappingStart(anchor, _) => {
                let (fields, end) = self.map(depth)?;
                (Kind::Map(fields), anchor, end)
            }
            _ => return self.fault(span, "a value is missing"),
        };
        let value = Yaml {
            kind,
            span: self.range(Span::new(span.start, end.end)),
        };
        if anchor > 0 {
            let copy = self.copy(&value, span)?;
            self.anchors.insert(anchor, copy);
        }
        Ok(value)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Yaml, Fault> {
        let Some(value) = self.anchors.remove(&id) else {
            return self.fault(span, "an alias of a value that contains it");
        };
        let copy = self.copy(&value, span)?;
        self.anchors.insert(id, value);
        Ok(copy)
    }

    /// A copy of a value. The memory of all copies is bounded.
    fn copy(&mut self, value: &Yaml, span: Span) -> Result<Yaml, Fault> {
        let (values, bytes) = size(value);
        self.left = match self.left.checked_sub(values) {
            Some(left) => left,
            None => return self.fault(span, "more than a million values"),
        };
        self.bytes_left = match self.bytes_left.checked_sub(bytes) {
            Some(left) => left,
            None => return self.fault(span, "anchors and aliases repeat more than 8 MiB"),
        };
        Ok(value.clone())
    }

    fn list(&mut self, depth: usize) -> Result<(Vec<Yaml>, Span), Fault> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::SequenceEnd => return Ok((items, span)),
                event => items.push(self.value(event, span, depth.saturating_add(1))?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<(Vec<Field>, Span), Fault> {
        let mut fields: Vec<Field> = Vec::new();
        let mut merged: Vec<Field> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let (name, name_span) = match event {
                Event::MappingEnd => {
                    let own: HashSet<_> = fields.iter().map(|field| field.name.as_str()).collect();
                    merged.retain(|field| !own.contains(field.name.as_str()));
                    merged.extend(fields);
                    return Ok((merged, span));
                }
                Event::Scalar(text, ..) => (text.into_owned(), span),
                _ => return self.fault(span, "the name of a field is not a text"),
            };
            let (event, span) = self.next()?;
            let value = self.value(event, span, depth.saturating_add(1))?;
            match (name.as_str(), &value.kind) {
                // A merge key, whose fields the map's own precede.
                ("<<", Kind::Map(others)) => merged.extend(others.iter().cloned()),
                _ => fields.push(Field {
                    name,
                    span: self.range(name_span),
                    value,
                }),
            }
        }
    }
}

/// The number of values within a value, with itself, and the bytes of their texts and names.
fn size(value: &Yaml) -> (usize, usize) {
    let text = match &value.kind {
        Kind::Number(text) | Kind::Text(text) | Kind::Block(text) => text.len(),
        _ => 0,
    };
    let items = value.items().iter().map(size);
    let fields = value.fields().iter().map(|field| {
        let (values, bytes) = size(&field.value);
        (values, bytes.saturating_add(field.name.len()))
    });
    items.chain(fields).fold((1, text), |sum, part| {
        (sum.0.saturating_add(part.0), sum.1.saturating_add(part.1))
    })
}

/// A plain scalar is what the YAML readers of Envoy and Kubernetes say: they also take `yes` and `on` as true.
fn scalar(text: &str, style: ScalarStyle, is_text: bool) -> Kind {
    match style {
        _ if is_text => Kind::Text(text.to_owned()),
        ScalarStyle::Literal => Kind::Block(text.to_owned()),
        ScalarStyle::Plain => match text {
            "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
                Kind::Bool(true)
            }
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n"
            | "N" => Kind::Bool(false),
            _ => match serde_json::from_str::<serde_json::Number>(text) {
                Ok(number) => Kind::Number(number.to_string()),
                Err(_) => Kind::Text(text.to_owned()),
            },
        },
        _ => Kind::Text(text.to_owned()),
    }
}

fn owned(event: Event<'_>) -> Event<'static> {
    match event {
        Event::Scalar(text, style, anchor, tag) => Event::Scalar(
            text.into_owned().into(),
            style,
            anchor,
            tag.map(|tag| std::borrow::Cow::Owned(tag.into_owned())),
        ),
        Event::SequenceStart(anchor, _) => Event::SequenceStart(anchor, None),
        Event::MappingStart(anchor, _) => Event::MappingStart(anchor, None),
        Event::Nothing => Event::Nothing,
        Event::StreamStart => Event::StreamStart,
        Event::StreamEnd => Event::StreamEnd,
        Event::DocumentStart(explicit) => Event::DocumentStart(explicit),
        Event::DocumentEnd => Event::DocumentEnd,
        Event::Alias(id) => Event::Alias(id),
        Event::SequenceEnd => Event::SequenceEnd,
        Event::MappingEnd => Event::MappingEnd,
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, parse};

    fn kind(text: &str) -> Option<Kind> {
        let documents = parse(text).ok()?;
        Some(documents.first()?.get("a")?.kind.clone())
    }

    #[test]
    fn booleans_are_those_of_envoy() {
        for (text, value) in [
            ("yes", true),
            ("On", true),
            ("y", true),
            ("off", false),
            ("NO", false),
        ] {
            let found = kind(&format!("a: {text}"));
            assert!(
                matches!(found, Some(Kind::Bool(found)) if found == value),
                "{text}"
            );
        }
        assert!(matches!(kind("a: \"yes\""), Some(Kind::Text(_))));
    }

    #[test]
    fn the_last_field_of_a_name_holds_and_own_fields_precede_merged_ones() {
        for text in [
            "a: false\na: true",
            "a: true\n<<: {a: false}",
            "<<: {a: false}\na: true",
        ] {
            assert!(matches!(kind(text), Some(Kind::Bool(true))), "{text}");
        }
    }

    #[test]
    fn repeated_text_has_a_bound() {
        let long = "x".repeat(64 * 1024);
        let aliases = format!("a: &a {long}\nb: [{}]\n", "*a, ".repeat(1_000));
        let anchors = (0..90)
            .map(|index| format!("&a{index} ["))
            .collect::<String>();
        let nested = format!("{anchors}{}{}", long.repeat(4), "]".repeat(90));
        for text in [aliases, nested] {
            let fault = parse(&text).map(|_| ()).map_err(|fault| fault.message);
            let expected = "anchors and aliases repeat more than 8 MiB".to_owned();
            assert_eq!(fault, Err(expected));
        }
        let few = format!("a: &a {long}\nb: [*a, *a]\n");
        assert!(parse(&few).is_ok());
    }
}
