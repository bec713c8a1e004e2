//! The names under which a scheme reads its values. What one reader finds in the query, another may find in the body:
//! many applications read both as one.

use super::component::Component;
use super::json_pointer::Pointer;
use super::{Scheme, Source};

/// The names of a scheme's values.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ValueNames {
    /// The parameters of the query that the scheme reads.
    pub(crate) query: Vec<String>,
    /// The fields of the form that the scheme reads.
    pub(crate) form: Vec<String>,
    /// The places in the JSON that the scheme reads.
    pub(crate) json: Vec<Pointer>,
}

impl ValueNames {
    pub(super) fn of(scheme: &Scheme) -> Self {
        let timestamp = scheme.timestamp.as_ref();
        let rest = [
            Some(&scheme.signature_field.source),
            scheme.id.as_ref(),
            scheme.key_id.as_ref(),
            scheme.body_hash.as_ref().map(|hash| &hash.source),
            timestamp.and_then(|timestamp| timestamp.source.as_ref()),
        ];
        let signed = scheme
            .message
            .components()
            .filter_map(|component| match component {
                Component::Value { source, .. } => Some(source),
                _ => None,
            });
        let mut names = Self::default();
        names.form.extend(scheme.body_needs.json_in_form.clone());
        for source in rest.into_iter().flatten().chain(signed) {
            match source {
                Source::Query(name) => names.query.push(name.clone()),
                Source::Form(name) => names.form.push(name.clone()),
                Source::Json(pointer) => names.json.push(pointer.clone()),
                Source::Headers(_) | Source::Claim(_) => {}
            }
        }
        names
    }
}
