//! The change that undoes a mistake.

use crate::cli::explain::hypothesis::{Cause, Hypothesis};
use crate::cli::request::Request;

/// Changes, each made when it is asked for.
pub(super) type Changes<'a> = Box<dyn Iterator<Item = Change> + 'a>;

/// A mistake in a request's body, and the body without the mistake.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) cause: Cause,
    pub(super) detail: String,
    pub(super) fix: &'static str,
    pub(super) body: Vec<u8>,
    /// The headers that change with the body: their new values, `None` without the header.
    pub(super) headers: Vec<(&'static str, Option<String>)>,
}

impl Change {
    pub(super) fn new(
        cause: Cause,
        detail: impl Into<String>,
        fix: &'static str,
        body: Vec<u8>,
    ) -> Self {
        Self {
            cause,
            detail: detail.into(),
            fix,
            body,
            headers: Vec::new(),
        }
    }

    /// Sets a header, or removes it.
    pub(super) fn with(mut self, name: &'static str, value: Option<&str>) -> Self {
        self.headers.push((name, value.map(str::to_owned)));
        self
    }

    /// The request without the mistake. A content-length follows the body.
    pub(super) fn into_hypothesis(self, request: &Request) -> Hypothesis {
        let mut changed = Request {
            method: request.method.clone(),
            scheme: request.scheme.clone(),
            authority: request.authority.clone(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            body: self.body,
            trailers: request.trailers.clone(),
        };
        for (name, value) in self.headers {
            changed.headers.retain(|(known, _)| known != name);
            if let Some(value) = value {
                changed.headers.push((name.to_owned(), value.into_bytes()));
            }
        }
        let length = changed.body.len().to_string();
        for (_, value) in changed
            .headers
            .iter_mut()
            .filter(|(name, _)| name == "content-length")
        {
            *value = length.clone().into_bytes();
        }
        Hypothesis {
            cause: self.cause,
            detail: self.detail,
            fix: self.fix.to_owned(),
            request: changed,
        }
    }
}

/// The value of a header, in lower case.
pub(super) fn header(request: &Request, name: &str) -> Option<String> {
    let mut headers = request.headers.iter();
    let (_, value) = headers.find(|(known, _)| known == name)?;
    Some(String::from_utf8_lossy(value).trim().to_ascii_lowercase())
}
