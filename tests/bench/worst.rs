//! The cost of the worst unsigned request to each preset, compared with a forged HMAC of the same size: `make bench`.
//!
//! Each preset gets its sender's genuine head with a body, or a head, that is hostile in one way. The size of a request
//! is that of its path, its headers and its body. The measure is the best of several rounds, from the head
//! to the verdict, natively and on one thread. A body arrives in pieces of 64 KiB. `make bench` computes SHA-2 without
//! the processor's instructions for it, because WebAssembly has none, and every ratio would be too large. Small requests
//! that are signed with a private key have their own line: one verification costs more than hashing them.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark may panic"
)]

use std::collections::BTreeMap;
use std::env::{self, VarError};
use std::fs;
use std::hint::black_box;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use webhook_guard::policy::Policy;
use webhook_guard::policy::endpoint::Endpoint;
use webhook_guard::request::address::Client;
use webhook_guard::request::headers::Headers;
use webhook_guard::time::UnixMillis;
use webhook_guard::verify::{Finish, Head, Verification};

/// The most that a request may cost, as a multiple of a forged HMAC of its size, if its message has one form.
const MOST: f64 = 3.0;
/// The least size that a request is taken for: to handle any request, Envoy spends more than a HMAC of so much takes.
const FLOOR: usize = 64 * 1024;
/// The size of a body where `max_body_bytes` is absent.
const LARGE: usize = 1 << 20;
/// How long a request is repeated, and how often at least and at most.
const TIME: Duration = Duration::from_millis(30);
const LEAST: usize = 7;
const ROUNDS: usize = 30;
const FORM: &str = "application/x-www-form-urlencoded";

/// A request, as the guard gets it.
#[derive(Clone, Default)]
struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn set(&mut self, name: &str, value: String) {
        self.headers.retain(|(each, _)| each != name);
        self.headers.push((name.to_owned(), value));
    }

    fn size(&self) -> usize {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| name.len() + value.len());
        headers.sum::<usize>() + self.path.len() + self.body.len()
    }

    /// The request with another body.
    fn with_body(&self, kind: &str, body: Vec<u8>) -> Self {
        let mut changed = self.clone();
        if !kind.is_empty() {
            changed.set("content-type", kind.to_owned());
        }
        changed.body = body;
        changed
    }
}

