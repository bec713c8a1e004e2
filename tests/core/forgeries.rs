//! Forgeries: from one genuine delivery, requests that an application would read as something else than what
//! was signed. Each was once accepted.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use webhook_guard::policy::Policy;
use webhook_guard::verdict::{Outcome, Reason};

use crate::support::{NOW, Request, base64, endpoint, hex, mac, read, read_in, variable};
use crate::vectors::{folder, policy, request};

const URL: &str = r#""public_url": "https://hooks.example.com""#;
const FORM: &str = "application/x-www-form-urlencoded";

fn secret() -> &'static [u8] {
    variable("SECRET").as_bytes()
}

/// A preset's first valid vector: its policy and its request.
pub(crate) fn genuine(provider: &str) -> (Policy, Request) {
    genuine_with(json!({"provider": provider}))
}

/// The same, at an endpoint with these fields.
pub(crate) fn genuine_with(endpoint: Value) -> (Policy, Request) {
    let provider = endpoint["provider"].as_str().unwrap().to_owned();
    let all = folder("tests/vectors");
    let vectors = &all.iter().find(|(name, _)| *name == provider).unwrap().1;
    let mut vectors = vectors.as_array().unwrap().iter();
    let vector = vectors.find(|vector| vector["valid"] == true).unwrap();
    let policy = policy(vector, endpoint).unwrap();
    let request = request(vector);
    assert_eq!(request.reason(&policy), Reason::Accepted, "{provider}");
    (policy, request)
}

fn body(request: &Request) -> String {
    String::from_utf8(request.body.clone()).unwrap()
}

/// One endpoint with a `signature` block of its own, or its faults.
fn own(signature: &str) -> Result<(Policy, Vec<String>), Vec<String>> {
    let texts = |faults: Vec<webhook_guard::config::Diagnostic>| -> Vec<String> {
        faults.iter().map(ToString::to_string).collect()
    };
    let configuration = format!(
        r#"{{{URL}, "endpoints": [{{"name": "o", "match": {{"path": "/webhook"}}, "signature": {{"header": "X-S", {signature}}}, "secrets": [{{"version": "v1", "env": "SECRET"}}]}}]}}"#
    );
    read(&configuration)
        .map(|(policy, warnings)| (policy, texts(warnings)))
        .map_err(texts)
}

fn warnings(signature: &str) -> String {
    own(signature).expect(signature).1.join("\n")
}

fn fault(signature: &str) -> String {
    own(signature).expect_err(signature).join("\n")
}

