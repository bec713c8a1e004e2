//! A request while the sender writes it.

use super::body;
use crate::cli::Result;
use crate::cli::failure::Failure;
use crate::cli::request::Request;
use crate::request::headers::Headers;
use crate::scheme::body::{BodyNeeds, MediaType, ParsedBody};
use crate::scheme::json_pointer::Pointer;
use crate::scheme::source::{HeaderName, Source};

/// A request that is not complete yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) request: Request,
}

impl Draft {
    /// The value that the user gave one of these headers.
    pub(super) fn header(&self, names: &[HeaderName]) -> Option<Vec<u8>> {
        let pairs = self.request.pairs();
        let headers = Headers::new(&pairs);
        let mut values = crate::scheme::source::values(names, &headers);
        values.next().map(|(_, value)| value.to_vec())
    }

    /// Adds the first of these headers.
    pub(super) fn add_header(&mut self, names: &[HeaderName], value: &[u8]) {
        if let Some(HeaderName { text, is_family }) = names.first() {
            let number = if *is_family { "1" } else { "" };
            let header = (format!("{text}{number}"), value.to_vec());
            self.request.headers.push(header);
        }
    }

    /// Replaces all values of these headers.
    pub(super) fn replace_header(&mut self, names: &[HeaderName], value: &[u8]) {
        let headers = &mut self.request.headers;
        headers.retain(|(name, _)| !crate::scheme::source::has(names, name.as_bytes()));
        self.add_header(names, value);
    }

    /// Sets a parameter of the query.
    pub(super) fn set_query(&mut self, name: &str, value: &[u8]) {
        let target = &self.request.target;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = body::set_parameter(query.as_bytes(), name, value);
        // The rest was text, and the parameter is percent-encoded.
        self.request.target = format!("{path}?{}", String::from_utf8_lossy(&query));
    }

    /// Sets a value in the body, which the sender does not sign as a whole.
    ///
    /// # Errors
    /// The body has no place for the value.
    pub(super) fn set_in_body(
        &mut self,
        source: &Source,
        in_form: Option<&str>,
        value: &str,
    ) -> Result<()> {
        let body = &self.request.body;
        self.request.body = match (source, in_form) {
            (Source::Form(name), _) => self.with_field(name, value.as_bytes())?,
            (Source::Json(Pointer(steps)), Some(field)) => {
                let json = self.field(field).unwrap_or_default();
                self.with_field(field, &body::set_json(&json, steps, value)?)?
            }
            (Source::Json(Pointer(steps)), None) => body::set_json(body, steps, value)?,
            _ => return Ok(()),
        };
        Ok(())
    }

    fn media_type(&self) -> MediaType {
        let pairs = self.request.pairs();
        MediaType::of(&Headers::new(&pairs))
    }

    /// The value of a field of the form.
    fn field(&self, name: &str) -> Option<Vec<u8>> {
        let needs = BodyNeeds {
            form: true,
            ..BodyNeeds::default()
        };
        let content = ParsedBody::read(&self.request.body, &self.media_type(), &needs)?;
        let value = content.field(name).ok().flatten()?;
        Some(value.into_owned())
    }

    /// The body with this field in its form.
    fn with_field(&self, name: &str, value: &[u8]) -> Result<Vec<u8>> {
        let body = &self.request.body;
        let with_field = match self.media_type() {
            MediaType::Form => Some(body::set_parameter(body, name, value)),
            MediaType::Multipart(delimiter) => body::set_part(body, &delimiter, name, value),
            MediaType::Unclear | MediaType::Other => None,
        };
        with_field.ok_or_else(|| {
            Failure::new(
                "the sender puts the signature into the form of the body: write an urlencoded or multipart body, and its --content-type",
            )
        })
    }
}
