use std::cell::LazyCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::content::form;
use super::{Input, read};
use crate::policy::{Policy, Route};
use crate::request::address::Client;
use crate::request::headers::Headers;
use crate::time::UnixMillis;
use crate::verdict::{Outcome, Reason};
use crate::verify::{Finish, Head, Verdict, Verification, Verified};

/// An endpoint for each way to reach a verdict: as the body arrives, by the body's hash, by the whole body, and by its
/// values.
const CONFIGURATION: &str = r#"{"environment": "test", "public_url": "https://x", "endpoints": [
    {"name": "plain", "match": {"path": "/plain"}, "max_body_bytes": 512, "secrets": SECRETS},
    {"name": "timed", "match": {"path": "/timed"}, "max_body_bytes": 512, "secrets": SECRETS,
     "signature": {"header": "X-S", "separator": ",", "format": ["t={timestamp}", "v1={signature}"],
        "message": ["{id}.{timestamp}.{body}!", "{id}.{timestamp}.{body}?"], "encoding": "base64", "id": {"header": "X-Id"}}},
    {"name": "hash", "match": {"path": "/hash"}, "secrets": SECRETS,
     "signature": {"header": "X-S", "message": "{url}", "body_hash": {"query": "h"}}},
    {"name": "json", "match": {"path": "/json"}, "secrets": SECRETS,
     "signature": {"header": "X-S", "message": "{json:/id}|{body}"}},
    {"name": "form", "match": {"path": "/form"}, "secrets": SECRETS,
     "signature": {"header": "X-S", "message": "{url_any_port}{sorted_form}", "body": "unsigned"}},
    {"name": "x", "match": {"path": "/x"}, "secrets": SECRETS, "provider": "x", "answer_challenges": true,
     "methods": ["POST", "GET"]}]}"#;

/// The secrets of an endpoint: two that accept, and one that is revoked.
const SECRETS: &str = r#"[{"version": "new", "value": "the new secret of NAME"},
    {"version": "old", "value": "the old secret of NAME"},
    {"version": "leaked", "value": "the leaked secret of NAME", "revoked": true}]"#;

/// Their names, and that of one which the endpoint does not know.
const KEYS: [&str; 4] = ["new", "old", "leaked", "other"];
const ACCEPTING: [&str; 2] = [KEYS[0], KEYS[1]];
const NOW: i64 = 1_700_000_000;

/// The forms of the message of `timed`, and of the URL of `form`.
const ENDS: [&[u8]; 2] = [b"!", b"?"];
const ORIGINS: [&str; 2] = ["https://x", "https://x:443"];

thread_local! {
    static POLICY: LazyCell<Policy> = LazyCell::new(|| {
        let endpoints = CONFIGURATION.lines().map(|line| {
            let name = line.split('"').nth(3).unwrap_or_default();
            line.replace("SECRETS", &SECRETS.replace("NAME", name))
        });
        read(endpoints.collect::<String>().as_bytes()).expect("a policy")
    });
}

/// A request, as the guard receives it.
#[derive(Debug)]
struct Request {
    endpoint: &'static str,
    method: &'static str,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// Judges any request to any endpoint: signed or not, changed or not, in any pieces. The host may show another body the
/// second time. The guard accepts the request only if its signature is right.
pub fn phases(data: &[u8]) {
    let mut input = Input(data);
    let mut request = Request::signed(&mut input);
    request.change(&mut input);
    POLICY.with(|policy| {
        let (verdict, shown) = request.judge(policy, &mut input);
        let mut is_right = request.is_right();
        let is_good = verdict.outcome() == Outcome::Accepted;
        if let Some(shown) = shown {
            // The host forwards the body that it showed last.
            request.body = shown;
            is_right |= request.is_right();
        } else if matches!(request.endpoint, "plain" | "timed") {
            // Here the oracle knows exactly which requests to accept.
            assert_eq!(is_good, is_right, "{verdict:?} {request:?}");
        }
        assert!(is_right || !is_good, "{verdict:?} {request:?}");
        assert_eq!(
            is_good,
            verdict.response().is_none() && verdict.answer().is_none()
        );
        let secret = verdict.verified().map(Verified::secret);
        assert!(!is_good || secret.is_some_and(|secret| secret.0 < ACCEPTING.len()));
    });
}

impl Request {
    /// A request that is signed for its endpoint, by one of the keys.
    fn signed(input: &mut Input<'_>) -> Self {
        let endpoints = ["plain", "timed", "hash", "json", "form", "x"];
        let endpoint = endpoints[input.below(endpoints.len())];
        let key = format!("the {} secret of {endpoint}", KEYS[input.below(KEYS.len())]);
        let time = NOW - 310 + i64::try_from(input.below(256)).expect("a byte") * 3;
        let id = String::from_utf8_lossy(input.bytes()).into_owned();
        let body = input.bytes().to_vec();
        let header = |name: &str, value: String| (name.to_owned(), value.into_bytes());
        let mut path = format!("/{endpoint}");
        let headers = match endpoint {
            "plain" => vec![header("x-webhook-signature", hex(&mac(&key, &[&body])))],
            "timed" => {
                let before = format!("{id}.{time}.");
                let code = mac(&key, &[before.as_bytes(), &body, ENDS[id.len() % 2]]);
                let value = format!("t={time}, v1={}", STANDARD.encode(code));
                vec![header("x-s", value), header("x-id", id)]
            }
            "hash" => {
                path = format!("/hash?h={}", hex(&Sha256::digest(&body)));
                vec![header(
                    "x-s",
                    hex(&mac(&key, &[b"https://x", path.as_bytes()])),
                )]
            }
            "json" => {
                let id = json_id(&body).unwrap_or_default();
                vec![header(
                    "x-s",
                    hex(&mac(&key, &[id.as_bytes(), b"|", &body])),
                )]
            }
            "form" => {
                let origin = ORIGINS[body.len() % 2].as_bytes();
                let message = [origin, b"/form", &sorted(&body)].concat();
                vec![
                    header("x-s", hex(&mac(&key, &[&message]))),
                    header(
                        "content-type",
                        "application/x-www-form-urlencoded".to_owned(),
                    ),
                ]
            }
            _ => {
                let value = format!("sha256={}", STANDARD.encode(mac(&key, &[&body])));
                vec![header("x-twitter-webhooks-signature", value)]
            }
        };
        Self {
            endpoint,
            method: "POST",
            path,
            headers,
            body,
        }
    }

