//! The endpoint's configuration with one change, to find out which change makes a request verify.

use serde_json::{Map, Value, json};

use crate::cli::judgement::judge;
use crate::cli::request::Request;
use crate::cli::secrets::Secrets;
use crate::policy::Policy;
use crate::policy::endpoint::Endpoint;
use crate::request::address::Client;
use crate::request::headers::Headers;
use crate::scheme::PROVIDERS;
use crate::time::UnixMillis;
use crate::verdict::Denial;
use crate::verify::Verdict;

/// The scheme of an endpoint that names none.
const DEFAULT: &str = r#"{"header": "X-Webhook-Signature"}"#;

/// The fields of an endpoint that decide whether a signature verifies. The others are checked before, or after.
const KEPT: [&str; 5] = [
    "name",
    "match",
    "public_url",
    "max_body_bytes",
    "decompressed",
];

/// The distance of the clocks that are tried from `--at`, in milliseconds: a hundred years.
const CLOCKS: i64 = 100 * 365 * 24 * 60 * 60 * 1_000;

/// The value of one version of a secret.
#[derive(Clone)]
pub(super) struct KnownSecret {
    pub(super) endpoint: String,
    pub(super) version: String,
    pub(super) text: String,
    key_id: Option<Value>,
}

/// An endpoint's configuration, with the values of its secrets.
#[derive(Clone)]
pub(super) struct Setup {
    endpoint: Map<String, Value>,
    /// The `signature` block.
    pub(super) signature: Map<String, Value>,
    pub(super) secrets: Vec<KnownSecret>,
}

/// A trial in which the request verified.
#[derive(Debug)]
pub(super) struct Success {
    /// The time that the request claims.
    pub(super) time: Option<UnixMillis>,
}

impl Setup {
    /// The setup of an endpoint of a configuration.
    pub(super) fn new(
        configuration: &Value,
        endpoint: &str,
        secrets: Vec<KnownSecret>,
    ) -> Option<Self> {
        let mut endpoints = endpoints(configuration);
        let configured = endpoints.find(|configured| name(configured) == Some(endpoint))?;
        let mut kept: Map<_, _> = KEPT
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), configured.get(*name)?.clone())))
            .collect();
        if let (false, Some(url)) = (
            kept.contains_key("public_url"),
            configuration.get("public_url"),
        ) {
            kept.insert("public_url".to_owned(), url.clone());
        }
        kept.insert("query".to_owned(), json!("any"));
        Some(Self {
            signature: signature(configured)?,
            secrets,
            endpoint: kept,
        })
    }

    /// The same with other secrets.
    pub(super) fn with_secrets(&self, secrets: Vec<KnownSecret>) -> Self {
        Self {
            secrets,
            ..self.clone()
        }
    }

    /// The same with another `signature` block.
    pub(super) fn with_signature(&self, signature: Map<String, Value>) -> Self {
        Self {
            signature,
            ..self.clone()
        }
    }

    /// The same with a field of the `signature` block changed.
    pub(super) fn with_field(&self, name: &str, value: Value) -> Self {
        let mut changed = self.clone();
        changed.signature.insert(name.to_owned(), value);
        changed
    }

    /// The same for any path, with the URL as received.
    pub(super) fn with_any_url(&self) -> Self {
        let mut changed = self.clone();
        changed
            .endpoint
            .insert("match".to_owned(), json!({"prefix": "/"}));
        changed.endpoint.remove("public_url");
        changed
    }

    /// The URL that the sender calls, if the configuration sets it.
    pub(super) fn public_url(&self) -> Option<&str> {
        self.endpoint.get("public_url")?.as_str()
    }

    /// The key encodings of the scheme.
    pub(super) fn keys(&self) -> Vec<String> {
        match self.signature.get("key") {
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Array(names)) => names
                .iter()
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect(),
            _ => vec!["utf8".to_owned()],
        }
    }

    /// The policy with this endpoint alone. `None` if the module refuses the configuration.
    pub(super) fn policy(&self, method: &str) -> Option<Policy> {
        let secrets = self.secrets.iter().enumerate().map(|(index, secret)| {
            let mut item = json!({"version": format!("v{index}"), "value": secret.text});
            if let (Some(key_id), Some(item)) = (&secret.key_id, item.as_object_mut()) {
                item.insert("key_id".to_owned(), key_id.clone());
            }
            item
        });
        let mut endpoint = self.endpoint.clone();
        endpoint.insert("secrets".to_owned(), secrets.collect());
        endpoint.insert("signature".to_owned(), self.signature.clone().into());
        endpoint.insert("methods".to_owned(), json!([method]));
        // There, secrets may be inline, and `public_url` may be absent.
        let configuration = json!({"environment": "development", "endpoints": [endpoint]});
        let absent = |_: &str| Err(std::env::VarError::NotPresent);
        let read = Policy::read(configuration.to_string().as_bytes(), &absent);
        read.ok().map(|(policy, _)| policy)
    }
}

