//! The action on requests that belong to no endpoint.

use std::rc::Rc;

use crate::config::{Node, Object};
use crate::policy::Policy;
use crate::policy::endpoint::Endpoint;
use crate::policy::matcher::{Path, Reach};
use crate::secrets::Environment;

/// The action on requests that belong to no endpoint.
#[derive(Debug)]
pub(crate) enum Unmatched {
    Deny,
    /// A request passes unless its path resembles an endpoint's. Only in development and test.
    Pass,
    /// A request with one of these paths passes, unless its path resembles an endpoint's.
    Listed(Vec<Path>),
}

/// The value with the places of the listed paths, for errors about them.
pub(crate) struct Configured<'a> {
    pub(crate) unmatched: Unmatched,
    nodes: Vec<Node<'a>>,
}

impl Unmatched {
    /// Whether this exact path is listed.
    pub(crate) fn lists(&self, path: &[u8]) -> bool {
        let Self::Listed(listed) = self else {
            return false;
        };
        let mut exact = listed.iter().filter(|listed| !listed.is_prefix());
        exact.any(|listed| listed.matches(path))
    }

    /// Whether a request that belongs to no endpoint may pass.
    pub(crate) fn passes(&self, path: &[u8], policy: &Policy) -> bool {
        let granted = match self {
            Self::Deny => None,
            Self::Pass => Some(0),
            Self::Listed(listed) => {
                let listed = listed.iter().filter(|listed| listed.matches(path));
                listed.map(Path::depth).max()
            }
        };
        let near = |granted| policy.lookup.has_near(path, granted, Reach::Wide, |_| true);
        granted.and_then(near) == Some(false)
    }
}

impl<'a> Configured<'a> {
    /// Reads `unmatched` from the whole configuration.
    pub(crate) fn read(block: &mut Object<'a>, environment: Environment<'_>) -> Option<Self> {
        let Some(node) = block.field("unmatched") else {
            return Some(Unmatched::Deny.into());
        };
        if node.is_object() {
            return Self::read_listed(node);
        }
        if node.is_list() {
            return node.error("the paths belong in a field `pass`: write {pass: [/app/]}");
        }
        match node.choice_or(
            &[("deny", false), ("pass", true)],
            " or paths such as {pass: [/app/]}",
        )? {
            false => Some(Unmatched::Deny.into()),
            true if environment.is_lenient() => Some(Unmatched::Pass.into()),
            true => node.error(format_args!(
                "`pass` without paths is allowed only in development and test, not in {:?}: list paths, such as {{pass: [/app/]}}, or set `environment: development`",
                environment.name
            )),
        }
    }

    fn read_listed(node: Node<'a>) -> Option<Self> {
        let mut block = node.object("{pass: [/app/]}")?;
        let nodes = block.required("pass", "list the paths that may pass", Node::list);
        block.close()?;
        let nodes = nodes?;
        if nodes.is_empty() {
            return node
                .error("the list is empty: add a path such as /app/, or write `unmatched: deny`");
        }
        let read = |node: &Node<'a>| {
            node.parse(|text| match text.contains('*') {
                true => Err(
                    "`*` is not a wildcard: end a prefix with a slash, such as /app/".to_owned(),
                ),
                false => Path::new(text, text.ends_with('/')),
            })
        };
        let listed: Vec<_> = nodes.iter().map(read).collect();
        let listed = listed.into_iter().collect::<Option<_>>()?;
        Some(Self {
            unmatched: Unmatched::Listed(listed),
            nodes,
        })
    }

    /// Reports listed paths that can never pass, and warns about risky ones.
    pub(crate) fn compare(&self, endpoints: &[Rc<Endpoint>]) {
        let Unmatched::Listed(listed) = &self.unmatched else {
            return;
        };
        for (path, node) in listed.iter().zip(&self.nodes) {
            let mut each = endpoints.iter();
            if let Some(endpoint) = each.find(|each| each.matcher.bars(path)) {
                node.error::<()>(format_args!(
                    "an upstream may treat these requests as requests for endpoint {:?}, so none pass: remove the path, or list another",
                    endpoint.name
                ));
                continue;
            }
            if path.depth() == 0 {
                node.warn("every path that does not resemble an endpoint's path passes unverified: list only the application's own paths");
            }
            let mut each = endpoints.iter();
            if let Some(endpoint) = each.find(|each| each.matcher.path.is_near_listed(path)) {
                node.warn(format_args!(
                    "the path resembles that of endpoint {:?} and passes unverified: check that no webhook handler runs there",
                    endpoint.name
                ));
            }
        }
    }
}

impl From<Unmatched> for Configured<'_> {
    fn from(unmatched: Unmatched) -> Self {
        let nodes = Vec::new();
        Self { unmatched, nodes }
    }
}
