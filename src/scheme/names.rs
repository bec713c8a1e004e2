//! The names under which a scheme reads values. Many applications merge the query and the body, so a value in one could
//! replace that in the other.

use super::json_pointer::Pointer;
use super::source::Source;
use super::spec::Spec;

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
    pub(super) fn of(spec: &Spec) -> Self {
        let mut names = Self::default();
        names.form.extend(spec.json_in_form.clone());
        for source in spec.sources() {
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
