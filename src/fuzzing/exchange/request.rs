//! The requests that clients send, and whether they are valid.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::fuzzing::Input;
use crate::shell::host::fake::Stream;

/// The keys of signatures: two that accept, one that is revoked, one that the endpoint does not know.
pub(super) const KEYS: [&str; 4] = [
    "the new secret",
    "the old secret",
    "the leaked secret",
    "another",
];
pub(super) const ACCEPTING: &[&str] = &[KEYS[0], KEYS[1]];

pub(super) const TARGETS: [&str; 8] = [
    "/plain", "/watched", "/once", "/listed", "/state", "/app/x", "/none", "/healthz",
];

/// An address that `allow` has, one that only the published list has, and one that neither has.
pub(super) const CLIENTS: [&str; 3] = ["192.0.2.1:1234", "198.51.100.1:1234", "203.0.113.1:1234"];

pub(super) const NOW: u64 = 1_700_000_000;
pub(super) const MAX_BODY: usize = 1024;

/// A request as its client sends it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) target: &'static str,
    pub(super) client: &'static str,
    pub(super) id: u8,
    pub(super) time: u64,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
    /// The value of the filter state that holds a secret.
    pub(super) state: Option<&'static str>,
    pub(super) is_grpc: bool,
    pub(super) has_length: bool,
    /// A header so long that few of these requests fill the memory.
    pub(super) is_large: bool,
}

impl Request {
    pub(super) fn read(input: &mut Input<'_>) -> Self {
        let target = TARGETS[input.below(TARGETS.len())];
        let key = KEYS[input.below(KEYS.len())];
        let (id, time) = (input.byte() % 3, NOW - 310 + u64::from(input.byte()) * 3);
        let flags = input.byte();
        let client = CLIENTS[input.below(CLIENTS.len())];
        let mut body = input.bytes().to_vec();
        if flags & 1 == 1 {
            body = body.repeat(6);
        }
        let message = message(target, id, time, &body);
        let mut request = Self {
            target,
            client,
            id,
            time,
            signature: sign(key, &message),
            body,
            state: [Some(KEYS[0]), None, Some("-"), Some(KEYS[3])][usize::from(flags >> 1 & 3)],
            is_grpc: flags & 8 > 0,
            has_length: flags & 16 > 0,
            is_large: flags & 32 > 0,
        };
        if flags & 64 > 0 {
            request.body.extend(b"!");
        }
        request
    }

    pub(super) fn stream(&self) -> Stream {
        let pair = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let mut headers = vec![
            pair(":method", self.method()),
            pair(":path", self.target),
            pair(":authority", "x"),
            pair("x-webhook-guard-endpoint", "forged"),
            pair("x-webhook-guard-secret-version", "forged"),
            pair("x-webhook-guard-verdict", "forged"),
            pair("x-webhook-signature", &self.signature),
            pair("x-id", &self.id.to_string()),
            pair("x-time", &self.time.to_string()),
        ];
        if self.is_grpc {
            headers.push(pair("content-type", "application/grpc"));
        }
        if self.has_length {
            headers.push(pair("content-length", &self.body.len().to_string()));
        }
        if self.is_large {
            headers.push(pair("x-large", &"x".repeat(300_000)));
        }
        let address = ("source.address".to_owned(), self.client.into());
        let state = self
            .state
            .map(|value| ("key".to_owned(), value.as_bytes().to_vec()));
        Stream {
            request_headers: headers,
            properties: BTreeMap::from([address]),
            filter_state: state.into_iter().collect(),
            ..Stream::default()
        }
    }

    /// Only requests to the path of the health check have another method.
    fn method(&self) -> &'static str {
        match self.target {
            "/healthz" => ["GET", "HEAD", "POST"][usize::from(self.id)],
            _ => "POST",
        }
    }

    /// Whether the guard answers the request without a verdict.
    pub(super) fn is_health_check(&self) -> bool {
        self.target == "/healthz" && self.method() != "POST"
    }

    /// Whether a request with this body may go upstream as verified, found out without the code that decides.
    pub(super) fn is_right(&self, body: &[u8], now: u64, has_list: bool) -> bool {
        let keys = match self.target {
            "/state" => self.state.as_slice(),
            _ => ACCEPTING,
        };
        let message = message(self.target, self.id, self.time, body);
        let is_signed = keys
            .iter()
            .any(|key| *key != "-" && sign(key, &message) == self.signature);
        let is_known = match self.target {
            "/plain" | "/state" => true,
            "/once" => now.abs_diff(self.time * 1_000) <= 300_000,
            "/listed" => self.client == CLIENTS[0] || (self.client == CLIENTS[1] && has_list),
            _ => false,
        };
        is_signed && is_known && body.len() <= MAX_BODY
    }
}

fn message(target: &str, id: u8, time: u64, body: &[u8]) -> Vec<u8> {
    match target {
        "/once" => [format!("{id}.{time}.").as_bytes(), body].concat(),
        _ => body.to_vec(),
    }
}

fn sign(key: &str, message: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any key");
    mac.update(message);
    let code = mac.finalize().into_bytes();
    code.iter().map(|byte| format!("{byte:02x}")).collect()
}
