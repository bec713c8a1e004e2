//! Reads a configuration and reports all of its errors at once, each with its path. Reporting only the first one
//! would cost a restart for each.

mod diagnostics;
mod hints;
pub(crate) mod protobuf;
mod reader;
pub mod value;

pub use diagnostics::{Diagnostic, Diagnostics, SchemaItem};
pub(crate) use hints::did_you_mean;
pub use reader::{Node, Object};
pub(crate) use reader::{is_label, read_filter_state};
use value::{ParseError, Value};

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
