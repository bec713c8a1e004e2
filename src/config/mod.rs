//! Reads a configuration and reports every fault in it, each with its path: a list of one fault at
//! a time would cost the user a restart for each.
//!
//! Each part of the policy reads its own block by a [`Node`], which stands for a value at a path.
//! What a reader returns is `None` exactly where a fault was reported.

pub(crate) mod protobuf;
pub mod value;

use std::cell::RefCell;
use std::fmt::{self, Display};

use crate::config::value::{ParseError, Value};

/// Reads JSON text or the bytes of a Struct. Envoy hands a `StringValue` over as its text and a `Struct`
/// as raw protobuf bytes, and does not say which; the first byte can't tell either, since a Struct
/// begins with 0x0a, which is also a newline.
///
/// # Errors
/// That of the encoding which parsed further.
pub fn parse(bytes: &[u8]) -> Result<Value, ParseError> {
    let json = match Value::from_json(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    protobuf::decode_struct(bytes).map_err(|protobuf| {
        if protobuf.offset > json.offset {
            protobuf
        } else {
            json
        }
    })
}

/// What is wrong with a configuration, or doubtful about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Where: `endpoints[1].allow[0]`, empty for the configuration as a whole.
    pub path: String,
    /// What is wrong and how to mend it. Never a secret.
    pub message: String,
}

impl Fault {
    /// A fault of the configuration as a whole.
    pub fn of_the_whole(message: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            message: message.into(),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.path, self.message)
        }
    }
}

/// The faults and warnings found so far.
#[derive(Debug, Default)]
pub struct Findings {
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Fault>>,
    /// Every place visited, after the place it is in: paths are written out for faults alone.
    places: RefCell<Vec<(Place, Step)>>,
    /// What the readers asked for, and where.
    asked: RefCell<Vec<(String, Asked)>>,
}

/// What a reader asks of a value: from all of it the configuration's schema is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// An object with these fields, of which the second ones must be there.
    Object(Vec<&'static str>, Vec<&'static str>),
    /// An object whose fields the user names.
    Map,
    /// A list.
    List,
    /// A text.
    Text,
    /// One of these words.
    Choice(Vec<&'static str>),
    /// `true` or `false`.
    Boolean,
    /// A whole number up to this one.
    Integer(u32),
}

/// A place in the configuration: an index into [`Findings::places`], `None` for the whole.
type Place = Option<usize>;

/// One step into a configuration.
#[derive(Debug)]
enum Step {
    Field(String),
    /// A field of an object whose fields the user names.
    Named(String),
    Item(usize),
}

impl Findings {
    /// The faults and the warnings, each in the order found.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Fault>, Vec<Fault>) {
        (self.faults.into_inner(), self.warnings.into_inner())
    }

    /// What the readers asked for: paths, in which `[]` is any item and `*` any field, and what.
    #[must_use]
    pub fn into_asked(self) -> Vec<(String, Asked)> {
        self.asked.into_inner()
    }
    /// Notes what is asked, where there is somebody to read it: the module does without.
    fn ask(&self, place: Place, asked: impl FnOnce() -> Asked) {
        if cfg!(target_arch = "wasm32") {
            return;
        }
        let mut path = Vec::new();
        let places = self.places.borrow();
        let mut next = place;
        while let Some((parent, step)) = next.and_then(|index| places.get(index)) {
            path.push(match step {
                Step::Item(_) => "[]".to_owned(),
                Step::Field(name) => format!(".{name}"),
                Step::Named(_) => ".*".to_owned(),
            });
            next = *parent;
        }
        path.reverse();
        let path = path.concat();
        let path = path.strip_prefix('.').unwrap_or(&path);
        self.asked.borrow_mut().push((path.to_owned(), asked()));
    }

    /// How many faults there are.
    fn count(&self) -> usize {
        self.faults.borrow().len()
    }

    fn enter(&self, place: Place, step: Step) -> Place {
        let mut places = self.places.borrow_mut();
        places.push((place, step));
        places.len().checked_sub(1)
    }

    fn path(&self, place: Place) -> String {
        let places = self.places.borrow();
        let Some((parent, step)) = place.and_then(|index| places.get(index)) else {
            return String::new();
        };
        let mut path = self.path(*parent);
        match step {
            Step::Item(index) => {
                path.push('[');
                path.push_str(&index.to_string());
                path.push(']');
            }
            Step::Field(name) | Step::Named(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(shown(name).unwrap_or("?"));
            }
        }
        path
    }
}

/// A value of the configuration, at its path.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    value: &'a Value,
    place: Place,
    findings: &'a Findings,
}

impl<'a> Node<'a> {
    /// The whole configuration.
    #[must_use]
    pub const fn root(value: &'a Value, findings: &'a Findings) -> Self {
        Self {
            value,
            place: None,
            findings,
        }
    }

    /// Reports a fault here.
    pub fn fault<T>(self, message: impl Display) -> Option<T> {
        self.report(&self.findings.faults, &message);
        None
    }

