//! The pages, checked against the code: tables, links and commands.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use webhook_guard::diagnosis::FIELDS;
use webhook_guard::log_line::Line;
use webhook_guard::verdict::{Outcome, Reason};

use crate::replay::any_delivery;
use crate::vectors::presets;

const MONITORING: &str = "envoy/monitoring/README.md";
const PLATFORMS: &str = "envoy/platforms.md";
const PRESETS: &str = "src/providers/README.md";

/// A file of the repository, by its path from the root.
pub(crate) fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the table on a page whose first column is headed `heading`, cells trimmed.
pub(crate) fn table(path: &str, heading: &str) -> Vec<Vec<String>> {
    let text = page(path);
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
    let rows = table(MONITORING, "reason");
    let written: Vec<_> = rows.iter().map(|row| row[..3].to_vec()).collect();
    assert_eq!(written, expected);
    for row in rows {
        let is_explained = row[3..].iter().all(|cell| cell.len() > 5);
        assert!(is_explained && row.len() == 5, "{}", row[0]);
    }
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
        diagnosis: String::new(),
        suppressed: 1,
    };
    let line: Value = serde_json::from_str(&line.to_json()).unwrap();
    let written = table(MONITORING, "field of a line").into_iter();
    let mut written: Vec<_> = written
        .filter(|row| row[1] == "yes")
        .map(|row| row[0].clone())
        .collect();
    written.sort();
    let line = line.as_object().unwrap().keys().cloned();
    let fields: BTreeSet<_> = line.chain(FIELDS.map(str::to_owned)).collect();
    let fields: Vec<_> = fields.into_iter().collect();
    assert_eq!(written, fields);
}

/// The parts that a sender signs, in a few words.
fn signed(signature: &Value) -> String {
    if signature["algorithm"] == "token" {
        return "nothing: a token".to_owned();
    }
    let messages = &signature["message"];
    let message = messages[0].as_str().or(messages.as_str());
    let message = message.unwrap_or("{body}");
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

/// The tolerance as the table shows it.
fn tolerance(signature: &Value) -> String {
    let format = signature["format"].to_string();
    let tolerance = &signature["timestamp"]["tolerance"];
    match tolerance {
        Value::String(both) => both.clone(),
        Value::Object(sides) => {
            let side = |name| sides.get(name).and_then(Value::as_str).unwrap_or("5m");
            format!("{} past, {} future", side("past"), side("future"))
        }
        _ if format.contains("{timestamp}") || !signature["timestamp"].is_null() => "5m".to_owned(),
        _ => "-".to_owned(),
    }
}

/// The form of the secret that an algorithm and a `key` take. The text of a preset's `key` begins with it.
fn key_form(signature: &Value) -> &'static str {
    let algorithm = signature["algorithm"].as_str().unwrap_or("hmac-sha256");
    let is_public = ["ed25519", "ecdsa-p256-sha256"].contains(&algorithm);
    match (signature["key"].as_str(), is_public) {
        _ if signature["key"].is_array() => "text, or base64 after `whsec_`",
        (Some("whsec"), true) => "public key, base64 after `whpk_`",
        (Some("hex"), true) => "public key, hex",
        (Some("base64"), true) => "public key, base64",
        (Some("whsec"), false) => "base64 after `whsec_`",
        (Some("base64"), false) => "base64",
        (Some("hex"), false) => "hex",
        _ => "text",
    }
}

/// Whether the sender signs a time, after which a request is rejected.
fn has_time(signature: &Value) -> bool {
    let format = signature["format"].to_string();
    !signature["timestamp"].is_null()
        || format.contains("{timestamp}")
        || format.contains("{token}")
}

/// How a sender retries, and what its retries have for a signature.
fn retries(preset: &Value) -> (String, String) {
    let retries = &preset["retries"];
    let sources: Vec<_> = (retries["sources"].as_array().into_iter().flatten())
        .map(|source| source.as_str().unwrap())
        .collect();
    let linked = |text: &Value, source: Option<&&str>| match (text.as_str(), source) {
        (None, _) => "not documented".to_owned(),
        (Some(text), Some(source)) => format!("[{text}]({source})"),
        (Some(text), None) => panic!("{}: {text:?} has no source", preset["name"]),
    };
    let signature = match has_time(&preset["signature"]) {
        true => linked(&retries["signature"], sources.last()),
        false => "no time is signed".to_owned(),
    };
    (linked(&retries["schedule"], sources.first()), signature)
}

