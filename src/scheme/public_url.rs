//! The URL under which a sender knows an endpoint, where a proxy before Envoy changes it.

use std::borrow::Cow;

use crate::request::path;

/// The URL that the sender calls: `public_url`. The default is the URL as received.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct PublicUrl {
    /// Scheme, host and port.
    pub(crate) origin: Option<String>,
    /// The path in place of the first `replaced` bytes of a request's path.
    path: String,
    replaced: usize,
}

impl PublicUrl {
    /// Reads a `public_url`. Its path is optional, and takes the place of a path of `replaced` bytes.
    ///
    /// # Errors
    /// The text is not an HTTP URL, or its path is not in its normal form.
    pub(crate) fn parse(
        text: &str,
        is_host: fn(&str) -> bool,
        replaced: usize,
    ) -> Result<Self, String> {
        let rest = text.strip_prefix("https://");
        let rest = rest.or_else(|| text.strip_prefix("http://"));
        let rest = rest.unwrap_or_default();
        let length = rest.bytes().take_while(|byte| *byte != b'/').count();
        let (host, path) = rest.split_at_checked(length).unwrap_or_default();
        let is_normal = path.bytes().all(|byte| byte.is_ascii_graphic())
            && (path.is_empty() || !path::is_ambiguous(path.as_bytes()));
        let fault = if rest.bytes().any(|byte| matches!(byte, b'?' | b'#')) {
            "the guard takes the query from each request: remove the text from the `?` or `#` on"
        } else if !is_host(host) {
            "not a URL: write the scheme and host that the sender uses, such as https://hooks.example.com"
        } else if !is_normal {
            "senders do not call such a path: write it without dot segments, spaces, or double, encoded or back slashes"
        } else {
            return Ok(Self {
                origin: text.strip_suffix(path).map(str::to_owned),
                path: path.to_owned(),
                replaced: if path.is_empty() { 0 } else { replaced },
            });
        };
        Err(fault.to_owned())
    }

    /// The path, which may be empty.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// A request's path and query as the sender wrote them.
    pub(crate) fn target<'r>(&self, received: &'r [u8]) -> Cow<'r, [u8]> {
        if self.path.is_empty() {
            return Cow::Borrowed(received);
        }
        let rest = received.get(self.replaced..).unwrap_or_default();
        Cow::Owned([self.path.as_bytes(), rest].concat())
    }
}
