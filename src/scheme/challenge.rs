//! Handshakes, by which a sender checks that an endpoint exists and belongs to its customer. The guard answers them
//! itself and forwards none.

use super::body::{BodyNeeds, MediaType, ParsedBody};
use super::found::Found;
use super::oracle;
use super::source::Source;
use super::template::{self, Piece};
use crate::config::{Node, Object};
use crate::request::headers::{self, Headers};
use crate::verdict::Answer;

/// The longest text in an answer, and the longest body that may be a handshake, in bytes.
const MAX_TEXT: usize = 1024;
pub(crate) const MAX_BODY: u64 = 16 * 1024;

/// The most handshakes of one sender, conditions of one handshake, and headers of one answer.
const MAX_HANDSHAKES: usize = 4;
const MAX_CONDITIONS: usize = 4;
const MAX_HEADERS: usize = 4;

/// The longest value of a header in an answer, without the sender's text.
const MAX_HEADER: usize = 256;

/// Headers that an answer must not set. The guard or Envoy sets them, or they frame the answer. Others redirect a browser
/// or give it permissions.
const FIXED_HEADERS: &[&str] = &[
    "cache-control",
    "clear-site-data",
    "connection",
    "content-encoding",
    "content-length",
    "content-security-policy",
    "content-type",
    "date",
    "host",
    "keep-alive",
    "link",
    "location",
    "proxy-connection",
    "refresh",
    "server",
    "set-cookie",
    "set-cookie2",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-content-type-options",
];

/// The beginnings of such headers.
const FIXED_PREFIXES: &[&str] = &["access-control-", "grpc-", "x-envoy-", "x-webhook-guard-"];

/// A handshake: how the guard detects it and answers it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Challenge {
    /// The request's method.
    method: String,
    /// Whether the sender signs it.
    pub(crate) signed: Signed,
    /// The values that together distinguish a handshake from a delivery. Without a text, any value does.
    when: Vec<Condition>,
    /// Where the token is that the endpoint's owner chose.
    pub(crate) verify_token: Option<Source>,
    /// Where the text is that the answer must contain.
    text: Option<Source>,
    /// The answer's status.
    status: u16,
    /// The answer's body.
    reply: Template,
    /// The answer's own headers. The names are in lower case.
    headers: Vec<(String, Template)>,
    /// The answer is JSON, or plain text.
    is_json: bool,
}

/// Whether a sender signs a handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signed {
    /// Never: a signed request is a delivery, if its method is a delivery's.
    Never,
    /// Perhaps: a signature that is present must be valid.
    Optional,
    /// Always: the guard answers only a request with a valid signature.
    Always,
}

type Template = Vec<Piece<Placeholder>>;

/// A value that must be present and, if there is a text, equal to it.
type Condition = (Source, Option<String>);

/// A placeholder in the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Placeholder {
    /// The sender's text.
    Challenge,
    /// The MAC of that text.
    Mac,
}

/// A handshake that a request may be, by its head.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// The index among the sender's handshakes.
    pub(crate) index: usize,
    pub(crate) signed: Signed,
    /// The text, if it is in the head. Otherwise empty.
    pub(crate) text: String,
}

impl Pending {
    /// Whether the request may still be this handshake, once it is known whether it is signed.
    pub(crate) const fn takes(&self, is_signed: bool) -> bool {
        match self.signed {
            Signed::Never => !is_signed,
            Signed::Optional => true,
            Signed::Always => is_signed,
        }
    }
}

/// Reads the handshakes of a sender: one `challenge` block, or a list of them.
pub(crate) fn read_list(node: Node<'_>) -> Option<Vec<Challenge>> {
    if !node.is_list() {
        return Some(vec![Challenge::read(node)?]);
    }
    let challenges = node.each(Challenge::read)?;
    match challenges.len() {
        0 => node.error("the list is empty: add a handshake, or remove `challenge`"),
        1..=MAX_HANDSHAKES => Some(challenges),
        _ => node.error(format_args!(
            "a sender has at most {MAX_HANDSHAKES} handshakes: remove some"
        )),
    }
}

