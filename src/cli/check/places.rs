//! The positions of a configuration's values in their file.

use std::collections::HashMap;
use std::ops::Range;

use crate::cli::yaml::Yaml;
use crate::config::ValueId;
use crate::config::value::Value;

/// The position of a value.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) value: Range<usize>,
    /// The name of the field that has this value.
    pub(super) name: Option<Range<usize>>,
}

/// The positions of the values of a configuration.
#[derive(Debug)]
pub(super) struct Places {
    whole: Place,
    values: HashMap<ValueId, Place>,
}

impl Places {
    /// Positions for the values of a configuration that was read from `yaml`.
    pub(super) fn new(configuration: &Value, yaml: &Yaml) -> Self {
        let mut places = Self::of_whole(yaml.span.clone());
        places.enter(configuration, yaml);
        places
    }

    /// One position for all values.
    pub(super) fn of_whole(span: Range<usize>) -> Self {
        Self {
            whole: Place {
                value: span,
                name: None,
            },
            values: HashMap::new(),
        }
    }

    /// The position of a value.
    pub(super) fn of(&self, value: Option<ValueId>) -> &Place {
        let place = value.and_then(|value| self.values.get(&value));
        place.unwrap_or(&self.whole)
    }

    /// The same positions in the file that contains the text to which they belong.
    pub(super) fn moved(mut self, to_file: impl Fn(Range<usize>) -> Range<usize>) -> Self {
        for place in self.values.values_mut().chain([&mut self.whole]) {
            place.value = to_file(place.value.clone());
            place.name = place.name.clone().map(&to_file);
        }
        self
    }

    fn enter(&mut self, value: &Value, yaml: &Yaml) {
        match value {
            Value::List(items) => {
                for (item, yaml) in items.iter().zip(yaml.items()) {
                    self.add(item, yaml, None);
                }
            }
            Value::Object(fields) => {
                for ((_, value), field) in fields.iter().zip(yaml.fields()) {
                    self.add(value, &field.value, Some(field.span.clone()));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn add(&mut self, value: &Value, yaml: &Yaml, name: Option<Range<usize>>) {
        let place = Place {
            value: yaml.span.clone(),
            name,
        };
        self.values.insert(ValueId::of(value), place);
        self.enter(value, yaml);
    }
}
