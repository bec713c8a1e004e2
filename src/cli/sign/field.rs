//! Writes the value with the signature, and puts it at its place.

use super::draft::Draft;
use super::signer::{Sender, SignedValues};
use crate::cli::Result;
use crate::scheme::signature_field::{Format, Placeholder, SignatureField};
use crate::scheme::source::Source;
use crate::scheme::template::Piece;

/// Adds a signature to a request.
///
/// # Errors
/// The body has no place for the signature.
pub(super) fn add(
    sender: &Sender<'_>,
    draft: &mut Draft,
    signature: &str,
    signed: &SignedValues,
) -> Result<()> {
    let spec = &sender.endpoint.scheme.spec;
    let field = &spec.signature_field;
    let timestamp = signed.timestamp.as_deref().unwrap_or_default();
    let timestamp = String::from_utf8_lossy(timestamp);
    let value = value(field, &|placeholder| match placeholder {
        Placeholder::Signature | Placeholder::Token => signature,
        Placeholder::Timestamp => &timestamp,
        Placeholder::KeyId => sender.key_id,
        Placeholder::Ignored => "0",
    });
    match &field.source {
        Source::Headers(names) => {
            draft.replace_header(names, value.as_bytes());
            Ok(())
        }
        Source::Query(name) => {
            draft.set_query(name, value.as_bytes());
            Ok(())
        }
        source => draft.set_in_body(source, spec.json_in_form.as_deref(), &value),
    }
}

/// The value in the scheme's formats. Of formats that show the same, the first one is written.
fn value<'t>(field: &SignatureField, text: &dyn Fn(Placeholder) -> &'t str) -> String {
    let mut items = Vec::new();
    let mut shown = Vec::new();
    for format in &field.formats {
        let placeholders = format.iter().filter_map(Piece::placeholder);
        let mut new: Vec<_> = placeholders
            .filter(|each| **each != Placeholder::Ignored && !shown.contains(*each))
            .copied()
            .collect();
        let adds = match field.separator {
            // The whole value is one item.
            None => items.is_empty() && signs(format),
            Some(_) => field.positional || !new.is_empty(),
        };
        if adds {
            items.push(item(format, text));
            shown.append(&mut new);
        }
    }
    items.join(field.separator.as_deref().unwrap_or_default())
}

fn signs(format: &Format) -> bool {
    let mut placeholders = format.iter().filter_map(Piece::placeholder);
    placeholders.any(|each| matches!(each, Placeholder::Signature | Placeholder::Token))
}

fn item<'t>(format: &Format, text: &dyn Fn(Placeholder) -> &'t str) -> String {
    let mut item = String::new();
    for piece in format {
        item.push_str(match piece {
            Piece::Literal(literal) => literal,
            Piece::Placeholder(placeholder) => text(*placeholder),
        });
    }
    item
}
