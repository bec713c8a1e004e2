//! Schemes with several forms of one message, or with several algorithms.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use webhook_guard::policy::Policy;
use webhook_guard::verdict::Reason;

use crate::support::{NOW, Request, base64, endpoint, hex, policy, variable};

const FORM: &str = "application/x-www-form-urlencoded";
const BODY: &str = "From=%2B42&Body=it%27s";
const FIELDS: &str = "Bodyit'sFrom+42";

fn sha1(secret: &str, message: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(variable(secret).as_bytes()).unwrap();
    mac.update(message.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn sha256(secret: &str, message: &str) -> String {
    base64(variable(secret).as_bytes(), message.as_bytes())
}

fn twilio(public_url: &str) -> Policy {
    endpoint(&format!(
        r#""provider": "twilio", "public_url": "{public_url}", "methods": ["GET", "POST"],
            "secrets": [{{"version": "token", "env": "SECRET"}}, {{"version": "shared-key", "env": "OTHER_SECRET"}}]"#
    ))
}

fn sms(target: &str, signature: String) -> Request {
    let mut request = Request::new(BODY.as_bytes())
        .with("content-type", FORM)
        .with("x-twilio-signature", signature);
    request.path = Some(target.to_owned());
    request
}

/// The reason of a form to `target` that Twilio signed for `url`.
fn judge(policy: &Policy, target: &str, url: &str) -> Reason {
    sms(target, sha1("SECRET", &format!("{url}{FIELDS}"))).reason(policy)
}

#[test]
fn twilio_signs_with_and_without_the_port() {
    for (public_url, with, without) in [
        ("https://x.test", "https://x.test:443", "https://x.test"),
        ("https://x.test:443", "https://x.test:443", "https://x.test"),
        ("http://x.test", "http://x.test:80", "http://x.test"),
        (
            "https://x.test:8443",
            "https://x.test:8443",
            "https://x.test",
        ),
        (
            "https://[2001:db8::1]",
            "https://[2001:db8::1]:443",
            "https://[2001:db8::1]",
        ),
        (
            "https://[2001:db8::1]:8443",
            "https://[2001:db8::1]:8443",
            "https://[2001:db8::1]",
        ),
    ] {
        let policy = twilio(public_url);
        for origin in [with, without] {
            let url = format!("{origin}/webhook?a=1");
            assert_eq!(
                judge(&policy, "/webhook?a=1", &url),
                Reason::Accepted,
                "{public_url} {url}"
            );
        }
        for origin in [
            "https://x.test:1",
            "https://y.test",
            "https://x.test:4430",
            "ftp://x.test",
            "",
        ] {
            let url = format!("{origin}/webhook?a=1");
            assert_eq!(
                judge(&policy, "/webhook?a=1", &url),
                Reason::SignatureInvalid,
                "{public_url} {url}"
            );
        }
    }
}

#[test]
fn twilio_signs_an_apostrophe_in_either_spelling() {
    let policy = twilio("https://x.test");
    for (target, signed) in [
        ("/webhook?q=it's", "https://x.test/webhook?q=it's"),
        ("/webhook?q=it's", "https://x.test/webhook?q=it%27s"),
        ("/webhook?q=it%27s", "https://x.test/webhook?q=it's"),
        ("/webhook?q=it%27s", "https://x.test/webhook?q=it%27s"),
        ("/webhook?q=it%27s", "https://x.test:443/webhook?q=it's"),
        ("/webhook?q='%27", "https://x.test/webhook?q=''"),
        ("/webhook?q='%27", "https://x.test/webhook?q='%27"),
    ] {
        assert_eq!(
            judge(&policy, target, signed),
            Reason::Accepted,
            "{target} {signed}"
        );
    }
}

/// Only the two spellings of one character are equal. All other bytes of the query stay as signed.
#[test]
fn a_signature_for_one_url_fits_no_other() {
    let policy = twilio("https://x.test");
    for (target, signed) in [
        ("/webhook?q=it%2527s", "https://x.test/webhook?q=it's"),
        ("/webhook?q=it%2527s", "https://x.test/webhook?q=it%27s"),
        ("/webhook?q=its", "https://x.test/webhook?q=it's"),
        ("/webhook?q=a%26b=1", "https://x.test/webhook?q=a&b=1"),
        ("/webhook?q=a&b=1", "https://x.test/webhook?q=a%26b=1"),
        ("/webhook?q=a+b", "https://x.test/webhook?q=a%20b"),
        ("/webhook?q=%28", "https://x.test/webhook?q=("),
        ("/webhook?q='&r=", "https://x.test/webhook?q=&r='"),
        ("/webhook?q=%27", "https://x.test:443'/webhook?q=%27"),
        ("/webhook?q=1", "https://x.test/webhook"),
        ("/webhook", "https://x.test/webhook?"),
    ] {
        assert_eq!(
            judge(&policy, target, signed),
            Reason::SignatureInvalid,
            "{target} {signed}"
        );
    }
    // The form's fields follow the URL without a separator. The port cannot move between them.
    let moved = sms(
        "/webhook",
        sha1("SECRET", &format!("https://x.test/webhook:443{FIELDS}")),
    );
    assert_eq!(moved.reason(&policy), Reason::SignatureInvalid);
}

#[test]
fn twilio_signs_by_the_algorithm_of_a_webhooks_rule() {
    let policy = twilio("https://x.test");
    let message = format!("https://x.test:443/webhook{FIELDS}");
    let settings = "X-Twilio-Webhooks-Signature-Settings";
    for signature in [sha1("SECRET", &message), sha256("OTHER_SECRET", &message)] {
        let plain = sms("/webhook", signature);
        assert_eq!(plain.reason(&policy), Reason::Accepted);
        // The header is not signed. A client that forges or drops it gains nothing, and loses nothing.
        for value in [
            "key=k,algorithm=HMAC_SHA256",
            "algorithm=HMAC_SHA1",
            "algorithm=none",
            "",
        ] {
            assert_eq!(
                plain.clone().with(settings, value).reason(&policy),
                Reason::Accepted,
                "{value}"
            );
        }
    }
    for (signature, reason) in [
        (sha256("OLD_SECRET", &message), Reason::SignatureInvalid),
        (sha1("OLD_SECRET", &message), Reason::SignatureInvalid),
        // A prefix of the longer code is not the shorter one.
        (
            STANDARD.encode(&STANDARD.decode(sha256("SECRET", &message)).unwrap()[..20]),
            Reason::SignatureInvalid,
        ),
        // The code of an algorithm that the scheme does not list.
        (STANDARD.encode([1; 48]), Reason::SignatureMalformed),
        (STANDARD.encode([1; 64]), Reason::SignatureMalformed),
        (String::new(), Reason::SignatureMalformed),
    ] {
        let forged = sms("/webhook", signature).with(settings, "key=k,algorithm=HMAC_SHA256");
        assert_eq!(forged.reason(&policy), reason);
    }
}

#[test]
fn twilio_calls_by_get_and_posts_json_and_empty_forms() {
    let policy = twilio("https://x.test");
    let target = "/webhook?CallSid=CA1&Digits=1%272";
    for (origin, query) in [
        ("https://x.test", "?CallSid=CA1&Digits=1'2"),
        ("https://x.test:443", "?CallSid=CA1&Digits=1%272"),
    ] {
        let url = format!("{origin}/webhook{query}");
        for signature in [sha1("SECRET", &url), sha256("OTHER_SECRET", &url)] {
            let mut get = Request::new(b"").with("x-twilio-signature", signature.clone());
            get.path = Some(target.to_owned());
            get.method = "GET";
            assert_eq!(get.reason(&policy), Reason::Accepted, "{url}");
            let mut post = get.clone().with("content-type", FORM);
            post.method = "POST";
            assert_eq!(post.reason(&policy), Reason::Accepted, "{url}");
            post.body = b"a=1".to_vec();
            assert_eq!(post.reason(&policy), Reason::SignatureInvalid, "{url}");
        }
    }
    // The SHA-256 of `{"a":1}`.
    let hash = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862";
    let target = format!("/webhook?bodySHA256={hash}");
    for origin in ["https://x.test", "https://x.test:443"] {
        let mut json = Request::new(br#"{"a":1}"#)
            .with("content-type", "application/json")
            .with(
                "x-twilio-signature",
                sha1("SECRET", &format!("{origin}{target}")),
            );
        json.path = Some(target.clone());
        assert_eq!(json.reason(&policy), Reason::Accepted, "{origin}");
        json.body = br#"{"a":2}"#.to_vec();
        assert_eq!(json.reason(&policy), Reason::SignatureInvalid, "{origin}");
    }
}

/// Twilio's packages sign the fields of an urlencoded form only. Any other body needs its hash in the signed URL.
#[test]
fn twilio_signs_a_multipart_body_by_its_hash() {
    let policy = twilio("https://x.test");
    let body = b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--";
    let hash: String = Sha256::digest(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let reason = |target: &str, fields: &str, body: &[u8]| {
        let signature = sha1("SECRET", &format!("https://x.test{target}{fields}"));
        let mut request = Request::new(body)
            .with("content-type", "multipart/form-data; boundary=b")
            .with("x-twilio-signature", signature);
        request.path = Some(target.to_owned());
        request.reason(&policy)
    };
    let hashed = format!("/webhook?bodySHA256={hash}");
    assert_eq!(reason(&hashed, "", body), Reason::Accepted);
    assert_eq!(reason(&hashed, "", b"--b--"), Reason::SignatureInvalid);
    assert_eq!(reason(&hashed, "a1", body), Reason::SignatureInvalid);
    for fields in ["", "a1"] {
        let reason = reason("/webhook", fields, body);
        assert!(reason != Reason::Accepted, "{fields:?}");
    }
}

#[test]
fn repeated_fields_are_signed_once_each() {
    let policy = twilio("https://x.test");
    let signed = sha1("SECRET", "https://x.test:443/webhooka1a2b");
    let reason = |body: &str| {
        let mut request = sms("/webhook", signed.clone());
        request.body = body.as_bytes().to_vec();
        request.reason(&policy)
    };
    assert_eq!(reason("a=2&a=1&b="), Reason::Accepted);
    assert_eq!(reason("a=2&a=1&a=2&b="), Reason::Accepted);
    assert_eq!(reason("a=1&b="), Reason::SignatureInvalid);
}

/// A key that is revoked is reported, whichever form and algorithm its signature has.
#[test]
fn a_revoked_key_is_recognized_in_each_form() {
    let policy = endpoint(
        r#""provider": "twilio", "public_url": "https://x.test", "secrets": [
            {"version": "v2", "env": "SECRET"}, {"version": "v1", "env": "OLD_SECRET", "revoked": true}]"#,
    );
    for url in [
        "https://x.test:443/webhook?q=%27",
        "https://x.test/webhook?q='",
    ] {
        let message = format!("{url}{FIELDS}");
        for signature in [sha1("OLD_SECRET", &message), sha256("OLD_SECRET", &message)] {
            assert_eq!(
                sms("/webhook?q='", signature).reason(&policy),
                Reason::SecretRevoked
            );
        }
    }
}

/// A copy in another form is a copy: all forms of a request have one hash. The guard hashes the first message while the
/// body arrives, and the second one after the whole body.
#[test]
fn a_copy_in_another_form_is_the_same_delivery() {
    for message in [
        "{url_any_port}.{timestamp}.{body}",
        "{url_any_port}.{timestamp}.{form:a?}{body}",
    ] {
        let policy = endpoint(&format!(
            r#""public_url": "https://x.test", "signature": {{"header": "X-S", "encoding": "base64",
                "message": "{message}", "timestamp": {{"header": "X-T"}}}}"#
        ));
        let delivery = |target: &str, url: &str, body: &str| {
            let message = format!("{url}.{NOW}.{body}");
            let mut request = Request::new(body.as_bytes())
                .with("x-t", NOW.to_string())
                .with("x-s", sha256("SECRET", &message));
            request.path = Some(target.to_owned());
            let verdict = request.judge(&policy);
            assert_eq!(verdict.reason(), Reason::Accepted, "{target} {url}");
            verdict.verified().unwrap().delivery().unwrap()
        };
        let first = delivery("/webhook?q=''", "https://x.test/webhook?q=''", "a");
        for (target, url) in [
            ("/webhook?q=%27%27", "https://x.test/webhook?q=''"),
            ("/webhook?q='%27", "https://x.test/webhook?q=''"),
            ("/webhook?q=''", "https://x.test:443/webhook?q=''"),
            ("/webhook?q=''", "https://x.test/webhook?q=%27%27"),
            ("/webhook?q=%27%27", "https://x.test:443/webhook?q=%27%27"),
        ] {
            assert_eq!(delivery(target, url, "a"), first, "{target} {url}");
        }
        let other = delivery("/webhook?q='", "https://x.test/webhook?q='", "a");
        assert_ne!(other, first);
        let other = delivery("/webhook?q=''", "https://x.test/webhook?q=''", "b");
        assert_ne!(other, first);
    }
}

/// An id that a sender signs in lower case or as it is. All spellings are one delivery, since a client can change the
/// spelling of an id that is signed in lower case.
#[test]
fn an_id_in_either_case_is_one_delivery() {
    let policy = endpoint(r#""provider": "mercado-pago", "query": "any""#);
    let judge = |id: &str, signed: &str| {
        let message = format!("id:{signed};request-id:r;ts:{NOW};");
        let mac = hex(variable("SECRET").as_bytes(), message.as_bytes());
        let mut request = Request::new(b"{}")
            .with("x-request-id", "r")
            .with("x-signature", format!("ts={NOW},v1={mac}"));
        request.path = Some(format!("/webhook?data.id={id}"));
        request.judge(&policy)
    };
    let delivery = |id: &str, signed: &str| {
        let verdict = judge(id, signed);
        assert_eq!(verdict.reason(), Reason::Accepted, "{id} {signed}");
        verdict.verified().unwrap().delivery().unwrap()
    };
    let first = delivery("ORD1", "ORD1");
    for (id, signed) in [("ORD1", "ord1"), ("Ord1", "ord1"), ("ord1", "ord1")] {
        assert_eq!(delivery(id, signed), first, "{id} {signed}");
    }
    for (id, signed) in [("ord1", "ORD1"), ("Ord1", "ORD1"), ("ORD2", "ORD1")] {
        let reason = judge(id, signed).reason();
        assert_eq!(reason, Reason::SignatureInvalid, "{id} {signed}");
    }
}

/// A message that is hashed while the body arrives: other forms need the body a second time.
#[test]
fn each_message_of_a_list_verifies() {
    let policy = endpoint(
        r#""public_url": "https://x.test", "secrets": [{"version": "v2", "env": "SECRET"}, {"version": "v1", "env": "OLD_SECRET"}],
            "signature": {"header": "X-S", "encoding": "base64", "algorithm": ["hmac-sha256", "hmac-sha1"],
                "message": ["{url}.{body}", "{url}/.{body}", "v1:{url}.{body}!"]}"#,
    );
    let reason = |signature: String| {
        let mut request = Request::new(b"body").with("x-s", signature);
        request.cuts = vec![1, 3];
        request.reason(&policy)
    };
    for message in [
        "https://x.test/webhook.body",
        "https://x.test/webhook/.body",
        "v1:https://x.test/webhook.body!",
    ] {
        for secret in ["SECRET", "OLD_SECRET"] {
            assert_eq!(
                reason(sha256(secret, message)),
                Reason::Accepted,
                "{message}"
            );
            assert_eq!(reason(sha1(secret, message)), Reason::Accepted, "{message}");
        }
        assert_eq!(
            reason(sha256("OTHER_SECRET", message)),
            Reason::SignatureInvalid,
            "{message}"
        );
    }
    for message in [
        "https://x.test/webhook//.body",
        "https://x.test/webhook.body!",
        "v1:https://x.test/webhook/.body!",
    ] {
        assert_eq!(
            reason(sha256("SECRET", message)),
            Reason::SignatureInvalid,
            "{message}"
        );
    }
}

/// An id may not contain the delimiter of any form. Otherwise a client could move bytes between the id and the body.
#[test]
fn delimiters_of_all_messages_count() {
    let policy = endpoint(
        r#""signature": {"header": "X-S", "encoding": "base64", "message": ["{id}.{body}", "{id}:{body}"], "id": {"header": "X-I"}}"#,
    );
    let reason = |id: &str, body: &str, message: &str| {
        let request = Request::new(body.as_bytes()).with("x-i", id);
        request
            .with("x-s", sha256("SECRET", message))
            .reason(&policy)
    };
    assert_eq!(reason("1", "b", "1.b"), Reason::Accepted);
    assert_eq!(reason("1", "b", "1:b"), Reason::Accepted);
    for (id, body) in [("1:b", "c"), ("1.b", "c")] {
        assert_eq!(
            reason(id, body, &format!("{id}.{body}")),
            Reason::SignatureMalformed
        );
        assert_eq!(
            reason(id, body, &format!("{id}:{body}")),
            Reason::SignatureMalformed
        );
    }
}

/// Braintree signs the payload with or without the line break that ends it.
#[test]
fn braintree_signs_with_or_without_a_line_break() {
    let policy = policy(
        r#"{"endpoints": [{"name": "b", "match": {"path": "/webhook"}, "provider": "braintree",
            "secrets": [{"version": "v1", "env": "SECRET", "key_id": "public"}]}]}"#,
    );
    let key = <Sha1 as sha1::Digest>::digest(variable("SECRET").as_bytes());
    let reason = |signed: &str, sent: &str| {
        let mut mac = Hmac::<Sha1>::new_from_slice(&key).unwrap();
        mac.update(signed.as_bytes());
        let code = mac.finalize().into_bytes();
        let digits: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        let body = format!("bt_signature=public%7C{digits}&bt_payload={sent}");
        Request::new(body.as_bytes())
            .with("content-type", FORM)
            .reason(&policy)
    };
    assert_eq!(reason("QQ", "QQ"), Reason::Accepted);
    assert_eq!(reason("QQ\n", "QQ"), Reason::Accepted);
    assert_eq!(reason("QQ\n", "QQ%0A"), Reason::Accepted);
    assert_eq!(reason("QQ", "QQ%0A"), Reason::SignatureInvalid);
    assert_eq!(reason("QQ\n\n", "QQ"), Reason::SignatureInvalid);
}

/// The forms of one message together have a limit, since the guard keeps them until the verdict.
#[test]
fn long_urls_with_many_forms_are_refused() {
    let policy = twilio("https://x.test");
    for (length, reason) in [
        (5_000, Reason::Accepted),
        (7_000, Reason::SignatureMalformed),
    ] {
        let target = format!("/webhook?q='{}", "x".repeat(length));
        let url = format!("https://x.test{target}");
        assert_eq!(judge(&policy, &target, &url), reason, "{length}");
    }
}
