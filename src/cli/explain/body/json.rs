//! JSON as its writers spell it.
//!
//! The body is parsed once. Each spelling is written from that tree, which keeps the texts of strings and numbers as they
//! arrived, the order of fields and duplicate fields.

use std::borrow::Cow;
use std::collections::HashMap;

/// The deepest nesting that is parsed.
const MAX_DEPTH: usize = 100;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    /// `null`, `true` or `false`.
    Word(&'static str),
    /// A number as it arrived.
    Number(String),
    Text(Text),
    List(Vec<Self>),
    Object(Vec<(Text, Self)>),
}

/// A string.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Text {
    /// As it arrived, between its quotation marks.
    raw: String,
    /// Without escapes.
    pub(super) value: String,
}

/// The features of a tree.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Features {
    pub(super) has_fractions: bool,
    pub(super) has_big_integers: bool,
    pub(super) has_duplicates: bool,
    /// More than one field in some object.
    pub(super) has_order: bool,
    /// Fields of some object are not in the order of their names.
    pub(super) is_unsorted: bool,
}

/// Parses all of a text. Also returns the index of the first byte after the value, if something else follows.
pub(super) fn parse(text: &str) -> Option<(Json, usize)> {
    let mut parser = Parser { text, at: 0 };
    parser.blank();
    let json = parser.value(0)?;
    Some((json, parser.at))
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    fn blank(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.skip(1);
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.skip(1))
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' => self.string().map(Json::Text),
            b'-' | b'0'..=b'9' => self.number(),
            _ => {
                let mut words = ["null", "true", "false"].into_iter();
                let word = words.find(|word| self.rest().starts_with(word))?;
                self.skip(word.len());
                Some(Json::Word(word))
            }
        }
    }

    fn number(&mut self) -> Option<Json> {
        let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        let length = self.rest().bytes().take_while(|byte| is_part(byte)).count();
        let number = self.rest().get(..length)?;
        number.parse::<f64>().ok()?;
        self.skip(length);
        Some(Json::Number(number.to_owned()))
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        let mut items = Vec::new();
        self.skip(1);
        self.blank();
        if self.take(b']').is_some() {
            return Some(Json::List(items));
        }
        loop {
            self.blank();
            items.push(self.value(depth.saturating_add(1))?);
            self.blank();
            if self.take(b']').is_some() {
                return Some(Json::List(items));
            }
            self.take(b',')?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        let mut fields = Vec::new();
        self.skip(1);
        self.blank();
        if self.take(b'}').is_some() {
            return Some(Json::Object(fields));
        }
        loop {
            self.blank();
            let name = self.string()?;
            self.blank();
            self.take(b':')?;
            self.blank();
            fields.push((name, self.value(depth.saturating_add(1))?));
            self.blank();
            if self.take(b'}').is_some() {
                return Some(Json::Object(fields));
            }
            self.take(b',')?;
        }
    }

    fn string(&mut self) -> Option<Text> {
        self.take(b'"')?;
        let rest = self.rest();
        let mut is_escaped = false;
        let end = rest.bytes().position(|byte| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        })?;
        let raw = rest.get(..end)?;
        let value = match raw.contains('\\') {
            true => unescape(raw)?,
            false => raw.to_owned(),
        };
        self.skip(end.saturating_add(1));
        Some(Text {
            raw: raw.to_owned(),
            value,
        })
    }
}

fn unescape(raw: &str) -> Option<String> {
    let mut units = Vec::with_capacity(raw.len());
    let mut chars = raw.chars();
    let mut buffer = [0; 2];
    while let Some(char) = chars.next() {
        if char != '\\' {
            units.extend_from_slice(char.encode_utf16(&mut buffer));
            continue;
        }
        units.push(match chars.next()? {
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'u' => {
                let digits: String = chars.by_ref().take(4).collect();
                u16::from_str_radix(&digits, 16).ok()?
            }
            char @ ('"' | '\\' | '/') => u16::try_from(u32::from(char)).ok()?,
            _ => return None,
        });
    }
    String::from_utf16(&units).ok()
}

