//! Policies from JSON, requests from parts, and a shell in small: it drives the core as Envoy does.

use std::env::VarError;
use std::net::IpAddr;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use webhook_guard::config::Diagnostic;
use webhook_guard::policy::{Policy, Route};
use webhook_guard::request::address::{AllowList, Client};
use webhook_guard::request::headers::Headers;
use webhook_guard::time::UnixMillis;
use webhook_guard::verdict::Reason;
use webhook_guard::verify::{Finish, Head, Verdict, Verification};

/// The secrets of the tests, as environment variables.
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    ("SECRET", "a secret of the tests, long enough"),
    ("OLD_SECRET", "an older secret of the tests, too"),
    ("OTHER_SECRET", "yet another secret of the tests"),
    ("WHSEC", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
    ("SHORT", "short"),
    ("EMPTY", ""),
    ("BLANK", " \t\n"),
    ("DASH", "-"),
    ("DASH_BASE64", "LQ=="),
    ("BLANK_HEX", "20200a"),
    (
        "ZERO_HEX",
        "0000000000000000000000000000000000000000000000000000000000000000",
    ),
    ("NEWLINE", "a secret with a newline after it\r\n"),
    ("SPACE", "a secret with a blank after it "),
    ("QUOTED", "\"a secret in quotation marks\""),
    ("ESCAPED", "a secret with an escaped newline\\n"),
    ("BOM", "\u{feff}a secret from an editor"),
    ("SUPABASE", "v1,whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
    (
        "PEM",
        "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEA\\n-----END PUBLIC KEY-----",
    ),
    ("COPY", "a secret of the tests, long enough"),
];

/// Now, for requests that do not say: 2023-11-14T22:13:20Z.
pub(crate) const NOW: i64 = 1_700_000_000;

pub(crate) fn read(configuration: &str) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> {
    read_in("", configuration)
}

/// Reads a configuration where the ENVIRONMENT variable is set, unless to nothing.
pub(crate) fn read_in(
    environment: &str,
    configuration: &str,
) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> {
    Policy::read(configuration.as_bytes(), &|name| match name {
        "ENVIRONMENT" if !environment.is_empty() => Ok(environment.to_owned()),
        _ => VARIABLES
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| (*value).to_owned())
            .ok_or(VarError::NotPresent),
    })
}

pub(crate) fn policy(configuration: &str) -> Policy {
    match read(configuration) {
        Ok((policy, _)) => policy,
        Err(faults) => panic!("faults: {faults:?}"),
    }
}

/// A policy with one endpoint at `/webhook`, with more fields before its secrets.
pub(crate) fn endpoint(fields: &str) -> Policy {
    let comma = if fields.is_empty() { "" } else { "," };
    let secrets = if fields.contains("\"secrets\"") {
        ""
    } else {
        r#", "secrets": [{"version": "v1", "env": "SECRET"}]"#
    };
    policy(&format!(
        r#"{{"endpoints": [{{"name": "orders", "match": {{"path": "/webhook"}}{comma} {fields}{secrets}}}]}}"#
    ))
}

/// One request, and how it arrives.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: Option<String>,
    pub(crate) authority: &'static str,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// Where the body is cut into chunks.
    pub(crate) cuts: Vec<usize>,
    pub(crate) client: Client,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
    /// Milliseconds from its headers to its end.
    pub(crate) took: i64,
    /// The published allow lists that came.
    pub(crate) published: Vec<Option<AllowList>>,
    /// The filter state that earlier filters left.
    pub(crate) state: Vec<(&'static str, Vec<u8>)>,
}

impl Request {
    pub(crate) fn new(body: &[u8]) -> Self {
        Self {
            method: "POST",
            path: Some("/webhook".to_owned()),
            authority: "hooks.example.com",
            headers: Vec::new(),
            body: body.to_vec(),
            cuts: Vec::new(),
            client: Client::Trusted(IpAddr::from([203, 0, 113, 7])),
            now: NOW * 1_000,
            took: 0,
            published: Vec::new(),
            state: Vec::new(),
        }
    }

