//! Writes a value as YAML, as a person would: short parts on one line, and quotes only where YAML needs them.

use crate::cli::yaml::{Field, Kind, Yaml};

/// The longest line with a value in braces or brackets, in characters.
const WIDTH: usize = 100;

/// Writes the fields of a map, each on lines of its own that begin with `indent`.
pub(super) fn fields(map: &Yaml, indent: &str) -> String {
    let fields = map.fields().iter().map(|field| line(field, indent));
    fields.collect()
}

fn line(field: &Field, indent: &str) -> String {
    let name = scalar(&field.name);
    let short = format!("{indent}{name}: {}\n", flow(&field.value));
    if short.chars().count() <= WIDTH {
        return short;
    }
    match &field.value.kind {
        Kind::Map(_) => {
            let inner = fields(&field.value, &format!("{indent}  "));
            format!("{indent}{name}:\n{inner}")
        }
        Kind::List(items) => {
            let items = items.iter().map(|value| item(value, indent));
            format!("{indent}{name}:\n{}", items.collect::<String>())
        }
        _ => short,
    }
}

fn item(value: &Yaml, indent: &str) -> String {
    let short = format!("{indent}- {}\n", flow(value));
    match &value.kind {
        Kind::Map(_) if short.chars().count() > WIDTH => {
            let inner = fields(value, &format!("{indent}  "));
            // The dash takes the place of the first field's indentation.
            let first = inner.get(indent.len().saturating_add(2)..);
            format!("{indent}- {}", first.unwrap_or_default())
        }
        _ => short,
    }
}

/// A value on one line.
fn flow(value: &Yaml) -> String {
    match &value.kind {
        Kind::Text(text) | Kind::Block(text) => scalar(text),
        Kind::List(items) => {
            let items: Vec<_> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::Map(fields) => {
            let fields = fields
                .iter()
                .map(|field| format!("{}: {}", scalar(&field.name), flow(&field.value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) => value.to_json(),
    }
}

/// A text, in quotes unless every reader of YAML takes it for a text without them.
fn scalar(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_/.".contains(letter);
    let begins = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '/');
    let is_word = begins && text.chars().all(is_plain) && !is_keyword(text);
    match is_word || is_duration(text) {
        true => text.to_owned(),
        // A text of JSON is one of YAML.
        false => serde_json::Value::from(text).to_string(),
    }
}

/// YAML 1.1 has more words for truth than YAML 1.2.
fn is_keyword(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["true", "false", "yes", "no", "on", "off", "y", "n", "null"].contains(&text.as_str())
}

/// Digits and a unit, such as `5m`.
fn is_duration(text: &str) -> bool {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    unit.len() < text.len() && ["ms", "s", "m", "h"].contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::yaml::parse;

    fn written(json: &str) -> String {
        fields(&parse(json).unwrap()[0], "")
    }

    #[test]
    fn quotes_are_where_yaml_needs_them() {
        let json = r#"{"a": "X-B", "b": "{t}.{b}", "c": "5m", "d": "1", "e": "no", "f": "", "g": "a: b", "h": "/x"}"#;
        assert_eq!(
            written(json),
            "a: X-B\nb: \"{t}.{b}\"\nc: 5m\nd: \"1\"\ne: \"no\"\nf: \"\"\ng: \"a: b\"\nh: /x\n"
        );
    }

    #[test]
    fn long_parts_have_lines_of_their_own() {
        let long = "x".repeat(60);
        let json = format!(r#"{{"a": [{{"b": "{long}", "c": "{long}"}}, 1], "d": {{"e": true}}}}"#);
        assert_eq!(
            written(&json),
            format!("a:\n- b: {long}\n  c: {long}\n- 1\nd: {{e: true}}\n")
        );
    }
}
