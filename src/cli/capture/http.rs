//! A request as HTTP/1.1, or as tools show HTTP/2.

use httparse::Status;

use super::{Capture, MAX_HEADERS, Read, add_header, empty, text, url};

/// Reads the text of a request. Its head may have bare line feeds, the marks of `curl -v`, or pseudo-headers.
pub(super) fn read(bytes: &[u8], scheme: &str) -> Read<Capture> {
    let (head, body) = split(bytes);
    let head = plain_head(head);
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(&head.bytes) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err(invalid("the head is not complete")),
        Err(error) => return Err(invalid(&error.to_string())),
    }
    let mut request = empty(scheme);
    parsed
        .method
        .unwrap_or_default()
        .clone_into(&mut request.method);
    let target = parsed.path.unwrap_or_default();
    // The host of the URL replaces the Host header.
    let is_absolute = target.contains("://") && !target.starts_with('/');
    match is_absolute {
        true => {
            url::set(&mut request, target)?;
        }
        false => target.clone_into(&mut request.target),
    }
    let (mut lengths, mut is_chunked) = (Vec::new(), false);
    let mut hosts = Vec::new();
    for header in parsed.headers.iter() {
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(text(header.value)),
            "host" => {
                hosts.push(text(header.value.trim_ascii()));
                continue;
            }
            "transfer-encoding" => {
                is_chunked = header.value.trim_ascii().eq_ignore_ascii_case(b"chunked");
            }
            _ => {}
        }
        add_header(&mut request, header.name, header.value);
    }
    if !is_absolute {
        // Envoy joins several values.
        request.authority = hosts.join(",");
    }
    for (name, value) in &head.pseudo {
        add_header(&mut request, name, value);
    }
    body.clone_into(&mut request.body);
    let mut capture = Capture::of(request);
    if is_chunked {
        set_chunked(&mut capture, body);
    } else if let [length] = lengths.as_slice()
        && let Ok(length) = length.trim().parse()
    {
        set_length(&mut capture, length);
    }
    Ok(capture)
}

fn invalid(why: &str) -> String {
    format!(
        "not a request: {why}: write it as HTTP/1.1, with an empty line between the headers and the body"
    )
}

/// Splits a request after the first empty line.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut start = 0_usize;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        start = start.saturating_add(line.len());
        // `curl -v` marks the lines of a head.
        let line = line.strip_prefix(b">").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            break;
        }
    }
    bytes.split_at_checked(start).unwrap_or((bytes, b""))
}

/// A head with CRLF, HTTP/1.1 in its first line, and its pseudo-headers apart.
struct Head {
    bytes: Vec<u8>,
    pseudo: Vec<(String, Vec<u8>)>,
}

fn plain_head(head: &[u8]) -> Head {
    let mut plain = Head {
        bytes: Vec::new(),
        pseudo: Vec::new(),
    };
    let mut is_first = true;
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.strip_prefix(b"> ").unwrap_or(line);
        if line.trim_ascii().is_empty() || line == b">" {
            continue;
        }
        if matches!(line.first(), Some(b' ' | b'\t')) && plain.bytes.ends_with(b"\r\n") && !is_first
        {
            // The value of the header before this line continues.
            plain.bytes.truncate(plain.bytes.len().saturating_sub(2));
            plain.bytes.push(b' ');
            plain.bytes.extend(line.trim_ascii().iter().chain(b"\r\n"));
            continue;
        }
        if let Some((name, value)) = pseudo(line) {
            plain.pseudo.push((name, value));
            continue;
        }
        if is_first {
            is_first = false;
            let line = text(line);
            let mut words = line.split_whitespace();
            if let (Some(method), Some(target), version, None) =
                (words.next(), words.next(), words.next(), words.next())
                && version.is_none_or(|version| version.starts_with("HTTP/"))
                && !method.ends_with(':')
            {
                plain
                    .bytes
                    .extend(format!("{method} {target} HTTP/1.1\r\n").bytes());
                continue;
            }
            if !plain.pseudo.is_empty() {
                // The pseudo-headers replace this line.
                plain.bytes.extend(b"GET / HTTP/1.1\r\n");
            }
            plain.bytes.extend(line.bytes().chain(*b"\r\n"));
            continue;
        }
        plain.bytes.extend(line.iter().chain(b"\r\n"));
    }
    if is_first && !plain.pseudo.is_empty() {
        plain.bytes.extend(b"GET / HTTP/1.1\r\n");
    }
    plain.bytes.extend(b"\r\n");
    plain
}

/// A line such as `:method: POST`.
fn pseudo(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let rest = line.strip_prefix(b":")?;
    let colon = rest.iter().position(|byte| *byte == b':')?;
    let (name, value) = rest.split_at_checked(colon)?;
    let name = format!(":{}", text(name));
    let is_known = [":method", ":path", ":scheme", ":authority"].contains(&name.as_str());
    is_known.then(|| (name, value.strip_prefix(b":").unwrap_or(value).to_vec()))
}

/// Applies a content-length to the body.
fn set_length(capture: &mut Capture, length: u64) {
    let body = &mut capture.request.body;
    let captured = u64::try_from(body.len()).unwrap_or(u64::MAX);
    if captured < length {
        capture.claimed_length = Some(length);
        capture.notes.push(format!(
            "the content-length claims {length} bytes, and the capture has {captured} of them"
        ));
    } else if captured > length {
        body.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        capture.notes.push(format!(
            "the body ends after {length} bytes, as the content-length says, and the capture has {captured}"
        ));
    }
}

/// Decodes a chunked body. Some tools show the body without its chunks.
fn set_chunked(capture: &mut Capture, body: &[u8]) {
    match decode_chunks(body) {
        Some((decoded, true)) => capture.request.body = decoded,
        Some((decoded, false)) => {
            capture.request.body = decoded;
            capture
                .notes
                .push("the last chunk of the body is missing".to_owned());
        }
        None => capture
            .notes
            .push("the capture shows the body without its chunks".to_owned()),
    }
}

/// The content of all chunks, and whether the last one is there. `None` if the body has no chunks.
fn decode_chunks(mut rest: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut decoded = Vec::new();
    loop {
        let Ok(Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else {
            return (!decoded.is_empty()).then_some((decoded, false));
        };
        if size == 0 {
            return Some((decoded, true));
        }
        let size = usize::try_from(size).ok()?;
        let content = rest.get(start..)?;
        let Some((chunk, tail)) = content.split_at_checked(size) else {
            decoded.extend(content);
            return Some((decoded, false));
        };
        decoded.extend(chunk);
        rest = tail
            .strip_prefix(b"\r\n")
            .or_else(|| tail.strip_prefix(b"\n"))?;
    }
}
