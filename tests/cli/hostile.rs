//! Captured requests that an attacker wrote, and the secrets that no output contains.

use std::io::Write as _;
use std::process::{Command, Stdio};

const SECRET: &str = "dev-only-webhook-secret";
const READERS: [&[&str]; 4] = [
    &["verify"],
    &["verify", "--format", "json"],
    &["explain"],
    &["explain", "--format", "json"],
];

/// Everything that a command prints about a request.
fn printed(command: &[&str], request: &[u8]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_webhook-guard"))
        .args(command)
        .args(["--config", "envoy/envoy.yaml", "--request", "-"])
        .env("WEBHOOK_SECRET", SECRET)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses the request early closes its input.
    let _ = child.stdin.take().unwrap().write_all(request);
    let output = child.wait_with_output().unwrap();
    let code = output.status.code();
    assert!(
        code.is_some_and(|code| code <= 2),
        "{command:?}: {output:?}"
    );
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap()
}

fn hex_hmac(body: &str) -> String {
    let script = "import hashlib, hmac, sys; print(hmac.new(sys.argv[1].encode(), sys.argv[2].encode(), hashlib.sha256).hexdigest())";
    let output = Command::new("python3")
        .args(["-c", script, SECRET, body])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn request(target: &str, header: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: hooks.example.com\r\n{header}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[test]
fn no_output_has_a_secret_or_the_signature_that_would_have_been_right() {
    let body = r#"{"order":42}"#;
    let right = hex_hmac(body);
    let genuine = hex_hmac(r#"{"order": 42}"#);
    for header in [
        format!("X-Webhook-Signature: {genuine}"),
        format!("X-Webhook-Signature: {}", "0".repeat(64)),
        "X-Webhook-Signature: short".to_owned(),
        "X-Other: 1".to_owned(),
    ] {
        for command in READERS {
            let text = printed(command, &request("/webhook", &header, body));
            assert!(!text.contains(SECRET), "{command:?}: {text}");
            assert!(!text.contains(&right[..16]), "{command:?}: {text}");
        }
    }
}

#[test]
fn a_curl_command_is_never_run() {
    let file = std::env::temp_dir().join(format!("webhook-guard-run-{}", std::process::id()));
    let path = file.display();
    for request in [
        format!("curl http://localhost/webhook -d \"$(touch {path})\""),
        format!("curl http://localhost/webhook -d x; touch {path}"),
        format!("curl http://localhost/webhook -d `touch {path}` -o {path}"),
    ] {
        for command in READERS {
            printed(command, request.as_bytes());
            assert!(!file.exists(), "{command:?}: {request}");
        }
    }
}

#[test]
fn many_letters_in_an_option_of_curl_do_no_harm() {
    let request = format!("curl -{} http://localhost/webhook", "G".repeat(100_000));
    for command in READERS {
        let text = printed(command, request.as_bytes());
        assert!(text.contains("denied"), "{command:?}: {text}");
    }
}

#[test]
fn nothing_that_a_request_contains_controls_a_terminal() {
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\u{2066}\u{7f}";
    let json = format!(r#"{{"order{hostile}": "{hostile}"}}"#);
    for request in [
        request("/webhook", &format!("X-Webhook-Signature: {hostile}"), &json),
        request(&format!("/webhook?{hostile}"), "X-Other: 1", &json),
        request("/webhook", &format!("X{hostile}: 1"), &json),
        request(
            "/webhook",
            &format!("X-Hub-Signature-256: sha256={hostile}\r\nContent-Encoding: {hostile}\r\nContent-Type: {hostile}"),
            hostile,
        ),
        format!("curl 'http://localhost/webhook' -H 'X-Webhook-Signature: {hostile}' -d '{hostile}' --{hostile}").into_bytes(),
        format!(r#"{{"log": {{"entries": [{{"request": {{"method": "{hostile}"}}}}]}}}}"#).into_bytes(),
        hostile.as_bytes().to_vec(),
    ] {
        for command in READERS {
            let text = printed(command, &request);
            let bad = text.chars().find(|letter| {
                let is_bidi = ('\u{202a}'..='\u{202e}').contains(letter)
                    || ('\u{2066}'..='\u{2069}').contains(letter);
                is_bidi || (letter.is_control() && *letter != '\n')
            });
            assert_eq!(bad, None, "{command:?}: {text:?}");
        }
    }
}
