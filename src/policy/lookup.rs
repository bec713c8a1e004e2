//! Finds the endpoints that a path concerns. The cost hardly depends on the number of endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::rc::Rc;

use crate::policy::endpoint::Endpoint;
use crate::policy::matcher::Approach;

/// The indexes of endpoints by their paths.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// By the configured text.
    texts: Starts,
    /// By the start of a segment that every path near the endpoint's path has.
    names: Starts,
    /// The endpoints whose paths have no such segment.
    nameless: Vec<usize>,
}

impl Lookup {
    pub(super) fn new(endpoints: &[Rc<Endpoint>]) -> Self {
        let (mut texts, mut names) = (BTreeMap::new(), BTreeMap::new());
        let mut nameless = Vec::new();
        let mut add = |name: Option<&str>, index| match name {
            Some(name) => entry(&mut names, name).push(index),
            None => nameless.push(index),
        };
        for (index, endpoint) in endpoints.iter().enumerate() {
            let path = &endpoint.matcher.path;
            entry(&mut texts, path.text()).push(index);
            for name in path.near_names() {
                add(name, index);
            }
        }
        Self {
            texts: Starts::new(texts),
            names: Starts::new(names),
            nameless,
        }
    }

    /// The endpoints whose path, or prefix, `path` starts with.
    pub(super) fn starts_of(&self, path: &[u8]) -> impl Iterator<Item = usize> {
        self.texts.of(path)
    }

    /// All endpoints that `approach` may be near, and some others.
    pub(super) fn near(&self, approach: &Approach) -> impl Iterator<Item = usize> {
        let named = self.names.of_any(approach.names());
        self.nameless.iter().copied().chain(named)
    }
}

fn entry<'m>(map: &'m mut BTreeMap<Box<[u8]>, Vec<usize>>, text: &str) -> &'m mut Vec<usize> {
    map.entry(text.as_bytes().into()).or_default()
}

/// Texts in their order, to find those that another text starts with.
#[derive(Debug)]
struct Starts(Vec<Start>);

#[derive(Debug)]
struct Start {
    text: Box<[u8]>,
    /// The place of the longest other text that this one starts with.
    shorter: Option<usize>,
    /// The endpoints with this text.
    endpoints: Vec<usize>,
}

impl Starts {
    fn new(texts: BTreeMap<Box<[u8]>, Vec<usize>>) -> Self {
        let mut starts = Self(Vec::with_capacity(texts.len()));
        for (text, endpoints) in texts {
            starts.0.push(Start {
                shorter: starts.longest(&text),
                text,
                endpoints,
            });
        }
        starts
    }

    /// The endpoints of all texts that `text` starts with.
    fn of(&self, text: &[u8]) -> impl Iterator<Item = usize> {
        self.places(text).flat_map(|place| self.endpoints(place))
    }

    /// The endpoints of all texts that one of `names` starts with. A path can repeat a name that many endpoints have, so
    /// each text counts once.
    fn of_any<'n>(&self, names: impl Iterator<Item = &'n str>) -> impl Iterator<Item = usize> {
        let mut found = BTreeSet::new();
        for name in names {
            for place in self.places(name.as_bytes()) {
                if !found.insert(place) {
                    break;
                }
            }
        }
        found.into_iter().flat_map(|place| self.endpoints(place))
    }

    /// The places of all texts that `text` starts with, the longest first.
    fn places(&self, text: &[u8]) -> impl Iterator<Item = usize> {
        let shorter = |place: &usize| self.0.get(*place)?.shorter;
        iter::successors(self.longest(text), shorter)
    }

    fn endpoints(&self, place: usize) -> impl Iterator<Item = usize> {
        let start = self.0.get(place).into_iter();
        start.flat_map(|start| start.endpoints.iter().copied())
    }

    /// The place of the longest text that `text` starts with. A text between these two in the order also starts with it.
    fn longest(&self, text: &[u8]) -> Option<usize> {
        let mut place = self.0.partition_point(|start| *start.text <= *text);
        place = place.checked_sub(1)?;
        loop {
            let start = self.0.get(place)?;
            if text.starts_with(&start.text) {
                return Some(place);
            }
            place = start.shorter?;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn starts(texts: &[String]) -> Starts {
        let mut map = BTreeMap::new();
        for (index, text) in texts.iter().enumerate() {
            entry(&mut map, text).push(index);
        }
        Starts::new(map)
    }

    proptest! {
        #[test]
        fn a_text_starts_with_each_text_that_is_found_and_with_no_other(
            texts in prop::collection::vec("[ab/]{1,6}", 0..30),
            text in "[ab/]{0,8}",
        ) {
            let mut found: Vec<_> = starts(&texts).of(text.as_bytes()).collect();
            found.sort_unstable();
            let wanted = texts.iter().enumerate().filter(|(_, start)| text.starts_with(*start));
            prop_assert_eq!(found, wanted.map(|(index, _)| index).collect::<Vec<_>>());
        }

        #[test]
        fn names_find_each_text_once(
            texts in prop::collection::vec("[ab/]{1,3}", 0..30),
            names in prop::collection::vec("[ab/]{0,4}", 0..30),
        ) {
            let mut found: Vec<_> = starts(&texts).of_any(names.iter().map(String::as_str)).collect();
            found.sort_unstable();
            let starts_one = |text: &String| names.iter().any(|name| name.starts_with(text));
            let wanted = texts.iter().enumerate().filter(|(_, text)| starts_one(text));
            prop_assert_eq!(found, wanted.map(|(index, _)| index).collect::<Vec<_>>());
        }
    }
}
