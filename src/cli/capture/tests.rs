use super::*;

const OPTIONS: Options<'_> = Options {
    entry: None,
    scheme: "https",
};

fn capture(text: &[u8]) -> Capture {
    read(text, OPTIONS).expect("a capture")
}

fn fault(text: &[u8]) -> String {
    read(text, OPTIONS).expect_err("no capture")
}

fn header<'r>(request: &'r Request, name: &str) -> Vec<&'r [u8]> {
    let headers = request.headers.iter();
    let named = headers.filter(|(known, _)| known == name);
    named.map(|(_, value)| value.as_slice()).collect()
}

/// The parts of a request that all of these captures have.
fn assert_is_order(capture: &Capture) {
    let request = &capture.request;
    assert_eq!(request.method, "POST");
    assert_eq!(
        (request.scheme.as_str(), request.authority.as_str()),
        ("https", "hooks.example.com")
    );
    assert_eq!(request.target, "/webhook?a=1");
    assert_eq!(header(request, "x-signature"), [b"ab, c"]);
    assert_eq!(text(&request.body), "{\"order\": \"\u{e9}'\"}");
}

#[test]
fn each_form_of_a_capture_is_recognised() {
    let body = "{\"order\": \"\u{e9}'\"}";
    let length = body.len();
    for capture in [
        format!("POST /webhook?a=1 HTTP/1.1\r\nHost: hooks.example.com\r\nX-Signature:  ab, c \r\nContent-Length: {length}\r\n\r\n{body}"),
        format!("\n\nPOST /webhook?a=1 HTTP/2\nhost: hooks.example.com\nx-signature: ab, c\n\n{body}"),
        format!("POST https://hooks.example.com/webhook?a=1 HTTP/1.1\nX-Signature: ab, c\nContent-Length: {length}\n\n{body}\n"),
        format!(":method: POST\n:path: /webhook?a=1\n:scheme: https\n:authority: hooks.example.com\nx-signature: ab, c\n\n{body}"),
        format!("> POST /webhook?a=1 HTTP/1.1\n> Host: hooks.example.com\n> X-Signature: ab, c\n> \n{body}"),
        format!("POST /webhook?a=1 HTTP/1.1\r\nHost: hooks.example.com\r\nX-Signature: ab, c\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", body.split_at(5).0, length - 5, body.split_at(5).1),
        format!("curl -sSX POST 'https://hooks.example.com/webhook?a=1#x' \\\n  -H 'X-Signature: ab, c' --data-raw $'{}'", body.replace('\'', "\\'")),
        "$ curl https://hooks.example.com/webhook -G -XPOST -d a=1 -H \"X-Signature: ab, c\" | jq".to_owned(),
        serde_json::json!({"log": {"entries": [{
            "startedDateTime": "2023-11-14T22:13:20.500Z",
            "request": {
                "method": "POST", "url": "https://hooks.example.com/webhook?a=1",
                "headers": [{"name": ":path", "value": "/other"}, {"name": "X-Signature", "value": "ab, c"}],
                "postData": {"mimeType": "application/json", "text": body},
            },
        }]}}).to_string(),
        serde_json::json!({"http_buffered_trace": {"request": {
            "headers": [
                {"key": ":method", "value": "POST"}, {"key": ":path", "value": "/webhook?a=1"},
                {"key": ":authority", "value": "hooks.example.com"}, {"key": ":scheme", "value": "https"},
                {"key": "x-signature", "raw_value": "YWIsIGM="},
            ],
            "body": {"truncated": false, "as_string": body},
        }}}).to_string(),
    ] {
        let mut read = super::tests::capture(capture.as_bytes());
        if read.request.body.is_empty() {
            read.request.body = body.as_bytes().to_vec();
        }
        assert_is_order(&read);
    }
}

#[test]
fn a_command_for_another_language_is_refused() {
    for (command, language) in [
        ("fetch(\"https://a/\", {})", "JavaScript"),
        ("\n await fetch('https://a/')", "JavaScript"),
        ("$session = New-Object A.WebRequestSession", "PowerShell"),
        ("Invoke-WebRequest -Uri \"https://a/\"", "PowerShell"),
        ("Invoke-RestMethod https://a/", "PowerShell"),
        ("curl ^\"https://a/^\" ^\r\n -H ^\"A: b^\"", "cmd"),
    ] {
        assert_eq!(
            fault(command.as_bytes()),
            format!(
                "this is a command for {language}, which is not read: copy the request as cURL (bash)"
            ),
        );
    }
}

#[test]
fn a_har_entry_has_a_time() {
    let har = br#"{"startedDateTime": "2023-11-14T22:13:20.500Z", "request": {"method": "GET", "url": "https://a/"}}"#;
    assert_eq!(capture(har).arrived, Some(UnixMillis(1_700_000_000_500)));
}

