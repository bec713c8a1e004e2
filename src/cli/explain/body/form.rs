//! Forms that something decoded and encoded again, or turned into JSON.

use super::change::{Change, Changes, header};
use super::json::{ESCAPES, Json, LAYOUTS, Numbers};
use super::rewritten::{self, whole};
use super::text::replace;
use crate::cli::explain::hypothesis::{Case, Cause};
use crate::request::headers::Headers;
use crate::request::percent::{Plus, decode, encode};
use crate::scheme::body::{BodyNeeds, MediaType, ParsedBody};

const URLENCODED: &str = "application/x-www-form-urlencoded";
const FIX: &str = "Verify the form as received, before anything decodes it: find the proxy or framework that encodes the form again.";
const FORMAT_FIX: &str = "Pass the body and its content-type on as received, or set this content type in the sender's webhook settings.";

/// The most spellings of the JSON in a form's field.
const MAX_NESTED: usize = 200;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// How a writer encodes a form.
struct Encoder {
    writer: &'static str,
    /// The characters that stay, besides letters and digits.
    kept: &'static [u8],
    /// Whether a space is `+`, otherwise `%20`.
    is_plus: bool,
    is_lower: bool,
}

const fn encoder(writer: &'static str, kept: &'static [u8], is_plus: bool) -> Encoder {
    Encoder {
        writer,
        kept,
        is_plus,
        is_lower: false,
    }
}

/// The encoders, likeliest first.
const ENCODERS: &[Encoder] = &[
    encoder("Python or Go", b"-_.~", true),
    encoder("PHP's urlencode", b"-_.", true),
    encoder("URLSearchParams", b"*-._", true),
    encoder("PHP's rawurlencode", b"-_.~", false),
    encoder("encodeURIComponent", b"-_.!~*'()", false),
    encoder("WebUtility of .NET", b"-_.!*()", true),
    Encoder {
        is_lower: true,
        ..encoder("HttpUtility of .NET", b"-_.!*()", true)
    },
    Encoder {
        is_lower: true,
        ..encoder("a writer of small digits", b"-_.~", true)
    },
    encoder("a writer that keeps brackets", b"-_.~[]", true),
    encoder(
        "a writer that keeps brackets and slashes",
        b"-_.~[]/:@,",
        false,
    ),
];

impl Encoder {
    fn text(&self, text: &[u8]) -> Vec<u8> {
        let mut encoded = encode(text, self.kept);
        if self.is_plus {
            encoded = replace(&encoded, b"%20", b"+");
        }
        if self.is_lower {
            encoded = lower_digits(&encoded);
        }
        encoded
    }

    fn form(&self, pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let pairs = pairs.iter();
        let pairs =
            pairs.map(|(name, value)| [&self.text(name)[..], b"=", &self.text(value)].concat());
        pairs.collect::<Vec<_>>().join(&b'&')
    }
}

/// Each `%XX` with the digits in lower case.
fn lower_digits(text: &[u8]) -> Vec<u8> {
    with_digits(text, u8::to_ascii_lowercase)
}

fn with_digits(text: &[u8], change: fn(&u8) -> u8) -> Vec<u8> {
    let mut left = 0_u8;
    let digit = |byte: &u8| {
        let changed = match left {
            0 => *byte,
            _ => change(byte),
        };
        left = match byte {
            b'%' => 2,
            _ => left.saturating_sub(1),
        };
        changed
    };
    text.iter().map(digit).collect()
}

/// The forms that the sender may have signed.
pub(super) fn changes(case: Case<'_>) -> Changes<'_> {
    let body = &case.request.body[..];
    let content_type = header(case.request, "content-type").unwrap_or_default();
    let text = std::str::from_utf8(body).ok();
    if let Some(json) = text.and_then(whole) {
        return Box::new(of_json(case, &json).into_iter());
    }
    if content_type.contains("multipart") {
        return Box::new(of_multipart(case).into_iter());
    }
    if !content_type.contains("urlencoded") && !looks_like_form(body) {
        return Box::new(std::iter::empty());
    }
    let pairs = pairs(body);
    let single = in_place(body).into_iter().chain(encoded(&pairs));
    let json = to_json(&pairs);
    // The scheme may read the fields, and the content-type is another one.
    let typed = change("as a form, with its content type", body.to_vec()).typed(URLENCODED);
    let nested = nested(pairs);
    Box::new(
        std::iter::once(typed)
            .chain(single)
            .chain(json)
            .chain(nested),
    )
}

fn change(what: &str, body: Vec<u8>) -> Change {
    let detail = format!("The sender signed the body {what}.");
    Change::new(Cause::FormDecoded, detail, FIX, body)
}

impl Change {
    fn typed(self, content_type: &str) -> Self {
        let changed = self.with("content-type", Some(content_type));
        Self {
            fix: FORMAT_FIX,
            ..changed
        }
    }
}

fn looks_like_form(body: &[u8]) -> bool {
    body.contains(&b'=')
        && body
            .trim_ascii_end()
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !b"{}<>\"".contains(byte))
}

fn pairs(body: &[u8]) -> Pairs {
    let pairs = body
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let mut part = || decode(parts.next().unwrap_or_default(), Plus::Space, |_| true);
        (part(), part())
    });
    decoded.collect()
}

