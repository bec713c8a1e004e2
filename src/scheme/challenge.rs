//! Handshakes, by which a sender checks that an endpoint exists and belongs to its customer. The guard answers them
//! itself and forwards none.

use std::borrow::Cow;

use super::body::ParsedBody;
use super::found::Found;
use super::oracle;
use super::source::{self, Source};
use super::template::{self, Piece};
use crate::config::Node;
use crate::request::headers::{self, Headers};
use crate::verdict::Answer;

/// The longest text in an answer, and the longest body that may be a handshake, in bytes.
const MAX_TEXT: usize = 1024;
pub(crate) const MAX_BODY: u64 = 16 * 1024;

/// A handshake: how the guard detects it and answers it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Challenge {
    /// The request's method.
    pub(crate) method: String,
    /// The guard answers only a request with a valid signature.
    pub(crate) signed: bool,
    /// The value that distinguishes a handshake from a delivery. Without a text, any value does.
    when: Option<(Source, Option<String>)>,
    /// Where the token is that the endpoint's owner chose.
    pub(crate) verify_token: Option<Source>,
    /// Where the text is that the answer must contain.
    text: Option<Source>,
    /// The answer's body.
    reply: Vec<Piece<Placeholder>>,
    /// The answer is JSON, or plain text.
    is_json: bool,
}

/// A placeholder in the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Placeholder {
    /// The sender's text.
    Challenge,
    /// The MAC of that text.
    Mac,
}

/// The part of a request to inspect. For a handshake in the body, the guard inspected the head before.
pub(crate) enum Seen<'r> {
    Head(&'r Headers<'r>),
    Body(&'r ParsedBody),
}

impl Seen<'_> {
    fn find(&self, source: &Source) -> Found<'_> {
        match self {
            Self::Head(headers) => source.in_head(headers, None),
            Self::Body(content) => source.in_body(content),
        }
    }
}

impl Challenge {
    /// Reads a `challenge` block.
    pub(crate) fn read(node: Node<'_>) -> Option<Self> {
        let mut block = node.object("{method: GET, ..}")?;
        let method = block.optional("method", headers::read_method);
        let signed = block.optional("signed", Node::boolean);
        let when = block.optional("when", |node| {
            let mut block = node.object("{json: /POINTER, is: TEXT}")?;
            let source = Source::read(&mut block);
            let value = block.optional("is", |node| node.text().map(str::to_owned));
            if source.is_none() && !block.has_errors() {
                return node.error("no source is set: add `header`, `query` or `json`");
            }
            block.close()?;
            Some((source?, value))
        });
        let verify_token = block.optional("verify_token", source::read_source);
        let text = block.optional("text", source::read_source);
        let reply = block.optional("reply", |node| node.parse(Placeholder::template));
        let is_json = block.optional("json", Node::boolean);
        block.close()?;
        let challenge = Self {
            method: method.unwrap_or_else(|| "POST".to_owned()),
            signed: signed.unwrap_or(false),
            when,
            verify_token,
            text,
            reply: reply.unwrap_or_else(|| vec![Piece::Placeholder(Placeholder::Challenge)]),
            is_json: is_json.unwrap_or(false),
        };
        challenge.check(node)?;
        Some(challenge)
    }

    /// Rejects a block that no handshake can satisfy.
    fn check(&self, node: Node<'_>) -> Option<()> {
        let has_text = self.text.is_some();
        let is_detectable = has_text || self.when.is_some() || self.method == "HEAD";
        if !is_detectable {
            return node.error("every delivery would match this handshake: add `when` or `text` to distinguish them");
        }
        if self.reply.iter().any(|piece| piece.placeholder().is_some()) != has_text && has_text {
            return node.error("the answer does not contain {challenge}: add it to `reply`");
        }
        let from_head = [self.text.as_ref(), self.verify_token.as_ref()];
        let is_mixed = from_head
            .into_iter()
            .flatten()
            .any(|source| !source.is_in_body());
        if self.is_in_body() && is_mixed {
            return node.error("use `when` and `text` both for the body, or both for the head");
        }
        if self.is_signing_oracle() && self.is_in_body() && !self.signed {
            return node.error("any client could get a MAC of its own text: add `signed: true`");
        }
        Some(())
    }

