//! Which verdicts have a line in the log.

use crate::config::Node;

/// Which verdicts have a line in the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogSettings {
    /// Accepted requests and answered handshakes have lines at level `debug` instead of `info`. Filter state then marks each
    /// request without a line, for the access log.
    pub accepted_at_debug: bool,
}

impl LogSettings {
    /// Reads `log`.
    pub(super) fn read(node: Node<'_>) -> Option<Self> {
        let mut block = node.object("{accepted: debug}")?;
        let read = block.required("accepted", "write {accepted: debug}", |node| {
            let accepted_at_debug = node.choice(&[("info", false), ("debug", true)])?;
            Some(Self { accepted_at_debug })
        });
        block.close()?;
        read
    }
}
