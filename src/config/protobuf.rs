//! The bytes of a `google.protobuf.Struct`, decoded by the wire format's rules
//! (<https://protobuf.dev/programming-guides/encoding/>): three messages and nothing else. A decoder
//! for all of protobuf would be 11 KB more in the module, and drop duplicate fields silently.

use crate::config::value::{MAX_DEPTH, ParseError, Value};

/// Decodes a Struct.
///
/// # Errors
/// The bytes are not a Struct. The error has the offset of the first wrong byte.
pub(crate) fn decode_struct(bytes: &[u8]) -> Result<Value, ParseError> {
    object(bytes, 0).map_err(|Broken { rest, why }| {
        let offset = rest.as_ptr().addr().saturating_sub(bytes.as_ptr().addr());
        let message = format!("not a google.protobuf.Struct: {why} at byte {offset}");
        ParseError { offset, message }
    })
}

/// An error, and the bytes that were not read.
struct Broken<'w> {
    rest: &'w [u8],
    why: &'static str,
}

type Decoded<'w, T> = Result<T, Broken<'w>>;

/// `Struct`: map entries in field 1.
fn object(mut wire: &[u8], depth: usize) -> Decoded<'_, Value> {
    let mut fields = Vec::new();
    while let Some(entry) = next_of_field_1(&mut wire)? {
        fields.push(self::entry(entry, depth)?);
    }
    Ok(Value::Object(fields))
}

/// A map's entry: the key in field 1, the value in field 2.
fn entry(mut wire: &[u8], depth: usize) -> Decoded<'_, (String, Value)> {
    let mut key = String::new();
    let mut value = Value::Null;
    while !wire.is_empty() {
        match varint(&mut wire)? {
            0x0a => key = string(&mut wire)?,
            0x12 => value = self::value(delimited(&mut wire)?, depth)?,
            _ => return broken(wire, "an unknown field of a map's entry"),
        }
    }
    Ok((key, value))
}

/// `Value`: one of fields 1 to 6. The last one counts.
fn value(mut wire: &[u8], depth: usize) -> Decoded<'_, Value> {
    let mut value = Value::Null;
    let depth = depth.saturating_add(1);
    while !wire.is_empty() {
        value = match varint(&mut wire)? {
            0x08 => varint(&mut wire).map(|_| Value::Null)?,
            0x11 => Value::Number(double(&mut wire)?),
            0x1a => Value::String(string(&mut wire)?),
            0x20 => Value::Bool(varint(&mut wire)? != 0),
            0x2a | 0x32 if depth >= MAX_DEPTH => {
                return broken(wire, "nested more than 32 levels deep");
            }
            0x2a => object(delimited(&mut wire)?, depth)?,
            0x32 => list(delimited(&mut wire)?, depth)?,
            _ => return broken(wire, "an unknown field of a value"),
        };
    }
    Ok(value)
}

/// `ListValue`: values in field 1.
fn list(mut wire: &[u8], depth: usize) -> Decoded<'_, Value> {
    let mut items = Vec::new();
    while let Some(item) = next_of_field_1(&mut wire)? {
        items.push(value(item, depth)?);
    }
    Ok(Value::List(items))
}

/// The next message in field 1, the only one there may be.
fn next_of_field_1<'w>(wire: &mut &'w [u8]) -> Decoded<'w, Option<&'w [u8]>> {
    if wire.is_empty() {
        return Ok(None);
    }
    match varint(wire)? {
        0x0a => delimited(wire).map(Some),
        _ => broken(wire, "an unknown field"),
    }
}

fn string<'w>(wire: &mut &'w [u8]) -> Decoded<'w, String> {
    let text = delimited(wire)?;
    match std::str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => broken(text, "a string that is not UTF-8"),
    }
}

fn double<'w>(wire: &mut &'w [u8]) -> Decoded<'w, f64> {
    let Some((bytes, rest)) = wire.split_first_chunk() else {
        return broken(wire, "a number cut short");
    };
    *wire = rest;
    Ok(f64::from_le_bytes(*bytes))
}

fn delimited<'w>(wire: &mut &'w [u8]) -> Decoded<'w, &'w [u8]> {
    let length = usize::try_from(varint(wire)?).unwrap_or(usize::MAX);
    let Some((bytes, rest)) = wire.split_at_checked(length) else {
        return broken(wire, "a length that reaches too far");
    };
    *wire = rest;
    Ok(bytes)
}

fn varint<'w>(wire: &mut &'w [u8]) -> Decoded<'w, u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = wire.split_first() else {
            return broken(wire, "an end too early");
        };
        *wire = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Ok(number);
        }
    }
    broken(wire, "a number too long")
}

fn broken<'w, T>(rest: &'w [u8], why: &'static str) -> Decoded<'w, T> {
    Err(Broken { rest, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length-delimited field.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("short");
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn entry(key: &str, value: &[u8]) -> Vec<u8> {
        field(1, &[field(1, key.as_bytes()), field(2, value)].concat())
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let number = [&[0x11][..], &2.5_f64.to_le_bytes()].concat();
        let list = field(6, &[field(1, &number), field(1, &field(3, b"x"))].concat());
        let object = field(5, &entry("in", &[0x20, 1]));
        let bytes = [
            entry("null", &[0x08, 0]),
            entry("list", &list),
            entry("object", &object),
        ]
        .concat();
        assert_eq!(
            decode_struct(&bytes),
            Value::from_json(br#"{"null": null, "list": [2.5, "x"], "object": {"in": true}}"#)
        );
    }

    #[test]
    fn every_cut_is_a_fault_or_a_shorter_struct() {
        let whole = [entry("a", &field(3, b"text")), entry("b", &[0x20, 1])].concat();
        let first = entry("a", &field(3, b"text")).len();
        for cut in 1..whole.len() {
            let decoded = decode_struct(&whole[..cut]);
            assert_eq!(decoded.is_ok(), cut == first, "cut at {cut}: {decoded:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut value = field(6, &[]);
        let mut depth = 1;
        while value.len() < 120 {
            value = field(6, &field(1, &value));
            depth += 1;
        }
        assert!(depth > MAX_DEPTH - 2, "deep enough to tell: {depth}");
        let fault = decode_struct(&entry("a", &value));
        assert_eq!(depth + 1 > MAX_DEPTH, fault.is_err(), "{depth}: {fault:?}");
    }
}