    /// Changes it, up to four times.
    fn change(&mut self, input: &mut Input<'_>) {
        for _ in 0..input.below(5) {
            let which = input.below(self.headers.len().max(1));
            let number = input.byte();
            match (input.below(10), self.headers.get_mut(which)) {
                (0, Some((_, value))) => *value = input.bytes().to_vec(),
                (1, Some(header)) => {
                    let copy = header.clone();
                    self.headers.push(copy);
                }
                (2, Some(_)) => drop(self.headers.remove(which)),
                (3, Some((_, value))) if !value.is_empty() => {
                    let at = usize::from(number) % value.len();
                    value[at] ^= 1 << (number % 8);
                }
                (4, Some((_, value))) => value.make_ascii_uppercase(),
                (5, Some((_, value))) => value.extend(input.bytes()),
                (6, _) if !self.body.is_empty() => {
                    let at = usize::from(number) % self.body.len();
                    self.body[at] ^= 1 << (number % 8);
                }
                (7, _) => self.body.extend(input.bytes()),
                (8, _) => {
                    self.path
                        .push(if self.path.contains('?') { '&' } else { '?' });
                    let pairs = ["a=b", "h=", "crc_token=abc", "q='%27"];
                    self.path.push_str(pairs[usize::from(number) % pairs.len()]);
                }
                (9, _) => self.method = "GET",
                _ => {}
            }
        }
    }

    /// The verdict, and the body as the host showed it the second time, if that was another.
    fn judge(&self, policy: &Policy, input: &mut Input<'_>) -> (Verdict, Option<Vec<u8>>) {
        let mut pairs: Vec<(&[u8], &[u8])> = vec![
            (b":method", self.method.as_bytes()),
            (b":path", self.path.as_bytes()),
        ];
        let headers = self.headers.iter();
        pairs.extend(headers.map(|(name, value)| (name.as_bytes(), &value[..])));
        let route = policy.route(
            self.method.as_bytes(),
            Some(self.path.as_bytes()),
            b"x",
            false,
        );
        let Route::Guarded(_, endpoint) = route else {
            panic!("{self:?} is nobody's");
        };
        let (keyring, _) = endpoint.keyring(Vec::new());
        let head = Head {
            headers: Headers::new(&pairs),
            client: Client::Absent,
            published: &[],
            keyring: &keyring,
            now: UnixMillis(NOW * 1_000),
        };
        let mut check = match Verification::begin(endpoint, &head) {
            Ok(check) => check,
            Err(verdict) => return (verdict, None),
        };
        let size = 1 + input.below(64);
        for chunk in self.body.chunks(size) {
            if let Err(verdict) = check.body(chunk) {
                return (verdict, None);
            }
        }
        assert_eq!(check.received(), self.body.len() as u64);
        let mut again = match check.finish(head.now) {
            Finish::Done(verdict) => return (verdict, None),
            Finish::NeedsBody(again) => again,
        };
        assert_eq!(again.missing(), self.body.len() as u64);
        // A host that shows less of it the second time, and one that shows something else.
        let shown = match input.below(8) {
            0 => self.body[..self.body.len() / 2].to_vec(),
            1 => self.body.iter().map(|byte| byte ^ 1).collect(),
            _ => self.body.clone(),
        };
        shown
            .chunks(1 + input.below(64))
            .for_each(|chunk| again.body(chunk));
        let is_short = again.missing() > 0;
        let verdict = again.finish();
        assert!(
            !is_short || verdict.reason() == Reason::HostError,
            "{verdict:?}"
        );
        (verdict, (shown != self.body).then_some(shown))
    }