#[test]
fn the_length_of_a_body_is_that_of_its_header() {
    let with = |length: u32, body: &str| {
        capture(
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
                .as_bytes(),
        )
    };
    let exact = with(3, "abc");
    assert_eq!((exact.claimed_length, exact.notes.len()), (None, 0));
    let longer = with(3, "abc\n");
    assert_eq!(
        (longer.request.body.as_slice(), longer.notes.len()),
        (&b"abc"[..], 1)
    );
    let shorter = with(5, "abc");
    assert_eq!((shorter.claimed_length, shorter.notes.len()), (Some(5), 1));
}

#[test]
fn data_of_curl_is_joined_as_curl_joins_it() {
    let body = |command: &str| {
        let read = capture(command.as_bytes());
        let kind = header(&read.request, "content-type").concat();
        (text(&read.request.body), text(&kind))
    };
    let form = "application/x-www-form-urlencoded".to_owned();
    assert_eq!(
        body("curl a/b -d a=1 -d 'b=2'"),
        ("a=1&b=2".to_owned(), form.clone())
    );
    assert_eq!(
        body("curl a/b --data-urlencode 'a=b c&\u{e9}' --data-urlencode =x@y"),
        ("a=b%20c%26%C3%A9&x%40y".to_owned(), form)
    );
    assert_eq!(
        body("curl a/b --json '{' --json '}'"),
        ("{}".to_owned(), "application/json".to_owned())
    );
    assert_eq!(
        body("curl a/b -d x -H 'content-type:text/plain'"),
        ("x".to_owned(), "text/plain".to_owned())
    );
    assert_eq!(
        body("curl a/b -d x -H Content-Type:"),
        ("x".to_owned(), String::new())
    );
    let bytes = capture(br"curl a/b --data-binary $'\x00\xff\u00e9\101\n\'\q'");
    assert_eq!(bytes.request.body, b"\0\xff\xc3\xa9A\n'\\q");
    let user = capture(b"curl http://me:pw@a/b -X PUT");
    assert_eq!(header(&user.request, "authorization"), [b"Basic bWU6cHc="]);
    assert_eq!(
        (
            user.request.method.as_str(),
            user.request.authority.as_str()
        ),
        ("PUT", "a")
    );
}

#[test]
fn a_command_reads_regular_files_alone_and_runs_nothing() {
    for (command, part) in [
        (
            "curl a -d @/dev/zero",
            "reads /dev/zero, which is not a file",
        ),
        ("curl a -d @/", "reads /, which is not a file"),
        ("curl a --json @-", "not a file here"),
        ("curl a --data-urlencode x@/dev/stdin", "not a file here"),
        ("curl a -H @/etc/passwd", "from a file"),
        ("curl a -d \"$(id)\"", "only the shell knows"),
        ("curl a -d `id`", "only the shell knows"),
        ("curl a -d $BODY", "only the shell knows"),
        ("curl a -d 'x", "open quotation mark"),
        ("curl a -F x=y", "boundary"),
        ("curl a --frobnicate", "--frobnicate is not supported"),
        ("curl a b", "several URLs"),
        ("curl -d", "has no value"),
        ("curl -s", "no URL"),
        ("curl ftp://a", "not of HTTP"),
        ("curl a/../b", "curl removes"),
        ("curl \"a\" ^\n -d x", "for Windows"),
    ] {
        let fault = fault(command.as_bytes());
        assert!(fault.contains(part), "{command}: {fault}");
    }
    // In single quotation marks, nothing is the shell's.
    assert_eq!(
        capture(b"curl a -d '$(id) `id` $HOME'").request.body,
        b"$(id) `id` $HOME"
    );
}

#[test]
fn a_file_without_a_request_is_explained() {
    for (text, part) in [
        (&b" \n"[..], "empty"),
        (b"hello", "not a request"),
        (b"{\"a\": 1}", "neither HAR"),
        (b"{", "not JSON"),
        (b"{\"log\": {\"entries\": []}}", "no entries"),
        (b"{\"request\": {\"method\": \"GET\"}}", "no url"),
        (
            b"{\"request\": {\"method\": \"POST\", \"url\": \"https://a\", \"postData\": {}}}",
            "no text",
        ),
        (b"{\"http_buffered_trace\": {}}", "no request"),
        (b"\x00\xff\x1b[2J", "not a request"),
    ] {
        let fault = fault(text);
        assert!(fault.contains(part), "{fault}");
        assert!(!fault.contains('\x1b'));
    }
    let line = br#"[info] wasm log webhook_guard: {"event":"webhook_processed","endpoint":"orders","reason":"signature_invalid","body_bytes":13} x"#;
    let fault = fault(line);
    assert!(
        fault.contains("endpoint orders") && fault.contains("body_bytes 13"),
        "{fault}"
    );
}