impl KnownSecret {
    pub(super) fn new(endpoint: &str, version: &str, text: &str, key_id: Option<&str>) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            version: version.to_owned(),
            text: text.to_owned(),
            key_id: key_id.map(Value::from),
        }
    }

    /// The same version with another text.
    pub(super) fn with_text(&self, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..self.clone()
        }
    }

    /// Whether only requests that name its key may have it.
    pub(super) const fn has_key_id(&self) -> bool {
        self.key_id.is_some()
    }

    /// The same for all key ids.
    pub(super) fn without_key_id(&self) -> Self {
        Self {
            key_id: None,
            ..self.clone()
        }
    }
}

/// All endpoints of a configuration.
pub(super) fn endpoints(configuration: &Value) -> impl Iterator<Item = &Map<String, Value>> {
    let list = configuration.get("endpoints").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_object)
}

/// The name of an endpoint.
fn name(endpoint: &Map<String, Value>) -> Option<&str> {
    endpoint.get("name")?.as_str()
}

/// The secrets of all endpoints whose values are known.
pub(super) fn known_secrets(configuration: &Value, secrets: &Secrets) -> Vec<KnownSecret> {
    let mut known = Vec::new();
    for endpoint in endpoints(configuration) {
        let list = endpoint.get("secrets").and_then(Value::as_array);
        known.extend(list.into_iter().flatten().filter_map(|item| {
            let version = item.get("version")?.as_str()?;
            let variable = item.get("env").and_then(Value::as_str);
            let name = name(endpoint)?;
            Some(KnownSecret {
                endpoint: name.to_owned(),
                version: version.to_owned(),
                text: secrets.find_configured(name, version, variable)?,
                key_id: item.get("key_id").cloned(),
            })
        }));
    }
    known
}

/// The `signature` block of an endpoint, written out.
fn signature(endpoint: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut block = match (endpoint.get("provider"), endpoint.get("signature")) {
        (Some(name), _) => preset(name.as_str()?)?,
        (None, Some(block)) => block.as_object()?.clone(),
        (None, None) => serde_json::from_str(DEFAULT).ok()?,
    };
    if let Some(id) = endpoint.get("id") {
        block.insert("id".to_owned(), id.clone());
    }
    block.remove("identity");
    Some(block)
}

/// The `signature` block of a preset.
pub(super) fn preset(name: &str) -> Option<Map<String, Value>> {
    let (_, block) = PROVIDERS.iter().find(|(known, _)| *known == name)?;
    serde_json::from_str(block).ok()
}

/// Whether a request verifies by the only endpoint of `policy`, at the time that the request claims.
pub(super) fn verify(policy: &Policy, request: &Request, now: UnixMillis) -> Option<Success> {
    let endpoint = policy.endpoints.first()?;
    let pairs = request.pairs();
    let claimed = endpoint.scheme.claimed_time(&Headers::new(&pairs));
    let client = Client::Absent;
    let mut clock = claimed.unwrap_or(now);
    let mut verdict = judge(policy, request, client, clock).verdict;
    if is_stale(&verdict).is_some() {
        let judge = |clock| judge(policy, request, client, clock).verdict;
        (clock, verdict) = search(now, &judge)?;
    }
    let verified = match &verdict {
        Verdict::Accept(proof) => proof.verified(),
        Verdict::Answer {
            verified: Some(verified),
            ..
        } => verified,
        Verdict::Answer { .. } | Verdict::Pass | Verdict::Fail(_) => return None,
    };
    Some(Success {
        time: verified
            .fresh_until()
            .map(|end| claimed_by(endpoint, end).unwrap_or(clock)),
    })
}

/// The time of a request that is fresh until `end`.
fn claimed_by(endpoint: &Endpoint, end: UnixMillis) -> Option<UnixMillis> {
    let timestamp = endpoint.scheme.spec.timestamp.as_ref()?;
    let past = i64::try_from(timestamp.tolerance.past.as_millis()).ok()?;
    Some(UnixMillis(end.0.saturating_sub(past)))
}

/// Whether a verdict is about time: `true` if the clock is too late for the request.
fn is_stale(verdict: &Verdict) -> Option<bool> {
    match verdict {
        Verdict::Fail(rejection) => match rejection.denial {
            Denial::TimestampExpired => Some(true),
            Denial::TimestampFuture => Some(false),
            _ => None,
        },
        Verdict::Accept(_) | Verdict::Answer { .. } | Verdict::Pass => None,
    }
}

/// A clock at which a request is fresh, where only the body or a token contains its time.
fn search(now: UnixMillis, judge: &dyn Fn(UnixMillis) -> Verdict) -> Option<(UnixMillis, Verdict)> {
    let mut early = now.0.saturating_sub(CLOCKS);
    let mut late = now.0.saturating_add(CLOCKS);
    while early < late {
        let middle = early.midpoint(late);
        let verdict = judge(UnixMillis(middle));
        match is_stale(&verdict) {
            Some(true) => late = middle,
            Some(false) => early = middle.saturating_add(1),
            None => return Some((UnixMillis(middle), verdict)),
        }
    }
    None
}
