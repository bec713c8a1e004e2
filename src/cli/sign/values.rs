//! The values that a sender chooses: the time, the id, the nonce, and required headers.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use super::body::pointer;
use super::draft::Draft;
use super::signer::{Sender, SignedValues, hex_digits};
use super::time_text;
use crate::cli::Result;
use crate::cli::failure::Failure;
use crate::cli::request::Request;
use crate::crypto::sha256;
use crate::request::headers::Headers;
use crate::scheme::body::{BodyNeeds, MediaType, ParsedBody};
use crate::scheme::component::Component;
use crate::scheme::json_pointer::Pointer;
use crate::scheme::source::{HeaderName, Source};
use crate::scheme::spec::Spec;

/// Adds these values to a request, and returns those of its head. A header that the user gave keeps its value.
pub(super) fn add(sender: &Sender<'_>, draft: &mut Draft) -> Result<SignedValues> {
    let (scheme, spec) = (&sender.endpoint.scheme, &sender.endpoint.scheme.spec);
    for (name, value) in &spec.require {
        let _ = given_or(draft, std::slice::from_ref(name), value.as_bytes());
    }
    let mut signed = SignedValues::default();
    if let Some(rule) = &spec.timestamp {
        let text = time_text::written(sender.now, rule.unit);
        signed.timestamp = place(sender, draft, rule.source.as_ref(), &text, true)?;
    }
    if let Some(source) = &spec.id {
        let text = sender.id.map_or_else(new_id, str::to_owned);
        signed.id = place(sender, draft, Some(source), &text, sender.id.is_some())?;
    }
    if let Some(source) = &spec.key_id {
        place(sender, draft, Some(source), sender.key_id, true)?;
    }
    for component in spec.message.components() {
        // A sender sends what it signs. Envoy itself adds `x-request-id` where it is absent.
        if let Component::Value {
            source: Source::Headers(names),
            ..
        } = component
        {
            given_or(draft, names, random_text().as_bytes());
        }
    }
    if let Some(name) = &spec.signed_headers {
        let names = HeaderName::parse(name).map_err(Failure::new)?;
        let list = scheme.signed_headers.join(",");
        given_or(draft, &[names], list.as_bytes());
    }
    if let Some(hash) = &spec.body_hash
        && let Source::Query(name) = &hash.source
        && !(hash.optional && draft.request.body.is_empty())
        && !(spec.message.covers_forms() && is_form(&draft.request))
    {
        let digest = sha256(&draft.request.body);
        let text = hash
            .encoding
            .encode(&digest)
            .unwrap_or_else(|| hex_digits(&digest));
        draft.set_query(name, text.as_bytes());
    }
    Ok(signed)
}

/// The user's value of a header, or this one, which is added.
fn given_or(draft: &mut Draft, names: &[HeaderName], value: &[u8]) -> Vec<u8> {
    draft.header(names).unwrap_or_else(|| {
        draft.add_header(names, value);
        value.to_vec()
    })
}

/// Puts a value at its place. Returns the value as the sender signs it, if the head contains it.
fn place(
    sender: &Sender<'_>,
    draft: &mut Draft,
    source: Option<&Source>,
    value: &str,
    replaces: bool,
) -> Result<Option<Vec<u8>>> {
    let spec = &sender.endpoint.scheme.spec;
    let bytes = value.as_bytes();
    Ok(Some(match source {
        None | Some(Source::Claim(_)) => bytes.to_vec(),
        Some(Source::Headers(names)) => given_or(draft, names, bytes),
        Some(Source::Query(name)) => {
            draft.set_query(name, bytes);
            bytes.to_vec()
        }
        Some(source @ (Source::Form(_) | Source::Json(_))) => {
            let is_there = present(source, &draft.request, &sender.endpoint.scheme.body_needs);
            if spec.body_unsigned && (replaces || !is_there) {
                draft.set_in_body(source, spec.json_in_form.as_deref(), value)?;
            } else if !(is_there || (spec.id_optional && spec.body_id() == Some(source))) {
                return Err(Failure::new(format!(
                    "the sender signs {}, which the body lacks: add it, such as {value}",
                    shown(source)
                )));
            }
            return Ok(None);
        }
    }))
}

/// The first value that the message needs and the request lacks.
pub(super) fn missing(spec: &Spec, request: &Request, needs: &BodyNeeds) -> Option<String> {
    let required = spec
        .message
        .components()
        .filter_map(|component| match component {
            Component::Value {
                source,
                optional: false,
                ..
            } => Some(source),
            _ => None,
        });
    let mut sources = required.filter(|source| !present(source, request, needs));
    sources.next().map(shown)
}

/// Whether a request has a value.
fn present(source: &Source, request: &Request, needs: &BodyNeeds) -> bool {
    let pairs = request.pairs();
    let headers = Headers::new(&pairs);
    if !source.is_in_body() {
        return !matches!(source.in_head(&headers, None), Ok(None));
    }
    let content = ParsedBody::read(&request.body, &MediaType::of(&headers), needs);
    content.is_some_and(|content| !matches!(source.in_body(&content), Ok(None)))
}

/// A value's place, for a message.
fn shown(source: &Source) -> String {
    match source {
        Source::Headers(_) => format!("the header {}", source.header().unwrap_or_default()),
        Source::Query(name) => format!("the parameter `{name}` of the query"),
        Source::Form(name) => format!("the field `{name}` of the form"),
        Source::Json(Pointer(steps)) => format!("the value at {} of the JSON", pointer(steps)),
        Source::Claim(name) => format!("the claim `{name}`"),
    }
}

/// Whether the body is a form, perhaps without fields.
fn is_form(request: &Request) -> bool {
    let pairs = request.pairs();
    request.body.is_empty() || MediaType::of(&Headers::new(&pairs)) == MediaType::Form
}

fn new_id() -> String {
    format!("msg_{}", random_text())
}

/// A text that no other request has. Nothing secret depends on it.
fn random_text() -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", number(), number())
}