impl Challenge {
    /// Reads a `challenge` block.
    fn read(node: Node<'_>) -> Option<Self> {
        let mut block = node.object("{method: GET, ..}")?;
        let method = block.optional("method", headers::read_method);
        let signed = block.optional("signed", Signed::read);
        let when = block.optional("when", read_conditions);
        let read_place = |node: Node<'_>| read_source(node.object("{query: NAME}")?);
        let verify_token = block.optional("verify_token", read_place);
        let text = block.optional("text", read_place);
        let status = block.optional("status", read_status);
        let reply = block.optional("reply", read_template);
        let headers = block.optional("headers", read_headers);
        let is_json = block.optional("json", Node::boolean);
        block.close()?;
        let headers = headers.unwrap_or_default();
        let is_text_in_body =
            text.is_some() && !headers.iter().any(|(_, value)| is_variable(value));
        let challenge = Self {
            method: method.unwrap_or_else(|| "POST".to_owned()),
            signed: signed.unwrap_or(Signed::Never),
            when: when.unwrap_or_default(),
            verify_token,
            text,
            status: status.unwrap_or(200),
            reply: reply.unwrap_or_else(|| match is_text_in_body {
                true => vec![Piece::Placeholder(Placeholder::Challenge)],
                false => Vec::new(),
            }),
            headers,
            is_json: is_json.unwrap_or(false),
        };
        challenge.check(node)?;
        Some(challenge)
    }

    /// Rejects a block that no handshake can satisfy.
    fn check(&self, node: Node<'_>) -> Option<()> {
        let has_text = self.text.is_some();
        let is_detectable = has_text || !self.when.is_empty() || self.method == "HEAD";
        if !is_detectable {
            return node.error("every delivery would match this handshake: add `when` or `text` to distinguish them");
        }
        match (has_text, self.templates().any(is_variable)) {
            (true, false) => {
                return node.error(
                    "the answer does not contain {challenge}: add it to `reply` or `headers`",
                );
            }
            (false, true) => {
                return node.error("the answer contains a text without a source: add `text`");
            }
            _ => {}
        }
        if self.reads(|source| matches!(source, Source::Form(_)))
            && self.reads(|source| matches!(source, Source::Json(_)))
        {
            return node.error("a body is a form or JSON: use either `form` or `json`");
        }
        if self.status == 204 && !self.reply.is_empty() {
            return node.error("a status of 204 has no body: remove `reply`, or use 200");
        }
        let is_in_body = self.reads(Source::is_in_body);
        if self.is_signing_oracle() && is_in_body && self.signed != Signed::Always {
            return node.error("any client could get a MAC of its own text: add `signed: true`");
        }
        Some(())
    }

    /// The templates of the answer.
    fn templates(&self) -> impl Iterator<Item = &Template> {
        let headers = self.headers.iter().map(|(_, value)| value);
        headers.chain([&self.reply])
    }

    /// Whether a value of the handshake is at a place that satisfies `is`.
    pub(crate) fn reads(&self, is: impl Fn(&Source) -> bool) -> bool {
        let when = self.when.iter().map(|(source, _)| source);
        let others = [self.text.as_ref(), self.verify_token.as_ref()];
        when.chain(others.into_iter().flatten()).any(is)
    }

    /// Whether the body of a request with these headers may contain the values of the handshake.
    fn may_have_body(&self, headers: &Headers<'_>) -> bool {
        let mut lengths = headers.values("content-length");
        let is_long = lengths
            .any(|length| headers::plain_length(length).is_none_or(|length| length > MAX_BODY));
        let is_form = || {
            let kind = MediaType::of(headers);
            matches!(kind, MediaType::Form | MediaType::Multipart(_))
        };
        !is_long && (!self.reads_form() || is_form())
    }

    /// Whether the guard reads a form in the body.
    pub(crate) fn reads_form(&self) -> bool {
        self.reads(|source| matches!(source, Source::Form(_)))
    }

