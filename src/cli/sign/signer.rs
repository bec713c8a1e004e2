//! Signs a request as the sender would.
//!
//! The core writes the signed bytes of the request, as in a verification. The sender's part is here: the values that a
//! sender chooses, the code of the signed bytes, and the place of the signature.

use super::draft::Draft;
use super::{field, token, values};
use crate::cli::Result;
use crate::cli::failure::Failure;
use crate::cli::request::Request;
use crate::crypto::{AlgorithmIndex, Key, sha256};
use crate::policy::endpoint::Endpoint;
use crate::request::headers::Headers;
use crate::scheme::body::{MediaType, ParsedBody};
use crate::scheme::chunk::Chunk;
use crate::scheme::facts::{BodyFacts, HeadFacts};
use crate::scheme::signature_field::Placeholder;
use crate::time::UnixMillis;
use crate::verdict::Denial;

/// A sender, with the values that it chooses.
#[derive(Debug)]
pub(super) struct Sender<'s> {
    pub(super) endpoint: &'s Endpoint,
    pub(super) key: &'s Key,
    /// The secret's own bytes, for the algorithm `token`.
    pub(super) token: Option<Vec<u8>>,
    /// The name of the key.
    pub(super) key_id: &'s str,
    pub(super) now: UnixMillis,
    /// The delivery's id. A new one is made where the scheme needs one.
    pub(super) id: Option<&'s str>,
    /// The message to sign, of those in the scheme.
    pub(super) form: usize,
    /// The algorithm to sign by, of those in the scheme.
    pub(super) algorithm: AlgorithmIndex,
}

/// The values of a request's head that the sender signs.
#[derive(Debug, Default)]
pub(super) struct SignedValues {
    pub(super) timestamp: Option<Vec<u8>>,
    pub(super) id: Option<Vec<u8>>,
}

impl Sender<'_> {
    /// Signs a request. The headers that the sender adds follow those of `request`.
    ///
    /// # Errors
    /// The request lacks a value that the sender signs.
    pub(super) fn sign(&self, request: Request) -> Result<Request> {
        let spec = &self.endpoint.scheme.spec;
        let mut draft = Draft { request };
        let signed = values::add(self, &mut draft)?;
        let signature = match spec.signature_field.has(Placeholder::Token) {
            true => token::write(self, &draft.request, &signed)?,
            false => self.signature(&draft.request, &signed)?,
        };
        field::add(self, &mut draft, &signature, &signed)?;
        // Otherwise a value could become another header.
        let mut headers = draft.request.headers.iter();
        let is_unsafe = |value: &[u8]| value.iter().any(u8::is_ascii_control);
        match headers.find(|(_, value)| is_unsafe(value)) {
            None => Ok(draft.request),
            Some((name, _)) => Err(Failure::new(format!(
                "the header {name} would contain a control character: check the secret, its key_id, and --id"
            ))),
        }
    }

    /// The text of a code in the scheme's encoding.
    pub(super) fn encoded(&self, code: &[u8]) -> Result<String> {
        let spec = &self.endpoint.scheme.spec;
        let unpadded = |text: String| text.trim_end_matches('=').to_owned();
        match spec.signature.encoding {
            crate::crypto::encoding::Encoding::Text => String::from_utf8(code.to_vec()).ok(),
            crate::crypto::encoding::Encoding::Base64Url => {
                spec.signature.encoding.encode(code).map(unpadded)
            }
            encoding => encoding.encode(code),
        }
        .ok_or_else(|| Failure::new("the secret is not text, as this scheme requires: check it"))
    }

    /// The code of a message in pieces.
    pub(super) fn code(&self, message: &[Chunk], body: &[u8]) -> Result<Vec<u8>> {
        let mut verifier = self.key.begin_by(self.algorithm);
        for chunk in message {
            match chunk {
                Chunk::Bytes(bytes) => verifier.update(bytes),
                Chunk::Shared(bytes) => verifier.update(bytes),
                Chunk::Body => verifier.update(body),
                Chunk::BodySha256 { hex: false } => verifier.update(&sha256(body)),
                Chunk::BodySha256 { hex: true } => {
                    verifier.update(hex_digits(&sha256(body)).as_bytes());
                }
                Chunk::Secret => verifier.update(self.key.secret()),
                // The whole body is known here, so no such place is left.
                Chunk::FromBody(_) => {}
            }
        }
        let code = verifier.code().map(|code| code.as_bytes().to_vec());
        code.ok_or_else(|| {
            Failure::new("the signed bytes contain a NUL byte, which the guard rejects for the algorithm sha256: remove it")
        })
    }

    /// The signature of a request.
    fn signature(&self, request: &Request, signed: &SignedValues) -> Result<String> {
        if let Some(token) = &self.token {
            return self.encoded(token);
        }
        let (scheme, spec) = (&self.endpoint.scheme, &self.endpoint.scheme.spec);
        let pairs = request.pairs();
        let headers = Headers::new(&pairs);
        let lacks = |denial| self.lacks(request, denial);
        let messages = spec
            .write_messages(&self.facts(&headers, signed))
            .map_err(lacks)?;
        let content = ParsedBody::read(&request.body, &MediaType::of(&headers), &scheme.body_needs)
            .ok_or_else(|| {
                Failure::new(
                    "the body has not the form that the sender uses: check it, and --content-type",
                )
            })?;
        let in_body = |source: &crate::scheme::source::Source| {
            let found = source.in_body(&content).ok().flatten();
            found.map(|value| value.into_owned())
        };
        let id = spec.body_id().and_then(in_body);
        let timestamp = spec
            .body_timestamp()
            .and_then(|(_, source)| in_body(source));
        let facts = BodyFacts {
            timestamp: timestamp.as_deref(),
            id: id.as_deref(),
        };
        let messages = spec
            .write_from_body(&messages, &content, facts)
            .map_err(lacks)?;
        let message = messages.get(self.form).ok_or_else(|| {
            Failure::new(match messages.len() {
                1 => "--form: the sender signs this request in one form: remove the option".to_owned(),
                count => format!("--form: the sender signs this request in {count} forms: write a number up to that"),
            })
        })?;
        self.encoded(&self.code(message, &request.body)?)
    }

    /// The values from which the core writes the head's part of a message.
    pub(super) fn facts<'f>(
        &'f self,
        headers: &'f Headers<'f>,
        signed: &'f SignedValues,
    ) -> HeadFacts<'f> {
        HeadFacts {
            headers,
            public_url: &self.endpoint.public_url,
            form: 0,
            timestamp: signed.timestamp.as_deref(),
            id: signed.id.as_deref(),
            signed_headers: &self.endpoint.scheme.signed_headers,
        }
    }

    /// Why the core cannot write the signed bytes.
    pub(super) fn lacks(&self, request: &Request, denial: Denial) -> Failure {
        let spec = &self.endpoint.scheme.spec;
        let missing = values::missing(spec, request, &self.endpoint.scheme.body_needs);
        match missing {
            Some(value) => Failure::new(format!(
                "the sender signs {value}, which the request lacks: add it"
            )),
            None => Failure::new(format!(
                "the guard would reject the signed values ({}): check the body, the path and the headers",
                crate::verdict::Reason::from(denial).name()
            )),
        }
    }
}

/// Bytes in hexadecimal digits.
pub(super) fn hex_digits(bytes: &[u8]) -> String {
    let mut digits = String::new();
    for byte in bytes {
        digits.push_str(&format!("{byte:02x}"));
    }
    digits
}
