//! A request that was captured, or that a command makes.

use super::failure::Failure;
use super::source::SourceFile;

/// The most headers of a captured request.
const MAX_HEADERS: usize = 256;

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
}

impl Request {
    /// Reads a captured request.
    ///
    /// # Errors
    /// The file has none of the known forms.
    pub(super) fn read(file: &SourceFile) -> Result<Self, Failure> {
        let name = &file.name;
        let invalid = |why: &str| {
            Failure::new(format!(
                "{name}: not a request: {why}: capture the request again"
            ))
        };
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let length = match head.parse(&file.bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Err(invalid("the headers have no end")),
            Err(error) => return Err(invalid(&error.to_string())),
        };
        let mut request = Self {
            method: head.method.unwrap_or_default().to_owned(),
            scheme: "https".to_owned(),
            authority: String::new(),
            target: head.path.unwrap_or_default().to_owned(),
            headers: Vec::new(),
            body: file.bytes.get(length..).unwrap_or_default().to_vec(),
        };
        for header in head.headers.iter() {
            let name = header.name.to_ascii_lowercase();
            match name.as_str() {
                "host" => request.authority = String::from_utf8_lossy(header.value).into_owned(),
                _ => request.headers.push((name, header.value.to_vec())),
            }
        }
        Ok(request)
    }

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
