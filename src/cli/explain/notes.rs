//! Evidence about a rejection: the values that the guard expected, and those of the request.

use serde_json::{Map, Value};

use super::times;
use super::trial::endpoints;
use crate::cli::judgement::{Judgement, is_health_check};
use crate::cli::request::Request;
use crate::crypto::sha256;
use crate::diagnosis::{self, Seen};
use crate::policy::Policy;
use crate::policy::endpoint::Endpoint;
use crate::request::headers::Headers;
use crate::request::path;
use crate::scheme::source::Source;
use crate::time::UnixMillis;
use crate::verdict::{Denial, Reason};
use crate::verify::{Rejection, Verdict};

/// The request's path and host, and the endpoint whose `match` is nearest, for a request without an endpoint.
pub(super) fn of_route(
    configuration: &Value,
    policy: &Policy,
    request: &Request,
    judged: &Judgement,
) -> Vec<String> {
    let reason = judged.verdict.reason();
    let is_about_path = matches!(
        reason,
        Reason::Unmatched | Reason::PathAmbiguous | Reason::Passed
    );
    if !is_about_path || judged.endpoint.is_some() || is_health_check(policy, request) {
        return Vec::new();
    }
    let path = path::without_query(request.target.as_bytes());
    let path = String::from_utf8_lossy(path);
    let mut notes = vec![format!(
        "the request's path is {path}, and its host is {}",
        request.authority
    )];
    let places: Vec<_> = endpoints(configuration).filter_map(Place::new).collect();
    // Of equal ones, the first.
    let nearest = places
        .into_iter()
        .rev()
        .max_by_key(|place| place.similarity(&path, &request.authority));
    if let Some(nearest) = nearest {
        notes.push(nearest.describe());
        notes.push(nearest.fix());
    }
    notes
}

/// The requests that an endpoint matches, as configured.
struct Place<'c> {
    endpoint: &'c str,
    kind: &'static str,
    path: &'c str,
    host: Option<&'c str>,
}

impl<'c> Place<'c> {
    fn new(endpoint: &'c Map<String, Value>) -> Option<Self> {
        let block = endpoint.get("match")?;
        let text = |name: &str| block.get(name).and_then(Value::as_str);
        let (kind, path) = match (text("path"), text("prefix")) {
            (Some(path), _) => ("path", path),
            (None, prefix) => ("prefix", prefix?),
        };
        Some(Self {
            endpoint: endpoint.get("name")?.as_str()?,
            kind,
            path,
            host: text("host"),
        })
    }

    /// How many bytes at the start or at the end of a path are those of this one. A proxy adds or removes the others.
    fn similarity(&self, path: &str, host: &str) -> (usize, bool) {
        let trimmed = path.trim_end_matches('/');
        let own = self.path.trim_end_matches('/');
        let is_same = |(one, other): &(u8, u8)| one.eq_ignore_ascii_case(other);
        let start = own.bytes().zip(trimmed.bytes()).take_while(is_same).count();
        let end = own
            .bytes()
            .rev()
            .zip(trimmed.bytes().rev())
            .take_while(is_same)
            .count();
        let is_host = self.host.is_none_or(|own| own.eq_ignore_ascii_case(host));
        (start.max(end), is_host)
    }

    fn describe(&self) -> String {
        let host = self
            .host
            .map_or_else(String::new, |host| format!(", host: {host}"));
        format!(
            "the nearest endpoint is {}, which has `match: {{{}: {}{host}}}`",
            self.endpoint, self.kind, self.path
        )
    }

    fn fix(&self) -> String {
        format!(
            "register a URL with that path and host at the sender, or correct `match`. If a proxy changes the path after this capture, pass `--endpoint {}`",
            self.endpoint
        )
    }
}

