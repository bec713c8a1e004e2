//! The errors and warnings of one configuration, and what its readers asked of each value.

use std::cell::RefCell;
use std::fmt::{self, Display};

use super::hints::printable;
use super::value::Value;

/// An error in a configuration, or a warning about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostic {
    /// The path of the value, such as `endpoints[1].allow[0]`. Empty for the configuration as a whole.
    pub path: String,
    /// The problem and its fix. Never contains a secret.
    pub message: String,
    /// The value that the diagnostic is about. `None` for the configuration as a whole.
    #[cfg(feature = "cli")]
    pub(crate) value: Option<ValueId>,
}

/// Identifies a value of a configuration while that exists: two fields with one name are two values.
#[cfg(feature = "cli")]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct ValueId(usize);

#[cfg(feature = "cli")]
impl ValueId {
    pub(crate) fn of(value: &Value) -> Self {
        Self(std::ptr::from_ref(value).addr())
    }
}

impl Diagnostic {
    /// A diagnostic about the configuration as a whole.
    pub fn of_configuration(message: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            message: message.into(),
            #[cfg(feature = "cli")]
            value: None,
        }
    }
}

impl Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.path, self.message)
        }
    }
}

/// The kind of value that a reader expects. The configuration's schema is generated from these items.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SchemaItem {
    /// An object with these fields; the second list names the required ones.
    Object(Vec<&'static str>, Vec<&'static str>),
    /// An object whose field names the user chooses.
    Map,
    /// A list.
    List,
    /// A string.
    Text,
    /// One of these words.
    Choice(Vec<&'static str>),
    /// `true` or `false`.
    Boolean,
    /// An integer from 0 to this one.
    Integer(u32),
}

/// A place in the configuration: an index into [`Diagnostics::places`]. `None` is the configuration as a whole.
pub(super) type Place = Option<usize>;

/// One step into a configuration.
#[derive(Debug)]
pub(super) enum Step {
    Field(String),
    /// A field of an object whose field names the user chooses.
    Named(String),
    Item(usize),
}

/// The errors, warnings and schema items that were reported so far.
#[derive(Debug, Default)]
pub struct Diagnostics {
    errors: RefCell<Vec<Diagnostic>>,
    warnings: RefCell<Vec<Diagnostic>>,
    /// Every visited place with the place that contains it. Paths are formatted only for diagnostics.
    places: RefCell<Vec<(Place, Step)>>,
    /// The values of `places`, in their order.
    #[cfg(feature = "cli")]
    values: RefCell<Vec<ValueId>>,
    schema: RefCell<Vec<(String, SchemaItem)>>,
}

impl Diagnostics {
    /// The errors and the warnings, each in the order of their discovery.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        (self.errors.into_inner(), self.warnings.into_inner())
    }

    /// The schema items with their paths, in which `[]` is any item and `*` any field. Always empty in the module.
    #[must_use]
    pub fn into_schema_items(self) -> Vec<(String, SchemaItem)> {
        self.schema.into_inner()
    }

    /// The number of errors.
    pub(super) fn error_count(&self) -> usize {
        self.errors.borrow().len()
    }

    pub(super) fn error(&self, place: Place, message: &dyn Display) {
        self.push(&self.errors, place, message);
    }

    pub(super) fn warning(&self, place: Place, message: &dyn Display) {
        self.push(&self.warnings, place, message);
    }

    #[inline(never)]
    fn push(&self, list: &RefCell<Vec<Diagnostic>>, place: Place, message: &dyn Display) {
        list.borrow_mut().push(Diagnostic {
            path: self.path(place),
            message: message.to_string(),
            #[cfg(feature = "cli")]
            value: place.and_then(|index| self.values.borrow().get(index).copied()),
        });
    }

    /// Records what a reader expects. Does nothing in the module, which generates no schema.
    pub(super) fn expect(&self, place: Place, item: impl FnOnce() -> SchemaItem) {
        if cfg!(target_arch = "wasm32") {
            return;
        }
        let path = self.schema_path(place);
        self.schema.borrow_mut().push((path, item()));
    }

    #[cfg_attr(not(feature = "cli"), allow(unused_variables))]
    pub(super) fn enter(&self, place: Place, step: Step, value: &Value) -> Place {
        #[cfg(feature = "cli")]
        self.values.borrow_mut().push(ValueId::of(value));
        let mut places = self.places.borrow_mut();
        places.push((place, step));
        places.len().checked_sub(1)
    }

    fn path(&self, place: Place) -> String {
        let places = self.places.borrow();
        let Some((parent, step)) = place.and_then(|index| places.get(index)) else {
            return String::new();
        };
        let mut path = self.path(*parent);
        match step {
            Step::Item(index) => {
                path.push('[');
                path.push_str(&index.to_string());
                path.push(']');
            }
            Step::Field(name) | Step::Named(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(printable(name).unwrap_or("?"));
            }
        }
        path
    }

    fn schema_path(&self, place: Place) -> String {
        let places = self.places.borrow();
        let mut steps = Vec::new();
        let mut next = place;
        while let Some((parent, step)) = next.and_then(|index| places.get(index)) {
            steps.push(match step {
                Step::Item(_) => "[]".to_owned(),
                Step::Field(name) => format!(".{name}"),
                Step::Named(_) => ".*".to_owned(),
            });
            next = *parent;
        }
        steps.reverse();
        let path = steps.concat();
        path.strip_prefix('.').unwrap_or(&path).to_owned()
    }
}