    /// A request that is signed as the default scheme has it.
    pub(crate) fn signed(secret: &str, body: &[u8]) -> Self {
        Self::new(body).with("X-Webhook-Signature", hex(secret.as_bytes(), body))
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The value of a header that is there.
    pub(crate) fn get(&self, name: &str) -> &[u8] {
        let mut named = self.headers.iter();
        let header = named.find(|(each, _)| each.eq_ignore_ascii_case(name));
        &header.unwrap().1
    }

    /// Changes a header, or adds it.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.headers
            .retain(|(each, _)| !each.eq_ignore_ascii_case(name));
        *self = self.clone().with(name, value);
    }

    /// The guard's last word on this request.
    pub(crate) fn judge(&self, policy: &Policy) -> Verdict {
        let mut check = match self.begin(policy) {
            Ok(check) => check,
            Err(verdict) => return verdict,
        };
        for chunk in self.chunks() {
            if let Err(verdict) = check.body(chunk) {
                return verdict;
            }
        }
        match check.finish(UnixMillis(self.now + self.took)) {
            Finish::Done(verdict) => verdict,
            Finish::NeedsBody(mut again) => {
                self.chunks().iter().for_each(|chunk| again.body(chunk));
                again.finish()
            }
        }
    }

    /// The result of the headers alone.
    pub(crate) fn begin(&self, policy: &Policy) -> Result<Box<Verification>, Verdict> {
        let pairs = self.pairs();
        let headers = Headers::new(&pairs);
        let target = self.path.as_deref().map(str::as_bytes);
        let route = policy.route(
            self.method.as_bytes(),
            target,
            self.authority.as_bytes(),
            headers.upgrades(),
        );
        let endpoint = match route {
            Route::Guarded(_, endpoint) => Rc::clone(endpoint),
            Route::HealthCheck => panic!("a health check gets no verdict"),
            Route::Pass => return Err(Verdict::Pass),
            Route::Deny(reason) => return Err(Verdict::deny(reason)),
        };
        let values = endpoint.filter_states().map(|name| self.value(name));
        let (keyring, _) = endpoint.keyring(values.collect());
        let head = Head {
            headers,
            client: self.client,
            now: UnixMillis(self.now),
            published: &self.published,
            keyring: &keyring,
        };
        Verification::begin(&endpoint, &head)
    }

    /// The value of the filter state of this name.
    pub(crate) fn value(&self, name: &str) -> Option<Vec<u8>> {
        let mut state = self.state.iter();
        state
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone())
    }

    pub(crate) fn reason(&self, policy: &Policy) -> Reason {
        self.judge(policy).reason()
    }

    pub(crate) fn pairs(&self) -> Vec<(&[u8], &[u8])> {
        let mut pairs: Vec<(&[u8], &[u8])> = vec![
            (b":method", self.method.as_bytes()),
            (b":scheme", b"https"),
            (b":authority", self.authority.as_bytes()),
        ];
        pairs.extend(
            self.path
                .as_ref()
                .map(|path| (&b":path"[..], path.as_bytes())),
        );
        pairs.extend(
            self.headers
                .iter()
                .map(|(name, value)| (name.as_bytes(), &value[..])),
        );
        pairs
    }

    fn chunks(&self) -> Vec<&[u8]> {
        let mut cuts: Vec<usize> = self
            .cuts
            .iter()
            .map(|cut| cut % (self.body.len() + 1))
            .collect();
        cuts.extend([0, self.body.len()]);
        cuts.sort_unstable();
        cuts.windows(2)
            .map(|pair| &self.body[pair[0]..pair[1]])
            .collect()
    }
}

/// HMAC-SHA-256, by the library and not by the code under test.
pub(crate) fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn hex(key: &[u8], message: &[u8]) -> String {
    mac(key, message)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(crate) fn base64(key: &[u8], message: &[u8]) -> String {
    STANDARD.encode(mac(key, message))
}

/// The value of one of [`VARIABLES`].
pub(crate) fn variable(name: &str) -> &'static str {
    VARIABLES
        .iter()
        .find(|(variable, _)| *variable == name)
        .unwrap()
        .1
}
