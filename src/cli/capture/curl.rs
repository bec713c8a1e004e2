//! A curl command. The command is read and never run.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Capture, MAX_HEADERS, Read, add_header, empty, text, url, words};
use crate::cli::output::escaped;
use crate::cli::request::Request;
use crate::cli::source::SourceFile;

/// Options with an argument that does not change the request.
const WITH_ARGUMENT: &[&str] = &[
    "-o",
    "--output",
    "-m",
    "--max-time",
    "--connect-timeout",
    "--resolve",
    "--connect-to",
    "--cacert",
    "--capath",
    "-E",
    "--cert",
    "--key",
    "--pass",
    "--retry",
    "--retry-delay",
    "--retry-max-time",
    "-w",
    "--write-out",
    "-c",
    "--cookie-jar",
    "--ciphers",
    "--tls-max",
    "-D",
    "--dump-header",
    "--limit-rate",
    "--interface",
    "--max-redirs",
    "-x",
    "--proxy",
    "--unix-socket",
    "--stderr",
    "--trace",
    "--trace-ascii",
    "--expect100-timeout",
];

/// Options without an argument that do not change the request.
const WITHOUT_ARGUMENT: &[&str] = &[
    "-s",
    "--silent",
    "-S",
    "--show-error",
    "-k",
    "--insecure",
    "-L",
    "--location",
    "-v",
    "--verbose",
    "-i",
    "--include",
    "-f",
    "--fail",
    "--fail-with-body",
    "-g",
    "--globoff",
    "-4",
    "--ipv4",
    "-6",
    "--ipv6",
    "-#",
    "--progress-bar",
    "-N",
    "--no-buffer",
    "--compressed",
    "--http1.1",
    "-0",
    "--http1.0",
    "--http2",
    "--http2-prior-knowledge",
    "--http3",
    "--path-as-is",
    "--no-progress-meter",
    "--tlsv1.2",
    "--tlsv1.3",
    "--no-keepalive",
    "-O",
    "--remote-name",
    "-q",
    "--location-trusted",
    "--tcp-nodelay",
    "--raw",
    "--basic",
];

/// Whether a text begins with a curl command, perhaps after a prompt.
pub(super) fn is_command(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"$ ").unwrap_or(bytes);
    let rest = bytes
        .strip_prefix(b"curl")
        .or_else(|| bytes.strip_prefix(b"curl.exe"));
    rest.and_then(<[u8]>::first)
        .is_some_and(u8::is_ascii_whitespace)
}

/// The options that were read so far.
#[derive(Default)]
struct Options {
    method: Option<String>,
    url: Option<String>,
    target: Option<String>,
    user: Option<String>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    data: Option<Vec<u8>>,
    is_json: bool,
    is_get: bool,
    is_head: bool,
    notes: Vec<String>,
}

/// Reads a command.
pub(super) fn read(bytes: &[u8]) -> Read<Capture> {
    let command = std::str::from_utf8(bytes).map_err(|_| {
        "the command is not UTF-8: write the body into a file, and use --data-binary @FILE"
            .to_owned()
    })?;
    let command = command.strip_prefix("$ ").unwrap_or(command);
    let words = words::split(command)?;
    let mut words = words.into_iter().skip(1);
    let mut options = Options::default();
    while let Some(word) = words.next() {
        match word.first() {
            Some(b'-') if word.len() > 1 => options.take(&text(&word), &mut words)?,
            _ => options.set_url(text(&word))?,
        }
    }
    options.into_capture()
}

