//! Reads a configuration and reports all of its errors at once, each with its path. Reporting only the first one
//! would cost a restart for each.

mod diagnostics;
mod hints;
pub(crate) mod protobuf;
mod reader;
pub mod value;

#[cfg(feature = "cli")]
pub(crate) use diagnostics::ValueId;
pub use diagnostics::{Diagnostic, Diagnostics, SchemaItem};
pub(crate) use hints::did_you_mean;
pub use reader::{Node, Object};
pub(crate) use reader::{is_label, read_filter_state};
use value::{ParseError, Value};

/// Reads JSON text or the bytes of a `google.protobuf.Struct`. Envoy passes a `StringValue` as its text and a `Struct` as
/// protobuf bytes, without its type. The first byte does not distinguish them: a Struct begins with 0x0a, which is also a
/// line break.
///
/// # Errors
/// The error of the encoding whose parser read more bytes.
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