/// The classes of characters that some writer escapes.
mod class {
    pub(super) const SLASH: u32 = 1;
    pub(super) const HTML: u32 = 1 << 1;
    pub(super) const AMPERSAND: u32 = 1 << 2;
    pub(super) const APOSTROPHE: u32 = 1 << 3;
    pub(super) const EQUALS: u32 = 1 << 4;
    pub(super) const PLUS: u32 = 1 << 5;
    pub(super) const BACKTICK: u32 = 1 << 6;
    pub(super) const QUOTE: u32 = 1 << 7;
    pub(super) const DELETE: u32 = 1 << 8;
    /// U+2028 and U+2029.
    pub(super) const SEPARATOR: u32 = 1 << 9;
    /// U+0085.
    pub(super) const NEXT_LINE: u32 = 1 << 10;
    /// Other characters beyond ASCII.
    pub(super) const OTHER: u32 = 1 << 11;
    /// Backspace and form feed, which have short escapes.
    pub(super) const SHORT: u32 = 1 << 12;
    /// Other control characters.
    pub(super) const CONTROL: u32 = 1 << 13;
    pub(super) const BEYOND_ASCII: u32 = SEPARATOR | NEXT_LINE | OTHER;
}

const fn class_of(char: char) -> u32 {
    match char {
        '/' => class::SLASH,
        '<' | '>' => class::HTML,
        '&' => class::AMPERSAND,
        '\'' => class::APOSTROPHE,
        '=' => class::EQUALS,
        '+' => class::PLUS,
        '`' => class::BACKTICK,
        '"' => class::QUOTE,
        '\u{7f}' => class::DELETE,
        '\u{2028}' | '\u{2029}' => class::SEPARATOR,
        '\u{85}' => class::NEXT_LINE,
        '\u{8}' | '\u{c}' => class::SHORT,
        '\0'..='\u{1f}' => class::CONTROL,
        '\u{80}'.. => class::OTHER,
        _ => 0,
    }
}

/// How a writer escapes strings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Escapes {
    pub(super) writer: &'static str,
    /// The classes that are written as `\uXXXX`, or as `\/`.
    classes: u32,
    /// The classes whose digits are capitals.
    capitals: u32,
    /// Strings stay as they arrived.
    is_raw: bool,
}

const fn escapes(writer: &'static str, classes: u32, capitals: u32) -> Escapes {
    Escapes {
        writer,
        classes: classes | class::CONTROL,
        capitals,
        is_raw: false,
    }
}

const GO: u32 = class::HTML | class::AMPERSAND | class::SEPARATOR;
const DOTNET: u32 = class::HTML
    | class::AMPERSAND
    | class::APOSTROPHE
    | class::PLUS
    | class::BACKTICK
    | class::QUOTE
    | class::DELETE
    | class::BEYOND_ASCII;
const SYMFONY: u32 = class::HTML
    | class::AMPERSAND
    | class::APOSTROPHE
    | class::QUOTE
    | class::SLASH
    | class::BEYOND_ASCII;
const CONTROLS: u32 = class::CONTROL | class::SHORT;

/// Strings as they arrived.
pub(super) const RAW: &Escapes = &Escapes {
    writer: "",
    classes: 0,
    capitals: 0,
    is_raw: true,
};

/// The writers, likeliest first.
pub(super) const ESCAPES: &[Escapes] = &[
    *RAW,
    escapes(", as JSON.stringify writes", 0, 0),
    escapes(
        ", with \\u escapes, as Python's json writes",
        class::BEYOND_ASCII | class::DELETE,
        0,
    ),
    escapes(
        ", with \\/ and \\u escapes, as PHP's json_encode writes",
        class::SLASH | class::BEYOND_ASCII,
        0,
    ),
    escapes(", with HTML escaped as Go or Rails writes", GO, 0),
    escapes(
        ", with HTML escaped as Go 1.21 writes",
        GO | class::SHORT,
        0,
    ),
    escapes(
        ", with \\/ escapes, as PHP writes with JSON_UNESCAPED_UNICODE",
        class::SLASH | class::SEPARATOR,
        0,
    ),
    escapes(
        ", with line separators escaped, as PHP writes",
        class::SEPARATOR,
        0,
    ),
    escapes(
        ", with escapes as System.Text.Json writes",
        DOTNET,
        u32::MAX,
    ),
    escapes(
        ", with escapes as Gson writes",
        GO | class::APOSTROPHE | class::EQUALS,
        0,
    ),
    escapes(
        ", with escapes as Symfony's JsonResponse writes",
        SYMFONY,
        !CONTROLS & !class::BEYOND_ASCII,
    ),
    escapes(", as Jackson writes", 0, CONTROLS),
    escapes(
        ", with capital \\u escapes, as Jackson writes",
        class::BEYOND_ASCII,
        u32::MAX,
    ),
    escapes(
        ", with line separators escaped, as Newtonsoft writes",
        class::SEPARATOR | class::NEXT_LINE,
        0,
    ),
    escapes(
        ", with HTML escaped, as Newtonsoft writes",
        GO | class::APOSTROPHE | class::QUOTE | class::NEXT_LINE,
        0,
    ),
    escapes(", with \\/ escapes", class::SLASH, 0),
    escapes(", with U+007F escaped, as jq writes", class::DELETE, 0),
    escapes(", with \\u escapes", class::BEYOND_ASCII, 0),
    escapes(", with \\u and HTML escapes", class::BEYOND_ASCII | GO, 0),
];

