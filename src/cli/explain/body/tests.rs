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
        trailers: Vec::new(),
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

mod charset {
    use super::*;

    const TEXT: &str = "text/plain";

    #[test]
    fn texts_in_another_charset() {
        let utf8 = "caf\u{e9} \u{20ac} \u{201e}x\u{201c}".as_bytes();
        let windows = b"caf\xe9 \x80 \x84x\x93";
        let twice =
            "caf\u{c3}\u{a9} \u{e2}\u{201a}\u{ac} \u{e2}\u{20ac}\u{17e}x\u{e2}\u{20ac}\u{153}";
        for (signed, arrived) in [
            (utf8, &windows[..]),
            (windows, utf8),
            (utf8, twice.as_bytes()),
            (twice.as_bytes(), utf8),
        ] {
            assert_cause("charset", TEXT, signed, arrived);
        }
        assert_cause("charset", TEXT, "\u{e9}\u{85}".as_bytes(), b"\xe9\x85");
        let utf16 = |text: &str| {
            text.encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<_>>()
        };
        for marked in ["{\"a\": \"\u{e9}\"}", "\u{feff}{\"a\": \"\u{e9}\"}"] {
            let plain = marked.trim_start_matches('\u{feff}').as_bytes();
            assert_cause("charset", TEXT, plain, &utf16(marked));
            assert_cause("charset", TEXT, &utf16(marked), plain);
        }
    }

    #[test]
    fn an_altered_text_has_no_cause() {
        assert_no_cause(TEXT, "caf\u{e9}".as_bytes(), "caf\u{e8}".as_bytes());
        assert_no_cause(TEXT, "caf\u{e9}".as_bytes(), "cafe".as_bytes());
        assert_no_cause(TEXT, "caf\u{e9}".as_bytes(), "caf\u{fffd}".as_bytes());
    }
}

mod coding {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(body: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bodies_with_and_without_compression() {
        let body = br#"{"id": 1, "text": "text text text text"}"#;
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::new(6));
        zlib.write_all(body).unwrap();
        let zlib = zlib.finish().unwrap();
        for compressed in [gzip(body, 1), gzip(body, 6), gzip(body, 9), zlib] {
            assert_cause("content_encoding", JSON, body, &compressed);
            assert_cause("content_encoding", JSON, &compressed, body);
        }
        let base64 = STANDARD.encode(body).into_bytes();
        assert_cause("content_encoding", JSON, body, &base64);
        let policy = policy("github", SECRET);
        let mut headers = (SENDERS[0].sign)(body);
        headers.push(("content-encoding", "deflate".to_owned()));
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::new(6));
        raw.write_all(body).unwrap();
        let found = explain(&policy, &request(&raw.finish().unwrap(), &headers));
        assert_eq!(found.unwrap().0, "content_encoding");
    }

    #[test]
    fn a_bomb_is_bounded_and_an_altered_body_has_no_cause() {
        let bomb = gzip(&vec![0; 16 * 1024 * 1024], 6);
        assert_no_cause(JSON, b"{}", &bomb);
        assert_no_cause(JSON, br#"{"id": 1}"#, &gzip(br#"{"id": 2}"#, 6));
    }
}

mod form {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    #[test]
    fn forms_that_another_writer_encoded() {
        let arrived = b"text=a+b%2Fc%C3%A9~*&a%5B%5D=1&empty=";
        for signed in [
            "text=a%20b%2Fc%C3%A9~*&a%5B%5D=1&empty=",
            "text=a+b%2fc%c3%a9~*&a%5b%5d=1&empty=",
            "text=a+b%2Fc%C3%A9%7E%2A&a%5B%5D=1&empty=",
            "a%5B%5D=1&empty=&text=a+b%2Fc%C3%A9~%2A",
            "text=a+b%2Fc%C3%A9%7E*&a%5B%5D=1&empty=",
            "text=a+b%2Fc%C3%A9~*&a%5B%5D=1&empty",
            "text=a b/c\u{e9}~*&a[]=1&empty=",
            "text=a+b%2Fc%C3%A9~%2A&a[]=1&empty=",
        ] {
            assert_cause("form_decoded", FORM, signed.as_bytes(), arrived);
        }
    }

