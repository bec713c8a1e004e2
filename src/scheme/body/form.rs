//! The fields of a form.

use crate::scheme::parameters;

/// A form's fields.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The names of its files, and of other parts that some application does not read as a field.
    pub(super) others: Vec<Vec<u8>>,
}

impl Form {
    /// The fields of an `application/x-www-form-urlencoded` body. `None` if applications could read more fields: beyond
    /// the limit, or after a `;`, which senders escape.
    pub(super) fn urlencoded(body: &[u8]) -> Option<Self> {
        if parameters::has_too_many(body) || body.contains(&b';') {
            return None;
        }
        let fields = parameters::parameters(body).into_iter();
        Some(Self {
            fields: fields
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
            others: Vec::new(),
        })
    }
}
