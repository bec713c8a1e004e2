//! Measures whether the time of a comparison depends on where two codes differ: `make timing`.
//!
//! The method is that of dudect (Reparaz, Balasch, Verbauwhede: Dude, is my code constant time?, 2017). The benchmark
//! measures two kinds of request in random order. Welch's t says whether their mean times differ by more than chance.
//! Above 4.5, they differ. As a control, the benchmark also measures a comparison that stops at the first difference.
//! Its t must be large.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it reports, and is no part of the guard"
)]

use std::env::VarError;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use webhook_guard::policy::Policy;
use webhook_guard::policy::endpoint::Endpoint;
use webhook_guard::request::address::Client;
use webhook_guard::request::headers::Headers;
use webhook_guard::time::UnixMillis;
use webhook_guard::verify::{Finish, Head, Verification};

/// How often each kind is measured.
const MEASUREMENTS: usize = 500_000;
/// Times above these shares of all are left out: interrupts, not comparisons.
const CROPS: [f64; 3] = [1.0, 0.99, 0.9];
const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const SECRET: &str = "the secret whose codes are compared";
const BODY: &[u8] = br#"{"order": 42}"#;

fn main() {
    println!("Welch's t by the share of times that is kept; above 4.5 a difference shows.");
    println!("It must in the control, and may where a row says why; nowhere else.\n");
    print!("{:44}", "");
    for crop in CROPS {
        print!("{:>10}", format!("{}%", crop * 100.0));
    }
    println!("{:>15}", "means in ns");
    let code = mac(BODY);
    let control = |value: &[u8]| stops_early(&code, value);
    report(
        "control: stops at a difference",
        [&flipped(0), &flipped(31)],
        &control,
    );
    let judged = judge(r#""signature": {"header": "X-S"}"#);
    let [first, last, right] = [flipped(0), flipped(31), code].map(|code| hex(&code));
    // Of the same kinds of digits: how those are read depends on them, but they are the sender's own.
    let mut other = hex(&code.map(|byte| byte ^ 0x11));
    report(
        "signature: the same twice",
        [first.as_bytes(), first.as_bytes()],
        &judged,
    );
    report(
        "signature: first byte, last byte",
        [first.as_bytes(), last.as_bytes()],
        &judged,
    );
    report(
        "signature: first byte, all bytes",
        [first.as_bytes(), other.as_bytes()],
        &judged,
    );
    // An accepted request needs more work.
    report(
        "signature: wrong, right: so says the answer",
        [last.as_bytes(), right.as_bytes()],
        &judged,
    );
    let judged =
        judge(r#""signature": {"header": "X-S", "algorithm": "token", "body": "unsigned"}"#);
    other = "x".repeat(SECRET.len());
    let first = SECRET.replacen('t', "x", 1);
    let last = format!("{}x", SECRET.strip_suffix('d').expect("its end"));
    report(
        "token: the same twice",
        [first.as_bytes(), first.as_bytes()],
        &judged,
    );
    report(
        "token: first byte, last byte",
        [first.as_bytes(), last.as_bytes()],
        &judged,
    );
    report(
        "token: first byte, all bytes",
        [first.as_bytes(), other.as_bytes()],
        &judged,
    );
    // How long its value is, the sender knows.
    report(
        "token: long, short: the sender's own",
        [other.as_bytes(), b"x"],
        &judged,
    );
}

/// Returns a function that verifies a request with a value and measures the last step, which compares codes.
fn judge(scheme: &str) -> impl Fn(&[u8]) -> u64 {
    let configuration = format!(
        r#"{{"endpoints": [{{"name": "orders", "match": {{"path": "/"}}, {scheme},
            "secrets": [{{"version": "v1", "env": "SECRET"}}]}}]}}"#
    );
    let variable = |name: &str| match name {
        "SECRET" => Ok(SECRET.to_owned()),
        _ => Err(VarError::NotPresent),
    };
    let (policy, _) = Policy::read(configuration.as_bytes(), &variable).expect("a policy");
    let endpoint = Rc::clone(&policy.endpoints[0]);
    move |value| {
        let check = begin(&endpoint, value);
        let before = Instant::now();
        let finish = black_box(check.finish(NOW));
        let took = before.elapsed();
        assert!(matches!(finish, Finish::Done(_)));
        took.as_nanos() as u64
    }
}

fn begin(endpoint: &Rc<Endpoint>, value: &[u8]) -> Box<Verification> {
    let pairs: [(&[u8], &[u8]); 3] = [(b":method", b"POST"), (b":path", b"/"), (b"x-s", value)];
    let (keyring, _) = endpoint.keyring(Vec::new());
    let head = Head {
        headers: Headers::new(&pairs),
        client: Client::Absent,
        published: &[],
        keyring: &keyring,
        now: NOW,
    };
    let mut check = Verification::begin(endpoint, &head).expect("it is held");
    check.body(BODY).expect("it is not too large");
    check
}

/// Measures two values in random order, and prints what came of it.
fn report(name: &str, values: [&[u8]; 2], measure: &dyn Fn(&[u8]) -> u64) {
    let mut times = [const { Vec::new() }; 2];
    // Both are measured at one place of the memory, or the place would be what is measured.
    let mut buffer = Vec::with_capacity(256);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..MEASUREMENTS * 2 {
        // Xorshift, which is random enough for the order.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let kind = (random & 1) as usize;
        buffer.clear();
        buffer.extend_from_slice(values[kind]);
        times[kind].push(measure(black_box(&buffer)) as f64);
    }
    print!("{name:44}");
    let mut all: Vec<f64> = times.concat();
    all.sort_by(f64::total_cmp);
    let mut means = [0.0; 2];
    for crop in CROPS {
        let limit = all[((all.len() - 1) as f64 * crop) as usize];
        let kinds = times.each_ref().map(|times| moments(times, limit));
        print!("{:10.2}", welch(kinds));
        means = kinds.map(|(mean, ..)| mean);
    }
    println!("{:8.1} {:6.1}", means[0], means[1]);
}

/// Mean, variance and number of the times up to a limit.
fn moments(times: &[f64], limit: f64) -> (f64, f64, f64) {
    let kept = || times.iter().filter(|time| **time <= limit);
    let count = kept().count() as f64;
    let mean = kept().sum::<f64>() / count;
    let squares = kept().map(|time| (time - mean).powi(2)).sum::<f64>();
    (mean, squares / (count - 1.0), count)
}

fn welch([(mean, variance, count), (other, others, number)]: [(f64, f64, f64); 2]) -> f64 {
    let error = (variance / count + others / number).sqrt();
    if error > 0.0 {
        (mean - other) / error
    } else {
        0.0
    }
}

/// The time of a comparison that stops where two codes differ, some times over: one is below the clock's grain.
fn stops_early(code: &[u8], other: &[u8]) -> u64 {
    let before = Instant::now();
    for _ in 0..8 {
        let same = black_box(code)
            .iter()
            .zip(black_box(other))
            .all(|(left, right)| left == right);
        black_box(same);
    }
    before.elapsed().as_nanos() as u64
}

fn mac(message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// The right code, but for one bit of this byte.
fn flipped(at: usize) -> [u8; 32] {
    let mut code = mac(BODY);
    code[at] ^= 1;
    code
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
