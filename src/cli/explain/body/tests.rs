//! Each mistake made on purpose, in requests of presets of different kinds. The signatures are of the `hmac` crate, over the
//! bytes that the sender signed.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use super::{hypotheses, suspicions};
use crate::cli::explain::hypothesis::Case;
use crate::cli::judgement::judge;
use crate::cli::request::Request;
use crate::policy::Policy;
use crate::request::address::Client;
use crate::time::UnixMillis;
use crate::verdict::Outcome;

const SECRET: &str = "a secret of the tests, long enough";
const WHSEC: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const NOW: i64 = 1_700_000_000;

/// A preset, and how its sender signs a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    preset: &'static str,
    secret: &'static str,
    sign: fn(&[u8]) -> Vec<(&'static str, String)>,
}

/// Presets that sign the bytes of the body, each in another form.
pub(super) const SENDERS: [Sender; 5] = [
    Sender {
        preset: "github",
        secret: SECRET,
        sign: |body| {
            let signature = hex(&sha256(SECRET.as_bytes(), &[body]));
            vec![("x-hub-signature-256", format!("sha256={signature}"))]
        },
    },
    Sender {
        preset: "stripe",
        secret: SECRET,
        sign: |body| {
            let message = [format!("{NOW}.").as_bytes(), body].concat();
            let signature = hex(&sha256(SECRET.as_bytes(), &[&message]));
            vec![("stripe-signature", format!("t={NOW},v1={signature}"))]
        },
    },
    Sender {
        preset: "slack",
        secret: SECRET,
        sign: |body| {
            let before = format!("v0:{NOW}:");
            let signature = hex(&sha256(SECRET.as_bytes(), &[before.as_bytes(), body]));
            vec![
                ("x-slack-signature", format!("v0={signature}")),
                ("x-slack-request-timestamp", NOW.to_string()),
            ]
        },
    },
    Sender {
        preset: "shopify",
        secret: SECRET,
        sign: |body| {
            let signature = STANDARD.encode(sha256(SECRET.as_bytes(), &[body]));
            vec![
                ("x-shopify-hmac-sha256", signature),
                ("x-shopify-webhook-id", "w1".to_owned()),
                ("x-shopify-event-id", "e1".to_owned()),
            ]
        },
    },
    Sender {
        preset: "standard-webhooks",
        secret: WHSEC,
        sign: |body| {
            let key = STANDARD.decode(WHSEC.trim_start_matches("whsec_")).unwrap();
            let before = format!("msg_1.{NOW}.");
            let signature = STANDARD.encode(sha256(&key, &[before.as_bytes(), body]));
            vec![
                ("webhook-id", "msg_1".to_owned()),
                ("webhook-timestamp", NOW.to_string()),
                ("webhook-signature", format!("v1,{signature}")),
            ]
        },
    },
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

pub(super) fn sha1(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

pub(super) fn policy(preset: &str, secret: &str) -> Policy {
    let configuration = format!(
        r#"{{"environment": "development", "public_url": "https://hooks.example.com", "endpoints": [{{"name": "orders",
            "match": {{"path": "/webhook"}}, "provider": "{preset}", "max_body_bytes": 4194304,
            "secrets": [{{"version": "v1", "value": "{secret}"}}]}}]}}"#
    );
    let absent = |_: &str| Err(std::env::VarError::NotPresent);
    match Policy::read(configuration.as_bytes(), &absent) {
        Ok((policy, _)) => policy,
        Err(faults) => panic!("{faults:?}"),
    }
}