    /// Whether the answer contains a MAC of the sender's text.
    pub(crate) fn is_signing_oracle(&self) -> bool {
        self.templates()
            .any(|template| template.contains(&Piece::Placeholder(Placeholder::Mac)))
    }

    /// Reads the head of a request: the text, if it is there. `None` if the request is not this handshake. `is_token`
    /// checks the token of the endpoint's owner.
    pub(crate) fn read_head(
        &self,
        method: &[u8],
        headers: &Headers<'_>,
        is_token: &dyn Fn(&[u8]) -> bool,
    ) -> Option<String> {
        if method != self.method.as_bytes()
            || (self.reads(Source::is_in_body) && !self.may_have_body(headers))
        {
            return None;
        }
        let find = |source: &Source| match source.is_in_body() {
            true => None,
            false => Some(source.in_head(headers, None)),
        };
        self.read_values(&find, is_token)
    }

    /// Reads the body of a request, after its head.
    pub(crate) fn read_body(
        &self,
        body: &[u8],
        media_type: &MediaType,
        is_token: &dyn Fn(&[u8]) -> bool,
    ) -> Option<String> {
        let wanted = BodyNeeds {
            form: self.reads_form(),
            json: self.reads(|source| matches!(source, Source::Json(_))),
            ..BodyNeeds::default()
        };
        // Senders need not declare that a handshake is JSON.
        let media_type = if wanted.form {
            media_type
        } else {
            &MediaType::Other
        };
        let content = ParsedBody::read(body, media_type, &wanted)?;
        let find = |source: &Source| match source.is_in_body() {
            true => Some(source.in_body(&content)),
            false => None,
        };
        self.read_values(&find, is_token)
    }

    /// Reads the values of one part of a request. `find` returns `None` for a value in the other part.
    fn read_values<'r>(
        &self,
        find: &dyn Fn(&Source) -> Option<Found<'r>>,
        is_token: &dyn Fn(&[u8]) -> bool,
    ) -> Option<String> {
        let is_met = |(source, value): &Condition| {
            find(source).is_none_or(|found| is(&found, value.as_deref()))
        };
        if !self.when.iter().all(is_met) {
            return None;
        }
        if let Some(source) = &self.verify_token
            && let Some(found) = find(source)
            && !is_token(&found.ok()??)
        {
            return None;
        }
        match self.text.as_ref().and_then(find) {
            Some(found) => {
                let text = found.ok()??;
                let text = self.takes(&text).then(|| text.into_owned())?;
                String::from_utf8(text).ok()
            }
            None => Some(String::new()),
        }
    }

    /// The answer with this text. `mac` makes the MAC of a text.
    pub(crate) fn answer(
        &self,
        text: &str,
        mac: &dyn Fn(&[u8]) -> Option<String>,
    ) -> Option<Answer> {
        let headers = self.headers.iter().map(|(name, value)| {
            let value = write(value, text, false, mac)?;
            Some((name.clone(), value))
        });
        Some(Answer {
            status: self.status,
            content_type: if self.is_json {
                "application/json"
            } else {
                "text/plain"
            },
            headers: headers.collect::<Option<_>>()?,
            body: write(&self.reply, text, self.is_json, mac)?,
        })
    }

    /// Whether the answer may contain this text.
    fn takes(&self, text: &[u8]) -> bool {
        let in_header = self.headers.iter().any(|(_, value)| is_variable(value));
        match self.is_signing_oracle() {
            true => oracle::is_challenge_text(text),
            false => {
                (1..=MAX_TEXT).contains(&text.len())
                    && (!in_header || text.iter().all(u8::is_ascii_graphic))
            }
        }
    }
}

impl Signed {
    fn read(node: Node<'_>) -> Option<Self> {
        if node.is_boolean() {
            return node.boolean().map(|signed| match signed {
                true => Self::Always,
                false => Self::Never,
            });
        }
        node.choice_or(&[("optional", Self::Optional)], ", true or false")
    }
}

/// Whether a template contains more than literal text.
fn is_variable(template: &Template) -> bool {
    template.iter().any(|piece| piece.placeholder().is_some())
}

