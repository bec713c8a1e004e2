//! A request that was captured, or that a command makes.

/// A request as Envoy passes it to the guard.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) scheme: String,
    pub(super) authority: String,
    /// The path and the query.
    pub(super) target: String,
    /// The names are in lower case.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    /// The names of the trailers.
    pub(super) trailers: Vec<String>,
}

impl Request {
    /// All headers, with the pseudo-headers.
    pub(super) fn pairs(&self) -> Vec<(&[u8], &[u8])> {
        let pseudo = [
            (":method", &self.method),
            (":scheme", &self.scheme),
            (":authority", &self.authority),
            (":path", &self.target),
        ];
        let pseudo = pseudo
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let headers = self.headers.iter();
        pseudo
            .chain(headers.map(|(name, value)| (name.as_bytes(), value.as_slice())))
            .collect()
    }
}
