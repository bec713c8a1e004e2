//! Headers for the application, and filter state for the access log, that report a verdict.

use crate::config::Node;

/// The names in a configuration.
const UPSTREAM_HEADERS: &[(&str, UpstreamHeader)] = &[
    ("endpoint", UpstreamHeader::Endpoint),
    ("secret_version", UpstreamHeader::SecretVersion),
    ("delivery", UpstreamHeader::Delivery),
    ("message", UpstreamHeader::Message),
];

/// The names in a configuration.
const FILTER_STATES: &[(&str, FilterState)] = &[
    ("verdict", FilterState::Verdict),
    ("endpoint", FilterState::Endpoint),
    ("reason", FilterState::Reason),
    ("secret_version", FilterState::SecretVersion),
    ("delivery_id", FilterState::DeliveryId),
    ("delivery", FilterState::Delivery),
];

/// A header of accepted requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UpstreamHeader {
    /// The endpoint's name.
    Endpoint,
    /// The version of the secret that verified the request.
    SecretVersion,
    /// The hash that all copies of a delivery share, where the guard remembers deliveries.
    Delivery,
    /// The digest that all copies of a signed message share, where the guard remembers no deliveries.
    Message,
}

/// A value in filter state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FilterState {
    /// The verdict, which the gate requires of each request.
    Verdict,
    /// The endpoint's name.
    Endpoint,
    /// The reason for the verdict.
    Reason,
    /// The version of the secret that verified the request.
    SecretVersion,
    /// The id of a delivery, as its sender wrote it.
    DeliveryId,
    /// The hash that all copies of a delivery share.
    Delivery,
}

/// The headers and filter states that report a verdict. Each one costs calls to Envoy for each request.
#[derive(Clone, Debug)]
pub struct Outputs {
    headers: Vec<UpstreamHeader>,
    states: Vec<FilterState>,
}

impl Outputs {
    /// The outputs of a configuration. An absent list has all values.
    pub(super) fn new(
        headers: Option<Vec<UpstreamHeader>>,
        states: Option<Vec<FilterState>>,
    ) -> Self {
        Self {
            headers: headers.unwrap_or_else(|| all(UPSTREAM_HEADERS)),
            states: states.unwrap_or_else(|| all(FILTER_STATES)),
        }
    }

    /// The names that `upstream_headers` can have.
    #[cfg(feature = "cli")]
    pub(crate) fn header_names() -> Vec<&'static str> {
        names(UPSTREAM_HEADERS)
    }

    /// The names that `filter_states` can have.
    #[cfg(feature = "cli")]
    pub(crate) fn state_names() -> Vec<&'static str> {
        names(FILTER_STATES)
    }

    /// Reads `upstream_headers`.
    pub(super) fn read_headers(node: Node<'_>) -> Option<Vec<UpstreamHeader>> {
        node.each(|node| node.choice(UPSTREAM_HEADERS))
    }

    /// Reads `filter_states`.
    pub(super) fn read_states(node: Node<'_>) -> Option<Vec<FilterState>> {
        node.each(|node| node.choice(FILTER_STATES))
    }

    /// Whether accepted requests get this header.
    #[must_use]
    pub fn has_header(&self, header: UpstreamHeader) -> bool {
        self.headers.contains(&header)
    }

    /// Whether this value is in filter state.
    #[must_use]
    pub fn has_state(&self, state: FilterState) -> bool {
        self.states.contains(&state)
    }
}

#[cfg(feature = "cli")]
fn names<T>(choices: &[(&'static str, T)]) -> Vec<&'static str> {
    choices.iter().map(|(name, _)| *name).collect()
}

fn all<T: Copy>(choices: &[(&str, T)]) -> Vec<T> {
    choices.iter().map(|(_, value)| *value).collect()
}
