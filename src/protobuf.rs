//! The bytes of a `google.protobuf.Struct`, decoded by the wire format's rules
//! (<https://protobuf.dev/programming-guides/encoding/>): three messages and nothing else.

use crate::value::{MAX_DEPTH, ParseError, Value};

/// Decodes a Struct.
///
/// # Errors
/// Says where the bytes stop being one.
pub(crate) fn decode_struct(bytes: &[u8]) -> Result<Value, ParseError> {
    let mut wire = Wire { bytes, at: 0 };
    wire.object(bytes.len(), 0).map_err(|message| ParseError {
        offset: wire.at,
        message: format!(
            "not a google.protobuf.Struct: {message} at byte {}",
            wire.at
        ),
    })
}

type Decoded<T> = Result<T, &'static str>;

struct Wire<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Wire<'_> {
    /// `Struct`: map entries in field 1.
    fn object(&mut self, end: usize, depth: usize) -> Decoded<Value> {
        let mut fields = Vec::new();
        while self.at < end {
            let entry = self.message(1, end)?;
            fields.push(self.entry(entry, depth)?);
        }
        Ok(Value::Object(fields))
    }

    /// A map's entry: the key in field 1, the value in field 2, an absent one empty.
    fn entry(&mut self, end: usize, depth: usize) -> Decoded<(String, Value)> {
        let mut key = String::new();
        let mut value = Value::Null;
        while self.at < end {
            match self.varint(end)? {
                0x0a => key = self.string(end)?,
                0x12 => {
                    let end = self.length(end)?;
                    value = self.value(end, depth)?;
                }
                _ => return Err("an unknown field in a map's entry"),
            }
        }
        Ok((key, value))
    }

    /// `Value`: one of fields 1 to 6, the last one counts.
    fn value(&mut self, end: usize, depth: usize) -> Decoded<Value> {
        let mut value = Value::Null;
        while self.at < end {
            value = match self.varint(end)? {
                0x08 => self.varint(end).map(|_| Value::Null)?,
                0x11 => Value::Number(self.double(end)?),
                0x1a => Value::String(self.string(end)?),
                0x20 => Value::Bool(self.varint(end)? != 0),
                field @ (0x2a | 0x32) => {
                    let end = self.length(end)?;
                    let depth = depth.saturating_add(1);
                    match field {
                        _ if depth >= MAX_DEPTH => return Err("nested more than 32 levels deep"),
                        0x2a => self.object(end, depth)?,
                        _ => self.list(end, depth)?,
                    }
                }
                _ => return Err("an unknown field in a value"),
            };
        }
        Ok(value)
    }

    /// `ListValue`: values in field 1.
    fn list(&mut self, end: usize, depth: usize) -> Decoded<Value> {
        let mut items = Vec::new();
        while self.at < end {
            let item = self.message(1, end)?;
            items.push(self.value(item, depth)?);
        }
        Ok(Value::List(items))
    }

    /// The end of the message in field `number`, which must be what comes next.
    fn message(&mut self, number: u64, end: usize) -> Decoded<usize> {
        if self.varint(end)? != number << 3 | 2 {
            return Err("an unknown field");
        }
        self.length(end)
    }

    fn string(&mut self, end: usize) -> Decoded<String> {
        let end = self.length(end)?;
        let bytes = self.take(end)?.to_vec();
        String::from_utf8(bytes).map_err(|_| "a string that is not UTF-8")
    }

    fn double(&mut self, end: usize) -> Decoded<f64> {
        let after = self.at.saturating_add(8);
        if after > end {
            return Err("a number cut short");
        }
        let bytes = self.take(after)?.try_into();
        bytes
            .map(f64::from_le_bytes)
            .map_err(|_| "a number cut short")
    }

    /// A length and, from it, the end of what it measures.
    fn length(&mut self, end: usize) -> Decoded<usize> {
        let length = usize::try_from(self.varint(end)?).map_err(|_| "a length too large")?;
        let after = self.at.saturating_add(length);
        if after > end {
            return Err("a length that reaches too far");
        }
        Ok(after)
    }

    fn varint(&mut self, end: usize) -> Decoded<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self
                .bytes
                .get(..end)
                .and_then(|bytes| bytes.get(self.at))
                .ok_or("an end too early")?;
            self.at = self.at.saturating_add(1);
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number too long")
    }

    fn take(&mut self, end: usize) -> Decoded<&[u8]> {
        let bytes = self.bytes.get(self.at..end).ok_or("an end too early")?;
        self.at = end;
        Ok(bytes)
    }
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