/// The largest body, if the sender documents one.
fn largest_body(preset: &Value) -> String {
    let body = &preset["largest_body"];
    match (body["size"].as_str(), body["source"].as_str()) {
        (Some(size), Some(source)) => format!("[{size}]({source})"),
        (None, None) => "not documented".to_owned(),
        _ => panic!("{}: a size needs a source", preset["name"]),
    }
}

/// The requests by which a sender checks an endpoint: those that the guard answers, and a text about others.
fn setup_requests(preset: &Value) -> String {
    let challenges = match &preset["signature"]["challenge"] {
        Value::Null => Vec::new(),
        Value::Array(challenges) => challenges.clone(),
        one => vec![one.clone()],
    };
    let mut requests: Vec<_> = challenges.iter().map(setup_request).collect();
    requests.extend(preset["setup"].as_str().map(str::to_owned));
    match requests.is_empty() {
        true => "-".to_owned(),
        false => requests.join("<br>"),
    }
}

/// A handshake in a few words: its method, what marks it, and what proves its origin.
fn setup_request(challenge: &Value) -> String {
    let place = |value: &Value| {
        let mut values = value.as_object().into_iter().flatten();
        let (kind, place) = values.find(|(place, _)| *place != "is")?;
        let kind = match kind.as_str() {
            "json" => "JSON",
            "form" => "form field",
            "query" => "parameter",
            kind => kind,
        };
        let is = value["is"].as_str();
        let is = is.map_or(String::new(), |is| format!(" = `{is}`"));
        Some(format!("{kind} `{}`{is}", place.as_str()?))
    };
    let method = challenge["method"].as_str().unwrap_or("POST");
    let marks: Vec<_> = match &challenge["when"] {
        Value::Null => place(&challenge["text"]).into_iter().collect(),
        Value::Array(conditions) => conditions.iter().filter_map(place).collect(),
        one => place(one).into_iter().collect(),
    };
    let mark = match marks.is_empty() {
        true => String::new(),
        false => format!(" with {}", marks.join(" and ")),
    };
    let proof = match () {
        () if challenge["signed"] == true => ", signed",
        () if !challenge["verify_token"].is_null() => ", with your token",
        () => "",
    };
    format!("{method}{mark}{proof}")
}

/// The table of how each sender delivers.
fn table_of_deliveries() -> String {
    let mut table = String::from(
        "| provider | secret | tolerance | retries | a retry has | largest body | setup request |\n|---|---|---|---|---|---|---|\n",
    );
    for (_, preset) in presets() {
        let (schedule, retry) = retries(&preset);
        table += &format!(
            "| {} | {} | {} | {schedule} | {retry} | {} | {} |\n",
            preset["name"].as_str().unwrap(),
            preset["key"].as_str().unwrap(),
            tolerance(&preset["signature"]),
            largest_body(&preset),
            setup_requests(&preset),
        );
    }
    table
}

#[test]
fn a_preset_says_what_a_receiver_must_know() {
    for (name, preset) in presets() {
        let signature = &preset["signature"];
        let key = preset["key"]
            .as_str()
            .unwrap_or_else(|| panic!("{name}: add `key`"));
        let form = key_form(signature);
        assert!(key.starts_with(form), "{name}: {key:?} is not {form:?}");
        let retry = &preset["retries"]["signature"];
        let past = &signature["timestamp"]["tolerance"]["past"];
        assert!(
            retry != "same bytes" || past.is_string(),
            "{name}: accept its retries"
        );
        assert!(
            retry.is_null()
                || (has_time(signature)
                    && ["same bytes", "new signature", "no time is signed"]
                        .iter()
                        .any(|known| retry == known)),
            "{name}: {retry}"
        );
    }
}

fn table_of_presets() -> String {
    let mut table = String::from("| provider | sender | evidence | signed |\n|---|---|---|---|\n");
    for (_, preset) in presets() {
        let text = |field: &str| preset[field].as_str().unwrap().to_owned();
        table += &format!(
            "| {} | [{}]({}) | {} | {} |\n",
            text("name"),
            text("sender"),
            text("documentation"),
            text("evidence"),
            signed(&preset["signature"]),
        );
    }
    table
}