/// The fields of the guard's log about a rejection. Without a cause, the guard's own hint is one of them.
pub(super) fn of_rejection(
    endpoint: &Endpoint,
    verdict: &Verdict,
    request: &Request,
    now: UnixMillis,
    has_cause: bool,
) -> Vec<String> {
    let Verdict::Fail(rejection) = verdict else {
        return Vec::new();
    };
    let mut notes = Vec::new();
    if rejection.denial == Denial::BodyTooLarge {
        notes.push(of_size(endpoint, request));
    }
    if !diagnosis::explains(rejection.denial) {
        return notes;
    }
    let fields = diagnose(endpoint, rejection, request, now);
    let field = |name: &str| fields.get(name).and_then(Value::as_str);
    if is_about_form(rejection.denial) {
        notes.extend(of_form(endpoint, &field));
    }
    if !has_cause {
        // A cause says the same.
        let missing = field("missing").map(|names| format!("the request lacks {names}"));
        let others = field("other_signatures")
            .map(|names| format!("other headers that may contain a signature: {names}"));
        notes.extend(missing.into_iter().chain(others));
        notes.extend(field("hint").map(str::to_owned));
    }
    notes
}

/// Whether a value that the signature needs is absent, or has another form.
const fn is_about_form(denial: Denial) -> bool {
    matches!(
        denial,
        Denial::SignatureMissing
            | Denial::SignatureMalformed
            | Denial::SignatureDuplicated
            | Denial::TimestampMissing
            | Denial::TimestampMalformed
    )
}

/// The fields of the guard's log.
fn diagnose(
    endpoint: &Endpoint,
    rejection: &Rejection,
    request: &Request,
    now: UnixMillis,
) -> Map<String, Value> {
    let pairs = request.pairs();
    let seen = Seen {
        headers: Headers::new(&pairs),
        has_length: pairs.iter().any(|(name, _)| *name == b"content-length"),
        body: u64::try_from(request.body.len()).ok(),
        now,
    };
    let fields = diagnosis::diagnose(endpoint, rejection, &seen);
    let object = format!("{{{}}}", fields.trim_start_matches(','));
    serde_json::from_str(&object).unwrap_or_default()
}

/// The header of the signature, and the forms that it has and needs.
fn of_form<'f>(endpoint: &Endpoint, field: &impl Fn(&str) -> Option<&'f str>) -> Vec<String> {
    let mut notes = Vec::new();
    let place = match &endpoint.scheme.spec.signature_field.source {
        Source::Headers(names) => {
            let names: Vec<_> = names.iter().map(|name| name.text.as_str()).collect();
            format!("the header {}", names.join(" or "))
        }
        Source::Query(name) => format!("the query parameter {name}"),
        Source::Form(name) => format!("the form field {name}"),
        Source::Json(_) | Source::Claim(_) => "the body".to_owned(),
    };
    if let Some(expected) = field("signature_expected") {
        notes.push(format!(
            "the guard expects the signature in {place}, in the form `{expected}`"
        ));
    }
    match field("signatures") {
        Some(seen) => notes.push(format!("the request has `{seen}`")),
        None => notes.push(format!("the request has no signature in {place}")),
    }
    notes
}

/// The size of a body that is too large, and the limit.
fn of_size(endpoint: &Endpoint, request: &Request) -> String {
    let length = request.body.len();
    let mut headers = request.headers.iter();
    let claimed = headers.find(|(name, _)| name == "content-length");
    let claimed = claimed.map_or_else(String::new, |(_, value)| {
        format!(
            ", its content-length is {}",
            String::from_utf8_lossy(value.get(..32).unwrap_or(value))
        )
    });
    format!(
        "the body has {length} bytes{claimed}, and `max_body_bytes` is {}",
        endpoint.max_body
    )
}

/// The age of a request whose time is off, where no secret made the signature at its own time either.
pub(super) fn of_time(
    endpoint: &Endpoint,
    verdict: &Verdict,
    request: &Request,
    now: UnixMillis,
) -> Option<String> {
    let denial = verdict.reason().denial();
    if !matches!(
        denial,
        Some(Denial::TimestampExpired | Denial::TimestampFuture)
    ) {
        return None;
    }
    let time = endpoint
        .scheme
        .claimed_time(&Headers::new(&request.pairs()))?;
    let detail = times::detail(endpoint, now.since(time));
    Some(format!(
        "{detail}. No secret made the signature at that time either: `--at {}` judges the request at its own time",
        time.0.div_euclid(1_000)
    ))
}

/// The body of the capture, to compare with the sender's and with the guard's log.
pub(super) fn of_body(request: &Request) -> String {
    let hash: String = sha256(&request.body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "the body of the capture has {} bytes and the SHA-256 {hash}",
        request.body.len()
    )
}
