//! The fields of a form.

use crate::scheme::parameters;

/// A form's fields.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The names of its files: to some readers such a part is a field, to others it is none.
    pub(super) files: Vec<Vec<u8>>,
}

impl Form {
    /// The fields of an `application/x-www-form-urlencoded` body. What is not read cannot have been signed; and
    /// a `;`, which senders escape, separates fields to some readers.
    pub(super) fn urlencoded(body: &[u8]) -> Option<Self> {
        if parameters::has_too_many(body) || body.contains(&b';') {
            return None;
        }
        let fields = parameters::parameters(body).into_iter();
        Some(Self {
            fields: fields
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
            files: Vec::new(),
        })
    }
}