#[test]
fn the_tables_of_presets_are_made_of_their_files() {
    const COMMAND: &str = "`make generate` writes this table -->\n";
    let mut text = page(PRESETS);
    let is_update = std::env::var_os("UPDATE_README").is_some();
    for (name, made) in [
        ("presets", table_of_presets()),
        ("deliveries", table_of_deliveries()),
    ] {
        let begin = format!("<!-- {name}: {COMMAND}");
        let end = format!("<!-- end of {name} -->");
        let (before, rest) = text.split_once(&begin).unwrap();
        let (written, after) = rest.split_once(&end).unwrap();
        assert!(made.lines().count() > 77);
        assert!(is_update || written == made, "run `make generate`");
        text = format!("{before}{begin}{made}{end}{after}");
    }
    if is_update {
        fs::write(root().join(PRESETS), text).unwrap();
    }
}

#[test]
fn the_readme_is_short_and_begins_with_the_smallest_configuration() {
    let text = page("README.md");
    assert!(text.len() <= 8192, "{} bytes", text.len());
    let screen: Vec<_> = text.lines().take(30).collect();
    let screen = screen.join("\n");
    for part in ["```yaml\nendpoints:", "`make run`", "$ curl", "**Next:**"] {
        assert!(screen.contains(part), "{part}");
    }
    let count = format!("**{} presets**", presets().len());
    assert!(screen.contains(&count), "{count}");
}

/// Every page of the repository, by its path from the root.
fn pages() -> Vec<PathBuf> {
    files(".md")
}

/// The repository's files with this end of the name, by their paths from the root.
fn files(end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                let is_ours = !name.starts_with('.') && !["target", "node_modules"].contains(&name);
                folders.extend(is_ours.then_some(path));
            } else if name.ends_with(end) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// A page's text without its blocks of code, and these blocks.
fn without_code(text: &str) -> (String, String) {
    let (mut prose, mut code) = (String::new(), String::new());
    for (index, part) in text.split("\n```").enumerate() {
        let into = if index % 2 == 0 {
            &mut prose
        } else {
            &mut code
        };
        *into += part;
        *into += "\n";
    }
    (prose, code)
}

/// The anchors of a page: those that GitHub makes of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let (prose, _) = without_code(text);
    prose
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let heading = link_free(line.trim_start_matches('#').trim());
            let kept = heading.chars().filter_map(|letter| match letter {
                ' ' => Some('-'),
                '-' | '_' => Some(letter),
                _ => letter
                    .is_alphanumeric()
                    .then(|| letter.to_ascii_lowercase()),
            });
            kept.collect()
        })
        .collect()
}