impl Escapes {
    /// The bytes of a string without its quotation marks.
    fn write(&self, text: &Text, out: &mut Vec<u8>) {
        if self.is_raw {
            return out.extend(text.raw.as_bytes());
        }
        let mut plain = 0_usize;
        for (at, char) in text.value.char_indices() {
            let class = class_of(char);
            let is_special = matches!(char, '"' | '\\' | '\0'..='\u{1f}');
            if !is_special && class & self.classes == 0 {
                continue;
            }
            out.extend(text.value.get(plain..at).unwrap_or_default().as_bytes());
            plain = at.saturating_add(char.len_utf8());
            let short: &[u8] = match char {
                '\\' => b"\\\\",
                '\n' => b"\\n",
                '\r' => b"\\r",
                '\t' => b"\\t",
                '/' => b"\\/",
                '"' if class & self.classes == 0 => b"\\\"",
                '\u{8}' if class & self.classes == 0 => b"\\b",
                '\u{c}' if class & self.classes == 0 => b"\\f",
                _ => b"",
            };
            out.extend(short);
            if short.is_empty() {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let digits = match class & self.capitals {
                        0 => format!("\\u{unit:04x}"),
                        _ => format!("\\u{unit:04X}"),
                    };
                    out.extend(digits.as_bytes());
                }
            }
        }
        out.extend(text.value.get(plain..).unwrap_or_default().as_bytes());
    }
}

/// How a writer separates values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    name: &'static str,
    comma: &'static str,
    colon: &'static str,
    /// The indentation of each level, on lines of their own.
    indent: Option<&'static str>,
    newline: &'static str,
    /// Lists are on one line, with spaces within brackets, also empty ones, as Jackson writes.
    jackson: bool,
    /// Also ends with a line break.
    is_ended: bool,
}

const fn lines(name: &'static str, indent: &'static str, newline: &'static str) -> Layout {
    Layout {
        name,
        comma: ",",
        colon: ": ",
        indent: Some(indent),
        newline,
        jackson: false,
        is_ended: false,
    }
}

const fn line(name: &'static str, comma: &'static str, colon: &'static str) -> Layout {
    Layout {
        name,
        comma,
        colon,
        indent: None,
        newline: "\n",
        jackson: false,
        is_ended: false,
    }
}

impl Layout {
    const fn jackson(self) -> Self {
        Self {
            colon: " : ",
            jackson: true,
            ..self
        }
    }

    pub(super) fn name(self) -> String {
        let end = if self.is_ended {
            ", ending in a line break"
        } else {
            ""
        };
        format!("{}{end}", self.name)
    }

    /// The same with a line break at the end.
    pub(super) const fn ended(self) -> Self {
        Self {
            is_ended: true,
            ..self
        }
    }
}

