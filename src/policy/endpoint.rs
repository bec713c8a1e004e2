//! Endpoints: which requests belong to one, and what it asks of them.

use std::rc::Rc;

use crate::config::{self, Node, Object};
use crate::crypto::{Algorithm, Candidate, Code, Key, Verifier};
use crate::delivery::{DeliveryHash, MessageDigest};
use crate::policy::matcher::{self, Matcher};
use crate::policy::remote_lists::RemoteAllowList;
use crate::replay::{self, Replay};
use crate::request::address::{AddressSource, AllowList, Client};
use crate::request::headers::{self, Headers};
use crate::scheme::challenge::{Challenge, Seen};
use crate::scheme::query::Query;
use crate::scheme::spec::DedupBy;
use crate::scheme::{self, Scheme};
use crate::secrets::keyring::{KeyEntry, Keyring, Latest, SecretIndex};
use crate::secrets::secret::{self, Environment, Secret};
use crate::time::UnixMillis;
use crate::verdict::{Answer, Denial, Mode};

/// The size of a body, in bytes, where `max_body_bytes` is absent.
const DEFAULT_MAX_BODY: u32 = 1024 * 1024;

/// The largest size that `max_body_bytes` can name: the host holds this much for every request.
const LIMIT_MAX_BODY: u32 = 1024 * 1024 * 1024;

/// The largest size where a body has to be read whole, in memory that other requests need too.
const LIMIT_READ_BODY: u32 = 4 * 1024 * 1024;

/// A place where webhooks arrive, and what they must show to go on.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name: the label in metrics, logs and headers.
    pub name: String,
    pub(crate) matcher: Matcher,
    pub(crate) scheme: Scheme,
    /// Its secrets, in the order they are tried.
    pub secrets: Vec<Rc<Secret>>,
    /// Any of its secrets names a sender, so that each sender has deliveries of its own.
    pub(crate) names_senders: bool,
    latest: Latest,
    allow: Option<AllowList>,
    /// The lists beside `allow` that its sender publishes.
    pub allow_from: Vec<RemoteAllowList>,
    /// How it learns a client's address.
    pub client_address: AddressSource,
    methods: Vec<String>,
    /// The parameters that a query may have.
    pub(crate) query: Query,
    pub(crate) max_body: u64,
    /// What it does with a request that fails.
    pub mode: Mode,
    pub(crate) origin: Option<String>,
    /// It answers its sender's handshakes.
    answers: bool,
    /// The token that a handshake must bring, where the sender's has one.
    verify_token: Option<Key>,
    /// How it remembers deliveries, if it does.
    pub replay: Option<Replay>,
    /// What a delivery's identity is made with: the endpoint's name, which keeps its deliveries apart from
    /// others'. SHA-512, since it is the faster one in WebAssembly, and a large body is hashed once more for it.
    pub(crate) identity: Key,
}

impl Endpoint {
    /// The handshake that it answers, if it does.
    pub(crate) fn challenge(&self) -> Option<&Challenge> {
        let answers = self.answers && self.mode == Mode::Enforce;
        self.scheme.spec.challenge.as_ref().filter(|_| answers)
    }

    /// The answer to a handshake that came at `now`, if it was one. `signed_by` is the key that verified it, which
    /// also makes its MAC.
    pub(crate) fn answer(
        &self,
        seen: &Seen<'_>,
        signed_by: Option<&KeyEntry>,
        keyring: &Keyring,
        now: UnixMillis,
    ) -> Option<Answer> {
        let is_token = |sent: &[u8]| {
            let sent = Candidate::new(Algorithm::Token, sent);
            let known = self.verify_token.as_ref().zip(sent);
            known.is_some_and(|(key, sent)| key.begin().verifies(&[sent]))
        };
        let mac = |text: &[u8]| {
            let first_valid = || {
                let mut entries = keyring.entries().iter().map(|entry| &**entry);
                entries.find(|entry| entry.is_valid(now))
            };
            let key = &signed_by.or_else(first_valid)?.key;
            let mut mac = key.begin();
            mac.update(text);
            self.scheme
                .spec
                .signature
                .encoding
                .encode(mac.code()?.as_bytes())
        };
        self.challenge()?.answer(seen, &is_token, &mac)
    }

    /// Whether a request's signed message may not be such a text as the guard gives MACs of, or once gave: they stay
    /// good when it does so no more.
    pub(crate) fn is_signing_oracle(&self) -> bool {
        self.scheme.spec.is_signing_oracle() && self.scheme.spec.message.may_be_challenge_text()
    }