    /// Whether the guard needs the body to answer.
    pub(crate) fn is_in_body(&self) -> bool {
        let when = self.when.as_ref().map(|(source, _)| source);
        self.signed
            || [when, self.text.as_ref()]
                .into_iter()
                .flatten()
                .any(Source::is_in_body)
    }

    /// Whether the answer contains a MAC of the sender's text.
    pub(crate) fn is_signing_oracle(&self) -> bool {
        self.reply.contains(&Piece::Placeholder(Placeholder::Mac))
    }

    /// Whether the head shows that a request is not this handshake.
    pub(crate) fn is_excluded_by(&self, method: &[u8], headers: &Headers<'_>) -> bool {
        let is_absent = match &self.when {
            Some((source, value)) if !source.is_in_body() => {
                !is(&source.in_head(headers, None), value.as_deref())
            }
            _ => false,
        };
        method != self.method.as_bytes() || is_absent
    }

    /// The answer to a request, if this is a handshake. `is_token` checks the token of the endpoint's owner, and `mac`
    /// makes a MAC of a text.
    pub(crate) fn answer(
        &self,
        seen: &Seen<'_>,
        is_token: &dyn Fn(&[u8]) -> bool,
        mac: &dyn Fn(&[u8]) -> Option<String>,
    ) -> Option<Answer> {
        let find = |source| seen.find(source).ok().flatten().map(Cow::into_owned);
        if let Some((source, value)) = &self.when
            && (source.is_in_body() || matches!(seen, Seen::Head(_)))
            && !is(&seen.find(source), value.as_deref())
        {
            return None;
        }
        if let Some(source) = &self.verify_token
            && !is_token(&find(source)?)
        {
            return None;
        }
        let text = match &self.text {
            Some(source) => find(source)?,
            None => Vec::new(),
        };
        if self.text.is_some() && !self.takes(&text) {
            return None;
        }
        let text = String::from_utf8(text).ok()?;
        let mut body = String::new();
        for piece in &self.reply {
            match piece {
                Piece::Literal(literal) => body.push_str(literal),
                Piece::Placeholder(Placeholder::Mac) => body.push_str(&mac(text.as_bytes())?),
                Piece::Placeholder(Placeholder::Challenge) if self.is_json => {
                    let quoted = serde_json::to_string(&text).ok()?;
                    body.push_str(quoted.strip_prefix('"')?.strip_suffix('"')?);
                }
                Piece::Placeholder(Placeholder::Challenge) => body.push_str(&text),
            }
        }
        let content_type = if self.is_json {
            "application/json"
        } else {
            "text/plain"
        };
        Some(Answer { content_type, body })
    }

    /// Whether the answer may contain this text.
    fn takes(&self, text: &[u8]) -> bool {
        match self.is_signing_oracle() {
            true => oracle::is_challenge_text(text),
            false => (1..=MAX_TEXT).contains(&text.len()),
        }
    }
}

/// Whether a value is present and, if one is given, equal to `wanted`.
fn is(found: &Found<'_>, wanted: Option<&str>) -> bool {
    match (found, wanted) {
        (Ok(Some(value)), Some(wanted)) => **value == *wanted.as_bytes(),
        (Ok(Some(_)), None) => true,
        _ => false,
    }
}

impl Placeholder {
    fn template(text: &str) -> Result<Vec<Piece<Self>>, String> {
        template::parse(text, &["challenge", "mac"], &|name| match name {
            "challenge" => Some(Ok(Self::Challenge)),
            "mac" => Some(Ok(Self::Mac)),
            _ => None,
        })
    }
}