impl Options {
    /// Takes an option, which may be several short ones in one word.
    fn take(&mut self, word: &str, words: &mut dyn Iterator<Item = Vec<u8>>) -> Read<()> {
        if word.starts_with("--") {
            return match WITHOUT_ARGUMENT.contains(&word) {
                true => Ok(()),
                false => self.take_one(word, &mut || words.next()),
            };
        }
        let mut letters = word.chars().skip(1);
        while let Some(letter) = letters.next() {
            let option = format!("-{letter}");
            if WITHOUT_ARGUMENT.contains(&option.as_str()) {
                continue;
            }
            if matches!(option.as_str(), "-G" | "-I") {
                self.take_one(&option, &mut || None)?;
                continue;
            }
            let rest: String = letters.collect();
            return self.take_one(&option, &mut || match rest.is_empty() {
                true => words.next(),
                false => Some(rest.as_bytes().to_vec()),
            });
        }
        Ok(())
    }

    fn take_one(
        &mut self,
        option: &str,
        argument: &mut dyn FnMut() -> Option<Vec<u8>>,
    ) -> Read<()> {
        match option {
            "-G" | "--get" => {
                self.is_get = true;
                return Ok(());
            }
            "-I" | "--head" => {
                self.is_head = true;
                return Ok(());
            }
            _ => {}
        }
        let mut value = || {
            argument().ok_or_else(|| {
                format!("curl's option {option} has no value: copy the whole command")
            })
        };
        match option {
            "-X" | "--request" => self.method = Some(text(&value()?)),
            "-H" | "--header" => self.header(&value()?)?,
            "-d" | "--data" | "--data-ascii" => {
                let data = self.data_or_file(&value()?, true)?;
                self.add(data, b"&");
            }
            "--data-raw" => {
                let data = value()?;
                self.add(data, b"&");
            }
            "--data-binary" => {
                let data = self.data_or_file(&value()?, false)?;
                self.add(data, b"&");
            }
            "--data-urlencode" => {
                let data = self.urlencode(&value()?)?;
                self.add(data, b"&");
            }
            "--json" => {
                let data = self.data_or_file(&value()?, false)?;
                self.is_json = true;
                self.add(data, b"");
            }
            "-u" | "--user" => self.user = Some(text(&value()?)),
            "-A" | "--user-agent" => self.set("user-agent", value()?),
            "-e" | "--referer" => self.set("referer", value()?),
            "-b" | "--cookie" => self.set("cookie", value()?),
            "--url" => self.set_url(text(&value()?))?,
            "--request-target" => self.target = Some(text(&value()?)),
            other if WITH_ARGUMENT.contains(&other) => {
                value()?;
            }
            "-F" | "--form" | "--form-string" => {
                return Err("curl chooses the boundary of a multipart body: capture the request as HTTP/1.1".to_owned());
            }
            other => {
                return Err(format!(
                    "curl's option {other} is not supported: remove it, or capture the request as HTTP/1.1"
                ));
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: Vec<u8>) {
        self.headers.push((name.to_owned(), Some(value)));
    }

    fn set_url(&mut self, url: String) -> Read<()> {
        match self.url.replace(url) {
            None => Ok(()),
            Some(_) => Err("the command calls several URLs: keep one".to_owned()),
        }
    }

    /// A header as curl reads it: `Name:` removes a header, and `Name;` sends an empty one.
    fn header(&mut self, header: &[u8]) -> Read<()> {
        if header.first() == Some(&b'@') {
            return Err("the command reads headers from a file: write them as -H".to_owned());
        }
        let colon = header.iter().position(|byte| *byte == b':');
        if let Some((name, value)) = colon.and_then(|colon| header.split_at_checked(colon)) {
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            let value = (!value.is_empty()).then(|| value.to_vec());
            self.headers.push((text(name.trim_ascii()), value));
        } else if let Some(name) = header.strip_suffix(b";") {
            self.set(&text(name), Vec::new());
        }
        Ok(())
    }

    fn add(&mut self, data: Vec<u8>, separator: &[u8]) {
        match &mut self.data {
            Some(known) => known.extend(separator.iter().copied().chain(data)),
            None => self.data = Some(data),
        }
    }

    /// Data, or after `@` the content of a file. `-d` drops the line ends of a file.
    fn data_or_file(&mut self, data: &[u8], drops_lines: bool) -> Read<Vec<u8>> {
        let Some(path) = data.strip_prefix(b"@") else {
            return Ok(data.to_vec());
        };
        let mut content = self.file(&text(path))?;
        if drops_lines {
            content.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
        }
        Ok(content)
    }

    /// The content of a file that the command names. A command that someone sent may name any file, so only regular files
    /// are read, the user sees which, and nothing prints their content.
    fn file(&mut self, path: &str) -> Read<Vec<u8>> {
        let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            let path = escaped(path);
            return Err(format!(
                "the command reads {path}, which is not a file here: write the body into a file, and its name after @"
            ));
        }
        let file = SourceFile::read(Path::new(path)).map_err(|failure| failure.to_string())?;
        self.notes.push(format!("the body is from the file {path}"));
        Ok(file.bytes)
    }

    /// The value of `--data-urlencode`.
    fn urlencode(&mut self, data: &[u8]) -> Read<Vec<u8>> {
        let mark = data.iter().position(|byte| matches!(byte, b'=' | b'@'));
        let (name, content) = match mark.and_then(|mark| data.split_at_checked(mark)) {
            None => (&b""[..], data.to_vec()),
            Some((name, rest)) => match rest.split_first() {
                Some((b'@', path)) => (name, self.file(&text(path))?),
                Some((_, content)) => (name, content.to_vec()),
                None => (name, Vec::new()),
            },
        };
        let mut encoded = name.to_vec();
        if !name.is_empty() {
            encoded.push(b'=');
        }
        for byte in content {
            match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                true => encoded.push(byte),
                false => encoded.extend(format!("%{byte:02X}").bytes()),
            }
        }
        Ok(encoded)
    }