#[test]
fn several_entries_need_a_number() {
    let entry = r#"{"request": {"method": "POST", "url": "https://a/x"}}"#;
    let har = format!(r#"{{"log": {{"entries": [{entry}, {entry}]}}}}"#);
    assert!(fault(har.as_bytes()).contains("1 POST https://a/x\n  2 POST"));
    let chosen = |entry| {
        read(
            har.as_bytes(),
            Options {
                entry: Some(entry),
                ..OPTIONS
            },
        )
    };
    assert!(chosen(2).is_ok());
    assert!(chosen(0).is_err() && chosen(3).is_err());
}

#[test]
fn a_line_of_the_log_is_compared() {
    let request =
        capture(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\r\nabc").request;
    let compare = |fields: &str| {
        let line = format!(r#"{{"event":"webhook_processed",{fields}}}"#);
        LogLine::find(line.as_bytes())
            .expect("a line")
            .compare(&request)
    };
    let same = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(
        compare(&format!(
            r#""body_bytes":3,"body_sha256":"{same}","content_type":"text/plain""#
        )),
        ["log: the guard saw the same body"]
    );
    let other = compare(r#""body_bytes":3,"body_sha256":"00","content_type":"text/html""#);
    assert!(other[0].contains("another body") && other[1].contains("another content-type"));
    assert!(compare(r#""body_bytes":5"#)[0].contains("5 bytes of the body, and the capture has 3"));
}

/// No input panics, whatever its first bytes are. A request is not much larger than its capture.
#[test]
fn random_captures_are_read_or_refused() {
    let seeds = [
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "curl 'https://a/b?c' -H 'x: y' --data-raw $'a\\x41\\u00e9\\'' -u a:b -sk",
        r#"{"log": {"entries": [{"request": {"method": "POST", "url": "https://a", "postData": {"text": "x"}}}]}}"#,
        r#"{"http_buffered_trace": {"request": {"headers": [{"key": "a", "value": "b"}], "body": {"as_bytes": "YQ=="}, "trailers": [{"key": "a"}]}}}"#,
    ];
    let mut state = 1_u32;
    let mut next = |end: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(state >> 8).unwrap() % end.max(1)
    };
    for round in 0..40_000 {
        let mut bytes = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, u8::try_from(next(256)).unwrap()),
                2 => bytes[at] = b"'\"\\$\n\r:{}\0 @-"[next(13)],
                _ => {
                    let tail = bytes.split_off(at);
                    bytes.extend(tail.iter().rev());
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        if let Ok(capture) = read(&bytes, OPTIONS) {
            let request = &capture.request;
            let headers = request.headers.iter();
            let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
            let size = headers + request.target.len() + request.body.len();
            assert!(size <= 3 * bytes.len() + 256, "{size} bytes of {bytes:?}");
        }
    }
}

/// Each line is what an Envoy with the shipped files does: see tests/envoy/test_command_verify.py.
#[test]
fn a_request_is_changed_as_envoy_changes_it() {
    let with =
        |lines: &str| capture(format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n").as_bytes());
    let names = |capture: &Capture| {
        let headers = capture.request.headers.iter();
        headers.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let id = "x-request-id".to_owned();
    for (lines, kept) in [
        ("Connection: x-a, Close\r\nX-A: b\r\nX-B: c", vec!["x-b"]),
        (
            "Keep-Alive: 5\r\nProxy-Connection: x\r\nTransfer-Encoding: chunked",
            vec![],
        ),
        ("Upgrade: websocket", vec![]),
        (
            "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x",
            vec![],
        ),
        ("X_A: b\r\nX-B: c", vec!["x-b"]),
    ] {
        let mut expected: Vec<_> = kept.into_iter().map(str::to_owned).collect();
        expected.push(id.clone());
        assert_eq!(names(&with(lines)), expected, "{lines}");
    }
    assert_eq!(names(&with("X-Request-Id: r")), [id]);
    let folded = with("X-A:\r\n b\r\n\tc");
    assert_eq!(header(&folded.request, "x-a"), [b"b c"]);
    assert_eq!(with("Host: b").request.authority, "a,b");
    for lines in [
        "Content-Length: 0\r\nContent-Length: 0",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        &"X-A: b\r\n".repeat(110),
    ] {
        let refused = with(lines.trim_end());
        assert!(refused.is_refused && !refused.notes.is_empty(), "{lines}");
    }
    assert!(!with("Content-Length: 0").is_refused);
}