    #[test]
    fn json_with_and_without_a_form_around_it() {
        let json = br#"{"id":"a b","n":1}"#;
        let form = b"payload=%7B%22id%22%3A%22a+b%22%2C%22n%22%3A1%7D";
        assert_cause("form_decoded", FORM, json, form);
        assert_cause("form_decoded", JSON, form, json);
        assert_cause(
            "form_decoded",
            FORM,
            b"payload=%7B%22id%22%3A+%22a+b%22%2C+%22n%22%3A+1%7D",
            form,
        );
        assert_cause("form_decoded", JSON, b"id=a+b&n=1", json);
        assert_cause(
            "form_decoded",
            FORM,
            br#"{"id":"a b","n":"1"}"#,
            b"id=a+b&n=1",
        );
        let multipart =
            b"--xx\r\ncontent-disposition: form-data; name=\"id\"\r\n\r\na b\r\n--xx--\r\n";
        assert_cause(
            "form_decoded",
            "multipart/form-data; boundary=xx",
            b"id=a+b",
            multipart,
        );
    }

    #[test]
    fn an_altered_form_has_no_cause() {
        for arrived in ["a=1&b=3", "a=1", "a=1&b=2&c=3", "b=1&a=2"] {
            assert_no_cause(FORM, b"a=1&b=2", arrived.as_bytes());
        }
    }
}

mod values {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn twilio(fields: &str) -> Vec<(&'static str, String)> {
        let message = format!("https://hooks.example.com/webhook{fields}");
        let signature = STANDARD.encode(sha1(SECRET.as_bytes(), &[message.as_bytes()]));
        vec![("x-twilio-signature", signature)]
    }