fn main() {
    println!(
        "What the worst unsigned request costs, against a forged HMAC-SHA-256 of the same size."
    );
    println!(
        "{:24}{:>8}{:>12}  {:>10}  request",
        "preset", "ratio", "us", "bytes"
    );
    // `cargo bench --bench worst -- NAME` measures this preset alone, and shows every request.
    let asked: Vec<_> = env::args()
        .skip(1)
        .filter(|each| !each.starts_with('-'))
        .collect();
    let mut forged = Forged::default();
    let mut worst: f64 = 0.0;
    let mut small = Vec::new();
    for (name, preset) in folder("src/providers") {
        let mut asked = asked.iter();
        let is_asked = asked.len() > 0;
        if is_asked && !asked.any(|each| *each == name) {
            continue;
        }
        let (endpoint, now, genuine) = genuine(&name, &preset);
        let is_public = is_public(&preset);
        let mut found: Option<(f64, Duration, usize, &str)> = None;
        for (what, request) in hostile(&genuine, &preset["signature"]) {
            let Some(took) = measure(&endpoint, now, &request) else {
                continue;
            };
            if is_public && request.size() < LARGE {
                small.push((name.clone(), took, request.size(), what));
                continue;
            }
            let size = request.size().max(FLOOR);
            let ratio = took.as_secs_f64() / forged.of(size).as_secs_f64();
            if is_asked {
                println!(
                    "{:24}{ratio:>8.2}{:>12.1}  {:>10}  {what}",
                    "",
                    micros(took),
                    request.size()
                );
            }
            // Each further form of a message adds a HMAC.
            let forms = if what.starts_with("four forms") {
                4.0
            } else {
                1.0
            };
            worst = worst.max(ratio / (MOST + forms - 1.0));
            if found.is_none_or(|(most, ..)| ratio > most) {
                found = Some((ratio, took, request.size(), what));
            }
        }
        let (ratio, took, size, what) = found.expect("a request");
        println!(
            "{name:24}{ratio:>8.2}{:>12.1}  {size:>10}  {what}",
            micros(took)
        );
    }
    println!("\nSmall requests by a private key:");
    for (name, took, size, what) in small {
        println!("{name:24}{:>20.1}  {size:>10}  {what}", micros(took));
    }
    println!(
        "\nthe worst: {worst:.2} of its limit, which is x {MOST}, and 1 more for each further form"
    );
    assert!(worst <= 1.0, "an unsigned request costs too much");
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The time that a forged HMAC of each size takes.
#[derive(Default)]
struct Forged(BTreeMap<usize, Duration>);

impl Forged {
    fn of(&mut self, size: usize) -> Duration {
        *self.0.entry(size).or_insert_with(|| {
            let secret = json!([{"version": "v1", "value": "the secret of a benchmark"}]);
            let endpoint = endpoint(json!({"secrets": secret}));
            let mut request = Request {
                method: "POST".to_owned(),
                path: "/webhook".to_owned(),
                ..Request::default()
            };
            request.set("x-webhook-signature", "0".repeat(64));
            request.body = vec![b'x'; size.saturating_sub(request.size())];
            measure(&endpoint, 0, &request).expect("a denial")
        })
    }
}

/// The requests that a client without the secret might send.
fn hostile(genuine: &Request, signature: &Value) -> Vec<(&'static str, Request)> {
    let mut all = vec![
        (
            "as sent, another body",
            genuine.with_body("", b"{}".to_vec()),
        ),
        ("1 MiB of text", genuine.with_body("", vec![b'x'; LARGE])),
        ("multipart: a boundary of dashes", dashes(genuine)),
        ("multipart: 1,000 parts", parts(genuine, 1_000, 950)),
        ("multipart: 1,000 empty parts", parts(genuine, 1_000, 0)),
        ("multipart: a long head", head(genuine, "; a=", "\"name ")),
        (
            "multipart: many headers",
            head(genuine, "", "\r\nx: disposition "),
        ),
        ("multipart: a folded head", head(genuine, "", ";\r\n name")),
        (
            "multipart: nested headers",
            head(
                genuine,
                "\r\nContent-Type: multipart/x\r\n\r\n",
                "disposition: name",
            ),
        ),
        (
            "form: 1,000 escaped fields",
            form(genuine, signature, 1_000),
        ),
        ("form: 1,000 empty fields", form(genuine, signature, 0)),
    ];
    all.extend(four_forms(genuine, signature));
    for (what, values) in [
        ("JSON: 49,900 numbers", "0".to_owned()),
        ("JSON: 49,900 texts", "\"\"".to_owned()),
        (
            "JSON: escaped texts",
            format!("\"{}\"", "\\u00e9".repeat(100)),
        ),
        ("JSON: empty objects", "{}".to_owned()),
        ("JSON: lists in lists", "[[[[]]]]".to_owned()),
    ] {
        let count =
            (LARGE / (values.len() + 1)).min(49_900 / if values.len() == 8 { 4 } else { 1 });
        let list = vec![values; count].join(",");
        all.push((what, json_body(genuine, signature, &format!("[{list}]"))));
    }
    for (what, item) in [
        ("JSON: items that are read", "{}"),
        ("JSON: numbers for items", "0"),
    ] {
        if let Some((path, _)) = signature["json"]
            .as_str()
            .and_then(|path| path.split_once("/*"))
        {
            for count in [9_000, 49_900] {
                let items = vec![item; count].join(",");
                let body = format!("{{\"{}\":[{items}]}}", path.trim_start_matches('/'));
                all.push((what, genuine.with_body("", body.into_bytes())));
            }
        }
    }
    let names: Vec<_> = (0..49_000)
        .map(|number| format!("\"n{number}\":0"))
        .collect();
    let names = format!("{{{}}}", names.join(","));
    all.push(("JSON: 49,000 names", json_body(genuine, signature, &names)));
    let mut query = genuine.clone();
    let mark = if query.path.contains('?') { '&' } else { '?' };
    query.path = format!("{}{mark}{}", query.path, "%61=&".repeat(990));
    all.push(("query: 990 parameters", query.clone()));
    query.path = format!("{}{}", query.path, "=".repeat(24_000));
    all.push(("query: 30 kB", query));
    let separator = signature["separator"].as_str().unwrap_or(",");
    for (name, value) in &genuine.headers {
        let many = [value.as_str()].repeat(8_000 / (value.len() + 1));
        for (what, count) in [
            ("header: 4 times", 4),
            ("header: 16 times", 16),
            ("header: 8 kB", 8_000),
        ] {
            let count = count.min(many.len()).max(1);
            for body in [b"{}".to_vec(), vec![b'x'; LARGE]] {
                let mut longer = genuine.with_body("", body);
                longer.set(name, many[..count].join(separator));
                all.push((what, longer));
            }
        }
    }
    all
}

/// The request of a sender that signs any of four forms of the URL, by the slower algorithm.
fn four_forms(genuine: &Request, signature: &Value) -> Vec<(&'static str, Request)> {
    let message = signature["message"].as_str().unwrap_or_default();
    if !message.contains("{url_any_port}") {
        return Vec::new();
    }
    let mut longer = genuine.clone();
    let mark = if longer.path.contains('?') { '&' } else { '?' };
    longer.path = format!("{}{mark}a='", longer.path);
    let name = signature["header"].as_str().expect("a header");
    longer.set(&name.to_ascii_lowercase(), format!("{}=", "A".repeat(43)));
    let mut hashed = longer.clone();
    hashed.path = format!("{}&bodySHA256={}", hashed.path, "0".repeat(64));
    let fields = form(&longer, signature, 1_000);
    let empty = form(&longer, signature, 0);
    let text = vec![b'x'; LARGE];
    vec![
        ("four forms: 1,000 escaped fields", fields),
        ("four forms: 1,000 empty fields", empty),
        (
            "four forms: 1 MiB of text",
            longer.with_body(FORM, text.clone()),
        ),
        ("four forms: another hash", hashed.with_body(FORM, text)),
    ]
}

fn dashes(genuine: &Request) -> Request {
    let boundary = format!("{}x", "-".repeat(69));
    let mut body = format!("--{boundary}\r\n").into_bytes();
    body.resize(LARGE, b'-');
    genuine.with_body(&format!("multipart/form-data; boundary={boundary}"), body)
}

fn parts(genuine: &Request, count: usize, size: usize) -> Request {
    let part = |number: usize| {
        let value = "-".repeat(size);
        format!("--b\r\nContent-Disposition: form-data; name=\"{number}\"\r\n\r\n{value}\r\n")
    };
    let body: String = (0..count).map(part).collect();
    genuine.with_body(
        "multipart/form-data; boundary=b",
        format!("{body}--b--").into_bytes(),
    )
}

/// A part with this text in its head, and this one many times after it.
fn head(genuine: &Request, first: &str, text: &str) -> Request {
    let size = if first.contains("multipart") {
        LARGE - 200
    } else {
        32_000
    };
    let many = text.repeat(size / text.len());
    let name = "--b\r\nContent-Disposition: form-data; name=\"a\"";
    genuine.with_body(
        "multipart/form-data; boundary=b",
        format!("{name}{first}{many}\r\n\r\n\r\n--b--").into_bytes(),
    )
}

/// A form with the fields that the scheme reads, and many others.
fn form(genuine: &Request, signature: &Value, size: usize) -> Request {
    let read = signature.to_string().contains("bt_payload");
    let mut body = match read {
        true => "bt_signature=key|0000000000000000000000000000000000000000&bt_payload=x".to_owned(),
        false => "x=y".to_owned(),
    };
    let value = "%2d".repeat(size / 3);
    for number in 0..990 {
        body += &format!("&%61{number}={value}");
    }
    genuine.with_body(FORM, body.into_bytes())
}

/// The genuine JSON with many more values, inside the form's field if a form has it.
fn json_body(genuine: &Request, signature: &Value, values: &str) -> Request {
    let text = String::from_utf8_lossy(&genuine.body);
    if signature["json_in_form"].is_string() {
        let body = text.replacen("{\"event\"", &format!("{{\"x\":{values},\"event\""), 1);
        return genuine.with_body("", body.into_bytes());
    }
    let body = match text.strip_prefix('{') {
        Some("}") | None => format!("{{\"x\":{values}}}"),
        Some(rest) => format!("{{\"x\":{values},{rest}"),
    };
    genuine.with_body("", body.into_bytes())
}

/// The best time of a request that is denied.
fn measure(endpoint: &Rc<Endpoint>, now: i64, request: &Request) -> Option<Duration> {
    let mut best = Duration::MAX;
    let began = Instant::now();
    for round in 1..=ROUNDS {
        let start = Instant::now();
        let accepted = black_box(judge(endpoint, now, black_box(request)));
        best = best.min(start.elapsed());
        if accepted {
            // The changed part is not signed.
            return None;
        }
        if round >= LEAST && began.elapsed() > TIME {
            break;
        }
    }
    Some(best)
}

fn judge(endpoint: &Rc<Endpoint>, now: i64, request: &Request) -> bool {
    let mut pairs: Vec<(&[u8], &[u8])> = vec![
        (b":method", request.method.as_bytes()),
        (b":scheme", b"https"),
        (b":authority", b"hooks.example.com"),
        (b":path", request.path.as_bytes()),
    ];
    let headers = request.headers.iter();
    pairs.extend(headers.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    let (keyring, _) = endpoint.keyring(Vec::new());
    let head = Head {
        headers: Headers::new(&pairs),
        client: Client::Trusted(IpAddr::from([203, 0, 113, 7])),
        now: UnixMillis(now),
        published: &[],
        keyring: &keyring,
    };
    let Ok(mut check) = Verification::begin(endpoint, &head) else {
        return false;
    };
    for chunk in request.body.chunks(64 * 1024) {
        if check.body(chunk).is_err() {
            return false;
        }
    }
    let verdict = match check.finish(UnixMillis(now)) {
        Finish::Done(verdict) => verdict,
        Finish::NeedsBody(mut again) => {
            for chunk in request.body.chunks(64 * 1024) {
                again.body(chunk);
            }
            again.finish()
        }
    };
    verdict.response().is_none()
}

fn endpoint(mut fields: Value) -> Rc<Endpoint> {
    fields["name"] = json!("worst");
    fields["match"] = json!({"prefix": "/"});
    fields["public_url"] = json!("https://hooks.example.com");
    // The worst case: the operator opened the query.
    fields["query"] = json!("any");
    let configuration = json!({"environment": "test", "endpoints": [fields]}).to_string();
    let variable = |_: &str| Err(VarError::NotPresent);
    let (policy, _) = Policy::read(configuration.as_bytes(), &variable).expect("a policy");
    Rc::clone(&policy.endpoints[0])
}

fn is_public(preset: &Value) -> bool {
    let algorithm = &preset["signature"]["algorithm"];
    algorithm == "ed25519" || algorithm == "ecdsa-p256-sha256"
}

/// A preset's endpoint, and its sender's request with the time at which it is fresh.
fn genuine(name: &str, preset: &Value) -> (Rc<Endpoint>, i64, Request) {
    let vectors = &folder("tests/vectors")[name];
    let mut vectors = vectors.as_array().expect("a list").iter();
    let vector = vectors
        .find(|vector| vector["valid"] == true)
        .expect("a valid one");
    let mut value = vector["secret"].as_str().expect("a secret").to_owned();
    if !is_public(preset) {
        // Another secret, in the same encoding.
        let middle = value.chars().count() / 2;
        let other = |(at, letter)| match letter {
            _ if at != middle => letter,
            'A' => 'B',
            _ => 'A',
        };
        value = value.chars().enumerate().map(other).collect();
    }
    let mut secret = json!({"version": "v1", "value": value});
    if vector["key_id"].is_string() {
        secret["key_id"] = vector["key_id"].clone();
    }
    let method = vector["method"].as_str().unwrap_or("POST");
    let endpoint = endpoint(json!({"provider": name, "secrets": [secret], "methods": [method]}));
    let url = vector["url"]
        .as_str()
        .unwrap_or("https://hooks.example.com/webhook");
    let path = url.split('/').skip(3).collect::<Vec<_>>().join("/");
    let mut request = Request {
        method: method.to_owned(),
        path: format!("/{path}"),
        headers: Vec::new(),
        body: vector["body"].as_str().expect("a body").as_bytes().to_vec(),
    };
    for (header, value) in vector["headers"].as_object().expect("headers") {
        let value = value
            .as_str()
            .or_else(|| value[0].as_str())
            .expect("a value");
        request.set(&header.to_ascii_lowercase(), value.to_owned());
    }
    let now = vector["now_unix"].as_i64().unwrap_or(1_700_000_000);
    (endpoint, now * 1_000, request)
}

/// The JSON files of a folder, by name.
fn folder(name: &str) -> BTreeMap<String, Value> {
    let folder = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(folder).expect("a folder").filter_map(|file| {
        let path = file.expect("a file").path();
        if path.extension()? != "json" {
            return None;
        }
        let value = serde_json::from_slice(&fs::read(&path).expect("a file"));
        let stem = path.file_stem()?.to_string_lossy();
        Some((stem.into_owned(), value.expect("JSON")))
    });
    files.collect()
}