    /// Whether the signature is right, found out without any of the code that decides.
    fn is_right(&self) -> bool {
        let body = &self.body[..];
        let any = |code: &[u8], written: &dyn Fn(&[u8]) -> Vec<String>, parts: &[&[u8]]| {
            let right = ACCEPTING.iter().map(|key| {
                let key = format!("the {key} secret of {}", self.endpoint);
                mac(&key, parts)
            });
            right
                .flat_map(|right| written(&right))
                .any(|text| text.as_bytes() == code)
        };
        let in_hex = |code: &[u8], parts: &[&[u8]]| {
            let code = code.to_ascii_lowercase();
            any(code.trim_ascii(), &|code| vec![hex(code)], parts)
        };
        let in_base64 = |code: &[u8], parts: &[&[u8]]| {
            let written = |code: &[u8]| {
                let text = STANDARD.encode(code);
                vec![text.trim_end_matches('=').to_owned(), text]
            };
            any(code, &written, parts)
        };
        let Some(signature) = self.one(match self.endpoint {
            "plain" => "x-webhook-signature",
            "x" => "x-twitter-webhooks-signature",
            _ => "x-s",
        }) else {
            return false;
        };
        let url = format!("https://x{}", self.path);
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        let has_query = query.contains(|letter| letter != '&');
        match self.endpoint {
            "plain" | "timed" | "json" if has_query => false,
            "plain" => self.method == "POST" && body.len() <= 512 && in_hex(signature, &[body]),
            "timed" => {
                let is_id = |id: &&[u8]| !id.is_empty() && !id.contains(&b'.');
                let Some(id) = self.one("x-id").filter(is_id) else {
                    return false;
                };
                let items: Vec<_> = signature
                    .split(|byte| *byte == b',')
                    .map(<[u8]>::trim_ascii)
                    .collect();
                let after = |prefix: &'static str| {
                    let items = items.iter();
                    items.filter_map(move |item| item.strip_prefix(prefix.as_bytes()))
                };
                let times: Vec<_> = after("t=").collect();
                let [time] = times.as_slice() else {
                    return false;
                };
                let is_signed = after("v1=").any(|code| {
                    let messages = ENDS.map(|end| [id, b".", time, b".", body, end]);
                    messages.iter().any(|message| in_base64(code, message))
                });
                self.method == "POST"
                    && body.len() <= 512
                    && is_fresh(time)
                    && is_signed
                    && after("v1=").count() <= 16
            }
            "hash" => {
                let hash = hex(&Sha256::digest(body));
                let query = self.path.split_once('?').unwrap_or_default().1;
                let is_hash = |pair: &str| {
                    let value = pair.strip_prefix("h=").unwrap_or_default();
                    value.eq_ignore_ascii_case(&hash)
                };
                let is_hashed = query.split('&').any(is_hash);
                in_hex(signature, &[url.as_bytes()]) && (is_hashed || body.is_empty())
            }
            "json" => {
                json_id(body).is_some_and(|id| in_hex(signature, &[id.as_bytes(), b"|", body]))
            }
            "form" => {
                let is_form = self.one("content-type").is_some_and(|value| {
                    let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
                    let kind = kind.trim_ascii();
                    kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
                });
                let sorted = if is_form { sorted(body) } else { Vec::new() };
                let plain = self.path.replace("%27", "'");
                let escaped = plain.replace('\'', "%27");
                let mut forms = [&escaped, &plain, &self.path].into_iter();
                let is_signed = forms.any(|path| {
                    let path = path.as_bytes();
                    let mut origins = ORIGINS.iter();
                    origins.any(|origin| in_hex(signature, &[origin.as_bytes(), path, &sorted]))
                });
                (is_form || body.is_empty()) && is_signed
            }
            _ => {
                let code = signature
                    .trim_ascii()
                    .strip_prefix(b"sha256=")
                    .unwrap_or_default();
                in_base64(code, &[body])
            }
        }
    }

    /// The one value of a header.
    fn one(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.headers.iter().filter(|(each, _)| each == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }
}

fn is_fresh(time: &[u8]) -> bool {
    let text = String::from_utf8_lossy(time);
    let number = text.parse::<i64>().ok();
    number.is_some_and(|number| number.to_string() == text && (NOW - number).abs() <= 300)
}

/// The text of `/id` in a JSON object that has it once.
fn json_id(body: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    match json.get("id")? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Bool(value) => Some(value.to_string()),
        serde_json::Value::Number(number) => Some((number.as_f64()? as i64).to_string()),
        _ => None,
    }
}

/// A form's fields, sorted, each once, names and values without anything between.
fn sorted(body: &[u8]) -> Vec<u8> {
    let mut fields = form(body);
    fields.sort();
    fields.dedup();
    fields
        .into_iter()
        .flat_map(|(name, value)| [name, value].concat())
        .collect()
}

fn mac(key: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any key");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