/// Writes a template of the answer.
fn write(
    template: &Template,
    text: &str,
    is_json: bool,
    mac: &dyn Fn(&[u8]) -> Option<String>,
) -> Option<String> {
    let mut written = String::new();
    for piece in template {
        match piece {
            Piece::Literal(literal) => written.push_str(literal),
            Piece::Placeholder(Placeholder::Mac) => written.push_str(&mac(text.as_bytes())?),
            Piece::Placeholder(Placeholder::Challenge) if is_json => {
                let quoted = serde_json::to_string(text).ok()?;
                written.push_str(quoted.strip_prefix('"')?.strip_suffix('"')?);
            }
            Piece::Placeholder(Placeholder::Challenge) => written.push_str(text),
        }
    }
    Some(written)
}

/// Reads one condition, or a list of them.
fn read_conditions(node: Node<'_>) -> Option<Vec<Condition>> {
    if !node.is_list() {
        return Some(vec![read_condition(node)?]);
    }
    let conditions = node.each(read_condition)?;
    match conditions.len() {
        0 => node.error("the list is empty: add a condition, or remove `when`"),
        1..=MAX_CONDITIONS => Some(conditions),
        _ => node.error(format_args!(
            "a handshake has at most {MAX_CONDITIONS} conditions: remove some"
        )),
    }
}

fn read_condition(node: Node<'_>) -> Option<Condition> {
    let mut block = node.object("{json: /POINTER, is: TEXT}")?;
    let value = block.optional("is", |node| node.text().map(str::to_owned));
    Some((read_source(block)?, value))
}

fn read_status(node: Node<'_>) -> Option<u16> {
    match node.integer(999)? {
        200 => Some(200),
        204 => Some(204),
        _ => node.error("not a status of an answer: write 200 or 204"),
    }
}

/// Reads the place of a value of a handshake, and closes its block.
fn read_source(mut block: Object<'_>) -> Option<Source> {
    let node = block.node;
    let source = Source::read(&mut block);
    if matches!(source, Some(Source::Claim(_))) {
        return node.error(
            "a handshake has no token with claims: use `header`, `query`, `form` or `json`",
        );
    }
    if source.is_none() && !block.has_errors() {
        return node.error("no source is set: add `header`, `query`, `form` or `json`");
    }
    block.close()?;
    source
}

/// Reads the headers of an answer.
fn read_headers(node: Node<'_>) -> Option<Vec<(String, Template)>> {
    let mut names = Vec::new();
    let headers = node.each_field(|name, value| {
        let name = name.to_ascii_lowercase();
        if names.contains(&name) {
            return value.error("the header is written twice: keep one");
        }
        names.push(name.clone());
        if !headers::is_token(&name) {
            return value.error("not a header name: use letters, digits and dashes");
        }
        let mut prefixes = FIXED_PREFIXES.iter();
        if FIXED_HEADERS.contains(&name.as_str()) || prefixes.any(|start| name.starts_with(start)) {
            return value.error("an answer must not set this header: remove it");
        }
        let is_printable = |char: char| char.is_ascii_graphic() || char == ' ';
        let text = value.text()?;
        if text.len() > MAX_HEADER || text != text.trim() || !text.chars().all(is_printable) {
            return value.error(format_args!(
                "not a header value: use at most {MAX_HEADER} printable ASCII characters, without white space at the ends"
            ));
        }
        Some((name, read_template(value)?))
    })?;
    match headers.len() > MAX_HEADERS {
        true => node.error(format_args!(
            "an answer has at most {MAX_HEADERS} headers: remove some"
        )),
        false => Some(headers),
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

/// Reads a template of the answer.
#[inline(never)]
fn read_template(node: Node<'_>) -> Option<Template> {
    node.parse(|text| {
        template::parse(text, &["challenge", "mac"], &|name| match name {
            "challenge" => Some(Ok(Placeholder::Challenge)),
            "mac" => Some(Ok(Placeholder::Mac)),
            _ => None,
        })
    })
}
