//! Writes a signed request as headers, as a curl command, or as HTTP/1.1.

use std::path::Path;

use crate::cli::capture::in_single_quotes;
use crate::cli::request::Request;
use crate::config::value::Value;
use crate::policy::endpoint::Endpoint;
use crate::scheme::{DEFAULT, PROVIDERS};

/// The longest argument of a command. Linux allows 128 KiB.
const MAX_ARGUMENT: usize = 64 * 1024;

/// The names of headers as the scheme writes them. A request has them in lower case.
#[derive(Debug)]
pub(super) struct Spelling(String);

impl Spelling {
    /// The spelling in the `signature` block of an endpoint, and in the user's headers.
    pub(super) fn of(configuration: &[u8], endpoint: &str, headers: &[String]) -> Self {
        let block = block(configuration, endpoint);
        Self(format!("{block}\n{}", headers.join("\n")))
    }

    /// Names as they are in the request.
    pub(super) const fn none() -> Self {
        Self(String::new())
    }

    /// A name as the scheme writes it.
    fn written(&self, name: &str) -> String {
        if name == "content-type" {
            return "Content-Type".to_owned();
        }
        let block = self.0.to_ascii_lowercase();
        let is_end = |at: usize| {
            let next = block.as_bytes().get(at.saturating_add(name.len()));
            next.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-')
        };
        let mut places = block.match_indices(name).map(|(at, _)| at);
        let found = places.find(|at| is_end(*at)).and_then(|at| {
            let end = at.saturating_add(name.len());
            self.0.get(at..end)
        });
        found.unwrap_or(name).to_owned()
    }
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

/// The headers that the sender adds, one in each line. The content type is one if the guard reads the body by it.
pub(super) fn headers(
    endpoint: &Endpoint,
    spelling: &Spelling,
    plain: &Request,
    signed: &Request,
) -> Vec<u8> {
    let reads_body = endpoint.scheme.reads_body();
    let mut output = Vec::new();
    for header @ (name, value) in &signed.headers {
        let is_added = !plain.headers.contains(header) || (reads_body && name == "content-type");
        if is_added {
            line(&mut output, &spelling.written(name), value, b"\n");
        }
    }
    output
}

fn line(output: &mut Vec<u8>, name: &str, value: &[u8], end: &[u8]) {
    output.extend(name.as_bytes());
    output.extend(b": ");
    output.extend(value);
    output.extend(end);
}

/// The request as HTTP/1.1, with more headers.
pub(super) fn http(spelling: &Spelling, request: &Request, more: &[(&str, &str)]) -> Vec<u8> {
    const END: &[u8] = b"\r\n";
    let mut output = format!("{} {} HTTP/1.1\r\n", request.method, request.target).into_bytes();
    line(&mut output, "Host", request.authority.as_bytes(), END);
    for (name, value) in &request.headers {
        line(&mut output, &spelling.written(name), value, END);
    }
    let length = request.body.len().to_string();
    line(&mut output, "Content-Length", length.as_bytes(), END);
    for (name, value) in more {
        line(&mut output, name, value.as_bytes(), END);
    }
    output.extend(END);
    output.extend(&request.body);
    output
}

/// A curl command for a POSIX shell. `file` contains the body, if it is unchanged.
pub(super) fn curl(
    endpoint: &Endpoint,
    has_url: bool,
    spelling: &Spelling,
    request: &Request,
    file: Option<&Path>,
) -> Vec<u8> {
    let url = match (&endpoint.public_url.origin, has_url) {
        (Some(origin), false) => {
            let target = endpoint.public_url.target(request.target.as_bytes());
            format!("{origin}{}", String::from_utf8_lossy(&target))
        }
        _ => format!(
            "{}://{}{}",
            request.scheme, request.authority, request.target
        ),
    };
    let mut words = vec![
        b"curl --globoff --path-as-is --request".to_vec(),
        quoted(request.method.as_bytes()),
        quoted(url.as_bytes()),
    ];
    for (name, value) in &request.headers {
        let mut header = Vec::new();
        match value.is_empty() {
            // With a colon, curl would remove the header.
            true => header.extend(format!("{};", spelling.written(name)).as_bytes()),
            false => line(&mut header, &spelling.written(name), value, b""),
        }
        words.push([b"\\\n  --header ", &quoted(&header)[..]].concat());
    }
    let mut command = Vec::new();
    match file.and_then(Path::to_str) {
        Some(file) => {
            let argument = quoted(format!("@{file}").as_bytes());
            words.push([b"\\\n  --data-binary ", &argument[..]].concat());
        }
        None if is_plain(&request.body) && request.body.len() <= MAX_ARGUMENT => {
            words.push([b"\\\n  --data-raw ", &quoted(&request.body)[..]].concat());
        }
        None => {
            command.extend(b"printf '%b' ");
            command.extend(escaped(&request.body));
            command.extend(b" | ");
            words.push(b"\\\n  --data-binary @-".to_vec());
        }
    }
    command.extend(words.join(&b' '));
    command.push(b'\n');
    command
}

/// Whether a terminal shows a text as it is.
fn is_plain(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| {
        text.chars()
            .all(|letter| letter == '\n' || !letter.is_control())
            && !text.contains('\u{feff}')
    })
}

/// A word for a POSIX shell.
fn quoted(word: &[u8]) -> Vec<u8> {
    let is_safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(byte);
    if !word.is_empty() && word.iter().all(is_safe) {
        return word.to_vec();
    }
    in_single_quotes(word)
}

/// A word that `printf '%b'` turns into these bytes.
fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut word = vec![b'\''];
    for byte in bytes {
        match byte {
            b'\\' => word.extend(b"\\\\"),
            b'\n' => word.extend(b"\\n"),
            b' '..=b'~' if *byte != b'\'' => word.push(*byte),
            byte => word.extend(format!("\\0{byte:03o}").as_bytes()),
        }
    }
    word.push(b'\'');
    word
}