    #[test]
    fn twilio_signs_the_fields_of_a_form() {
        let policy = policy("twilio", SECRET);
        let typed = |body: &[u8], content_type: &str, fields| {
            let mut headers = twilio(fields);
            headers.push(("content-type", content_type.to_owned()));
            request(body, &headers)
        };
        let fields = "Bodya bFrom+15550100";
        assert!(accepts(
            &policy,
            &typed(b"From=%2B15550100&Body=a+b", FORM, fields)
        ));
        let cause = |body: &[u8], content_type: &str| {
            explain(&policy, &typed(body, content_type, fields)).map(|(cause, _)| cause)
        };
        assert_eq!(
            cause(b"From=+15550100&Body=a%20b", FORM),
            Some("form_decoded")
        );
        assert_eq!(
            cause(b"From=%2B15550100&Body=a+b", "text/plain"),
            Some("form_decoded")
        );
        assert_eq!(
            cause(br#"{"From":"+15550100","Body":"a b"}"#, JSON),
            Some("form_decoded")
        );
        let latin = "application/x-www-form-urlencoded; charset=iso-8859-1";
        assert_eq!(
            cause(b"From=%2B15550100&Body=a+b", latin),
            Some("form_decoded")
        );
        assert_eq!(cause(b"From=%2B15550100&Body=a+c", FORM), None);
        let multipart = b"--xx\r\ncontent-disposition: form-data; name=\"From\"\r\n\r\n+15550100\r\n--xx\r\ncontent-disposition: form-data; name=\"Body\"\r\n\r\na b\r\n--xx--\r\n";
        assert_eq!(
            cause(multipart, "multipart/form-data; boundary=xx"),
            Some("form_decoded")
        );
    }

    #[test]
    fn mailgun_signs_values_of_a_form() {
        let policy = policy("mailgun-routes", SECRET);
        let token = "0123456789abcdef0123456789abcdef0123456789abcdef01";
        let signature = hex(&sha256(
            SECRET.as_bytes(),
            &[format!("{NOW}{token}").as_bytes()],
        ));
        let body = format!("timestamp={NOW}&token={token}&signature={signature}&subject=x");
        let typed = |body: &str, content_type: &str| {
            request(
                body.as_bytes(),
                &[("content-type", content_type.to_owned())],
            )
        };
        assert!(accepts(&policy, &typed(&body, FORM)));
        let found = explain(&policy, &typed(&body, "text/plain"));
        assert_eq!(found.map(|(cause, _)| cause), Some("form_decoded"));
        let json = format!(r#"{{"timestamp":{NOW},"token":"{token}","signature":"{signature}"}}"#);
        let found = explain(&policy, &typed(&json, JSON));
        assert_eq!(found.map(|(cause, _)| cause), Some("form_decoded"));
        let altered = body.replace("token=01", "token=02");
        assert_eq!(explain(&policy, &typed(&altered, FORM)), None);
    }

    #[test]
    fn adyen_signs_values_of_json() {
        const KEY: &str = "44782def547aaa06c910c43932b1eb0c71fc68d9d0c057550c48ec2acf6ba056";
        let policy = policy("adyen-payments", KEY);
        let digits: Vec<_> = KEY.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
        let key: Vec<_> = digits.chunks(2).map(|pair| byte(pair).unwrap()).collect();
        let signature = STANDARD.encode(sha256(
            &key,
            &[b"p1::caf\xc3\xa9:r1:1000:EUR:AUTHORISATION:true"],
        ));
        let body = format!(
            r#"{{"notificationItems":[{{"NotificationRequestItem":{{"additionalData":{{"hmacSignature":"{signature}"}},"pspReference":"p1","merchantAccountCode":"caf{}","merchantReference":"r1","amount":{{"value":1000,"currency":"EUR"}},"eventCode":"AUTHORISATION","success":"true"}}}}]}}"#,
            '\u{e9}'
        );
        let sent = |body: &str| request(body.as_bytes(), &[("content-type", JSON.to_owned())]);
        let cause = |body: &str| explain(&policy, &sent(body)).map(|(cause, _)| cause);
        assert!(accepts(&policy, &sent(&body)));
        assert_eq!(
            cause(&body.replace('\u{e9}', "\u{c3}\u{a9}")),
            Some("charset")
        );
        assert_eq!(
            cause(&body.replace("1000", "1000.0")),
            Some("json_rewritten")
        );
        assert_eq!(cause(&body.replace("1000", "1001")), None);
    }
}

mod truncated {
    use super::*;

    fn suspected(content_type: &str, length: usize, arrived: &[u8]) -> Option<String> {
        let policy = policy("github", SECRET);
        let mut headers = (SENDERS[0].sign)(b"the whole body");
        headers.push(("content-type", content_type.to_owned()));
        headers.push(("content-length", length.to_string()));
        let request = request(arrived, &headers);
        assert_eq!(explain(&policy, &request), None);
        let case = Case {
            request: &request,
            endpoint: &policy.endpoints[0],
        };
        let found = suspicions(case).into_iter().next()?;
        assert_eq!(found.cause.name(), "body_truncated");
        Some(found.detail)
    }

    #[test]
    fn bodies_with_other_bytes_after_what_was_signed() {
        assert_cause(
            "body_truncated",
            JSON,
            b"{\"a\": 1}",
            b"{\"a\": 1}POST /webhook HTTP/1.1\r\n",
        );
        assert_cause(
            "body_truncated",
            JSON,
            b"{\"a\": 1}",
            b"{\"a\": 1}\n{\"a\": 1}",
        );
        assert_cause("body_truncated", JSON, b"", b"{\"a\": 1}");
        let policy = policy("github", SECRET);
        let mut headers = (SENDERS[0].sign)(b"text");
        headers.push(("content-length", "4".to_owned()));
        let found = explain(&policy, &request(b"text and more", &headers));
        assert_eq!(found.unwrap().0, "body_truncated");
    }

    #[test]
    fn only_evidence_makes_a_suspicion() {
        let cut = format!("{{\"text\": \"{}", "x".repeat(65_526));
        assert_eq!(cut.len(), 65_536);
        let detail = |text: &str| Some(text.to_owned());
        assert_eq!(
            suspected(JSON, cut.len(), cut.as_bytes()),
            detail("The JSON ends in the middle, after 65536 bytes, which is a common limit.")
        );
        assert_eq!(
            suspected(JSON, 9_000, b"{\"a\""),
            detail("The body has 4 bytes, but its content-length says 9000.")
        );
        assert_eq!(
            suspected(JSON, 9_000, b""),
            detail("The body is empty, but its content-length says 9000 bytes.")
        );
        assert_eq!(
            suspected(JSON, 0, b""),
            detail("The body is empty, although its content-type says JSON.")
        );
        assert_eq!(suspected(JSON, 4, b"{\"a\""), None);
        assert_eq!(suspected("text/plain", 0, b""), None);
        let whole = format!("{{\"text\": \"{}\"}}", "x".repeat(65_524));
        assert_eq!(whole.len(), 65_536);
        assert_eq!(suspected(JSON, whole.len(), whole.as_bytes()), None);
        let text = "x".repeat(65_536);
        assert_eq!(suspected(JSON, text.len(), text.as_bytes()), None);
    }
}