/// A text whose links are no more than their words.
pub(crate) fn link_free(text: &str) -> String {
    let mut free = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[')
        && let Some((words, after)) = link.split_once("](")
    {
        free += before;
        free += words;
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    free + rest
}

/// The targets of a text's links.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let links = text.split("](").skip(1);
    links.filter_map(|link| link.split_once(')').map(|(target, _)| target))
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    assert!(pages.len() > 10, "{pages:?}");
    let mut wrong = Vec::new();
    let mut count = 0;
    for from in &pages {
        let (prose, _) = without_code(&page(from.to_str().unwrap()));
        for link in links(&prose).filter(|link| !link.contains("://")) {
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let to = match file {
                "" => root().join(from),
                file => root().join(from).parent().unwrap().join(file),
            };
            let text = match to.is_dir() {
                true => Ok(String::new()),
                false => fs::read_to_string(&to),
            };
            let is_right =
                text.is_ok_and(|text| anchor.is_empty() || anchors(&text).contains(anchor));
            if !is_right {
                wrong.push(format!("{}: {link}", from.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 100, "{count}");
}

#[test]
fn every_file_that_a_page_names_exists() {
    let ends = [".rs", ".py", ".yaml", ".json", ".md", ".patch"];
    let mut count = 0;
    for from in pages() {
        let (prose, _) = without_code(&page(from.to_str().unwrap()));
        for name in prose.split('`').skip(1).step_by(2) {
            let is_name = |byte: u8| byte.is_ascii_lowercase() || b"0123456789_-./".contains(&byte);
            let is_path = ends.iter().any(|end| name.ends_with(end))
                && name.trim_start_matches('/').contains('/')
                && name.bytes().all(is_name);
            let beside = root().join(&from).parent().unwrap().join(name);
            let exists = beside.exists() || root().join(name).exists();
            assert!(!is_path || exists, "{}: {name}", from.display());
            count += usize::from(is_path);
        }
    }
    assert!(count > 2, "{count}");
}

#[test]
fn every_file_that_a_comment_of_a_manifest_names_exists() {
    let ends = [".yaml", ".md", ".patch", ".py", ".json"];
    let mut count = 0;
    let manifests = files(".yaml");
    for from in manifests.iter().filter(|from| from.starts_with("envoy")) {
        let text = page(from.to_str().unwrap());
        let comments = text.lines().filter_map(|line| line.split_once("# "));
        for word in comments.flat_map(|(_, comment)| comment.split_whitespace()) {
            let name = word.trim_matches(|each: char| !each.is_ascii_alphanumeric() && each != '.');
            let name = name.trim_end_matches('.');
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
            if !ends.iter().any(|end| name.ends_with(end)) || !name.bytes().all(is_name) {
                continue;
            }
            let places = [from.parent().unwrap(), Path::new("envoy"), Path::new("")];
            let is_found = (places.iter()).any(|folder| root().join(folder).join(name).exists());
            assert!(is_found, "{}: {name}", from.display());
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn every_make_command_is_a_target() {
    let makefile = page("Makefile");
    let targets: BTreeSet<_> = makefile
        .lines()
        .filter_map(|line| line.split_once(':').map(|(target, _)| target))
        .collect();
    for from in pages() {
        let (prose, code) = without_code(&page(from.to_str().unwrap()));
        let quoted = prose.split('`').skip(1).step_by(2);
        for command in quoted.chain(code.lines()) {
            let Some(arguments) = command.trim().strip_prefix("make ") else {
                continue;
            };
            let target = arguments.split_whitespace().next().unwrap();
            assert!(targets.contains(target), "{}: {command}", from.display());
        }
    }
}

#[test]
fn every_supported_platform_names_the_command_that_tests_it() {
    let makefile = page("Makefile");
    let rows = table(PLATFORMS, "platform");
    assert!(rows.len() > 4, "{rows:?}");
    for row in &rows {
        let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '-';
        let targets = row[1].split("make ").skip(1);
        let targets: Vec<_> = targets
            .map(|rest| rest.split(|letter| !is_name(letter)).next().unwrap())
            .collect();
        assert!(!targets.is_empty(), "{row:?}");
        for target in targets {
            let rule = format!("\n{target}:");
            assert!(
                target.starts_with("test-") && makefile.contains(&rule),
                "{row:?}"
            );
        }
        let has_version = row[1].contains(|letter: char| letter.is_ascii_digit());
        assert!(has_version && row[3].len() > 5, "{row:?}");
    }
    let variable = |name: &str| {
        let (_, value) = makefile.split_once(&format!("\n{name} := ")).unwrap();
        value.lines().next().unwrap().replace(' ', ", ")
    };
    let versions = format!("{}, {}", variable("ENVOY_OTHERS"), variable("ENVOY_PINNED"));
    assert!(
        rows[0][1].starts_with(&format!("{versions}<")),
        "{:?}",
        rows[0]
    );
}

#[test]
fn every_file_that_mutants_change_exists() {
    let text = page(".cargo/mutants.toml");
    let (_, globs) = text.split_once("examine_globs = [").unwrap();
    let (globs, _) = globs.split_once(']').unwrap();
    let globs: Vec<_> = globs.split('"').skip(1).step_by(2).collect();
    assert!(globs.len() > 5, "{globs:?}");
    for glob in globs {
        let path = glob.strip_suffix("/*.rs").unwrap_or(glob);
        assert!(root().join(path).exists(), "{glob}");
    }
}

#[test]
fn a_heading_has_the_anchor_that_github_gives_it() {
    let text = "# `signature`: a [link](to)\n\n```sh\n# no heading\n```\n\n## Two-part_name, 2.0\n";
    let expected = ["signature-a-link", "two-part_name-20"].map(str::to_owned);
    assert_eq!(anchors(text), BTreeSet::from(expected));
}
