//! `webhook-guard sign`: the request as the sender would send it.

mod body;
mod draft;
mod field;
mod formats;
mod send;
mod signer;
mod time_text;
mod token;
mod values;
#[cfg(test)]
mod vectors;

use std::iter;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::rc::Rc;

use super::Result;
use super::arguments::{RequestFormat, SignArguments};
use super::failure::Failure;
use super::judgement::judge;
use super::output::{print_as_is, print_error};
use super::request::Request;
use super::secrets::{self, SecretText, Secrets};
use super::source::SourceFile;
use super::{clock, policies};
use crate::config::value::Value;
use crate::crypto::{Algorithm, AlgorithmIndex, Key};
use crate::policy::endpoint::Endpoint;
use crate::policy::{EndpointIndex, Policy};
use crate::request::address::Client;
use crate::request::headers::is_token;
use crate::scheme::{DEFAULT, PROVIDERS};
use crate::secrets::{Secret, SecretIndex, secret_in};
use crate::time::UnixMillis;
use crate::verdict::Outcome;
use formats::Spelling;
use send::Server;
use signer::Sender;

/// Where a request goes if nothing names another server: the listener of `make run`.
const DEFAULT_AUTHORITY: &str = "localhost:10000";
const FORM: &str = "application/x-www-form-urlencoded";