    fn into_capture(mut self) -> Read<Capture> {
        let mut request = empty("http");
        let url = self
            .url
            .take()
            .ok_or("the command has no URL: copy the whole command")?;
        let user = url::set(&mut request, &url)?.map(str::to_owned);
        if request
            .target
            .split(['?', '/'])
            .any(|part| part == "." || part == "..")
        {
            return Err(
                "the URL has a part `.` or `..`, which curl removes: write the path without it"
                    .to_owned(),
            );
        }
        let data = self.data.take();
        if let (true, Some(data)) = (self.is_get, &data) {
            let separator = if request.target.contains('?') {
                "&"
            } else {
                "?"
            };
            request.target.push_str(separator);
            request.target.push_str(&text(data));
        }
        let has_body = data.is_some() && !self.is_get;
        request.method = self
            .method
            .take()
            .unwrap_or_else(|| match (has_body, self.is_head) {
                (true, _) => "POST".to_owned(),
                (false, true) => "HEAD".to_owned(),
                (false, false) => "GET".to_owned(),
            });
        if let Some(target) = self.target.take() {
            request.target = target;
        }
        if let Some(user) = self.user.take().or(user) {
            let value = format!("Basic {}", STANDARD.encode(user));
            self.set("authorization", value.into_bytes());
        }
        self.add_headers(&mut request, has_body)?;
        if has_body {
            request.body = data.unwrap_or_default();
        }
        Ok(Capture {
            notes: self.notes,
            ..Capture::of(request)
        })
    }

    /// Adds the headers of the command, and those that curl adds by itself.
    fn add_headers(&self, request: &mut Request, has_body: bool) -> Read<()> {
        if self.headers.len() > MAX_HEADERS {
            return Err(format!(
                "the command has more than {MAX_HEADERS} headers: remove some"
            ));
        }
        let is_set = |name: &str| {
            self.headers
                .iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        let content_type = match (has_body, self.is_json) {
            (false, _) => None,
            (true, true) => Some("application/json"),
            (true, false) => Some("application/x-www-form-urlencoded"),
        };
        if let Some(value) = content_type.filter(|_| !is_set("content-type")) {
            add_header(request, "content-type", value.as_bytes());
        }
        for (name, value) in &self.headers {
            if let Some(value) = value {
                add_header(request, name, value);
            }
        }
        Ok(())
    }
}
