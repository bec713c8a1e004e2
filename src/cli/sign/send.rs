//! Sends a request over plain HTTP/1.1, and shows the answer.
//!
//! The command connects only to the address in its arguments. Answers and the environment cannot change that.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::formats::{self, Spelling};
use crate::cli::Result;
use crate::cli::failure::Failure;
use crate::cli::output::{self, escaped};
use crate::cli::request::Request;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time for the request and the answer together.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The most bytes of an answer that are read.
const MAX_ANSWER: usize = 256 * 1024;
/// The most bytes of an answer's body that are shown.
const MAX_SHOWN: usize = 4 * 1024;
const MAX_HEADERS: usize = 128;
const MAX_INTERIM: usize = 8;

/// The server to send to.
#[derive(Debug)]
pub(super) struct Server {
    /// The host and the port.
    pub(super) authority: String,
    address: String,
    timeout: Duration,
}

impl Server {
    /// Reads `http://HOST:PORT`.
    ///
    /// # Errors
    /// The text has another form.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.starts_with("https://") {
            return Err(Failure::new(
                "--send: the command does not use TLS: print a command by --format curl, and run it",
            ));
        }
        let rest = text.strip_prefix("http://").unwrap_or_default();
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
        if authority.is_empty() || !authority.bytes().all(is_host) {
            return Err(Failure::new(
                "--send: not an address: write http://HOST:PORT, and the path by --path",
            ));
        }
        let host = authority.rsplit(']').next().unwrap_or_default();
        Ok(Self {
            authority: authority.to_owned(),
            address: match host.contains(':') {
                true => authority.to_owned(),
                false => format!("{authority}:80"),
            },
            timeout: TIMEOUT,
        })
    }

    /// Sends a request, and prints the status and the body of the answer. The exit status is 0 for a status of 2xx.
    ///
    /// # Errors
    /// The server cannot be reached, or sends no HTTP answer in time.
    pub(super) fn send(&self, request: &Request) -> Result {
        let answer = self.ask(request)?;
        let shown = answer.body.get(..MAX_SHOWN).unwrap_or(&answer.body);
        let text = String::from_utf8_lossy(shown);
        let lines: Vec<_> = text.lines().map(escaped).collect();
        let mut printed = format!("{} {}\n", answer.status, escaped(&answer.phrase));
        for line in lines {
            printed.push_str(&line);
            printed.push('\n');
        }
        output::print(printed)?;
        Ok(match answer.status {
            200..=299 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }

    fn ask(&self, request: &Request) -> Result<Answer> {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::new(format!("--send: {}: {why}: check the server", self.address))
        };
        let mut stream = self.connect()?;
        let bytes = formats::http(&Spelling::none(), request, &[("Connection", "close")]);
        let end = Instant::now().checked_add(self.timeout);
        let left = || {
            let left = end.and_then(|end| end.checked_duration_since(Instant::now()));
            left.filter(|left| !left.is_zero())
                .ok_or_else(|| failed(&"no answer in time"))
        };
        let wait = |stream: &TcpStream| -> Result<()> {
            let left = Some(left()?);
            let set = stream.set_read_timeout(left);
            set.and_then(|()| stream.set_write_timeout(left))
                .map_err(|error| failed(&error))
        };
        wait(&stream)?;
        // A server may answer before it has read all of the request, and close the connection.
        let written = stream.write_all(&bytes).and_then(|()| stream.flush());
        let mut received = Vec::new();
        let mut chunk = [0; 8 * 1024];
        loop {
            wait(&stream)?;
            let length = match stream.read(&mut chunk) {
                Ok(length) => length,
                Err(error) => match Answer::parse(&received, true) {
                    Some(answer) => return Ok(answer),
                    None => return Err(failed(written.as_ref().err().unwrap_or(&error))),
                },
            };
            received.extend(chunk.get(..length).unwrap_or_default());
            let is_end = length == 0 || received.len() > MAX_ANSWER;
            match Answer::parse(&received, is_end) {
                Some(answer) => return Ok(answer),
                None if is_end => return Err(failed(&"the answer is not HTTP")),
                None => {}
            }
        }
    }

    fn connect(&self) -> Result<TcpStream> {
        let addresses = self.address.to_socket_addrs();
        let mut why = match addresses {
            Err(error) => error.to_string(),
            Ok(addresses) => {
                let mut why = "the host has no address".to_owned();
                for address in addresses {
                    match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                        Ok(stream) => return Ok(stream),
                        Err(error) => why = error.to_string(),
                    }
                }
                why
            }
        };
        why.push_str(": check the address");
        Err(Failure::new(format!("--send: {}: {why}", self.address)))
    }
}

/// An answer of the server.
#[derive(Debug, Eq, PartialEq)]
struct Answer {
    status: u16,
    phrase: String,
    body: Vec<u8>,
}