/// The layouts, likeliest first.
pub(super) const LAYOUTS: &[Layout] = &[
    line("without spaces", ",", ":"),
    line("with a space after each comma and colon", ", ", ": "),
    lines("indented by 2 spaces", "  ", "\n"),
    lines("indented by 4 spaces", "    ", "\n"),
    lines("indented by tabs", "\t", "\n"),
    lines("indented as Jackson does", "  ", "\n").jackson(),
    lines("indented by 2 spaces, with CRLF", "  ", "\r\n"),
    lines("indented by 4 spaces, with CRLF", "    ", "\r\n"),
    lines("indented as Jackson does, with CRLF", "  ", "\r\n").jackson(),
    lines("indented by tabs, with CRLF", "\t", "\r\n"),
    line("with a space after each colon", ",", ": "),
    line("with a space after each comma", ", ", ":"),
    lines("indented by 1 space", " ", "\n"),
    lines("indented by 3 spaces", "   ", "\n"),
    lines("on several lines without indentation", "", "\n"),
];

/// How a writer spells numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Numbers {
    Received,
    /// As JavaScript and Go: 1.0 is 1.
    Shortest,
    /// As Python and Java: 1.0 is 1.0.
    Float,
    /// Fractions with two digits: 9.5 is 9.50.
    Cents,
}

impl Numbers {
    pub(super) const ALL: [Self; 4] = [Self::Received, Self::Shortest, Self::Float, Self::Cents];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Received => "",
            Self::Shortest => ", and 1.0 as 1",
            Self::Float => ", and 1e2 as 100.0",
            Self::Cents => ", and 9.5 as 9.50",
        }
    }

    fn spell(self, number: &str) -> Cow<'_, str> {
        let value = match (self, number.contains(['.', 'e', 'E'])) {
            (Self::Received, _) | (_, false) => return Cow::Borrowed(number),
            _ => number.parse::<f64>().ok().filter(|value| value.is_finite()),
        };
        let Some(value) = value else {
            return Cow::Borrowed(number);
        };
        let size = value.abs();
        let is_plain = |least: f64, most: f64| size == 0.0 || (size >= least && size < most);
        match self {
            Self::Cents if is_plain(1e-2, 1e15) => match number.split_once('.') {
                Some((_, fraction)) if fraction.len() < 2 => Cow::Owned(format!("{value:.2}")),
                _ => Cow::Borrowed(number),
            },
            Self::Shortest if is_plain(1e-6, 1e21) => Cow::Owned(format!("{value}")),
            Self::Float if is_plain(1e-4, 1e16) => Cow::Owned(format!("{value:?}")),
            _ => Cow::Owned(scientific(value, self == Self::Float)),
        }
    }
}

/// A number such as `1e+21`, or `1e-07` as Python writes.
fn scientific(value: f64, two_digits: bool) -> String {
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else {
        return text;
    };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    let zero = if two_digits && exponent.len() < 2 {
        "0"
    } else {
        ""
    };
    format!("{digits}e{sign}{zero}{exponent}")
}

/// The order of an object's fields.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Received,
    /// By name, at all levels.
    Sorted,
    /// By name, of the outermost object only.
    SortedOutside,
    /// By the length of the name, then by name, as PostgreSQL and MySQL store objects.
    ByLength,
}

impl Order {
    pub(super) const ALL: [Self; 4] = [
        Self::Received,
        Self::Sorted,
        Self::SortedOutside,
        Self::ByLength,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Received => "",
            Self::Sorted => ", sorted by name",
            Self::SortedOutside => ", sorted by name outside",
            Self::ByLength => ", sorted by length and name",
        }
    }
}

impl Json {
    /// The features of the tree.
    pub(super) fn features(&self) -> Features {
        let mut features = Features::default();
        self.add_features(&mut features);
        features
    }

    fn add_features(&self, features: &mut Features) {
        match self {
            Self::Word(_) | Self::Text(_) => {}
            Self::Number(number) => {
                features.has_fractions |= number.contains(['.', 'e', 'E']);
                features.has_big_integers |= number.len() > 15;
            }
            Self::List(items) => {
                items.iter().for_each(|item| item.add_features(features));
            }
            Self::Object(fields) => {
                features.has_order |= fields.len() > 1;
                let names: Vec<_> = fields.iter().map(|(name, _)| &name.value).collect();
                features.is_unsorted |= !names.is_sorted();
                let mut sorted = names;
                sorted.sort_unstable();
                features.has_duplicates |=
                    sorted.windows(2).any(|pair| pair.first() == pair.last());
                for (_, value) in fields {
                    value.add_features(features);
                }
            }
        }
    }

