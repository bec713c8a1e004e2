//! The configuration in use: its number since the host started, and how many threads have read it.

use crate::crypto;
use crate::version;

/// A configuration among all that this host has had. The host stores it for all workers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Generation {
    /// The hash that distinguishes the text, and the module that read it, from others.
    fingerprint: u64,
    /// The number of the configuration, from 1.
    pub number: u64,
    /// How often the configuration was read: once by each thread, and again by a worker whose module restarted.
    pub loads: u64,
}

impl Generation {
    /// The generation after a thread has read `configuration`. `before` is the stored one, empty at first.
    #[must_use]
    pub fn after(before: &[u8], configuration: &[u8]) -> Self {
        let module = version::TEXT.as_bytes();
        let hash = crypto::sha256(&[module, configuration].concat());
        let fingerprint = hash.first_chunk().copied().map_or(0, u64::from_le_bytes);
        let before = Self::read(before);
        match before {
            Some(same) if same.fingerprint == fingerprint => Self {
                loads: same.loads.saturating_add(1),
                ..same
            },
            other => Self {
                fingerprint,
                number: other.map_or(0, |other| other.number).saturating_add(1),
                loads: 1,
            },
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (fields, []) = bytes.as_chunks() else {
            return None;
        };
        let [fingerprint, number, loads] = *fields else {
            return None;
        };
        Some(Self {
            fingerprint: u64::from_le_bytes(fingerprint),
            number: u64::from_le_bytes(number),
            loads: u64::from_le_bytes(loads),
        })
    }

    /// The bytes that the host stores.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let fields = [self.fingerprint, self.number, self.loads];
        fields.map(u64::to_le_bytes).concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(generation: Generation) -> (u64, u64) {
        (generation.number, generation.loads)
    }

    #[test]
    fn each_other_configuration_is_a_generation_which_every_thread_reads() {
        let mut kept = Vec::new();
        let mut seen = Vec::new();
        for configuration in ["a", "a", "a", "b", "b", "a"] {
            let generation = Generation::after(&kept, configuration.as_bytes());
            kept = generation.to_bytes();
            seen.push(figures(generation));
        }
        assert_eq!(seen, [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1)]);
    }

    #[test]
    fn what_cannot_be_read_counts_as_nothing() {
        for before in [&b""[..], b"x", &[0; 23], &[0; 25]] {
            assert_eq!(figures(Generation::after(before, b"a")), (1, 1));
        }
    }
}