impl Answer {
    /// The status of an answer, and the length of its head.
    fn interim(bytes: &[u8]) -> Option<(u16, usize)> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => Some((head.code?, length)),
            _ => None,
        }
    }

    /// Reads an answer. `None` if it is not complete. At the end of the connection, the body may be incomplete.
    fn parse(mut bytes: &[u8], is_end: bool) -> Option<Self> {
        // Interim answers, such as 100 Continue.
        for _ in 0..MAX_INTERIM {
            let (status, length) = Self::interim(bytes)?;
            if !(100..=199).contains(&status) || status == 101 {
                break;
            }
            bytes = bytes.get(length..)?;
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(length)) = head.parse(bytes) else {
            return None;
        };
        let rest = bytes.get(length..)?;
        let status = head
            .code
            .filter(|status| *status == 101 || *status >= 200)?;
        let value = |name: &str| {
            let mut headers = head.headers.iter();
            let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        let is_chunked = value("transfer-encoding").is_some();
        let content_length = value("content-length").and_then(|text| text.trim().parse().ok());
        let body = match (is_chunked, content_length) {
            (true, _) => chunks(rest, is_end)?,
            _ if status == 204 || status == 304 => Vec::new(),
            (false, Some(length)) => match rest.get(..length) {
                Some(body) => body.to_vec(),
                None if is_end => rest.to_vec(),
                None => return None,
            },
            (false, None) if is_end => rest.to_vec(),
            (false, None) => return None,
        };
        Some(Self {
            status,
            phrase: head.reason.unwrap_or_default().to_owned(),
            body,
        })
    }
}

/// The content of chunks. `None` if they are not complete, unless nothing follows.
fn chunks(mut rest: &[u8], is_end: bool) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete((start, size))) => (start, usize::try_from(size).ok()?),
            _ => return is_end.then_some(body),
        };
        let data = rest.get(start..).unwrap_or_default();
        if size == 0 {
            return Some(body);
        }
        let Some((chunk, tail)) = data.split_at_checked(size) else {
            body.extend(data);
            return is_end.then_some(body);
        };
        body.extend(chunk);
        rest = tail.strip_prefix(b"\r\n").unwrap_or(tail);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn answer(text: &str, is_end: bool) -> Option<(u16, String)> {
        let answer = Answer::parse(text.as_bytes(), is_end)?;
        Some((
            answer.status,
            String::from_utf8(answer.body).expect("UTF-8"),
        ))
    }

    #[test]
    fn an_answer_ends_where_it_says() {
        let some = |status, body: &str| Some((status, body.to_owned()));
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab";
        assert_eq!(answer(whole, false), some(200, "ab"));
        assert_eq!(answer(whole.split_at(whole.len() - 1).0, false), None);
        assert_eq!(
            answer(whole.split_at(whole.len() - 1).0, true),
            some(200, "a")
        );
        let open = "HTTP/1.1 401 Unauthorized\r\n\r\nInvalid";
        assert_eq!(answer(open, false), None);
        assert_eq!(answer(open, true), some(401, "Invalid"));
        let chunked = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 X\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(answer(chunked, false), some(503, "abc"));
        let cut = chunked.split_at(chunked.len() - 5).0;
        assert_eq!(answer(cut, false), None);
        assert_eq!(answer(cut, true), some(503, "abc"));
        assert_eq!(
            answer("HTTP/1.1 204 No Content\r\n\r\n", false),
            some(204, "")
        );
        assert_eq!(answer("SSH-2.0-x\r\n", true), None);
        assert_eq!(answer("", true), None);
    }

    /// A server that sends nothing, and one that sends without an end, a byte at a time.
    #[test]
    fn a_server_cannot_hold_the_command() {
        for bytes in [&b""[..], b"x-a: b\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address");
            let serving = thread::spawn(move || {
                let (mut peer, _) = listener.accept().expect("a client");
                let mut sent = peer.write_all(b"HTTP/1.1 200 OK\r\n");
                while !bytes.is_empty() && sent.is_ok() {
                    sent = bytes.iter().try_for_each(|byte| peer.write_all(&[*byte]));
                    thread::sleep(Duration::from_millis(1));
                }
                // The client leaves.
                let _ = peer.read_to_end(&mut Vec::new());
            });
            let server = Server {
                timeout: Duration::from_millis(100),
                ..Server::parse(&format!("http://{address}")).expect("an address")
            };
            let request = Request {
                method: "POST".to_owned(),
                scheme: "http".to_owned(),
                authority: server.authority.clone(),
                target: "/".to_owned(),
                headers: Vec::new(),
                body: Vec::new(),
                trailers: Vec::new(),
            };
            assert!(server.ask(&request).is_err());
            serving.join().expect("the server");
        }
    }

    #[test]
    fn an_address_has_a_host_and_no_path() {
        let address = |text: &str| Server::parse(text).ok().map(|server| server.address);
        assert_eq!(address("http://a:1").as_deref(), Some("a:1"));
        assert_eq!(address("http://a/").as_deref(), Some("a:80"));
        assert_eq!(address("http://[::1]:1").as_deref(), Some("[::1]:1"));
        assert_eq!(address("http://[::1]").as_deref(), Some("[::1]:80"));
        for text in [
            "",
            "a:1",
            "https://a",
            "http://",
            "http://a/b",
            "http://u@a",
            "http://a\r\nx",
            "ftp://a",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }
}