    /// Reports what is allowed here but doubtful.
    pub fn warn(self, message: impl Display) {
        self.report(&self.findings.warnings, &message);
    }

    #[inline(never)]
    fn report(self, list: &RefCell<Vec<Fault>>, message: &dyn Display) {
        list.borrow_mut().push(Fault {
            path: self.findings.path(self.place),
            message: message.to_string(),
        });
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
                faults_before: self.findings.count(),
            }),
            _ => self.fault(format_args!(
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
            return self.wrong_kind("a list");
        };
        self.findings.ask(self.place, || Asked::List);
        let item = |(index, value)| self.child(Step::Item(index), value);
        Some(items.iter().enumerate().map(item).collect())
    }

    /// Reads each item of this list, all of them even where one is faulty.
    pub fn each<T>(self, read: impl FnMut(Self) -> Option<T>) -> Option<Vec<T>> {
        let read: Vec<_> = self.list()?.into_iter().map(read).collect();
        read.into_iter().collect()
    }

    /// Reads each field of this object, whose names are the user's.
    pub fn each_field<T>(self, mut read: impl FnMut(&'a str, Self) -> Option<T>) -> Option<Vec<T>> {
        let Value::Object(fields) = self.value else {
            return self.wrong_kind("an object");
        };
        self.findings.ask(self.place, || Asked::Map);
        let field = |(name, value): &'a (String, Value)| {
            read(name, self.child(Step::Named(name.clone()), value))
        };
        let read: Vec<_> = fields.iter().map(field).collect();
        read.into_iter().collect()
    }

    /// This value as text.
    #[must_use]
    #[inline(never)]
    pub fn text(self) -> Option<&'a str> {
        match self.value {
            Value::String(text) => {
                self.findings.ask(self.place, || Asked::Text);
                Some(text)
            }
            _ => self.wrong_kind("a string"),
        }
    }

    /// This value as text that `parse` understands.
    pub fn parse<T>(self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        parse(self.text()?).map_or_else(|message| self.fault(message), Some)
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
            return self.fault(format_args!(
                "expected one of {}{other}, found {}",
                names.join(", "),
                self.value.kind()
            ));
        };
        self.findings.ask(self.place, || Asked::Text);
        self.findings
            .ask(self.place, || Asked::Choice(names.clone()));
        let found = names.iter().position(|name| name == text);
        if found.is_none() {
            self.report_choice(text, &names, other);
        }
        found
    }

    fn report_choice(self, text: &str, names: &[&str], other: &str) {
        let nearest = did_you_mean(text, names);
        if names.len() > MAX_LISTED && shown(text).is_some() {
            return self.report_unknown(text, names.len(), &nearest);
        }
        let names = names.join(", ");
        match shown(text) {
            None if nearest.is_empty() => {
                self.fault::<()>(format_args!("the value is not one of {names}{other}"))
            }
            _ => self.fault::<()>(format_args!(
                "{text:?} is not one of {names}{other}{nearest}"
            )),
        };
    }

    fn report_unknown(self, text: &str, count: usize, nearest: &str) {
        match nearest {
            "" => self.fault::<()>(format_args!(
                "{text:?} is not one of the {count} known names: see the configuration's schema"
            )),
            _ => self.fault::<()>(format_args!("{text:?} is unknown{nearest}")),
        };
    }

    /// This value as a boolean.
    #[must_use]
    #[inline(never)]
    pub fn boolean(self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => {
                self.findings.ask(self.place, || Asked::Boolean);
                Some(*value)
            }
            _ => self.wrong_kind("true or false"),
        }
    }

    /// This value as an integer from 0 to `max`.
    #[must_use]
    #[inline(never)]
    ///
    /// Of a number above `i32::MAX` in YAML, Envoy hands over the digits as text.
    pub fn integer(self, max: u32) -> Option<u32> {
        let number = match self.value {
            Value::Number(number) => *number,
            Value::String(text) => match large_integer(text) {
                Some(number) => number.into(),
                None => return self.wrong_kind("a number"),
            },
            _ => return self.wrong_kind("a number"),
        };
        self.findings.ask(self.place, || Asked::Integer(max));
        if number.fract() != 0.0 || !(0.0..=f64::from(max)).contains(&number) {
            return self.fault(format_args!("expected an integer from 0 to {max}"));
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

    /// Whether this value is an object.
    #[must_use]
    pub const fn is_object(self) -> bool {
        matches!(self.value, Value::Object(_))
    }

    fn wrong_kind<T>(self, wanted: &str) -> Option<T> {
        self.report_kind(wanted);
        None
    }

    #[inline(never)]
    fn report_kind(self, wanted: &str) {
        let mend = match (wanted, self.value) {
            ("a string", Value::Number(_) | Value::Bool(_)) => ": put it in quotes",
            ("a number" | "true or false", Value::String(_)) => ": write it without quotes",
            ("a list", Value::String(_) | Value::Number(_) | Value::Object(_)) => {
                ": put it in square brackets"
            }
            (_, Value::Null) => ": give it a value, or remove it",
            _ => "",
        };
        let found = self.value.kind();
        self.fault::<()>(format_args!("expected {wanted}, found {found}{mend}"));
    }

    fn child(self, step: Step, value: &'a Value) -> Self {
        Self {
            value,
            place: self.findings.enter(self.place, step),
            findings: self.findings,
        }
    }
}

/// An object whose fields are being read. What is not asked for is unknown.
#[derive(Debug)]
pub struct Object<'a> {
    /// The object itself.
    pub node: Node<'a>,
    fields: &'a [(String, Value)],
    known: Vec<&'static str>,
    required: Vec<&'static str>,
    faults_before: usize,
}

