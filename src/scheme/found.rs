//! Values as found in a request, and the one rule for reading them.

use std::borrow::Cow;

use crate::request::headers::Ambiguous;
use crate::verdict::Denial;

/// The longest value that is read from a request's head or kept from its body, in bytes. Several headers that hold
/// signatures count as one value.
pub(crate) const MAX_VALUE: usize = 8 * 1024;

/// A value as found: absent, present or ambiguous.
pub(crate) type Found<'r> = Result<Option<Cow<'r, [u8]>>, Ambiguous>;

/// A value that a request may omit.
///
/// # Errors
/// `SignatureDuplicated`: the value is ambiguous. `SignatureMalformed`: the value has more than [`MAX_VALUE`] bytes.
pub(crate) fn optional(found: Found<'_>) -> Result<Option<Cow<'_, [u8]>>, Denial> {
    match found {
        Ok(Some(value)) if value.len() > MAX_VALUE => Err(Denial::SignatureMalformed),
        Ok(value) => Ok(value),
        Err(Ambiguous) => Err(Denial::SignatureDuplicated),
    }
}

/// A value that every request must have.
///
/// # Errors
/// Those of [`optional`]. `SignatureMissing`: the value is absent.
pub(crate) fn required(found: Found<'_>) -> Result<Cow<'_, [u8]>, Denial> {
    optional(found)?.ok_or(Denial::SignatureMissing)
}
