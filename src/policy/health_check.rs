//! The health check: the path on which the guard itself answers load balancers.

use std::rc::Rc;

use super::endpoint::Endpoint;
use super::matcher::Path;
use super::unmatched::Unmatched;
use crate::config::Node;

/// The path on which the guard answers load balancers. None of its requests goes upstream.
#[derive(Debug)]
pub(crate) struct HealthCheck {
    path: String,
}

/// The value with the place of its path, for errors about it.
pub(crate) struct Configured<'a> {
    pub(crate) health_check: HealthCheck,
    node: Node<'a>,
}

impl HealthCheck {
    /// Whether a request target is the path of the health check, byte for byte. With a query, another target is meant:
    /// Envoy's own filter for health checks compares the whole target too.
    pub(crate) fn is_at(&self, target: &[u8]) -> bool {
        target == self.path.as_bytes()
    }

    /// Whether a request to the path is a health check.
    pub(crate) fn accepts(method: &[u8], upgrades: bool) -> bool {
        matches!(method, b"GET" | b"HEAD") && !upgrades
    }
}

impl<'a> Configured<'a> {
    /// Reads `health_check`.
    pub(crate) fn read(node: Node<'a>) -> Option<Self> {
        let mut block = node.object("{path: /healthz}")?;
        let read = block.required("path", "write {path: /healthz}", |node| {
            let path = node.parse(|text| Path::new(text, false).map(|_| text.to_owned()))?;
            let health_check = HealthCheck { path };
            Some(Self { health_check, node })
        });
        block.close()?;
        read
    }

    /// Reports endpoints and listed paths whose requests the health check would take.
    pub(crate) fn compare(&self, endpoints: &[Rc<Endpoint>], unmatched: &Unmatched) {
        let path = self.health_check.path.as_bytes();
        let mut each = endpoints.iter();
        if let Some(endpoint) = each.find(|each| each.matcher.path.matches(path)) {
            self.node.error::<()>(format_args!(
                "endpoint {:?} matches this path too: write a path that no endpoint matches",
                endpoint.name
            ));
        }
        if unmatched.lists(path) {
            self.node.error::<()>(
                "`unmatched` lists this path too, but none of its requests pass: remove it there, or write another path",
            );
        }
    }
}