impl<'a> Object<'a> {
    /// Whether a fault was found in what has been read of it.
    #[must_use]
    pub fn is_faulty(&self) -> bool {
        self.node.findings.count() > self.faults_before
    }

    /// The field `name`, if it was written.
    #[inline(never)]
    pub fn field(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.known.push(name);
        let (_, value) = self.fields.iter().find(|(field, _)| field == name)?;
        Some(self.node.child(Step::Field(name.to_owned()), value))
    }

    /// Reads the field `name`; `None` where it is absent, or faulty, of which [`Self::close`] tells.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Node<'a>) -> Option<T>,
    ) -> Option<T> {
        self.field(name).and_then(read)
    }

    /// Reads the field `name`, whose absence is a fault that `mend` tells how to mend.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        mend: &str,
        read: impl FnOnce(Node<'a>) -> Option<T>,
    ) -> Option<T> {
        self.required.push(name);
        match self.field(name) {
            Some(node) => read(node),
            None => self.node.fault(format_args!("`{name}` is missing: {mend}")),
        }
    }

    /// Reports the fields that nobody asked for, and those written twice. Returns `None` if there is
    /// any fault in the object: after it, what was read is what was written.
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
                node().fault::<()>(format_args!("unknown field{hint}"));
            } else if earlier.any(|(field, _)| field == name) {
                node().fault::<()>("the field is written twice: keep one");
            }
        }
        self.node.findings.ask(self.node.place, || {
            Asked::Object(self.known.clone(), self.required.clone())
        });
        (!self.is_faulty()).then_some(())
    }
}

/// The most names that a fault lists.
const MAX_LISTED: usize = 30;

/// The blocks with the fields that only they have: a fault about such a field elsewhere names its block.
const BLOCKS: [(&str, &[&str]); 6] = [
    (
        "the top level",
        &["endpoints", "max_held_bytes", "unmatched"],
    ),
    (
        "`endpoints[]`",
        &[
            "allow",
            "allow_from",
            "answer_challenges",
            "client_address",
            "id",
            "match",
            "max_body_bytes",
            "methods",
            "mode",
            "provider",
            "query",
            "replay",
            "secrets",
            "signature",
            "tolerance",
            "verify_token",
        ],
    ),
    ("`endpoints[].match`", &["host", "prefix"]),
    (
        "`endpoints[].secrets[]`",
        &[
            "env",
            "key_id",
            "not_after",
            "not_before",
            "revoked",
            "sender",
            "version",
        ],
    ),
    (
        "`endpoints[].replay`",
        &["lease", "max_memory_bytes", "window"],
    ),
    (
        "`endpoints[].allow_from[]`",
        &["authority", "cluster", "max_age", "pointer", "refresh"],
    ),
];

/// The block that a field belongs in, if its name says so.
fn block_of(name: &str) -> Option<&'static str> {
    let has_it = |(_, fields): &&(&str, &[&str])| fields.contains(&name);
    BLOCKS.iter().find(has_it).map(|(block, _)| *block)
}

/// A text of the user's for a message: only a word is repeated, since anything else may be a secret in
/// the wrong place.
fn shown(text: &str) -> Option<&str> {
    let is_word = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'-';
    (text.len() <= 32 && text.bytes().all(is_word)).then_some(text)
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
            node.fault("the key is empty: write the key of a filter state, such as webhook.secret")
        }
        text => Some(text.to_owned()),
    }
}

/// The number of a text that holds the digits of one above `i32::MAX`.
fn large_integer(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let number: u32 = text.parse().ok().filter(|_| is_plain)?;
    (i32::try_from(number).is_err()).then_some(number)
}

/// `; did you mean X?` for the nearest of `names`, if one is near.
#[inline(never)]
pub(crate) fn did_you_mean(text: &str, names: &[&str]) -> String {
    // A long text is near to nothing, and costs too much to compare.
    if text.len() > 64 {
        return String::new();
    }
    let text = text.to_ascii_lowercase();
    let near = |name: &&str| {
        let distance = strsim::levenshtein(&text, name);
        let part = text.len() > 3 && name.contains(&text);
        (part || distance <= name.len().div_ceil(3)).then_some(distance)
    };
    match names
        .iter()
        .filter_map(|name| Some((near(name)?, name)))
        .min()
    {
        Some((_, name)) => format!("; did you mean `{name}`?"),
        None => String::new(),
    }
}