    /// Whether a MAC of a text, given away for the same key, would be a signature here.
    pub(crate) fn accepts_oracle_output(&self) -> bool {
        self.scheme.spec.message.may_be_challenge_text() && !self.scheme.spec.is_signing_oracle()
    }

    /// Why a request is no delivery, where its method or its query tells. It may still be a handshake.
    pub(crate) fn refuses(&self, method: &[u8], headers: &Headers<'_>) -> Option<Denial> {
        let is_taken = self.methods.iter().any(|known| known.as_bytes() == method);
        if !is_taken {
            return Some(Denial::MethodNotAllowed);
        }
        let refused = self.query.refused(headers);
        refused.map(|_| Denial::QueryNotSigned)
    }

    /// The methods taken, for the `Allow` header.
    #[must_use]
    pub fn allowed_methods(&self) -> String {
        self.methods.join(", ")
    }

    /// One of its secrets.
    #[must_use]
    pub fn secret(&self, SecretIndex(index): SecretIndex) -> Option<&Secret> {
        self.secrets.get(index).map(|secret| &**secret)
    }

    /// The filter states that hold values of its secrets.
    pub fn filter_states(&self) -> impl Iterator<Item = &str> {
        let secrets = self.secrets.iter();
        secrets.filter_map(|secret| secret.filter_state())
    }

    /// When its last secret runs out, in seconds since 1970; 0 where that is never.
    #[must_use]
    pub fn expires(&self) -> u64 {
        let mut last = 1_000;
        for secret in &self.secrets {
            match secret.end() {
                Some(UnixMillis(end)) => last = end.max(last),
                None => return 0,
            }
        }
        last.unsigned_abs() / 1_000
    }

    /// Its keys, given what these filter states hold, in their order; and whether that is not what they
    /// held for the request before, so that the keys were made anew.
    pub fn keyring(&self, values: Vec<Option<Vec<u8>>>) -> (Rc<Keyring>, bool) {
        self.latest.of(values, |values| {
            Keyring::new(&self.secrets, &self.scheme, values)
        })
    }

    /// Whether any secret may accept a request at `now`.
    pub(crate) fn accepts_at(&self, now: UnixMillis) -> bool {
        let mut secrets = self.secrets.iter();
        secrets.any(|secret| secret.validity(now).is_ok())
    }

    /// What tells the deliveries apart that it remembers.
    pub(crate) const fn dedup_by(&self) -> DedupBy {
        match self.replay {
            Some(_) => self.scheme.spec.dedup_by,
            None => DedupBy::None,
        }
    }

    /// Whether its sender signs all of a body.
    #[must_use]
    pub const fn signs_bodies(&self) -> bool {
        !self.scheme.body_needs.unsigned
    }

    /// Whether a header of this name may reach the upstream.
    pub(crate) fn keeps_header(&self, name: &[u8]) -> bool {
        self.scheme.keeps_header(name)
    }

    /// Whether the client's address decides anything here.
    #[must_use]
    pub const fn lists_clients(&self) -> bool {
        self.allow.is_some() || !self.allow_from.is_empty()
    }

    /// Whether a request may come from this client. `published` holds the lists of `allow_from` that count now.
    /// While one of them is missing, an address outside the others may still be the sender's.
    pub(crate) fn admits(
        &self,
        client: Client,
        published: &[Option<AllowList>],
    ) -> Result<(), Denial> {
        if !self.lists_clients() {
            return Ok(());
        }
        let known = published.iter().flatten();
        let is_pending = known.clone().count() < self.allow_from.len();
        let mut lists = self.allow.iter().chain(known);
        match client {
            Client::Trusted(ip) if lists.any(|list| list.contains(ip)) => Ok(()),
            Client::Trusted(_) if is_pending => Err(Denial::AllowListPending),
            Client::Trusted(_) => Err(Denial::ClientAddressDenied),
            Client::Untrusted(_) | Client::Unreadable => Err(Denial::ClientAddressUntrusted),
            Client::Absent => Err(Denial::HostError),
        }
    }
}

impl Endpoint {
    /// The delivery of which this is the hash, by the secret that verified it. Where senders are named, those that
    /// share the endpoint cannot use up each other's ids. A name has no zero byte, so the last one ends the message.
    pub(crate) fn delivery(&self, mut hash: Verifier, secret: &Secret) -> Option<DeliveryHash> {
        if self.names_senders {
            hash.update(b"\0");
            hash.update(secret.sender.as_deref().unwrap_or_default().as_bytes());
        }
        DeliveryHash::finish(hash)
    }

