//! What the README claims of the code, held against the code.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;
use webhook_guard::log_line::Line;
use webhook_guard::verdict::{Outcome, Reason};

use crate::replay::any_delivery;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

pub(crate) fn readme() -> String {
    fs::read_to_string(README).unwrap()
}

/// The rows of the table whose first column is headed `heading`, cells trimmed.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = readme();
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect()
    };
    text.lines()
        .skip_while(|line| !line.starts_with(&format!("| {heading} |")))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

#[test]
fn the_verdict_table_is_the_codes() {
    let expected: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| {
            let (status, body) = match reason.response() {
                Some(response) => {
                    let retry = response
                        .retry_after
                        .map(|after| format!(", Retry-After: {after}"));
                    (
                        format!("{}{}", response.status, retry.unwrap_or_default()),
                        response.body,
                    )
                }
                None => ("-".to_owned(), "-"),
            };
            [reason.name().to_owned(), status, body.to_owned()]
        })
        .collect();
    let written: Vec<_> = table("reason")
        .into_iter()
        .map(|row| row[..3].to_vec())
        .collect();
    assert_eq!(written, expected);
}

#[test]
fn the_table_of_fields_is_that_of_the_log() {
    let line = Line {
        endpoint: "orders",
        verdict: Outcome::Denied,
        reason: Reason::QueryNotSigned,
        status: Some(409),
        duration: Duration::ZERO,
        client: Some(Ipv4Addr::LOCALHOST.into()),
        client_untrusted: true,
        secret_version: Some("v1"),
        delivery_id: Some(b"1"),
        delivery: Some(any_delivery()),
        body_bytes: 1,
        body_unsigned: true,
        parameter: Some(b"a"),
        suppressed: 1,
    };
    let line: Value = serde_json::from_str(&line.to_json()).unwrap();
    let written = table("field of a line").into_iter();
    let mut written: Vec<_> = written
        .filter(|row| row[1] == "yes")
        .map(|row| row[0].clone())
        .collect();
    written.sort();
    let fields: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
    assert_eq!(written, fields);
}

/// The presets' files, by name.
fn presets() -> Vec<Value> {
    let folder = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/providers")).unwrap();
    let mut presets: Vec<Value> = folder
        .map(|file| serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap())
        .collect();
    presets.sort_by_key(|preset| preset["name"].as_str().unwrap().to_owned());
    presets
}

/// What a sender signs, in a few words.
fn signed(signature: &Value) -> String {
    if signature["algorithm"] == "token" {
        return "nothing: a token".to_owned();
    }
    let message = signature["message"].as_str().unwrap_or("{body}");
    let has_token = signature["format"].to_string().contains("{token}");
    let body = match &signature["id"]["json"] {
        Value::Null => "body",
        _ => "body with an id",
    };
    let mut parts: Vec<&str> = [
        ("{id}", "id"),
        ("{timestamp}", "timestamp"),
        ("{method}", "method"),
        ("{url", "URL"),
        ("path}", "URL"),
        ("query", "query"),
        ("{header", "header"),
        ("{signed_headers}", "headers"),
        ("{sorted_form}", "form"),
        ("{url_sorted}", "form"),
        ("{form:", "a field"),
        ("{json:", "fields"),
        ("{body", body),
    ]
    .into_iter()
    .filter(|(placeholder, _)| message.contains(placeholder) && !has_token)
    .map(|(_, part)| part)
    .collect();
    parts.dedup();
    if has_token {
        parts.push("token");
    }
    if !signature["body_hash"].is_null() {
        parts.push("body's hash");
    }
    if signature["body"] == "unsigned" {
        parts.push("**not the body**");
    }
    parts.join(", ")
}

/// How the tolerance stands in the table.
fn tolerance(signature: &Value) -> &str {
    let format = signature["format"].to_string();
    match &signature["timestamp"] {
        Value::Null if format.contains("{timestamp}") => "5m",
        Value::Null => "-",
        timestamp => timestamp["tolerance"].as_str().unwrap_or("5m"),
    }
}

/// Whether a handshake is answered, and what it takes.
fn handshake(signature: &Value) -> &'static str {
    let challenge = &signature["challenge"];
    match challenge {
        Value::Null => "-",
        _ if challenge["signed"] == true => "signed",
        _ if !challenge["verify_token"].is_null() => "by token",
        _ => "yes",
    }
}

fn table_of_presets() -> String {
    let mut table = String::from(
        "| provider | sender | evidence | signed | tolerance | handshake |\n|---|---|---|---|---|---|\n",
    );
    for preset in presets() {
        let text = |field: &str| preset[field].as_str().unwrap().to_owned();
        let signature = &preset["signature"];
        table += &format!(
            "| {} | [{}]({}) | {} | {} | {} | {} |\n",
            text("name"),
            text("sender"),
            text("documentation"),
            text("evidence"),
            signed(signature),
            tolerance(signature),
            handshake(signature),
        );
    }
    table
}

#[test]
fn the_table_of_presets_is_made_of_their_files() {
    const BEGIN: &str = "writes this table -->\n";
    const END: &str = "<!-- end of presets -->";
    let text = readme();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let made = table_of_presets();
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(README, format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
        return;
    }
    assert!(written == made, "run UPDATE_README=1 cargo test readme");
    assert!(made.lines().count() > 77);
}
