//! Mistakes in the body: the bodies that the sender may have signed instead of the one that arrived.
//!
//! A finder makes the bodies of one kind of mistake, likeliest first. The verification of the module decides: a body that
//! verifies is the one that the sender signed. Only what [`suspicions`] returns has no such proof.

mod change;
mod charset;
mod coding;
mod form;
mod json;
mod rewritten;
mod text;
mod truncated;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::hypothesis::{Case, Hypothesis};
use change::Changes;

/// The most bodies that a search makes.
const MAX_BODIES: usize = 10_000;

/// The most bytes of all bodies that a search makes. Each byte is written and hashed.
const MAX_BYTES: usize = 768 * 1024 * 1024;

/// The longest body to search for, far above what a guard accepts by default.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// Finds the bodies of one kind of mistake.
type Finder = for<'a> fn(Case<'a>) -> Changes<'a>;

/// The finders, those with few bodies first: the search may end before the last one does.
const FINDERS: &[Finder] = &[
    text::changes,
    form::changes,
    charset::changes,
    coding::changes,
    truncated::changes,
    rewritten::changes,
];

/// The bodies that the sender may have signed instead of this one, likeliest first. Each is made when it is asked for.
pub(super) fn hypotheses(case: Case<'_>) -> Search<'_> {
    let finders = FINDERS.iter();
    Search {
        case,
        changes: Box::new(finders.flat_map(move |find| find(case))),
        seen: HashSet::from([digest(&case.request.body, &[])]),
        bodies: MAX_BODIES,
        bytes: MAX_BYTES,
        is_cut: case.request.body.len() > MAX_BODY,
    }
}

/// The mistakes that the request shows although no verification can prove them. The requests are the
/// one that arrived.
pub(super) fn suspicions(case: Case<'_>) -> Vec<Hypothesis> {
    let suspicions = truncated::suspicions(case).into_iter();
    suspicions
        .map(|change| Hypothesis {
            cause: change.cause,
            detail: change.detail,
            fix: change.fix.to_owned(),
            request: case.request.clone(),
        })
        .collect()
}

/// A search for the body that the sender signed.
pub(super) struct Search<'a> {
    case: Case<'a>,
    changes: Changes<'a>,
    /// The hashes of all bodies so far.
    seen: HashSet<u64>,
    /// The number of bodies that the search may still make.
    bodies: usize,
    /// The number of bytes that the search may still make.
    bytes: usize,
    is_cut: bool,
}

impl Search<'_> {
    /// The limits of the search for this body, each in one sentence.
    pub(super) fn limits(&self) -> Vec<&'static str> {
        let body = &self.case.request.body;
        let mut limits = rewritten::limits(body);
        limits.extend(charset::limits(body));
        limits.extend(coding::limits(self.case));
        if self.is_cut {
            limits.push("The body is large, so explain did not try every spelling of it.");
        }
        limits
    }
}

impl Iterator for Search<'_> {
    type Item = Hypothesis;

    fn next(&mut self) -> Option<Hypothesis> {
        loop {
            if self.is_cut {
                return None;
            }
            let change = self.changes.next()?;
            let left = self.bytes.checked_sub(change.body.len());
            let Some((bytes, bodies)) = left.zip(self.bodies.checked_sub(1)) else {
                self.is_cut = true;
                return None;
            };
            (self.bytes, self.bodies) = (bytes, bodies);
            if self.seen.insert(digest(&change.body, &change.headers)) {
                return Some(change.into_hypothesis(self.case.request));
            }
        }
    }
}

fn digest(body: &[u8], headers: &[(&str, Option<String>)]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    headers.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