/// Prints a signed request, or sends it.
pub(super) fn run(arguments: &SignArguments) -> Result {
    let server = arguments.send.as_deref().map(Server::parse).transpose()?;
    let configuration = policies::configuration(&SourceFile::read(&arguments.config.config)?)?;
    let secrets = Secrets::new(&configuration, &arguments.config.secret_files)?;
    let mut policy = policies::read(&configuration)?;
    secrets.check_files(&policy)?;
    let place = place(&policy, arguments.config.endpoint.as_deref())?;
    let now = clock::now(arguments.config.at);
    let (index, text, texts) = values(
        &secrets,
        endpoint(&policy, place)?,
        arguments.version.as_deref(),
        now,
    )?;
    for warning in secrets::install(&mut policy, place, &texts)? {
        warn(&warning);
    }
    let endpoint = Rc::clone(endpoint(&policy, place)?);
    let secret = endpoint.secret(index).ok_or_else(no_secret)?;
    let (key, token) = key(&endpoint, (index, secret), &text)?;
    let sender = Sender {
        endpoint: &endpoint,
        key: &key,
        token,
        key_id: secret.key_id.as_deref().unwrap_or(&secret.version),
        now,
        id: arguments.id.as_deref(),
        algorithm: algorithm(&endpoint, arguments.algorithm.as_deref())?,
        form: usize::from(arguments.form).saturating_sub(1),
    };
    let body = SourceFile::read(&arguments.body)?.bytes;
    let plain = plain(arguments, &endpoint, server.as_ref(), body)?;
    let signed = sender.sign(plain.clone())?;
    // The server that gets the request has the present time.
    let judged_at = server.as_ref().map_or(now, |_| clock::now(None));
    let open = endpoint
        .lists_clients()
        .then(|| without_addresses(&configuration, place, &texts))
        .flatten();
    if open.is_some() {
        warn("the guard also requires a client address of the endpoint's list");
    }
    warn_of_verdict(
        open.as_ref().unwrap_or(&policy),
        &endpoint,
        &signed,
        judged_at,
    );
    if endpoint.scheme.spec.signature.algorithm == Algorithm::Token {
        warn(
            "the request contains the secret itself, as this sender sends it: keep the output secret",
        );
    }
    match server {
        Some(server) => server.send(&signed),
        None => {
            let block = block(&configuration, &endpoint.name);
            let spelling = Spelling::of(&block, &arguments.headers);
            print(arguments, &endpoint, &spelling, &plain, &signed)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn warn(text: &str) {
    print_error(&Failure::new(format!("warning: {text}")));
}

/// The place of the endpoint with this name, or of the only one.
fn place(policy: &Policy, name: Option<&str>) -> Result<EndpointIndex> {
    let endpoints = &policy.endpoints;
    let found = match (name, endpoints.len()) {
        (None, 1) => Some(0),
        (None, _) => None,
        (Some(name), _) => endpoints.iter().position(|endpoint| endpoint.name == name),
    };
    found.map(EndpointIndex).ok_or_else(|| {
        let names: Vec<_> = endpoints.iter().map(|each| each.name.as_str()).collect();
        Failure::new(format!(
            "--endpoint: name one of the endpoints in the configuration: {}",
            names.join(", ")
        ))
    })
}

fn endpoint(policy: &Policy, EndpointIndex(index): EndpointIndex) -> Result<&Rc<Endpoint>> {
    let endpoint = policy.endpoints.get(index);
    endpoint.ok_or_else(|| Failure::new("the configuration has no such endpoint"))
}

fn no_secret() -> Failure {
    Failure::new("the endpoint has no such secret")
}

/// The place and the value of the secret that signs, and the known values of all secrets of the endpoint.
fn values(
    secrets: &Secrets,
    endpoint: &Endpoint,
    version: Option<&str>,
    now: UnixMillis,
) -> Result<(SecretIndex, SecretText, Vec<Option<SecretText>>)> {
    let (index, chosen) = secret(endpoint, version, now)?;
    let text = secrets.find_or_ask(endpoint, chosen)?;
    let mut texts = Vec::new();
    for (other, secret) in endpoint.secrets.iter().enumerate() {
        texts.push(match SecretIndex(other) == index {
            true => Some(text.clone()),
            false => secrets.find(endpoint, secret)?,
        });
    }
    Ok((index, text, texts))
}

/// The secret of this version, or the first one that is valid.
fn secret<'e>(
    endpoint: &'e Endpoint,
    version: Option<&str>,
    now: UnixMillis,
) -> Result<(SecretIndex, &'e Secret)> {
    let mut secrets = endpoint.secrets.iter().enumerate();
    let found = secrets.find(|(_, secret)| match version {
        Some(version) => secret.version == version,
        None => secret.validity(now).is_ok(),
    });
    let versions = || {
        let versions = endpoint.secrets.iter().map(|each| each.version.as_str());
        versions.collect::<Vec<_>>().join(", ")
    };
    match found {
        Some((index, secret)) => Ok((SecretIndex(index), secret)),
        None if version.is_none() => Err(Failure::new(format!(
            "endpoint {}: no secret is valid at this time: choose one by --version, of {}",
            endpoint.name,
            versions()
        ))),
        None => Err(Failure::new(format!(
            "--version: endpoint {} has no such version in use: name one of {}",
            endpoint.name,
            versions()
        ))),
    }
}

/// The algorithm with this name, or the first one.
fn algorithm(endpoint: &Endpoint, name: Option<&str>) -> Result<AlgorithmIndex> {
    let spec = &endpoint.scheme.spec;
    let Some(wanted) = name else {
        return Ok(AlgorithmIndex::default());
    };
    let mut names = Vec::new();
    for (index, algorithm) in iter::once(&spec.signature.algorithm)
        .chain(&spec.other_algorithms)
        .enumerate()
    {
        let mut known = Algorithm::NAMES.iter();
        let name = known.find(|(_, known)| known == algorithm);
        let name = name.map_or("", |(name, _)| *name);
        if name == wanted {
            return Ok(AlgorithmIndex(index));
        }
        names.push(name);
    }
    Err(Failure::new(format!(
        "--algorithm: the sender does not sign by this algorithm: name one of {}",
        names.join(", ")
    )))
}

/// The key of a secret, and for the algorithm `token` the secret's own bytes.
fn key(
    endpoint: &Endpoint,
    (index, secret): (SecretIndex, &Secret),
    text: &SecretText,
) -> Result<(Rc<Key>, Option<Vec<u8>>)> {
    let (keyring, _) = endpoint.keyring(endpoint.filter_states().map(|_| None).collect());
    let entries = || keyring.entries().iter();
    // A secret with the value of a revoked one has the name of the revoked one in the keyring.
    let entry = entries()
        .find(|entry| entry.index == index)
        .or_else(|| entries().find(|entry| entry.secret.same_key(secret)));
    let entry = entry.ok_or_else(no_secret)?;
    let spec = &endpoint.scheme.spec;
    let token =
        match (spec.signature.algorithm, spec.key_encodings.first()) {
            (Algorithm::Token, Some(encoding)) => {
                let bytes = secret_in(&text.text).and_then(|(text, _)| encoding.decode(text));
                Some(bytes.map_err(|fault| {
                    Failure::new(format!("version {}: {fault}", secret.version))
                })?)
            }
            _ => None,
        };
    Ok((Rc::clone(&entry.key), token))
}

/// The `signature` block of an endpoint, or the text of all settings that contain the block.
fn block(configuration: &[u8], endpoint: &str) -> String {
    let root = crate::config::parse(configuration).ok();
    let endpoints = root.as_ref().and_then(|root| get(root, "endpoints"));
    let found =
        endpoints.and_then(|endpoints| named(endpoints, "name", endpoint).into_iter().next());
    let provider = text(found.as_ref().and_then(|found| get(found, "provider")));
    let mut presets = PROVIDERS.iter();
    if let Some((_, block)) = presets.find(|(name, _)| Some(*name) == provider) {
        return (*block).to_owned();
    }
    match found.as_ref().and_then(|found| get(found, "signature")) {
        Some(_) => String::from_utf8_lossy(configuration).into_owned(),
        None => DEFAULT.to_owned(),
    }
}

/// The items of a list that have this text in a field.
fn named(list: &Value, field: &str, name: &str) -> Vec<Value> {
    let Value::List(items) = list else {
        return Vec::new();
    };
    let is_named = |item: &&Value| text(get(item, field)) == Some(name);
    items.iter().filter(is_named).cloned().collect()
}

fn get<'v>(value: &'v Value, field: &str) -> Option<&'v Value> {
    match value {
        Value::Object(fields) => {
            let mut fields = fields.iter();
            fields
                .find(|(name, _)| name == field)
                .map(|(_, value)| value)
        }
        _ => None,
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// The request before the sender adds anything.
fn plain(
    arguments: &SignArguments,
    endpoint: &Endpoint,
    server: Option<&Server>,
    body: Vec<u8>,
) -> Result<Request> {
    let url = arguments.url.as_deref().map(Url::parse).transpose()?;
    let host = endpoint.matcher.host.clone();
    let origin = endpoint.public_url.origin.as_deref().map(Url::parse);
    let origin = origin.transpose()?;
    let given = url.as_ref().map(|url| url.authority.clone());
    let authority = given
        .or(host)
        .or_else(|| server.map(|server| server.authority.clone()))
        .or_else(|| origin.as_ref().map(|url| url.authority.clone()))
        .unwrap_or_else(|| DEFAULT_AUTHORITY.to_owned());
    let scheme = match (&url, server, &origin) {
        (Some(url), ..) => url.scheme,
        (None, None, Some(url)) => url.scheme,
        _ => "http",
    };
    let path = url.and_then(|url| url.target).or(arguments.path.clone());
    let mut request = Request {
        method: arguments.method.clone().unwrap_or_else(|| method(endpoint)),
        scheme: scheme.to_owned(),
        authority,
        target: path.unwrap_or_else(|| endpoint.matcher.path.text().to_owned()),
        headers: Vec::new(),
        body,
    };
    check_target(&request)?;
    for header in &arguments.headers {
        let (name, value) = read_header(header)?;
        match name.as_str() {
            "host" => request.authority = String::from_utf8_lossy(&value).into_owned(),
            // The format writes these.
            "connection" | "content-length" | "transfer-encoding" => {
                return Err(Failure::new(format!(
                    "-H: the command itself sets {name}: remove the option"
                )));
            }
            _ => request.headers.push((name, value)),
        }
    }
    wrap_json(endpoint, &mut request);
    let has_type = request
        .headers
        .iter()
        .any(|(name, _)| name == "content-type");
    if !has_type {
        let kind = arguments.content_type.as_deref();
        let kind = kind.unwrap_or_else(|| content_type(endpoint, &request.body));
        let header = read_header(&format!("content-type: {kind}"))?;
        request.headers.insert(0, header);
    }
    Ok(request)
}

/// POST, unless the endpoint refuses it.
fn method(endpoint: &Endpoint) -> String {
    let allowed = endpoint.allowed_methods();
    let mut methods = allowed.split(", ");
    match methods.clone().any(|method| method == "POST") {
        true => "POST".to_owned(),
        false => methods.next().unwrap_or("POST").to_owned(),
    }
}

/// The content type that the sender uses for a body.
fn content_type(endpoint: &Endpoint, body: &[u8]) -> &'static str {
    let is_json = body
        .trim_ascii_start()
        .first()
        .is_some_and(|first| b"{[".contains(first));
    let scheme = &endpoint.scheme;
    match () {
        () if !scheme.names.form.is_empty() => FORM,
        () if scheme.spec.message.covers_forms() && !is_json => FORM,
        () => "application/json",
    }
}

/// Puts JSON into the form in which the sender sends it.
fn wrap_json(endpoint: &Endpoint, request: &mut Request) {
    let is_json = request.body.trim_ascii_start().starts_with(b"{");
    if let (Some(field), true) = (&endpoint.scheme.spec.json_in_form, is_json) {
        request.body = body::set_parameter(b"", field, &request.body);
    }
}

fn check_target(request: &Request) -> Result<()> {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !request.target.starts_with('/') || !is_plain(&request.target) {
        return Err(Failure::new(
            "--path: not a path: write one that begins with a slash, with other characters than ASCII percent-encoded",
        ));
    }
    match is_token(&request.method) {
        true => Ok(()),
        false => Err(Failure::new(
            "--method: not a method: write one such as POST",
        )),
    }
}

/// Reads `NAME: VALUE`.
fn read_header(text: &str) -> Result<(String, Vec<u8>)> {
    let pair = text
        .split_once(':')
        .map(|(name, value)| (name, value.trim()));
    match pair {
        Some((name, value))
            if is_token(name) && !value.bytes().any(|byte| byte.is_ascii_control()) =>
        {
            Ok((name.to_ascii_lowercase(), value.as_bytes().to_vec()))
        }
        _ => Err(Failure::new(format!(
            "{text:?} is not a header: write \"Name: value\""
        ))),
    }
}

/// The parts of a URL.
#[derive(Debug)]
struct Url {
    scheme: &'static str,
    authority: String,
    /// The path and the query, if the URL has a path.
    target: Option<String>,
}

impl Url {
    fn parse(text: &str) -> Result<Self> {
        let fault = || {
            Failure::new(format!(
                "{text:?} is not a URL: write one such as https://hooks.example.com/webhook"
            ))
        };
        let (scheme, rest) = match text.split_once("://").ok_or_else(fault)? {
            ("https", rest) => ("https", rest),
            ("http", rest) => ("http", rest),
            _ => return Err(fault()),
        };
        let length = rest
            .bytes()
            .take_while(|byte| !b"/?#".contains(byte))
            .count();
        let (authority, target) = rest.split_at_checked(length).ok_or_else(fault)?;
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
        let is_whole = !authority.is_empty() && authority.bytes().all(is_host);
        match is_whole && !target.contains('#') && !target.starts_with('?') {
            true => Ok(Self {
                scheme,
                authority: authority.to_owned(),
                target: Some(target.to_owned()).filter(|target| !target.is_empty()),
            }),
            false => Err(fault()),
        }
    }
}

/// Reports what the guard would do with the request at that time, if it would not accept it.
fn warn_of_verdict(policy: &Policy, endpoint: &Endpoint, signed: &Request, now: UnixMillis) {
    let client = Client::Trusted(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let judged = judge(policy, signed, client, now);
    let reason = judged.verdict.reason().name();
    match &judged.endpoint {
        Some(other) if other.name != endpoint.name => warn(&format!(
            "the request belongs to the endpoint {}: set --path, or --url with the host",
            other.name
        )),
        _ if judged.verdict.outcome() != Outcome::Accepted => {
            warn(&format!("the guard would not accept the request: {reason}"));
        }
        _ => {}
    }
}

/// The policy without lists of addresses.
fn without_addresses(
    configuration: &[u8],
    place: EndpointIndex,
    texts: &[Option<SecretText>],
) -> Option<Policy> {
    let mut root: serde_json::Value = serde_json::from_slice(configuration).ok()?;
    for endpoint in root.get_mut("endpoints")?.as_array_mut()? {
        let fields = endpoint.as_object_mut()?;
        fields.remove("allow");
        fields.remove("allow_from");
    }
    let mut policy = policies::read(root.to_string().as_bytes()).ok()?;
    secrets::install(&mut policy, place, texts).ok()?;
    Some(policy)
}

/// Prints the request in the form that the arguments name.
fn print(
    arguments: &SignArguments,
    endpoint: &Endpoint,
    spelling: &Spelling,
    plain: &Request,
    signed: &Request,
) -> Result<()> {
    let output = match arguments.format {
        RequestFormat::Headers => {
            if plain.body != signed.body || plain.target != signed.target {
                let place = match plain.body == signed.body {
                    true => "the query",
                    false => "the body",
                };
                warn(&format!(
                    "the sender also changes {place}: print all of the request by --format http or --format curl"
                ));
            }
            formats::headers(endpoint, spelling, plain, signed)
        }
        RequestFormat::Curl => {
            let file = Some(arguments.body.as_path())
                .filter(|file| file.as_os_str() != "-" && plain.body == signed.body)
                .filter(|_| endpoint.scheme.spec.json_in_form.is_none());
            formats::curl(endpoint, arguments.url.is_some(), spelling, signed, file)
        }
        RequestFormat::Http => formats::http(spelling, signed, &[]),
    };
    print_as_is(&output)
}
