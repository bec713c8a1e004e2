//! The fields of an endpoint in the configuration.

use std::rc::Rc;
use std::time::Duration;

use super::Endpoint;
use crate::config::{self, Node, Object};
use crate::crypto::{Algorithm, Key};
use crate::policy::matcher::{self, Matcher};
use crate::policy::remote_lists::RemoteAllowList;
use crate::replay;
use crate::request::address::{AddressSource, AllowList};
use crate::request::headers;
use crate::scheme::Scheme;
use crate::scheme::freshness::Tolerance;
use crate::scheme::public_url::PublicUrl;
use crate::scheme::query::Query;
use crate::secrets::{self, Environment, Latest};
use crate::verdict::Mode;

/// The largest body in bytes if `max_body_bytes` is absent.
const DEFAULT_MAX_BODY: u32 = 1024 * 1024;

/// The largest value of `max_body_bytes`. The host buffers a body of this size for every request.
const LIMIT_MAX_BODY: u32 = 1024 * 1024 * 1024;

/// The largest value of `max_body_bytes` for a scheme that reads the whole body into memory.
const LIMIT_READ_BODY: u32 = 4 * 1024 * 1024;

/// A captured request stays valid for this time at most without a warning, if the endpoint does not remember it. The
/// span includes both sides of the tolerance.
const LONG_WITHOUT_MEMORY: Duration = Duration::from_secs(60 * 60);

/// An endpoint with the places of its fields, for errors about two endpoints.
pub(crate) struct Read<'a> {
    pub(crate) endpoint: Endpoint,
    /// The places of the secrets, in their order.
    pub(crate) places: Vec<Node<'a>>,
    pub(crate) node: Node<'a>,
}

/// Reads an item of `endpoints`. `public_url` is that of the whole configuration. `names` are the names of the
/// endpoints before this one.
pub(crate) fn read<'a>(
    node: Node<'a>,
    public_url: Option<&PublicUrl>,
    environment: Environment<'_>,
    names: &mut Vec<String>,
) -> Option<Read<'a>> {
    let mut block = node.object("{name: orders, ..}")?;
    let hint = "add a name for metrics and logs, such as `name: orders`";
    let name = block.required("name", hint, |node| read_name(node, names));
    names.extend(name.clone());
    let matcher = block.required("match", "add `match: {path: /webhook}`", Matcher::read);
    let scheme = Scheme::of_endpoint(&mut block);
    let tolerance = block.field("tolerance");
    let scheme = read_override(tolerance, scheme);
    let replay = block.optional("replay", |node| replay::read(node, scheme.as_ref()));
    let own_url = block.optional("public_url", |node| {
        read_public_url(node, matcher.as_ref(), scheme.as_ref())
    });
    let hint = "add `secrets: [{version: v1, env: NAME}]`";
    let secrets = block.required("secrets", hint, |node| {
        secrets::read_list(node, scheme.as_ref(), environment)
    });
    let allow = block.optional("allow", AllowList::read);
    let allow_from = block.optional("allow_from", read_allow_from);
    let has_list = allow.is_some() || allow_from.is_some();
    let client_address =
        block.optional("client_address", |node| read_client_address(node, has_list));
    let methods = block.optional("methods", read_methods);
    let query = block.optional("query", |node| Query::read(node, scheme.as_ref()));
    let max_body = block.optional("max_body_bytes", read_max_body);
    let mode = block.optional("mode", read_mode);
    let answers_challenges = block.optional("answer_challenges", |node| {
        read_answers(node, scheme.as_ref(), mode)
    });
    let is_decompressed = block.optional("decompressed", Node::boolean);
    let has_token =
        answers_challenges == Some(true) && scheme.as_ref().is_some_and(Scheme::wants_verify_token);
    let verify_token = read_verify_token(&mut block, has_token, environment);
    let public_url = own_url.or_else(|| public_url.cloned()).unwrap_or_default();
    check_origin(node, &public_url, scheme.as_ref(), environment);
    block.close()?;

    let (name, scheme) = (name?, scheme?);
    let max_body = max_body.unwrap_or(DEFAULT_MAX_BODY);
    if scheme.needs_whole_body() && max_body > LIMIT_READ_BODY {
        return node.error(format_args!("this scheme reads the whole body into memory: set `max_body_bytes` to at most {LIMIT_READ_BODY}"));
    }
    let replay = replay.unwrap_or_else(|| replay::Setting::default_of(&scheme));
    let replay = replay.into_replay();
    let may_forget = replay.is_none() || scheme.spec.id_optional;
    if may_forget && scheme.min_replay_window() > Some(LONG_WITHOUT_MEMORY) {
        tolerance.unwrap_or(node).warn("a captured request that is not remembered can be sent again for more than an hour: set `tolerance: 5m`, or remember all deliveries");
    }
    let methods = methods.unwrap_or_else(|| vec!["POST".to_owned()]);
    let is_get = methods.iter().any(|method| method == "GET");
    if is_get && replay.is_some() && scheme.spec.confuses_queries() {
        node.warn("the sender signs no query, so two GET requests with one signed time are one delivery: set `identity: none` if only their queries differ");
    }
    let secrets = secrets?.into_iter();
    let secrets = secrets.map(|(secret, place)| (Rc::new(secret), place));
    let (secrets, places): (Vec<_>, _) = secrets.unzip();
    let endpoint = Endpoint {
        delivery_key: Key::new(Algorithm::HmacSha512, name.as_bytes())?,
        name,
        matcher: matcher?,
        query: Query::of(query, &scheme),
        scheme,
        names_senders: secrets.iter().any(|secret| secret.sender.is_some()),
        secrets,
        latest: Latest::default(),
        allow,
        allow_from: allow_from.unwrap_or_default(),
        client_address: client_address.unwrap_or(AddressSource::Direct),
        methods,
        max_body: max_body.into(),
        mode: mode.unwrap_or(Mode::Enforce),
        public_url,
        answers_challenges: answers_challenges.unwrap_or(false),
        is_decompressed: is_decompressed.unwrap_or(false),
        digests_messages: false,
        verify_token,
        replay,
    };
    if endpoint.names_senders && endpoint.replay.is_none() {
        node.warn("`sender` has no effect without replay protection: remove it, or add an `id`");
    }
    Some(Read {
        endpoint,
        places,
        node,
    })
}

