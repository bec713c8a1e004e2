//! The bodies of the fuzz targets in `tests/fuzz`. Each takes any bytes, and panics if a property does not hold. The native
//! tests run them on their corpora. The module for Envoy contains none of this.

#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a panic is how a target says what it found"
)]

mod content;
mod exchange;
mod headers;
mod lists;
mod phases;
mod times;

use std::env::VarError;

use crate::config;
use crate::config::protobuf;
use crate::config::value::Value;
use crate::policy::Policy;
pub use content::content;
pub use exchange::{exchange, metrics};
pub use headers::headers;
pub use lists::lists;
pub use phases::phases;
pub use times::times;

/// The value of every variable. No message may show it, and no folding or decoding produces it.
const SECRET: &str = "Hunter2?Hunter2?Hunter2";

fn read(configuration: &[u8]) -> Option<Policy> {
    let variable = |name: &str| match name {
        "ENVIRONMENT" | "UNSET" => Err(VarError::NotPresent),
        _ => Ok(SECRET.to_owned()),
    };
    match Policy::read(configuration, &variable) {
        Ok((policy, warnings)) => {
            let shown = format!("{policy:?} {warnings:?}");
            assert!(!shown.contains(SECRET) || holds_secret(configuration));
            Some(policy)
        }
        Err(faults) => {
            assert!(!faults.is_empty(), "refused without a fault");
            for fault in faults {
                let line = fault.to_string();
                assert!(!line.contains(char::is_control), "{line:?}");
                assert!(!line.contains(SECRET) || holds_secret(configuration));
            }
            None
        }
    }
}

/// Whether the configuration itself, and not a variable, has the secret: as a name, say.
fn holds_secret(configuration: &[u8]) -> bool {
    format!("{:?}", config::parse(configuration)).contains(SECRET)
}

/// Any bytes as a configuration: it is refused with a line for each fault, or a policy with which any request
/// can be judged.
pub fn configuration(data: &[u8]) {
    if let Some(policy) = read(data) {
        assert!(read(data).is_some(), "accepted once");
        for endpoint in &policy.endpoints {
            assert!(!endpoint.secrets.is_empty(), "{}", endpoint.name);
        }
        for path in [&b"/"[..], b"/webhook", b"//", data] {
            let _ = policy.route(b"POST", Some(path), b"hooks.example.com", false);
        }
    }
}

/// Any bytes as a Struct, or as JSON: what comes out of them comes out of its own encoding as a Struct, too.
pub fn structs(data: &[u8]) {
    let decoded = protobuf::decode_struct(data);
    if let Err(error) = &decoded {
        assert!(error.offset <= data.len(), "{error:?}");
    }
    let json = Value::from_json(data).ok();
    let json = json.filter(|value| matches!(value, Value::Object(_)));
    for value in [decoded.ok(), json].into_iter().flatten() {
        let again = protobuf::decode_struct(&fields(&value)).expect("its own encoding");
        // As text, since what is not a number is not even itself.
        assert_eq!(format!("{value:?}"), format!("{again:?}"));
    }
}

/// An object as a Struct, by the wire format's rules.
fn fields(object: &Value) -> Vec<u8> {
    let Value::Object(fields) = object else {
        return Vec::new();
    };
    let entry = |(name, value): &(String, Value)| {
        let entry = [delimited(1, name.as_bytes()), delimited(2, &encoded(value))];
        delimited(1, &entry.concat())
    };
    fields.iter().flat_map(entry).collect()
}

fn encoded(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => vec![0x08, 0],
        Value::Bool(value) => vec![0x20, u8::from(*value)],
        Value::Number(number) => [&[0x11][..], &number.to_le_bytes()].concat(),
        Value::String(text) => delimited(3, text.as_bytes()),
        Value::Object(_) => delimited(5, &fields(value)),
        Value::List(items) => {
            let items = items.iter().flat_map(|item| delimited(1, &encoded(item)));
            delimited(6, &items.collect::<Vec<_>>())
        }
    }
}

fn delimited(field: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut out = vec![field << 3 | 2];
    while length >= 0x80 {
        out.push(length as u8 & 0x7f | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

/// Bytes that are taken one after the other; where there are none left, zeros.
struct Input<'d>(&'d [u8]);

impl<'d> Input<'d> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn take(&mut self, length: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes after their number.
    fn bytes(&mut self) -> &'d [u8] {
        let length = self.byte();
        self.take(length.into())
    }
}
