//! The request before the sender signs it: its target, its headers and its body.

use super::body;
use super::send::Server;
use crate::cli::Result;
use crate::cli::arguments::SignArguments;
use crate::cli::failure::Failure;
use crate::cli::request::Request;
use crate::policy::endpoint::Endpoint;
use crate::request::headers::is_token;

/// Where a request goes if nothing names another server: the listener of `make run`.
const DEFAULT_AUTHORITY: &str = "localhost:10000";
const FORM: &str = "application/x-www-form-urlencoded";

/// The request before the sender adds anything.
pub(super) fn request(
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
        trailers: Vec::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_perhaps_a_path() {
        let parts = |text: &str| {
            let url = Url::parse(text).ok()?;
            Some(format!("{} {} {:?}", url.scheme, url.authority, url.target))
        };
        for (text, expected) in [
            ("https://a.test", "https a.test None"),
            ("http://[::1]:80/a?b=c", "http [::1]:80 Some(\"/a?b=c\")"),
            ("http://a:1/", "http a:1 Some(\"/\")"),
        ] {
            assert_eq!(parts(text).as_deref(), Some(expected));
        }
        for text in [
            "",
            "a",
            "//a",
            "ftp://a",
            "https://",
            "https:///a",
            "https://u@a/",
            "https://a?b",
            "https://a/#b",
            "https://a b/",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }

    #[test]
    fn a_header_has_a_name_and_a_value_in_one_line() {
        let read = |text: &str| read_header(text).ok();
        let header = ("x-a".to_owned(), b"b: c".to_vec());
        assert_eq!(read("X-A:  b: c "), Some(header));
        assert_eq!(read("x-a:"), Some(("x-a".to_owned(), Vec::new())));
        for text in [
            "",
            "x-a",
            ": b",
            "x a: b",
            "x-a: b\r\nx-b: c",
            "x-a\n: b",
            "x-a: \0",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