    /// The same with the last of each group of duplicate fields, at the place of the first.
    pub(super) fn without_duplicates(&self) -> Self {
        match self {
            Self::List(items) => Self::List(items.iter().map(Self::without_duplicates).collect()),
            Self::Object(fields) => {
                let mut last = HashMap::new();
                for (at, (name, _)) in fields.iter().enumerate() {
                    last.insert(&name.value, at);
                }
                let values = fields.iter().filter_map(|(name, _)| {
                    let (_, value) = fields.get(last.remove(&name.value)?)?;
                    Some((name.clone(), value.without_duplicates()))
                });
                let kept = values.collect();
                Self::Object(kept)
            }
            other => other.clone(),
        }
    }

    /// The same with its fields in another order.
    pub(super) fn ordered(&self, order: Order) -> Self {
        match self {
            Self::List(items) if order != Order::SortedOutside => {
                Self::List(items.iter().map(|item| item.ordered(order)).collect())
            }
            Self::Object(fields) => {
                let within = match order {
                    Order::SortedOutside => Order::Received,
                    order => order,
                };
                let within = |(name, value): &(Text, Self)| (name.clone(), value.ordered(within));
                let mut fields: Vec<_> = fields.iter().map(within).collect();
                match order {
                    Order::Received => {}
                    Order::Sorted | Order::SortedOutside => {
                        fields.sort_by(|(one, _), (other, _)| one.value.cmp(&other.value));
                    }
                    Order::ByLength => fields.sort_by(|(one, _), (other, _)| {
                        let key = |text: &Text| (text.value.len(), text.value.clone());
                        key(one).cmp(&key(other))
                    }),
                }
                Self::Object(fields)
            }
            other => other.clone(),
        }
    }

    /// The bytes that a writer makes.
    pub(super) fn spell(&self, layout: Layout, escapes: &Escapes, numbers: Numbers) -> Vec<u8> {
        let mut out = Vec::new();
        let writer = Writer {
            layout,
            escapes,
            numbers,
        };
        writer.value(self, 0, &mut out);
        if layout.is_ended {
            out.extend(layout.newline.as_bytes());
        }
        out
    }
}

struct Writer<'w> {
    layout: Layout,
    escapes: &'w Escapes,
    numbers: Numbers,
}

impl Writer<'_> {
    fn value(&self, json: &Json, depth: usize, out: &mut Vec<u8>) {
        match json {
            Json::Word(word) => out.extend(word.as_bytes()),
            Json::Number(number) => out.extend(self.numbers.spell(number).as_bytes()),
            Json::Text(text) => self.text(text, out),
            Json::List(items) if self.layout.jackson => {
                let mut before: &[u8] = b"[ ";
                // Lists add no level there.
                for item in items {
                    out.extend(before);
                    self.value(item, depth, out);
                    before = b", ";
                }
                out.extend(if items.is_empty() { &b"[ ]"[..] } else { b" ]" });
            }
            Json::List(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    self.before(index, depth, out);
                    self.value(item, depth.saturating_add(1), out);
                }
                self.after(items.is_empty(), depth, out);
                out.push(b']');
            }
            Json::Object(fields) if fields.is_empty() && self.layout.jackson => out.extend(b"{ }"),
            Json::Object(fields) => {
                out.push(b'{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    self.before(index, depth, out);
                    self.text(name, out);
                    out.extend(self.layout.colon.as_bytes());
                    self.value(value, depth.saturating_add(1), out);
                }
                self.after(fields.is_empty(), depth, out);
                out.push(b'}');
            }
        }
    }

    fn text(&self, text: &Text, out: &mut Vec<u8>) {
        out.push(b'"');
        self.escapes.write(text, out);
        out.push(b'"');
    }

    fn before(&self, index: usize, depth: usize, out: &mut Vec<u8>) {
        if index > 0 {
            out.extend(self.layout.comma.as_bytes());
        }
        self.indent(depth.saturating_add(1), out);
    }

    fn after(&self, is_empty: bool, depth: usize, out: &mut Vec<u8>) {
        if !is_empty {
            self.indent(depth, out);
        }
    }

    fn indent(&self, depth: usize, out: &mut Vec<u8>) {
        if let Some(indent) = self.layout.indent {
            out.extend(self.layout.newline.as_bytes());
            for _ in 0..depth {
                out.extend(indent.as_bytes());
            }
        }
    }
}
