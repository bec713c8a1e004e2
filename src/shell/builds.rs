//! The metric that shows which version of the module an Envoy runs.
//!
//! The labels are part of a gauge's name, and Envoy keeps a gauge until it ends. So another version of the module is
//! another gauge, and the new module sets the old one's to 0. For that, the host stores the build of each root.

use super::gauges::ATTEMPTS;
use super::host::{self, Failure};
use super::instruments::Gauge;
use crate::request::headers::{join_pairs, split_pairs};
use crate::version;

/// Where the host stores the name of each root's gauge, by the root's id.
const KEY: &str = "webhook_guard/builds";

/// The gauge of this module's build.
pub(super) struct BuildInfo {
    root_id: String,
    gauge: Gauge,
}

/// The names of the gauges of all roots, by the id of the root.
struct Builds<'a>(Vec<(&'a str, &'a str)>);

impl BuildInfo {
    /// Reports this build for a root, and that the root no longer has another one.
    pub(super) fn report(root_id: &str) -> Result<Self, Failure> {
        let own = name();
        let gauge = Gauge::define(&own)?;
        for _ in 0..ATTEMPTS {
            let (before, stored) = host::shared_data(KEY)?.unwrap_or_default();
            let mut builds = Builds::read(&before);
            let replaced = builds.replace(root_id, &own);
            if replaced != Some(own.as_str()) {
                let after = join_pairs(&builds.0).ok_or(Failure)?;
                if !host::swap_shared_data(KEY, &after, stored)? {
                    continue;
                }
            }
            gauge.set(1)?;
            if let Some(other) = replaced.filter(|other| !builds.has(other)) {
                Gauge::define(other)?.set(0)?;
            }
            let root_id = root_id.to_owned();
            return Ok(Self { root_id, gauge });
        }
        Err(Failure)
    }

    /// Sets the gauge again. A module that another one has replaced runs until its last request ends.
    pub(super) fn restate(&self) {
        let Ok(stored) = host::shared_data(KEY) else {
            return;
        };
        let (bytes, _) = stored.unwrap_or_default();
        let (builds, own) = (Builds::read(&bytes), name());
        if builds.of(&self.root_id) == Some(&own) {
            self.gauge.restate(1);
        } else if !builds.has(&own) {
            let _ = self.gauge.set(0);
        }
    }
}

impl<'a> Builds<'a> {
    /// Reads what the host stores. Bytes that no module wrote count as nothing.
    fn read(bytes: &'a [u8]) -> Self {
        let pairs = split_pairs(bytes).unwrap_or_default().into_iter();
        let text = |(root, build)| Some((str::from_utf8(root).ok()?, str::from_utf8(build).ok()?));
        Self(pairs.filter_map(text).collect())
    }

    /// The build of a root.
    fn of(&self, root_id: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(root, _)| *root == root_id);
        found.map(|(_, build)| *build)
    }

    /// Whether a root has this build.
    fn has(&self, build: &str) -> bool {
        self.0.iter().any(|(_, other)| *other == build)
    }

    /// Sets the build of a root, and returns the one before.
    fn replace(&mut self, root_id: &'a str, build: &'a str) -> Option<&'a str> {
        let replaced = self.of(root_id);
        self.0.retain(|(root, _)| *root != root_id);
        self.0.push((root_id, build));
        replaced
    }
}

/// The name of the gauge with its labels. The version is the last one, because it contains dots.
fn name() -> String {
    let labels = [".commit=", version::COMMIT, ".version=", version::PACKAGE];
    ["webhook_guard_build_info", &labels.concat()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The builds after each of these changes, as the host stores them, and whether a root then has the build before.
    fn after(changes: &[(&str, &str)]) -> Vec<Option<(String, bool)>> {
        let mut stored = Vec::new();
        let mut seen = Vec::new();
        for (root, build) in changes {
            let before = stored.clone();
            let mut builds = Builds::read(&before);
            let replaced = builds.replace(root, build);
            seen.push(replaced.map(|replaced| (replaced.to_owned(), builds.has(replaced))));
            stored = join_pairs(&builds.0).unwrap();
        }
        seen
    }

    #[test]
    fn a_build_is_in_use_until_the_last_root_has_another() {
        let one = Some(("1".to_owned(), true));
        let last = Some(("1".to_owned(), false));
        let changes = [("a", "1"), ("b", "1"), ("a", "2"), ("b", "2"), ("b", "1")];
        let two = Some(("2".to_owned(), true));
        assert_eq!(after(&changes), [None, None, one, last, two]);
    }

    #[test]
    fn ids_and_builds_may_have_any_bytes() {
        let id = "a\0b=\n\u{e9}";
        assert_eq!(
            after(&[(id, "1"), (id, "2")])[1],
            Some(("1".to_owned(), false))
        );
    }

    #[test]
    fn what_cannot_be_read_counts_as_nothing() {
        let one = join_pairs(&[("a", "1")]).unwrap();
        for bytes in [&b""[..], b"x", &[255; 40], &one[..one.len() - 1]] {
            assert_eq!(Builds::read(bytes).of("a"), None);
        }
        assert_eq!(Builds::read(&one).of("a"), Some("1"));
    }
}
