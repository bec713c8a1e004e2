//! The `replay` block of an endpoint, and its defaults.

use std::time::Duration;

use super::Replay;
use super::bucket::{EMPTY, ENTRY};
use crate::config::Node;
use crate::scheme::Scheme;
use crate::scheme::spec::DedupBy;
use crate::time;

/// The size of a memory in bytes if `max_memory_bytes` is absent: about 60,000 deliveries before the first bucket is
/// full.
pub(super) const DEFAULT_MEMORY: u32 = 2 * 1024 * 1024;

/// The smallest memory in bytes: ten deliveries in each bucket.
pub(super) const LEAST_MEMORY: u32 = 64 * 1024;

/// The largest memory in bytes: each request copies one bucket of it.
pub(super) const LARGEST_MEMORY: u32 = 64 * 1024 * 1024;

/// The duration of a lease if `lease` is absent. A worker that is busy for less than half of it loses no lease.
const DEFAULT_LEASE: Duration = Duration::from_secs(20);

/// The shortest lease that the guard's timer renews in time.
const LEAST_LEASE: Duration = Duration::from_secs(2);

/// A `replay` block.
pub(crate) enum Setting {
    /// The endpoint remembers no deliveries.
    Off,
    /// The endpoint remembers deliveries in this way.
    On(Replay),
}

impl Setting {
    /// The setting of an endpoint without a `replay` block.
    pub(crate) fn default_of(scheme: &Scheme) -> Self {
        scheme
            .default_window()
            .map_or(Self::Off, |window| Self::On(Replay::new(scheme, window)))
    }

    /// How the endpoint remembers its deliveries, if it does.
    pub(crate) fn into_replay(self) -> Option<Replay> {
        match self {
            Self::Off => None,
            Self::On(replay) => Some(replay),
        }
    }
}

/// Reads a `replay` block.
pub(crate) fn read(node: Node<'_>, scheme: Option<&Scheme>) -> Option<Setting> {
    let mut block = node.object("{window: 24h}")?;
    let window = block.optional("window", |node| Some((node, node.parse(time::parse)?)));
    let lease = block.optional("lease", read_lease);
    let memory = block.optional("max_memory_bytes", read_memory);
    let status = block.optional("status", read_status);
    block.close()?;
    if window.is_some_and(|(_, window)| window.is_zero()) {
        return Some(Setting::Off);
    }
    let scheme = scheme?;
    let replay = Replay::new(scheme, read_window(node, window, scheme)?);
    Some(Setting::On(Replay {
        lease: lease.unwrap_or(replay.lease),
        capacity: memory.map_or(replay.capacity, capacity),
        status: status.unwrap_or(replay.status),
        ..replay
    }))
}

fn read_lease(node: Node<'_>) -> Option<Duration> {
    let lease = node.parse(time::parse)?;
    if lease < LEAST_LEASE {
        return node.error("too short: write at least 2s, such as 20s");
    }
    Some(lease)
}

fn read_memory(node: Node<'_>) -> Option<u32> {
    let memory = node.integer(LARGEST_MEMORY)?;
    if memory < LEAST_MEMORY {
        return node.error(format_args!("too small: write at least {LEAST_MEMORY}"));
    }
    Some(memory)
}

/// Reads a status whose response can have a body.
fn read_status(node: Node<'_>) -> Option<u16> {
    match node.integer(999)? {
        status @ (200..=203 | 400..=499) => u16::try_from(status).ok(),
        _ => node.error("not a status for duplicates: write 200 to 203, or 400 to 499"),
    }
}

/// The time for which deliveries are remembered: the configured one, or the default of the scheme.
fn read_window(
    node: Node<'_>,
    window: Option<(Node<'_>, Duration)>,
    scheme: &Scheme,
) -> Option<Duration> {
    if scheme.spec.dedup_by == DedupBy::None {
        return node.error("two genuine deliveries of this scheme can be equal: remove `replay`, add an `id`, or set `identity: message` if bodies are unique");
    }
    let Some((node, window)) = window else {
        return scheme.default_window().or_else(|| {
            node.error(
                "`window` is missing: set how long duplicates are rejected, such as `window: 24h`",
            )
        });
    };
    let least = scheme.min_replay_window().unwrap_or_default();
    if window < least {
        return node.error(format_args!(
            "a duplicate could arrive after the window and within the tolerance: write at least {}s, or 0s to disable",
            least.as_secs().saturating_add(u64::from(least.subsec_nanos() > 0))
        ));
    }
    Some(window)
}

impl Replay {
    /// The defaults of a scheme, with this window.
    fn new(scheme: &Scheme, window: Duration) -> Self {
        Self {
            window,
            lease: DEFAULT_LEASE,
            capacity: capacity(DEFAULT_MEMORY),
            // A sender that repeats a delivery until it succeeds must see a duplicate succeed, too.
            status: if scheme.has_genuine_copies() {
                200
            } else {
                409
            },
        }
    }
}

/// The number of entries that fit in a bucket of a memory of this size in bytes.
pub(super) fn capacity(memory: u32) -> usize {
    usize::try_from(memory / 256)
        .unwrap_or(usize::MAX)
        .saturating_sub(EMPTY.len())
        / ENTRY
}