#[test]
fn a_nonce_swallows_no_signed_text() {
    let nonce = "X-Plivo-Signature-V3-Nonce";
    let (policy, mut request) = genuine("plivo-v3");
    let old = String::from_utf8(request.get(nonce).to_vec()).unwrap();
    // Signed: the URL, `.From1Texth iTo2`, `.` and the nonce.
    request.set(nonce, &format!("From1Texth iTo2.{old}"));
    request.body = Vec::new();
    assert_eq!(request.reason(&policy), Reason::SignatureMalformed);

    let policy = endpoint(&format!(r#""provider": "plivo-v3", {URL}"#));
    let message = b"https://hooks.example.com/webhook?From1TotalCost0.0065.123";
    let mut request = Request::new(b"From=1&TotalCost=0.0065")
        .with("content-type", FORM)
        .with("X-Plivo-Signature-V3", base64(secret(), message))
        .with(nonce, "123");
    assert_eq!(request.reason(&policy), Reason::Accepted);
    request.body = b"From=1&TotalCost=0".to_vec();
    request.set(nonce, "0065.123");
    assert_eq!(request.reason(&policy), Reason::SignatureMalformed);
}

/// A value beside a literal must not contain the literal, or the signed bytes could be split differently.
#[test]
fn no_value_holds_the_literal_that_delimits_it() {
    let reason = |signature: &str, message: &str, header: &str, path: &str, body: &str| {
        let (policy, _) = own(signature).expect(signature);
        let mut request = Request::new(body.as_bytes())
            .with("x-s", hex(secret(), message.as_bytes()))
            .with("x-a", header)
            .with("x-t", NOW.to_string());
        request.path = Some(path.to_owned());
        request.reason(&policy)
    };
    let time = r#""timestamp": {"header": "X-T"}"#;
    let accepted = |signature: &str, message: &str, header: &str, path: &str, body: &str| {
        let got = reason(signature, message, header, path, body);
        assert_eq!(got, Reason::Accepted, "{message}");
    };
    let refused = |signature: &str, message: &str, header: &str, path: &str, body: &str| {
        let got = reason(signature, message, header, path, body);
        assert_eq!(got, Reason::SignatureMalformed, "{message}");
    };
    let before = format!(r#""message": "{{header:X-A}}.{{timestamp}}.{{body}}", {time}"#);
    accepted(&before, &format!("a.{NOW}.b.c"), "a", "/webhook", "b.c");
    refused(&before, &format!("a.b.{NOW}.c"), "a.b", "/webhook", "c");
    // A literal that begins in the value and ends after it ends the value before its end.
    let double = r#""message": "{query:q}::{body}""#;
    accepted(double, "a::b", "-", "/webhook?q=a", "b");
    refused(double, "a:::b", "-", "/webhook?q=a:", "b");
    refused(double, "a::c::b", "-", "/webhook?q=a::c", "b");
    let after = r#""message": "{body}::{header:X-A}""#;
    accepted(after, "b::c::a", "a", "/webhook", "b::c");
    refused(after, "b:::a", ":a", "/webhook", "b");
    let between = r#""message": "{url}|{header:X-A}|{body}""#;
    let url = "https://hooks.example.com/webhook";
    accepted(between, &format!("{url}|a|b|c"), "a", "/webhook", "b|c");
    refused(between, &format!("{url}|a|b|c"), "a|b", "/webhook", "c");
    // The last of all ends where the message ends.
    let last = format!(r#""message": "{{timestamp}}.{{header:X-A}}", {time}, "body": "unsigned""#);
    accepted(&last, &format!("{NOW}.a.b"), "a.b", "/webhook", "");
    // An id in the body is read late. The rule applies to it too.
    let late = r#""message": "{id}.{query:q}", "id": {"json": "/id"}, "body": "unsigned""#;
    accepted(late, "a.b.c", "-", "/webhook?q=b.c", r#"{"id": "a"}"#);
    refused(late, "a.b.c", "-", "/webhook?q=c", r#"{"id": "a.b"}"#);
}

#[test]
fn an_id_that_nothing_ends_is_of_a_few_letters() {
    let policy = endpoint(r#""provider": "twitch""#);
    let time = |text: &str| ("Twitch-Eventsub-Message-Timestamp", text.to_owned());
    let body =
        r#"{"event":{"started_at":"2023-11-14T22:13:20Z","ends_at":"2024-01-01T00:00:00Z"}}"#;
    let message = format!("msg-12023-11-14T22:13:20Z{body}");
    let signature = format!("sha256={}", hex(secret(), message.as_bytes()));
    let sent = |id: &str, timestamp: &str, body: &str| {
        let (name, timestamp) = time(timestamp);
        Request::new(body.as_bytes())
            .with("Twitch-Eventsub-Message-Id", id)
            .with(name, timestamp)
            .with("Twitch-Eventsub-Message-Signature", signature.clone())
    };
    let genuine = sent("msg-1", "2023-11-14T22:13:20Z", body);
    assert_eq!(genuine.reason(&policy), Reason::Accepted);
    // Weeks later, by a time that the event itself holds.
    let (id, rest) = message.split_once("2024-01-01T00:00:00Z").unwrap();
    let mut again = sent(id, "2024-01-01T00:00:00Z", rest);
    again.now = 1_704_067_200_000;
    assert_eq!(again.reason(&policy), Reason::SignatureMalformed);
    // However the message is cut at another place, id and time no longer parse.
    let mut cuts = 0;
    for begin in 1..message.len().min(150) {
        for end in (begin + 20)..(begin + 36).min(message.len()) {
            let mut cut = sent(&message[..begin], &message[begin..end], &message[end..]);
            for now in [NOW * 1_000, 1_704_067_200_000] {
                cut.now = now;
                cuts += usize::from(cut.reason(&policy) == Reason::Accepted);
            }
        }
    }
    assert_eq!(cuts, 1, "the genuine one alone");

    for (signature, touches) in [
        (
            r#""message": "{id}{timestamp}{body}", "id": {"header": "X-I"}, "timestamp": {"header": "X-T"}"#,
            true,
        ),
        (r#""message": "{header:X-A}{body}""#, true),
        (r#""message": "{url}{body}""#, true),
        (r#""message": "{query:a}{header:X-A}.{body}""#, true),
        (
            r#""message": "{timestamp}{body}", "timestamp": {"header": "X-T"}"#,
            false,
        ),
        (
            r#""message": "v0{body}{timestamp}", "timestamp": {"header": "X-T"}"#,
            false,
        ),
        (
            r#""message": "{method}{url}.{body}.{timestamp}", "timestamp": {"header": "X-T"}"#,
            false,
        ),
        (
            r#""message": "{id}.{timestamp}.{body}", "id": {"header": "X-I"}, "timestamp": {"header": "X-T"}"#,
            false,
        ),
    ] {
        assert_eq!(
            warnings(signature).contains("two adjacent placeholders"),
            touches,
            "{signature}"
        );
    }
}

#[test]
fn a_zero_moves_from_an_url_into_no_timestamp() {
    let policy = endpoint(&format!(
        r#""provider": "hubspot", "methods": ["GET"], {URL}"#
    ));
    let time = NOW * 1_000;
    let message = format!("GEThttps://hooks.example.com/webhook?amount=1000{time}");
    let mut request = Request::new(b"")
        .with(
            "X-HubSpot-Signature-v3",
            base64(secret(), message.as_bytes()),
        )
        .with("X-HubSpot-Request-Timestamp", time.to_string());
    request.method = "GET";
    request.path = Some("/webhook?amount=1000".into());
    assert_eq!(request.reason(&policy), Reason::Accepted);
    request.path = Some("/webhook?amount=1".into());
    request.set("X-HubSpot-Request-Timestamp", &format!("000{time}"));
    assert_eq!(request.reason(&policy), Reason::TimestampMalformed);
}

/// An application that goes by the content-type reads other fields than the JSON's.
#[test]
fn json_is_not_read_as_a_form() {
    let (policy, mut request) = genuine("adyen-payments");
    let forged = "&notificationItems[0][NotificationRequestItem][success]=true&x=";
    request.body = body(&request)
        .replacen(r#""live": "false""#, &format!(r#""live": "{forged}""#), 1)
        .into_bytes();
    assert_eq!(request.reason(&policy), Reason::Accepted);
    let types = |values: &[&str]| {
        let mut request = request.clone();
        request.headers.retain(|(name, _)| name != "content-type");
        for value in values {
            request = request.with("content-type", *value);
        }
        request.reason(&policy)
    };
    for form in [
        FORM,
        "Application/X-WWW-Form-URLencoded; charset=utf-8",
        " application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded, application/json",
        "application/json, application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/mixed",
    ] {
        assert_eq!(types(&[form]), Reason::SignatureMalformed, "{form}");
    }
    let twice = ["application/json", FORM];
    assert_eq!(types(&twice), Reason::SignatureMalformed);
    for other in [
        "application/json",
        "text/plain",
        "application/vnd.platform+json",
        "",
    ] {
        assert_eq!(types(&[other]), Reason::Accepted, "{other}");
    }
    assert_eq!(types(&[]), Reason::Accepted);
}

/// An application that decodes a body as its headers say reads another JSON in it.
#[test]
fn json_in_another_charset_or_a_coding_is_not_read() {
    let (policy, mut request) = genuine("adyen-payments");
    // In UTF-7, `+ACI-` is a quotation mark.
    let forged = "+ACI-,+ACI-notificationItems+ACI-:+AFsAXQ-,+ACI-x+ACI-:+ACI-";
    request.body = body(&request)
        .replacen(r#""live": "false""#, &format!(r#""live": "{forged}""#), 1)
        .into_bytes();
    let reason = |name: &str, value: &str| {
        let mut request = request.clone();
        request.set(name, value);
        request.reason(&policy)
    };
    for good in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;Charset=\"UTF-8\"; version=1",
        "application/json; charset=utf8",
    ] {
        assert_eq!(reason("content-type", good), Reason::Accepted, "{good}");
    }
    for bad in [
        "application/json; charset=utf-7",
        "application/json; charset=\"utf-16\"",
        "application/json; CharSet=ibm037",
        "application/json; charset = utf-7",
        "application/json; charset=",
        "application/json; charset*=us-ascii''utf-7",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json; charset=utf-8, application/json; charset=utf-7",
    ] {
        let denied = Reason::SignatureMalformed;
        assert_eq!(reason("content-type", bad), denied, "{bad}");
    }
    let twice = request
        .clone()
        .with("content-type", "text/json; charset=utf-7");
    assert_eq!(twice.reason(&policy), Reason::SignatureMalformed);
    for (coding, expected) in [
        ("identity", Reason::Accepted),
        ("br", Reason::SignatureMalformed),
        ("identity, gzip", Reason::SignatureMalformed),
    ] {
        assert_eq!(reason("content-encoding", coding), expected, "{coding}");
    }

    // An attacker cannot choose the bytes of a body that is signed as a whole.
    let request = Request::signed(variable("SECRET"), b"{}");
    let request = request.with("content-type", "application/json; charset=utf-16");
    let request = request.with("content-encoding", "gzip");
    assert_eq!(request.reason(&endpoint("")), Reason::Accepted);
}

/// The vector of this name.
fn vector(provider: &str, id: &str) -> Value {
    let all = folder("tests/vectors");
    let vectors = &all.iter().find(|(name, _)| *name == provider).unwrap().1;
    let mut vectors = vectors.as_array().unwrap().iter();
    vectors.find(|vector| vector["id"] == id).unwrap().clone()
}

/// Only an absent, null or empty value is signed as empty. Nothing can take the place of a value that the sender left out.
#[test]
fn a_field_that_the_sender_left_out_cannot_be_filled() {
    let vector = vector("adyen-payments", "adyen-payments-sdk-absent");
    let policy = policy(&vector, json!({"provider": "adyen-payments"})).unwrap();
    let genuine = request(&vector);
    let place = r#""success":"true""#;
    let reason = |field: &str| {
        let mut request = genuine.clone();
        let filled = body(&genuine).replacen(place, &format!("{place},{field}"), 1);
        assert_ne!(filled, body(&genuine));
        request.body = filled.into_bytes();
        request.reason(&policy)
    };
    for empty in [
        r#""merchantReference":null"#,
        r#""merchantReference":"""#,
        r#""originalReference":null,"merchantReference":"""#,
    ] {
        assert_eq!(reason(empty), Reason::Accepted, "{empty}");
    }
    for filled in [
        r#""merchantReference":"order-1""#,
        r#""merchantReference":" ""#,
        r#""merchantReference":"\u0000""#,
        r#""merchantReference":0"#,
        r#""merchantReference":false"#,
        r#""originalReference":":""#,
    ] {
        assert_eq!(reason(filled), Reason::SignatureInvalid, "{filled}");
    }
    for other in [
        r#""merchantReference":["order-1"]"#,
        r#""merchantReference":{"a":"order-1"}"#,
        r#""merchantReference":[]"#,
        r#""merchantReference":1.5"#,
        r#""MerchantReference":"order-1""#,
        r#""merchant_reference":null"#,
        r#""merchantReference":null,"merchantReference":"order-1""#,
    ] {
        assert_eq!(reason(other), Reason::SignatureDuplicated, "{other}");
    }
}

/// Without a colon in a value, the eight fields can be split in one way only, whichever of them are absent.
#[test]
fn a_value_cannot_move_into_a_field_that_the_sender_left_out() {
    let vector = vector("adyen-payments", "adyen-payments-sdk-absent");
    let policy = policy(&vector, json!({"provider": "adyen-payments"})).unwrap();
    let genuine = request(&vector);
    let text: Value = serde_json::from_slice(&genuine.body).unwrap();
    let item = "/notificationItems/0/NotificationRequestItem";
    let fields = [
        "/pspReference",
        "/originalReference",
        "/merchantAccountCode",
        "/merchantReference",
        "/amount/value",
        "/amount/currency",
        "/eventCode",
        "/success",
    ];
    let at = |text: &Value, field: &str| {
        text.pointer(&format!("{item}{field}"))
            .cloned()
            .unwrap_or(Value::Null)
    };
    let mut accepted = 0;
    for from in fields {
        for to in fields {
            let mut moved = text.clone();
            for (field, value) in [(from, at(&text, to)), (to, at(&text, from))] {
                let (parent, name) = field.rsplit_once('/').unwrap();
                moved.pointer_mut(&format!("{item}{parent}")).unwrap()[name] = value;
            }
            let mut request = genuine.clone();
            request.body = moved.to_string().into_bytes();
            let is_same = fields
                .iter()
                .all(|field| at(&moved, field) == at(&text, field));
            let is_accepted = request.reason(&policy) == Reason::Accepted;
            assert_eq!(is_accepted, is_same, "{from} {to}");
            accepted += usize::from(is_accepted);
        }
    }
    // Each field with itself, and the two that are absent with each other.
    assert_eq!(accepted, 10);
}

/// Each form of Mercado Pago's text is signed for one request only: no part can be added, left out, or moved into another.
#[test]
fn a_part_that_may_be_absent_can_be_neither_added_nor_left_out() {
    let forms = [
        (
            Some("42"),
            Some("r-1"),
            "id:42;request-id:r-1;ts:1700000000;",
        ),
        (None, Some("r-1"), "request-id:r-1;ts:1700000000;"),
        (Some("42"), None, "id:42;ts:1700000000;"),
        (None, None, "ts:1700000000;"),
        (Some(""), Some(""), "ts:1700000000;"),
    ];
    let policy = endpoint(r#""provider": "mercado-pago""#);
    let reason = |id: Option<&str>, request_id: Option<&str>, text: &str| {
        let signature = hex(secret(), text.as_bytes());
        let mut request = Request::new(b"{}");
        request.path = Some(match id {
            Some(id) => format!("/webhook?data.id={id}"),
            None => "/webhook".to_owned(),
        });
        if let Some(id) = request_id {
            request = request.with("x-request-id", id);
        }
        let value = format!("ts=1700000000,v1={signature}");
        request.with("x-signature", value).reason(&policy)
    };
    for (at, (id, request_id, _)) in forms.iter().enumerate() {
        for (other, (_, _, text)) in forms.iter().enumerate() {
            let expected = match at == other || at.min(other) == 3 {
                true => Reason::Accepted,
                false => Reason::SignatureInvalid,
            };
            assert_eq!(
                reason(*id, *request_id, text),
                expected,
                "{id:?} {request_id:?} {text}"
            );
        }
    }
    for (id, request_id, text) in [
        (Some("42%3Brequest-id:r-1"), None, forms[0].2),
        (None, Some("r-1;ts:1700000000;request-id:r-1"), forms[1].2),
        (Some("42%3Bts:1"), Some("r-1"), forms[0].2),
    ] {
        let denied = [Reason::SignatureMalformed, Reason::SignatureDuplicated];
        let reason = reason(id, request_id, text);
        assert!(denied.contains(&reason), "{id:?}: {reason:?}");
    }
}

/// One signed text has one reading, also where parts between two values may be absent.
#[test]
fn a_value_after_absent_parts_cannot_take_the_end_of_the_body() {
    for (message, body, value, cut_body, longer_value) in [
        (
            "{body}|{header:X-A?a:*;}{header:X-B?b:*;}",
            "1|b:2",
            "3",
            "1",
            "2|b:3",
        ),
        (
            "{body}|{form:a?a:*;}{header:X-B?b:*;}",
            "x=1|b:2",
            "3",
            "x=1",
            "2|b:3",
        ),
        ("{body}|{header:X-A?}{header:X-B}", "1|2", "3", "1", "2|3"),
        ("{header:X-B}{header:X-A?}|{body}", "2|1", "3", "1", "3|2"),
    ] {
        let policy = endpoint(&format!(
            r#""signature": {{"header": "X-S", "message": "{message}"}}"#
        ));
        let with = |body: &str, value: &str| {
            let around = match message.contains("b:*;") {
                true => format!("b:{value};"),
                false => value.to_owned(),
            };
            let text = match message.starts_with("{body}") {
                true => format!("{body}|{around}"),
                false => format!("{around}|{body}"),
            };
            let request = Request::new(body.as_bytes())
                .with("content-type", "application/x-www-form-urlencoded")
                .with("x-b", value)
                .with("x-s", hex(secret(), text.as_bytes()));
            (text, request.reason(&policy))
        };
        let (text, reason) = with(body, value);
        assert_eq!(reason, Reason::Accepted, "{message}");
        let (same_text, reason) = with(cut_body, longer_value);
        assert_eq!(same_text, text, "{message}");
        assert_eq!(reason, Reason::SignatureMalformed, "{message}");
    }
    // The delimiter `;b:` is also at the border of two parts.
    let policy = endpoint(
        r#""signature": {"header": "X-S", "message": "{body};b:{header:X-A?a:*;}{header:X-B?b:*;}"}"#,
    );
    let signed = |body: &str, a: &str, b: Option<&str>| {
        let request = Request::new(body.as_bytes())
            .with("x-s", hex(secret(), b"1;b:a:2;b:a:3;"))
            .with("x-a", a);
        let request = match b {
            Some(b) => request.with("x-b", b),
            None => request,
        };
        request.reason(&policy)
    };
    assert_eq!(signed("1;b:a:2", "3", None), Reason::Accepted);
    assert_eq!(signed("1", "2", Some("a:3")), Reason::SignatureMalformed);
}

/// The guard warns if two messages have one text for two requests.
#[test]
fn messages_that_one_signature_covers_for_two_requests_have_a_warning() {
    let warnings = |messages: &str| {
        let configuration = format!(
            r#"{{"public_url": "https://hooks.example.com", "endpoints": [{{"name": "a", "match": {{"path": "/a"}},
                "secrets": [{{"version": "v1", "env": "SECRET"}}],
                "signature": {{"header": "X-S", "message": {messages}, "identity": "none", "timestamp": {{"header": "X-T"}}}}}}]}}"#
        );
        let (_, warnings) = read(&configuration).unwrap();
        warnings.iter().map(ToString::to_string).collect::<String>()
    };
    for (messages, is_unclear) in [
        (r#"["{timestamp}.{body}", "{timestamp}.v2.{body}"]"#, true),
        (r#"["{timestamp}{body}", "{timestamp}.{body}"]"#, true),
        (r#"["{timestamp}{body}", "{timestamp}{body}\n"]"#, true),
        (r#"["{timestamp}.{body}!", "{timestamp}.{body}?!"]"#, true),
        (r#"["{body}|{timestamp}", "{body}/|{timestamp}"]"#, true),
        (
            r#"["{body}.{header:a}|{timestamp}", "{body}.{header:a}x|{timestamp}"]"#,
            true,
        ),
        (
            r#"["1.{timestamp}.{body}", "2.{timestamp}.{body}", "3.{timestamp}..{body}"]"#,
            false,
        ),
        (r#"["1.{timestamp}.{body}", "2.{timestamp}.{body}"]"#, false),
        (r#"["{timestamp}.{body}", "v2.{timestamp}.{body}"]"#, false),
        (r#"["{timestamp}.{body}", "{timestamp}:{body}"]"#, false),
        (r#"["{timestamp}.{body}", "{timestamp}v2.{body}"]"#, false),
        (r#"["{body}|{timestamp}", "{body}|{timestamp}|"]"#, false),
    ] {
        let warnings = warnings(messages);
        assert_eq!(
            warnings.contains("the same signed bytes for two requests"),
            is_unclear,
            "{messages}: {warnings}"
        );
    }
}

#[test]
fn names_that_an_application_takes_for_others_are_refused() {
    let (adyen, item) = genuine("adyen-payments");
    let (mailgun, event) = mailgun();
    let (sign, document) = genuine("dropbox-sign");
    for (policy, request, from, to) in [
        (
            &adyen,
            &item,
            r#""success": "true""#,
            r#""success": "true", "Success": "false""#,
        ),
        (
            &adyen,
            &item,
            r#""success": "true""#,
            r#""success": "true", "MERCHANTREFERENCE": "victim""#,
        ),
        (
            &adyen,
            &item,
            r#""success": "true""#,
            r#""success": "true", "Amount": {"value": 1}"#,
        ),
        (
            &adyen,
            &item,
            r#""success": "true""#,
            "\"success\": \"true\", \"\u{17f}uccess\": \"false\"",
        ),
        (
            &adyen,
            &item,
            r#""success": "true""#,
            "\"success\": \"true\", \"success\\u0000\": \"false\"",
        ),
        (
            &adyen,
            &item,
            r#""success": "true""#,
            r#""success": "true", "OriginalReference": "victim""#,
        ),
        (
            &adyen,
            &item,
            r#"{"live""#,
            r#"{"NotificationItems": [], "live""#,
        ),
        (&mailgun, &event, r#""token""#, r#""Token": "x", "token""#),
        (
            &mailgun,
            &event,
            r#"{"signature""#,
            r#"{"SIGNATURE": {}, "signature""#,
        ),
        (
            &sign,
            &document,
            r#""event_type""#,
            r#""event.type": "x", "event_type""#,
        ),
        (&sign, &document, r#"{"event""#, r#"{"Event": {}, "event""#),
    ] {
        let mut request = request.clone();
        let forged = body(&request).replacen(from, to, 1);
        assert_ne!(forged, body(&request), "{from}");
        request.body = forged.into_bytes();
        assert_eq!(request.reason(policy), Reason::SignatureDuplicated, "{to}");
    }

    let (policy, request) = genuine("braintree");
    for tail in [
        "bt.payload",
        "bt%20payload",
        "BT_PAYLOAD",
        "bt_payload%00x",
        "bt_payload[]",
        "bt_payload[0]",
        "bt_payload%5B%5D",
        "bt%5Bpayload",
        "+bt_payload+",
        "bt[payload]",
        "Bt_Signature",
    ] {
        let mut request = request.clone();
        request.body.extend(format!("&{tail}=ZXZpbA").as_bytes());
        assert_eq!(
            request.reason(&policy),
            Reason::SignatureDuplicated,
            "{tail}"
        );
    }
    // To some readers a `;` separates fields too.
    let mut split = request.clone();
    split.body.extend(b"&x=1;bt_payload=ZXZpbA");
    assert_eq!(split.reason(&policy), Reason::SignatureMalformed);
    // In a charset of its own, other bytes separate them.
    let mut ebcdic = request.clone();
    ebcdic.set("content-type", &format!("{FORM}; charset=ibm037"));
    assert_eq!(ebcdic.reason(&policy), Reason::SignatureMalformed);
    let mut other = request;
    other.body.extend(b"&payload=1&bt_payload_2=2");
    assert_eq!(other.reason(&policy), Reason::Accepted);

    let (policy, request) = genuine_with(json!({"provider": "mercado-pago", "query": "any"}));
    for tail in [
        "&data_id=6",
        "&DATA.ID=6",
        "&data.id%00x=6",
        "&data[id]=6",
        "&data%5Bid%5D=6",
        ";data.id=6",
    ] {
        let mut request = request.clone();
        request.path = Some(request.path.unwrap() + tail);
        assert_eq!(
            request.reason(&policy),
            Reason::SignatureDuplicated,
            "{tail}"
        );
    }
    let mut other = request;
    other.path = Some(other.path.unwrap() + "&id=6&a;b");
    assert_eq!(other.reason(&policy), Reason::Accepted);
}

/// Only the sender can add names to a signed body, and a sender may use both `id` and `ID`.
#[test]
fn names_in_a_signed_body_are_the_senders() {
    let (policy, _) = own(r#""id": {"json": "/id"}"#).unwrap();
    let body = br#"{"id": "a", "ID": "b"}"#;
    let request = Request::new(body).with("x-s", hex(secret(), body));
    assert_eq!(request.reason(&policy), Reason::Accepted);
}

fn mailgun() -> (Policy, Request) {
    let policy = endpoint(r#""provider": "mailgun""#);
    let signature = hex(secret(), format!("{NOW}abc").as_bytes());
    let body = format!(
        r#"{{"signature": {{"timestamp": "{NOW}", "token": "abc", "signature": "{signature}"}}, "event-data": {{}}}}"#
    );
    let request = Request::new(body.as_bytes());
    assert_eq!(request.reason(&policy), Reason::Accepted);
    (policy, request)
}

#[test]
fn a_multipart_body_that_can_be_read_in_two_ways_is_refused() {
    let (policy, genuine) = genuine("dropbox-sign");
    let text = body(&genuine);
    let evil = r#"{"event":{"event_type":"evil"}}"#;
    let reason = |content_type: &str, body: &str| {
        let mut request = genuine.clone();
        request.set("content-type", content_type);
        request.body = body.as_bytes().to_vec();
        request.reason(&policy)
    };
    let kind = "multipart/form-data; boundary=xYzZY";
    let before = |part: &str| reason(kind, &format!("--xYzZY\r\n{part}{text}"));
    let disposition = |disposition: &str| {
        before(&format!(
            "Content-Disposition: {disposition}\r\n\r\n{evil}\r\n"
        ))
    };
    let named = |head: &str| {
        before(&format!(
            "Content-Disposition: form-data; name=\"x\"{head}\r\n\r\n{evil}\r\n"
        ))
    };

    for good in [
        "",
        "; filename=\"y.txt\"",
        "\r\nContent-Type: text/plain; charset=utf-8",
        "\r\ncontent-transfer-encoding: 8bit\r\nContent-Length: 31",
        "\r\nContent-Transfer-Encoding: base64",
        "\r\nContent-Type: text/plain; charset=shift_jis",
        "\r\nContent-Type: multipart/mixed; boundary=b",
        "\r\nX-Other: 1",
        "; filename*=utf-8''y",
        "; filename=\"y\"; filename=\"z\"",
    ] {
        assert_eq!(named(good), Reason::Accepted, "{good}");
    }
    let trimmed = text.trim_end();
    assert_eq!(reason(kind, trimmed), Reason::Accepted);
    for good in [
        "Multipart/Form-Data;boundary=\"xYzZY\"",
        "multipart/form-data; boundary=xYzZY; charset=utf-8",
        "multipart/form-data; charset=UTF-8; boundary=xYzZY",
    ] {
        assert_eq!(reason(good, &text), Reason::Accepted, "{good}");
    }
    let blank = format!("\r\n{text}\r\n");
    assert_eq!(reason(kind, &blank), Reason::Accepted);

    for bad in [
        "form-data; name=\"x\"; name=\"json\"",
        "form-data; name=\"x\"; name*=utf-8''json",
        "form-data; filename=\";name=\"x\";\"; name=\"json\"",
        "form-data; filename=\"y\"; name=\"x\"",
        "form-data; name=\"js\\on\"",
        "form-data; name=\"json%00\"",
        "attachment; name=\"x\"",
        "form-data; name=\"x\" ",
        "form-data; NAME=\"json\"; name=\"x\"",
        "form-data",
    ] {
        let expected = match bad.ends_with(' ') {
            // White space around a header's value does not belong to the value.
            true => Reason::Accepted,
            false => Reason::SignatureMalformed,
        };
        assert_eq!(disposition(bad), expected, "{bad}");
    }
    for bad in [
        "\r\nContent-Disposition: form-data; name=\"json\"",
        "\r\nContent-Disposition : form-data; name=\"json\"",
        "\r\n form-data; name=\"json\"",
        "\r\n\tname=\"json\"",
        "\nContent-Disposition: form-data; name=\"json\"",
        "\r\nContent-Length: 1",
        "\r\nContent-Length: 031",
        "\r\nnone",
        // Some applications drop white space of any script, or join lines.
        "; name\u{a0}=json",
        "; name\u{3000}=\"json\"",
        "; \u{85}name=json",
        "; filename=\"y\\\"; name\u{a0}=\"json\"",
        "; name\r\n =json",
        "; name*0\r\n =json",
        "\r\n ; filename=\"y\"",
        "; filename=\"y\r\n z\"",
        "; n\u{430}me=json",
    ] {
        assert_eq!(named(bad), Reason::SignatureMalformed, "{bad}");
    }
    // The name of a field, in another case, or a second time.
    for twice in [
        "form-data; name=\"JSON\"",
        "form-data; name=\"json\"; filename=\"y\"",
        "form-data; name=json",
        "form-data; name=\"[json]\"; filename*=utf-8''y",
        "form-data; name=\"json\u{a0}\"",
        "form-data; name=\"\u{3000}json\"; filename=\"y\"",
        "form-data; name=\"json\"\r\nX-Other: 1",
    ] {
        assert_eq!(disposition(twice), Reason::SignatureDuplicated, "{twice}");
    }

    let part = format!("Content-Disposition: form-data; name=\"json\"\r\n\r\n{evil}");
    for (what, body) in [
        (
            "epilogue",
            format!("{text}--xYzZY\r\n{part}\r\n--xYzZY--\r\n"),
        ),
        ("epilogue of blanks", format!("{text} ")),
        ("preamble", format!("x\r\n{text}")),
        (
            "a delimiter after LF",
            format!(
                "--xYzZY\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\nq\n--xYzZY\n{part}\r\n{text}"
            ),
        ),
        (
            "a delimiter within a line",
            format!(
                "--xYzZY\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\nq--xYzZY\r\n{text}"
            ),
        ),
        (
            "blanks after a delimiter",
            text.replacen("--xYzZY\r\n", "--xYzZY \r\n", 1),
        ),
        ("no end", text.replace("--xYzZY--\r\n", "")),
        (
            "no name",
            format!("--xYzZY\r\nContent-Type: a/b\r\n\r\n\r\n{text}"),
        ),
    ] {
        assert_eq!(reason(kind, &body), Reason::SignatureMalformed, "{what}");
    }

    // The guard would cut a quoted boundary at `;`, an application would not.
    let cut = text.replace("--xYzZY", "--\"a");
    let forged = format!("{cut}\r\n--a;b\r\n{part}\r\n--a;b--\r\n");
    assert_eq!(
        reason("multipart/form-data; boundary=\"a;b\"", &forged),
        Reason::SignatureMalformed
    );
    for bad in [
        "multipart/form-data; boundary=xYzZY; boundary=b",
        "multipart/form-data; boundary=xYzZY, multipart/form-data; boundary=b",
        "multipart/form-data; boundary=\"xYzZY",
        "multipart/form-data; boundary='xYzZY'",
        "multipart/form-data; boundary =xYzZY",
        "multipart/form-data; boundary=",
        "multipart/form-data",
        "multipart/mixed; boundary=xYzZY",
    ] {
        assert_eq!(reason(bad, &text), Reason::SignatureMalformed, "{bad}");
    }
    let twice = genuine
        .clone()
        .with("content-type", "multipart/form-data; boundary=b");
    assert_eq!(twice.reason(&policy), Reason::SignatureMalformed);
}

/// Continues SHA-256 from a digest. An attacker who knows the length of the text can do the same.
fn extended(digest: &[u8], length: usize, tail: &[u8]) -> (Vec<u8>, String) {
    let mut glue = vec![0x80];
    while (length + glue.len()) % 64 != 56 {
        glue.push(0);
    }
    glue.extend((length as u64 * 8).to_be_bytes());
    let done = length + glue.len();
    let mut rest = tail.to_vec();
    rest.push(0x80);
    while rest.len() % 64 != 56 {
        rest.push(0);
    }
    rest.extend(((done + tail.len()) as u64 * 8).to_be_bytes());
    let mut state = [0; 8];
    for (word, bytes) in state.iter_mut().zip(digest.chunks(4)) {
        *word = u32::from_be_bytes(bytes.try_into().unwrap());
    }
    for block in rest.chunks(64) {
        let block: [u8; 64] = block.try_into().unwrap();
        sha2::block_api::compress256(&mut state, &[block]);
    }
    let signature: String = state.iter().map(|word| format!("{word:08x}")).collect();
    ([glue, tail.to_vec()].concat(), signature)
}

#[test]
fn a_plain_hash_is_not_lengthened() {
    let body = br#"[{"eventId":1}]"#;
    let tail = b"\n[{\"eventId\":666}]";
    let nonce = format!("{NOW}n0");
    for (provider, before, header) in [
        ("hubspot-v1", "", "x-hubspot-signature"),
        (
            "hubspot-v2",
            "POSThttps://hooks.example.com/webhook",
            "x-hubspot-signature",
        ),
        ("lark", &nonce, "x-lark-signature"),
        ("feishu", &nonce, "x-lark-signature"),
    ] {
        let policy = endpoint(&format!(r#""provider": "{provider}", {URL}"#));
        let text = match before.starts_with("POST") {
            true => [secret(), before.as_bytes(), body].concat(),
            false => [before.as_bytes(), secret(), body].concat(),
        };
        let digest = Sha256::digest(&text);
        let sent = |body: &[u8], signature: String| {
            let mut request = Request::new(body).with(header, signature);
            request = request
                .with("x-lark-request-timestamp", NOW.to_string())
                .with("x-lark-request-nonce", "n0");
            request.cuts = vec![3, 20];
            request.reason(&policy)
        };
        let signature = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sent(body, signature), Reason::Accepted, "{provider}");
        let (added, signature) = extended(&digest, text.len(), tail);
        let forged = [&body[..], &added].concat();
        let known: String = Sha256::digest([&text[..], &added].concat())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(signature, known, "the test's own extension");
        assert_eq!(
            sent(&forged, signature),
            Reason::SignatureInvalid,
            "{provider}"
        );
    }
    let plain = r#""algorithm": "sha256", "message": "#;
    assert!(warnings(&format!(r#"{plain}"{{secret}}{{body}}""#)).contains("{secret}"));
    assert!(!warnings(&format!(r#"{plain}"{{body}}{{secret}}""#)).contains("{secret}"));
}

fn jwt(claims: &str) -> String {
    use ::base64::Engine as _;
    let encode = |bytes: &[u8]| ::base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let message = format!(
        "{}.{}",
        encode(br#"{"alg":"HS256"}"#),
        encode(claims.as_bytes())
    );
    format!("{message}.{}", encode(&mac(secret(), message.as_bytes())))
}

/// Otherwise any token that the secret ever signed would be accepted with an empty body.
#[test]
fn a_token_without_the_hash_of_the_body_is_rejected() {
    for (provider, header, claims) in [
        (
            "fusionauth",
            "X-FusionAuth-Signature-JWT",
            r#"{"sub":"a user","aud":"an app"}"#,
        ),
        ("netlify", "X-Webhook-Signature", r#"{"iss":"netlify"}"#),
    ] {
        let policy = endpoint(&format!(r#""provider": "{provider}""#));
        let request = Request::new(b"").with(header, jwt(claims));
        assert_eq!(
            request.reason(&policy),
            Reason::SignatureMissing,
            "{provider}"
        );
    }
    let hash = |more: &str| {
        let (policy, _) = own(&format!(
            r#""format": ["{{token}}"], "body_hash": {{"claim": "h"{more}}}"#
        ))
        .unwrap();
        ["", "x"].map(|body| {
            Request::new(body.as_bytes())
                .with("x-s", jwt("{}"))
                .reason(&policy)
        })
    };
    assert_eq!(hash(""), [Reason::SignatureMissing; 2]);
    let optional = [Reason::Accepted, Reason::SignatureMissing];
    assert_eq!(hash(r#", "optional": true"#), optional);
}

/// The MAC that X's handshake gives of a text.
fn mac_of(policy: &Policy, text: &str) -> String {
    let mut ask = Request::new(b"");
    ask.method = "GET";
    ask.path = Some(format!("/webhook?crc_token={text}"));
    let answer = ask.judge(policy).answer().unwrap().body.clone();
    let mac = answer.strip_prefix(r#"{"response_token":""#).unwrap();
    mac.strip_suffix("\"}").unwrap().to_owned()
}

#[test]
fn a_mac_from_a_handshake_is_not_a_signature_anywhere() {
    let answering = endpoint(r#""provider": "x", "answer_challenges": true"#);
    let header = "X-Twitter-Webhooks-Signature";
    let given = Request::new(b"42").with(header, mac_of(&answering, "42"));
    assert_eq!(given.reason(&answering), Reason::SignatureInvalid);
    for fields in [
        "",
        r#", "answer_challenges": false"#,
        r#", "answer_challenges": true, "mode": "monitor""#,
    ] {
        let later = endpoint(&format!(r#""provider": "x"{fields}"#));
        assert_eq!(given.reason(&later), Reason::SignatureInvalid, "{fields}");
    }

    let two = |first: &str, second: &str| {
        let one = |name: &str, provider: &str| {
            format!(
                r#"{{"name": "{name}", "match": {{"path": "/{name}"}}, {provider}, "secrets": [{{"version": "v1", "env": "SECRET"}}]}}"#
            )
        };
        read(&format!(
            r#"{{{URL}, "endpoints": [{}, {}]}}"#,
            one("a", first),
            one("b", second)
        ))
    };
    let x = r#""provider": "x", "answer_challenges": true"#;
    for other in ["github", "mailgun", "dropbox-sign"] {
        let other = format!(r#""provider": "{other}""#);
        for (first, second) in [(x, &*other), (&*other, x), (r#""provider": "x""#, &*other)] {
            let faults = two(first, second).expect_err(&other);
            assert!(
                faults[0].to_string().contains("handshake answers of one"),
                "{faults:?}"
            );
        }
    }
    // LinkedIn's message begins with a text, which a challenge may begin with, too.
    let linkedin = r#""provider": "linkedin", "answer_challenges": true"#;
    let prefixed = r#""signature": {"header": "X-S", "message": "hmacsha256={body}"}"#;
    for (first, second) in [
        (linkedin, prefixed),
        (x, prefixed),
        (linkedin, r#""provider": "github""#),
    ] {
        let faults = two(first, second).expect_err(second);
        assert!(faults[0].to_string().contains("handshake answers of one"));
    }
    let (both, _) = two(x, linkedin).expect("two that answer");
    let mut ask = Request::new(b"");
    ask.method = "GET";
    for text in ["42", "hmacsha256=42"] {
        ask.path = Some(format!("/b?challengeCode={text}"));
        let answer = ask.judge(&both).answer().unwrap().body.clone();
        let mac = hex(secret(), text.as_bytes());
        assert!(answer.contains(&mac), "{answer}");
        let mut forged = Request::new(b"42").with("X-LI-Signature", mac.as_str());
        forged.path = Some("/b".to_owned());
        assert_eq!(forged.reason(&both), Reason::SignatureInvalid);
        let mac = base64(secret(), text.as_bytes());
        let mut forged = Request::new(text.as_bytes()).with(header, format!("sha256={mac}"));
        forged.path = Some("/a".to_owned());
        assert_eq!(forged.reason(&both), Reason::SignatureInvalid);
    }
    // Where none of these texts is a signed message, the key may be shared: X has it so.
    for other in [x, r#""provider": "x""#, r#""provider": "slack""#] {
        let (_, warnings) = two(x, other).expect(other);
        assert!(
            warnings[0].to_string().contains("has the same secret"),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_handshake_is_answered_with_the_secret_that_signed_it() {
    let policy = endpoint(
        r#""provider": "zoom", "answer_challenges": true, "secrets": [{"version": "v2", "env": "OTHER_SECRET"}, {"version": "v1", "env": "SECRET"}]"#,
    );
    let body = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"abc"}}"#;
    for key in ["OTHER_SECRET", "SECRET"] {
        let key = variable(key).as_bytes();
        let signature = hex(key, format!("v0:{NOW}:{body}").as_bytes());
        let request = Request::new(body.as_bytes())
            .with("x-zm-request-timestamp", NOW.to_string())
            .with("x-zm-signature", format!("v0={signature}"));
        let answer = request.judge(&policy).answer().unwrap().body.clone();
        assert!(answer.contains(&hex(key, b"abc")), "{answer}");
    }
}

#[test]
fn a_handshakes_method_admits_no_delivery() {
    for signed in [true, false] {
        let policy = endpoint(&format!(
            r#""answer_challenges": true, "signature": {{"header": "X-S", "challenge": {{"method": "DELETE", "signed": {signed}, "when": {{"json": "/type", "is": "ping"}}, "text": {{"json": "/c"}}}}}}"#
        ));
        let sent = |body: &str, method: &'static str| {
            let mut request =
                Request::new(body.as_bytes()).with("x-s", hex(secret(), body.as_bytes()));
            request.method = method;
            request.judge(&policy)
        };
        let ping = r#"{"type": "ping", "c": "x"}"#;
        assert_eq!(sent(ping, "DELETE").outcome(), Outcome::Challenged);
        assert_eq!(sent("{}", "DELETE").reason(), Reason::MethodNotAllowed);
        assert_eq!(sent("{}", "POST").reason(), Reason::Accepted);
        let mut unsigned = Request::new(b"{}");
        unsigned.method = "DELETE";
        let reason = match signed {
            true => Reason::SignatureMissing,
            false => Reason::MethodNotAllowed,
        };
        assert_eq!(unsigned.reason(&policy), reason);
    }
}

#[test]
fn json_of_too_many_values_is_not_read() {
    let (policy, genuine) = mailgun();
    let with = |count: usize| {
        let mut request = genuine.clone();
        let list = vec!["[]"; count].join(",");
        request.body = body(&request)
            .replacen(
                r#""event-data": {}"#,
                &format!(r#""event-data": [{list}]"#),
                1,
            )
            .into_bytes();
        request.reason(&policy)
    };
    // Fields that the scheme does not read are skipped.
    assert_eq!(with(50_000), Reason::Accepted);
    let policy_of_items = endpoint(r#""provider": "microsoft-graph""#);
    let items = |count: usize| {
        let items = vec!["{}"; count].join(",");
        let body = format!(r#"{{"value": [{items}]}}"#);
        Request::new(body.as_bytes()).reason(&policy_of_items)
    };
    assert_eq!(items(9_998), Reason::SignatureMissing);
    assert_eq!(items(9_999), Reason::SignatureMalformed);
    let mut bare = genuine.clone();
    bare.body = b"no json".to_vec();
    assert_eq!(bare.reason(&policy), Reason::SignatureMalformed);
    bare.body = b"".to_vec();
    assert_eq!(bare.reason(&policy), Reason::SignatureMissing);
}

#[test]
fn five_signatures_by_a_private_key_are_too_many() {
    let (policy, _) = read_in("test", r#"{"endpoints": [{"name": "o", "match": {"path": "/webhook"}, "provider": "standard-webhooks-v1a", "secrets": [{"version": "v1", "value": "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}]}]}"#).unwrap();
    let sent = |count: usize| {
        let one = format!("v1a,{}==", "A".repeat(86));
        Request::new(b"x")
            .with("webhook-id", "a")
            .with("webhook-timestamp", NOW.to_string())
            .with("webhook-signature", vec![one; count].join(" "))
            .reason(&policy)
    };
    assert_eq!(sent(4), Reason::SignatureInvalid);
    assert_eq!(sent(5), Reason::SignatureMalformed);
}

#[test]
fn what_protects_less_than_it_seems_is_refused() {
    for (signature, said) in [
        (
            r#""format": ["t={token}", "s={signature}"], "separator": ",", "body": "unsigned""#,
            "keep one",
        ),
        (
            r#""message": "{sorted_form}", "timestamp": {"form": "t"}"#,
            "not signed",
        ),
        (
            r#""message": "{sorted_form}", "id": {"form": "i"}"#,
            "not signed",
        ),
        (
            r#""message": "{url_sorted}", "id": {"query": "i"}"#,
            "not signed",
        ),
        (
            r#""message": "{url}{sorted_form}", "body_hash": {"query": "h"}, "id": {"form": "i"}"#,
            "not signed",
        ),
        (
            r#""message": "{query_lower:id}.{body}", "id": {"query": "id"}"#,
            "not signed",
        ),
        (
            r#""format": ["{token}"], "claims": {"x": "{body}"}, "body": "unsigned""#,
            "only text and {url}",
        ),
        (
            r#""format": ["{token}"], "claims": {"x": "{header:X-A}"}, "body": "unsigned""#,
            "only text and {url}",
        ),
    ] {
        assert!(
            fault(signature).contains(said),
            "{signature}: {}",
            fault(signature)
        );
    }
    assert!(own(r#""body": "signed""#).is_ok());
    assert!(fault(r#""body": "signed", "message": "{url}""#).contains("not signed"));
    assert!(!fault(r#""body": "?""#).contains("\"?\""));
}

#[test]
fn a_presets_unsigned_body_is_warned_of_too() {
    let warnings = |provider: &str| {
        let configuration = format!(
            r#"{{{URL}, "endpoints": [{{"name": "o", "match": {{"path": "/webhook"}}, "provider": "{provider}", "secrets": [{{"version": "v1", "env": "SECRET"}}]}}]}}"#
        );
        let (_, warnings) = read(&configuration).unwrap();
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for provider in ["mailgun", "mercado-pago", "plivo", "monday", "telegram"] {
        let warnings = warnings(provider);
        assert!(
            warnings[0].starts_with("endpoints[0].provider: the body is not signed"),
            "{warnings:?}"
        );
    }
    assert!(warnings("hubspot-v1")[0].contains("{secret}"));
    for provider in ["github", "stripe", "airwallex", "square", "twitch"] {
        assert!(warnings(provider).is_empty(), "{provider}");
    }
}