/// Reads `client_address`, of an endpoint with or without an allow list.
fn read_client_address(node: Node<'_>, has_list: bool) -> Option<AddressSource> {
    let source = AddressSource::read(node)?;
    if has_list && source.is_of_proxy() {
        node.warn("clients that bypass the proxy can claim any address: limit the listener to the proxy by `direct_source_prefix_ranges`");
    }
    Some(source)
}

fn read_mode(node: Node<'_>) -> Option<Mode> {
    node.choice(&[
        ("enforce", Mode::Enforce),
        ("monitor", Mode::Monitor),
        ("disabled", Mode::Disabled),
    ])
}

/// Reads `verify_token`, which is required exactly if a handshake has a token.
fn read_verify_token(
    block: &mut Object<'_>,
    has_token: bool,
    environment: Environment<'_>,
) -> Option<Key> {
    match (block.field("verify_token"), has_token) {
        (Some(node), true) => secrets::read_token(node, environment),
        (Some(node), false) => node.error("no handshake of this endpoint checks a token: remove `verify_token`, or set `answer_challenges: true` if the sender uses one"),
        (None, true) => block
            .node
            .error("`verify_token` is missing: add `verify_token: {env: NAME}`"),
        (None, false) => None,
    }
}

/// Reports a signed URL without an origin. Only in development may a client choose the host.
fn check_origin(
    node: Node<'_>,
    public_url: &PublicUrl,
    scheme: Option<&Scheme>,
    environment: Environment<'_>,
) {
    let signs_url = scheme.is_some_and(Scheme::signs_origin);
    if signs_url && public_url.origin.is_none() && environment.name != "development" {
        node.error::<()>("the sender signs the URL, but clients choose the Host header: set `public_url`, such as https://hooks.example.com");
    }
}

/// Reads `answer_challenges` of an endpoint in this mode.
fn read_answers(node: Node<'_>, scheme: Option<&Scheme>, mode: Option<Mode>) -> Option<bool> {
    let answers = node.boolean()?;
    if answers && scheme.is_some_and(|scheme| scheme.spec.challenges.is_empty()) {
        return node.error("this sender has no handshake to answer: remove `answer_challenges`");
    }
    if answers && mode == Some(Mode::Monitor) {
        node.warn("in `mode: monitor` the guard answers no handshake: set `mode: enforce` before the sender checks the endpoint");
    }
    Some(answers)
}

/// Reads the `tolerance` that overrides the one of the scheme.
fn read_override(node: Option<Node<'_>>, scheme: Option<Scheme>) -> Option<Scheme> {
    let mut scheme = scheme?;
    if let Some(node) = node {
        match &mut scheme.spec.timestamp {
            Some(timestamp) => {
                timestamp.tolerance = Tolerance::read(node, timestamp.tolerance)?;
            }
            None => {
                return node.error("this scheme signs no timestamp: remove `tolerance`");
            }
        }
    }
    Some(scheme)
}

/// Reads a name that is not in `names`.
fn read_name(node: Node<'_>, names: &[String]) -> Option<String> {
    let name = node.parse(|text| {
        let has_capital = text.bytes().any(|byte| byte.is_ascii_uppercase());
        match config::is_label(text) && !has_capital {
            true => Ok(text.to_owned()),
            false => Err(format!(
                "{text:?} is not a valid name: use 1 to 63 of a-z, 0-9, - and _, starting with a letter or digit"
            )),
        }
    })?;
    match names.contains(&name) {
        true => node.error(format_args!(
            "the name {name:?} is already used: give each endpoint its own name"
        )),
        false => Some(name),
    }
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

/// Reads the `public_url` of the whole configuration: scheme, host and port.
pub(crate) fn read_origin(node: Node<'_>) -> Option<PublicUrl> {
    let url = node.parse(|text| PublicUrl::parse(text, matcher::is_host, 0))?;
    match url.path() {
        "" => Some(url),
        _ => node.error(
            "a path belongs to one endpoint: move this URL to the `public_url` of that endpoint",
        ),
    }
}

/// Reads the `public_url` of an endpoint. Its path takes the place of the path or the prefix in `match`.
fn read_public_url(
    node: Node<'_>,
    matcher: Option<&Matcher>,
    scheme: Option<&Scheme>,
) -> Option<PublicUrl> {
    let replaced = matcher.map_or(0, |matcher| matcher.path.text().len());
    let url = node.parse(|text| PublicUrl::parse(text, matcher::is_host, replaced))?;
    let is_prefix = matcher.is_some_and(Matcher::is_prefix);
    if url.path().is_empty() {
        return Some(url);
    }
    if is_prefix && !url.path().ends_with('/') {
        return node.error("the path takes the place of the prefix in `match`, so it must also end with a slash: add one");
    }
    if scheme.is_some_and(|scheme| !scheme.signs_path()) {
        node.warn("the sender signs no URL and no path, so `public_url` has no effect: remove it");
    } else if url.path() == "/" && !is_prefix {
        node.warn("the sender must call the path / for this: remove the slash if it calls the path in `match`");
    }
    Some(url)
}