    /// The digest of a verified message, where the endpoint remembers nothing and the signature covers the whole
    /// body. Otherwise two genuine deliveries could have the same digest, and a rate limit for copies would
    /// refuse one of them.
    pub(crate) fn digest(&self, code: &Code) -> Option<MessageDigest> {
        let is_counted = self.dedup_by() == DedupBy::None
            && self.signs_bodies()
            && self.scheme.spec.signature.algorithm != Algorithm::Token;
        is_counted.then(|| MessageDigest::new(&self.name, code))?
    }
}

/// The names that may not reach the upstream, each once: the guard's own names, and every name that PHP or CGI
/// could read as another one. Without an endpoint, no scheme reads any header.
#[must_use]
pub fn unwanted_headers<'a>(headers: &Headers<'a>, endpoint: Option<&Endpoint>) -> Vec<&'a [u8]> {
    let is_unwanted = |name: &[u8]| {
        let is_kept = endpoint.map_or(headers::is_portable_name(name), |endpoint| {
            endpoint.keeps_header(name)
        });
        !is_kept || headers::is_reserved(name)
    };
    let mut names = Vec::new();
    for (name, _) in headers.0 {
        if is_unwanted(name) && !names.contains(name) {
            names.push(*name);
        }
    }
    names
}

/// An endpoint as read, with what only the reading needs.
pub(crate) struct Read<'a> {
    pub(crate) endpoint: Endpoint,
    /// Where its secrets stand, in their order.
    pub(crate) places: Vec<Node<'a>>,
    pub(crate) node: Node<'a>,
}

/// Reads one of `endpoints`. `origin` is the public URL of all, `names` those taken already.
pub(crate) fn read<'a>(
    node: Node<'a>,
    origin: Option<&str>,
    environment: Environment<'_>,
    names: &mut Vec<String>,
) -> Option<Read<'a>> {
    let mut block = node.object("{name: orders, ..}")?;
    let name = block.required(
        "name",
        "add a name for metrics and logs, such as `name: orders`",
        |node| {
            let name = read_name(node)?;
            match names.contains(&name) {
                true => node.error(format_args!(
                    "the name {name:?} is already used: give each endpoint its own name"
                )),
                false => Some(name),
            }
        },
    );
    names.extend(name.clone());
    let matcher = block.required("match", "add `match: {path: /webhook}`", Matcher::read);
    let scheme = Scheme::of_endpoint(&mut block);
    let scheme = read_override(&mut block, scheme);
    let replay = block.optional("replay", |node| replay::read(node, scheme.as_ref()));
    let own_origin = block.optional("public_url", read_origin);
    let secrets = block.required(
        "secrets",
        "add `secrets: [{version: v1, env: NAME}]`",
        |node| secret::read_list(node, scheme.as_ref(), environment),
    );
    let allow = block.optional("allow", AllowList::read);
    let allow_from = block.optional("allow_from", read_allow_from);
    let lists_clients = allow.is_some() || allow_from.is_some();
    let client_address = block.optional("client_address", |node| {
        let source = AddressSource::read(node)?;
        if lists_clients && source.is_of_proxy() {
            node.warn("clients that bypass the proxy can claim any address: limit the listener to the proxy by `direct_source_prefix_ranges`");
        }
        Some(source)
    });
    let methods = block.optional("methods", read_methods);
    let query = block.optional("query", |node| Query::read(node, scheme.as_ref()));
    let max_body = block.optional("max_body_bytes", read_max_body);
    let mode = block.optional("mode", |node| {
        node.choice(&[
            ("enforce", Mode::Enforce),
            ("monitor", Mode::Monitor),
            ("disabled", Mode::Disabled),
        ])
    });
    let answers = block.optional("answer_challenges", |node| {
        read_answers(node, scheme.as_ref())
    });
    let wants_token =
        answers == Some(true) && scheme.as_ref().is_some_and(Scheme::wants_verify_token);
    let verify_token = block.field("verify_token");
    let verify_token = match (verify_token, wants_token) {
        (Some(node), true) => secret::read_token(node, environment),
        (Some(node), false) => node.error("no handshake of this endpoint checks a token: remove `verify_token`, or set `answer_challenges: true` if the sender uses one"),
        (None, true) => block
            .node
            .error("`verify_token` is missing: add `verify_token: {env: NAME}`"),
        (None, false) => None,
    };
    let origin = own_origin.or_else(|| origin.map(str::to_owned));
    let signs_url = scheme.as_ref().is_some_and(Scheme::signs_origin);
    if signs_url && origin.is_none() && environment.name != "development" {
        node.error::<()>("the sender signs the URL, but clients choose the Host header: set `public_url`, such as https://hooks.example.com");
    }
    block.close()?;

    let (scheme, secrets) = (scheme?, secrets?);
    let replay = replay
        .unwrap_or_else(|| replay::Setting::default_of(&scheme))
        .into_replay();
    let name = name?;
    let max_body = max_body.unwrap_or(DEFAULT_MAX_BODY);
    if scheme.keeps_body() && max_body > LIMIT_READ_BODY {
        return node.error(format_args!("this scheme reads the whole body into memory: set `max_body_bytes` to at most {LIMIT_READ_BODY}"));
    }
    let secrets = secrets.into_iter();
    let secrets = secrets.map(|(secret, place)| (Rc::new(secret), place));
    let (secrets, places): (Vec<_>, _) = secrets.unzip();
    let names_senders = secrets.iter().any(|secret| secret.sender.is_some());
    if names_senders && replay.is_none() {
        node.warn("`sender` has no effect without replay protection: remove it, or add an `id`");
    }
    Some(Read {
        endpoint: Endpoint {
            identity: Key::new(Algorithm::HmacSha512, name.as_bytes())?,
            name,
            matcher: matcher?,
            query: Query::of(query, &scheme),
            scheme,
            names_senders,
            secrets,
            latest: Latest::default(),
            allow,
            allow_from: allow_from.unwrap_or_default(),
            client_address: client_address.unwrap_or(AddressSource::Direct),
            methods: methods.unwrap_or_else(|| vec!["POST".to_owned()]),
            max_body: max_body.into(),
            mode: mode.unwrap_or(Mode::Enforce),
            origin,
            answers: answers.unwrap_or(false),
            verify_token,
            replay,
        },
        places,
        node,
    })
}

