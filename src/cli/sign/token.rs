//! Writes a signed token (JWT, RFC 7519) by HS256.

use serde_json::{Map, Value, json};

use super::signer::{Sender, SignedValues, hex_digits};
use crate::cli::Result;
use crate::cli::failure::Failure;
use crate::cli::request::Request;
use crate::crypto::encoding::Encoding;
use crate::crypto::sha256;
use crate::request::headers::Headers;
use crate::scheme::chunk::Chunk;
use crate::scheme::source::Source;
use crate::time::UnixMillis;

/// The seconds for which a token is valid.
const LIFETIME: i64 = 300;

/// The token of a request, with its signature.
///
/// # Errors
/// A claim needs a value that the request lacks.
pub(super) fn write(
    sender: &Sender<'_>,
    request: &Request,
    signed: &SignedValues,
) -> Result<String> {
    let claims = claims(sender, request, signed)?;
    let head = part(&json!({"alg": "HS256", "typ": "JWT"}))?;
    let message = format!("{head}.{}", part(&Value::Object(claims))?);
    let code = sender.code(&[Chunk::Bytes(message.clone().into_bytes())], b"")?;
    Ok(format!("{message}.{}", sender.encoded(&code)?))
}

fn part(value: &Value) -> Result<String> {
    let text = Encoding::Base64Url.encode(value.to_string().as_bytes());
    let text = text.ok_or_else(|| Failure::new("the token cannot be encoded"))?;
    Ok(text.trim_end_matches('=').to_owned())
}

fn claims(
    sender: &Sender<'_>,
    request: &Request,
    signed: &SignedValues,
) -> Result<Map<String, Value>> {
    let spec = &sender.endpoint.scheme.spec;
    let pairs = request.pairs();
    let headers = Headers::new(&pairs);
    let facts = sender.facts(&headers, signed);
    let lacks = |denial| sender.lacks(request, denial);
    let mut claims = Map::new();
    let UnixMillis(millis) = sender.now;
    let now = millis.div_euclid(1_000);
    claims.insert("nbf".to_owned(), now.into());
    claims.insert("exp".to_owned(), now.saturating_add(LIFETIME).into());
    for (name, template) in &spec.claims {
        let written = template.write(&facts).map_err(lacks)?;
        let text: Vec<u8> = written
            .iter()
            .flat_map(|chunk| match chunk {
                Chunk::Bytes(bytes) => bytes.as_slice(),
                _ => &[],
            })
            .copied()
            .collect();
        claims.insert(name.clone(), String::from_utf8_lossy(&text).into());
    }
    let mut insert = |source: Option<&Source>, value: Option<String>| {
        if let (Some(Source::Claim(name)), Some(value)) = (source, value) {
            claims.insert(name.clone(), value.into());
        }
    };
    let text = |bytes: &Option<Vec<u8>>| {
        let bytes = bytes.as_ref()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    insert(spec.id.as_ref(), text(&signed.id));
    if let Some(hash) = &spec.body_hash
        && !(hash.optional && request.body.is_empty())
    {
        insert(
            Some(&hash.source),
            hash.encoding.encode(&sha256(&request.body)),
        );
    }
    if spec.url_hash.is_some() {
        let url = facts.url().map_err(lacks)?;
        insert(spec.url_hash.as_ref(), Some(hex_digits(&sha256(&url))));
    }
    if let (Some(Source::Claim(name)), Some(time)) =
        (spec.timestamp_source(), text(&signed.timestamp))
    {
        let number = time.parse::<i64>().map(Value::from);
        claims.insert(name.clone(), number.unwrap_or_else(|_| time.into()));
    }
    Ok(claims)
}