/// Changes of single characters.
fn in_place(body: &[u8]) -> Vec<Change> {
    let spaces = replace(body, b"+", b"%20");
    let upper = |text: &[u8]| with_digits(text, u8::to_ascii_uppercase);
    let empty = replace(&[body, b"&"].concat(), b"=&", b"&");
    let empty = empty.strip_suffix(b"&").unwrap_or(&empty).to_vec();
    vec![
        change("with + for spaces", replace(body, b"%20", b"+")),
        change("with %20 for spaces", spaces),
        change("with small letters in its % escapes", lower_digits(body)),
        change("with capitals in its % escapes", upper(body)),
        change("decoded", decode(body, Plus::Space, |_| true)),
        change(
            "decoded, with its + signs",
            decode(body, Plus::Literal, |_| true),
        ),
        change("with each + as %2B", replace(body, b"+", b"%2B")),
        change("without a second encoding", replace(body, b"%25", b"%")),
        change("encoded a second time", replace(body, b"%", b"%25")),
        change("without = after the names of empty fields", empty),
    ]
}

/// The form by each encoder, in each order.
fn encoded(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<Change> {
    let mut by_name = pairs.to_vec();
    by_name.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut sorted = pairs.to_vec();
    sorted.sort();
    let orders = [
        ("", pairs),
        (", sorted by name", &by_name),
        (", sorted by name and value", &sorted),
    ];
    let mut changes = Vec::new();
    for (order, pairs) in orders {
        for encoder in ENCODERS {
            let what = format!("as a form encoded by {}{order}", encoder.writer);
            changes.push(change(&what, encoder.form(pairs)));
        }
    }
    changes
}

/// The JSON in the only field of a form, and the form as a JSON object.
fn to_json(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, value) in pairs {
        if value.starts_with(b"{") || value.starts_with(b"[") {
            let name = String::from_utf8_lossy(name);
            let name: String = name
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(20)
                .collect();
            let what = format!("as JSON, without the form's field {name} around it");
            changes.push(change(&what, value.clone()).typed("application/json"));
        }
    }
    if pairs.iter().any(|(_, value)| !value.is_empty()) {
        let text =
            |bytes: &[u8]| serde_json::Value::from(String::from_utf8_lossy(bytes)).to_string();
        let fields = pairs
            .iter()
            .map(|(name, value)| format!("{}:{}", text(name), text(value)));
        let object = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
        changes.push(change("as a JSON object", object.into_bytes()).typed("application/json"));
    }
    changes
}

/// Other spellings of the JSON in the only field of a form.
fn nested(pairs: Pairs) -> impl Iterator<Item = Change> {
    let json = match pairs.as_slice() {
        [(_, value)] => std::str::from_utf8(value).ok().and_then(whole),
        _ => None,
    };
    let name = pairs
        .into_iter()
        .next()
        .map(|(name, _)| name)
        .unwrap_or_default();
    json.into_iter().flat_map(move |json| {
        let name = name.clone();
        let spellings = rewritten::spellings(&json).take(MAX_NESTED);
        spellings.flat_map(move |(detail, json)| {
            let pairs = [(name.clone(), json)];
            let encoders = ENCODERS.iter().take(5);
            let forms = encoders.map(|encoder| {
                let detail = detail.replace("the JSON", "the JSON in the form");
                Change::new(Cause::FormDecoded, detail, FIX, encoder.form(&pairs))
            });
            forms.collect::<Vec<_>>()
        })
    })
}

/// The forms whose JSON arrived alone, or whose fields arrived as a JSON object.
fn of_json(case: Case<'_>, json: &Json) -> Vec<Change> {
    let own = case.endpoint.scheme.spec.json_in_form.as_deref();
    let mut changes = Vec::new();
    let mut values = vec![case.request.body.clone()];
    let compact = LAYOUTS.first().zip(ESCAPES.first());
    values.extend(compact.map(|(layout, escapes)| json.spell(*layout, escapes, Numbers::Received)));
    for name in own.into_iter().chain(["payload", "json", "data", "body"]) {
        for value in &values {
            for encoder in ENCODERS {
                let what = format!("as a form with the JSON in its field {name}");
                let pairs = [(name.as_bytes().to_vec(), value.clone())];
                changes.push(change(&what, encoder.form(&pairs)).typed(URLENCODED));
            }
        }
    }
    if let Json::Object(fields) = json {
        let pairs = fields.iter().map(|(name, value)| {
            let value = match value {
                Json::Text(text) => text.value.clone(),
                Json::Number(number) => number.clone(),
                Json::Word(word) => (*word).to_owned(),
                Json::List(_) | Json::Object(_) => return None,
            };
            Some((name.value.clone().into_bytes(), value.into_bytes()))
        });
        let pairs: Option<Pairs> = pairs.collect();
        let forms = encoded(&pairs.unwrap_or_default()).into_iter();
        changes.extend(
            forms
                .filter(|form| !form.body.is_empty())
                .map(|form| form.typed(URLENCODED)),
        );
    }
    changes
}

/// The urlencoded form whose fields arrived as multipart.
fn of_multipart(case: Case<'_>) -> Vec<Change> {
    let headers = case.request.pairs();
    let needs = BodyNeeds {
        form: true,
        ..BodyNeeds::default()
    };
    let media_type = MediaType::of(&Headers::new(&headers));
    let Some(parsed) = ParsedBody::read(&case.request.body, &media_type, &needs) else {
        return Vec::new();
    };
    let pairs = parsed
        .fields()
        .map(|(name, value)| (name.to_vec(), value.to_vec()));
    let forms = encoded(&pairs.collect::<Vec<_>>()).into_iter();
    forms
        .filter(|form| !form.body.is_empty())
        .map(|form| form.typed(URLENCODED))
        .collect()
}