/// Reads whether handshakes are answered, of a sender that has one.
fn read_answers(node: Node<'_>, scheme: Option<&Scheme>) -> Option<bool> {
    let answers = node.boolean()?;
    if answers && scheme.is_some_and(|scheme| scheme.spec.challenge.is_none()) {
        return node.error("this sender has no handshake to answer: remove `answer_challenges`");
    }
    Some(answers)
}

/// Reads the `tolerance` that overrides the scheme's.
fn read_override(block: &mut Object<'_>, scheme: Option<Scheme>) -> Option<Scheme> {
    let node = block.field("tolerance");
    let mut scheme = scheme?;
    if let Some(node) = node {
        let tolerance = scheme::timestamp::read_tolerance(node)?;
        match &mut scheme.spec.timestamp {
            Some(timestamp) => timestamp.tolerance = tolerance,
            None => {
                return node.error("this scheme signs no timestamp: remove `tolerance`");
            }
        }
    }
    Some(scheme)
}

fn read_name(node: Node<'_>) -> Option<String> {
    node.parse(|text| {
        let has_capital = text.bytes().any(|byte| byte.is_ascii_uppercase());
        match config::is_label(text) && !has_capital {
            true => Ok(text.to_owned()),
            false => Err(format!(
                "{text:?} is not a valid name: use 1 to 63 of a-z, 0-9, - and _, starting with a letter or digit"
            )),
        }
    })
}

fn read_allow_from(node: Node<'_>) -> Option<Vec<RemoteAllowList>> {
    let lists = node.each(RemoteAllowList::read)?;
    match lists.is_empty() {
        true => node.error("the list is empty: add a source, or remove `allow_from`"),
        false => Some(lists),
    }
}

fn read_methods(node: Node<'_>) -> Option<Vec<String>> {
    let methods = node.each(headers::read_method)?;
    match methods.is_empty() {
        true => node
            .error("the list is empty, which rejects every request: add a method, or remove `methods` to allow only POST"),
        false => Some(methods),
    }
}

fn read_max_body(node: Node<'_>) -> Option<u32> {
    let size = node.integer(LIMIT_MAX_BODY)?;
    if size > DEFAULT_MAX_BODY {
        node.warn("Envoy answers 413 to bodies above its default buffer limit: raise `request_body_buffer_limit` above this value");
    }
    Some(size)
}

/// Reads a `public_url`: scheme, host and port.
pub(crate) fn read_origin(node: Node<'_>) -> Option<String> {
    node.parse(|text| {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match host {
            Some(host) if matcher::is_host(host) => Ok(text.to_owned()),
            _ => Err("not an origin: write the scheme and host that the sender uses, without a path, such as https://hooks.example.com".to_owned()),
        }
    })
}