pub(super) fn request(body: &[u8], headers: &[(&'static str, String)]) -> Request {
    let mut request = Request {
        method: "POST".to_owned(),
        scheme: "https".to_owned(),
        authority: "hooks.example.com".to_owned(),
        target: "/webhook".to_owned(),
        headers: Vec::new(),
        body: body.to_vec(),
    };
    let headers = headers.iter();
    request
        .headers
        .extend(headers.map(|(name, value)| ((*name).to_owned(), value.clone().into_bytes())));
    request
}

pub(super) fn accepts(policy: &Policy, request: &Request) -> bool {
    let client = Client::Trusted(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let judged = judge(policy, request, client, UnixMillis(NOW * 1_000));
    judged.verdict.outcome() == Outcome::Accepted
}

/// The name of the first cause that verifies, and its detail.
pub(super) fn explain(policy: &Policy, request: &Request) -> Option<(&'static str, String)> {
    assert!(!accepts(policy, request), "the request verifies as it is");
    let case = Case {
        request,
        endpoint: &policy.endpoints[0],
    };
    let mut all = hypotheses(case);
    let found = all.find(|hypothesis| accepts(policy, &hypothesis.request))?;
    for sentence in [&found.detail, &found.fix] {
        assert!(sentence.ends_with('.'), "{sentence}");
        assert!(sentence.split_whitespace().count() <= 25, "{sentence}");
    }
    Some((found.cause.name(), found.detail))
}

/// Asserts that a body which arrives instead of the signed one has this cause, for all presets.
#[track_caller]
pub(super) fn assert_cause(cause: &str, content_type: &str, signed: &[u8], arrived: &[u8]) {
    for sender in SENDERS {
        let policy = policy(sender.preset, sender.secret);
        let mut headers = (sender.sign)(signed);
        headers.push(("content-type", content_type.to_owned()));
        assert!(accepts(&policy, &request(signed, &headers)), "{sender:?}");
        let found = explain(&policy, &request(arrived, &headers));
        let name = found.as_ref().map(|(name, _)| *name);
        assert_eq!(name, Some(cause), "{sender:?}: {found:?}");
    }
}

/// Asserts that no cause explains a body that arrives instead of the signed one, for all presets.
#[track_caller]
pub(super) fn assert_no_cause(content_type: &str, signed: &[u8], arrived: &[u8]) {
    for sender in SENDERS {
        let policy = policy(sender.preset, sender.secret);
        let mut headers = (sender.sign)(signed);
        headers.push(("content-type", content_type.to_owned()));
        headers.push(("content-length", arrived.len().to_string()));
        let request = request(arrived, &headers);
        assert_eq!(explain(&policy, &request), None, "{sender:?}");
        let case = Case {
            request: &request,
            endpoint: &policy.endpoints[0],
        };
        assert!(suspicions(case).is_empty(), "{sender:?}");
    }
}

const JSON: &str = "application/json";

mod text {
    use super::*;

    #[test]
    fn line_breaks_at_the_end() {
        let body = br#"{"id": 1}"#;
        let variants = [&b"\n"[..], b"\r\n", b"\n\n", b" ", b" \r\n\r\n", b"\t"];
        for end in variants {
            assert_cause("trailing_newline", JSON, body, &[body, end].concat());
        }
        for end in &variants[..4] {
            assert_cause("trailing_newline", JSON, &[body, *end].concat(), body);
        }
        assert_cause("trailing_newline", JSON, b"{}\n", b"{}\r\n");
        assert_cause("trailing_newline", JSON, b"{}\n", b"{}\n\n");
    }

    #[test]
    fn line_endings_in_the_body() {
        let lines = |ending: &str| ["{", "\"a\": 1", "}", ""].join(ending).into_bytes();
        for (signed, arrived) in [("\n", "\r\n"), ("\r\n", "\n"), ("\r", "\n"), ("", "\n")] {
            assert_cause("line_endings", JSON, &lines(signed), &lines(arrived));
        }
        let form = "application/x-www-form-urlencoded";
        let (crlf, lf) = (b"text=a%0D%0Ab", b"text=a%0Ab");
        assert_cause("line_endings", form, crlf, lf);
        assert_cause("line_endings", form, lf, crlf);
        let (crlf, lf) = (br#"{"a":"b\r\nc"}"#, br#"{"a":"b\nc"}"#);
        assert_cause("line_endings", JSON, crlf, lf);
        assert_cause("line_endings", JSON, lf, crlf);
    }

    #[test]
    fn line_endings_in_the_parts_of_a_multipart_form() {
        let body = |ending: &str| {
            let part = format!("a{ending}b");
            format!("--xx\r\ncontent-disposition: form-data; name=\"n\"\r\n\r\n{part}\r\n--xx\r\ncontent-disposition: form-data; name=\"m\"\r\n\r\n{part}\r\n--xx--\r\n").into_bytes()
        };
        let multipart = "multipart/form-data; boundary=xx";
        assert_cause("line_endings", multipart, &body("\n"), &body("\r\n"));
        assert_cause("line_endings", multipart, &body("\r\n"), &body("\n"));
    }

    #[test]
    fn byte_order_marks() {
        let body = br#"{"id": 1}"#;
        let marked = ["\u{feff}".as_bytes(), body].concat();
        assert_cause("byte_order_mark", JSON, body, &marked);
        assert_cause("byte_order_mark", JSON, &marked, body);
    }

    #[test]
    fn two_mistakes_together_have_the_name_of_one() {
        let marked = "\u{feff}{\r\n}\r\n".as_bytes();
        assert_cause("line_endings", JSON, b"{\n}\n", marked);
        let marked = "\u{feff}{}".as_bytes();
        assert_cause("trailing_newline", JSON, b"{}\n", marked);
        let policy = policy("github", SECRET);
        let found = explain(&policy, &request(marked, &(SENDERS[0].sign)(b"{}\n")));
        let detail = "The sender signed the body with a line break (\\n) at its end, and without the byte order mark at its start.";
        assert_eq!(found.unwrap().1, detail);
    }

    #[test]
    fn an_altered_body_has_no_cause() {
        for (signed, arrived) in [
            ("{\"id\": 1}\n", "{\"id\": 2}"),
            ("a\r\nb\r\n", "a\nc\n"),
            ("\u{feff}{}", "{ }"),
            ("text", ""),
            ("", "text"),
        ] {
            assert_no_cause("text/plain", signed.as_bytes(), arrived.as_bytes());
        }
    }
}

mod rewritten {
    use super::*;

    /// One value as Python, Node.js, Go and jq spell it.
    fn spellings() -> Vec<(String, String)> {
        let file = include_str!("../../../../tests/cli/spellings/spellings.json");
        serde_json::from_str(file).unwrap()
    }

    #[test]
    fn json_that_another_writer_wrote() {
        let spellings = spellings();
        let (policy, sign) = (policy("github", SECRET), SENDERS[0].sign);
        let sorted = |name: &str| name.contains("sorted");
        for (sender, signed) in &spellings {
            for (proxy, arrived) in &spellings {
                let is_proxy = ["python, {}", "node", "go, sorted", "jq"].contains(&proxy.as_str());
                if signed == arrived || !is_proxy {
                    continue;
                }
                let found = explain(
                    &policy,
                    &request(arrived.as_bytes(), &sign(signed.as_bytes())),
                );
                let name = found.as_ref().map(|(name, _)| *name);
                if sorted(proxy) && !sorted(sender) {
                    assert_eq!(name, None, "{sender} by {proxy}: {found:?}");
                } else {
                    let expected = match signed.trim_end() == arrived.trim_end() {
                        true => "trailing_newline",
                        false => "json_rewritten",
                    };
                    assert_eq!(name, Some(expected), "{sender} by {proxy}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn json_that_writers_of_other_languages_wrote() {
        let arrived = r#"{"z":"é/<'&+=","a":[1,{"c":1.0}],"e":{},"l":[],"d":"\"2"}"#;
        let senders = [
            r#"{"z":"\u00e9\/<'&+=","a":[1,{"c":1.0}],"e":{},"l":[],"d":"\"2"}"#,
            r#"{"z":"é/\u003c\u0027\u0026+\u003d","a":[1,{"c":1.0}],"e":{},"l":[],"d":"\"2"}"#,
            r#"{"z":"\u00E9/\u003C\u0027\u0026\u002B=","a":[1,{"c":1.0}],"e":{},"l":[],"d":"\u00222"}"#,
            "{\n  \"z\" : \"é/<'&+=\",\n  \"a\" : [ 1, {\n    \"c\" : 1.0\n  } ],\n  \"e\" : { },\n  \"l\" : [ ],\n  \"d\" : \"\\\"2\"\n}",
            r#"{"a": [1, {"c": 1.0}], "d": "\"2", "e": {}, "l": [], "z": "é/<'&+="}"#,
            r#"{"z":"é/<'&+=","a":[1,{"c":1}],"e":{},"l":[],"d":"\"2"}"#,
        ];
        for signed in senders {
            assert_cause(
                "json_rewritten",
                JSON,
                signed.as_bytes(),
                arrived.as_bytes(),
            );
        }
        let marked = format!("\u{feff}{arrived}\n");
        assert_cause(
            "json_rewritten",
            JSON,
            senders[0].as_bytes(),
            marked.as_bytes(),
        );
    }

    #[test]
    fn duplicate_fields_and_nested_texts() {
        let signed = br#"{"a": 2, "b": 1}"#;
        assert_cause("json_rewritten", JSON, signed, br#"{"a":1,"b":1,"a":2}"#);
        assert_cause("json_rewritten", JSON, br#"{"a":1}"#, br#""{\"a\":1}""#);
        assert_cause("json_rewritten", JSON, br#""{\"a\":1}""#, br#"{"a":1}"#);
    }

    #[test]
    fn an_altered_value_has_no_cause() {
        let signed = br#"{"id": "a", "amount": 9.5, "list": [1, 2]}"#;
        for arrived in [
            &br#"{"id": "b", "amount": 9.5, "list": [1, 2]}"#[..],
            br#"{"id":"a","amount":9.6,"list":[1,2]}"#,
            br#"{"id":"a","amount":9.5,"list":[2,1]}"#,
            br#"{"id":"a","amount":9.5,"list":[1,2],"more":1}"#,
            br#"{"id":"a","amount":9.5}"#,
        ] {
            assert_no_cause(JSON, signed, arrived);
        }
    }

    #[test]
    fn hostile_json_ends() {
        let policy = policy("github", SECRET);
        for body in [
            "[".repeat(100_000),
            "{\"a\":".repeat(100_000),
            "\"\\ud800\"".to_owned(),
            "1e999".to_owned(),
        ] {
            assert_eq!(
                explain(&policy, &request(body.as_bytes(), &(SENDERS[0].sign)(b"x"))),
                None
            );
        }
    }
}
