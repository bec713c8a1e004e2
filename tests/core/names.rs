//! Second names: what some application takes for a value that a scheme reads, under another name or from another
//! place of the request.

use proptest::prelude::*;
use serde_json::json;
use webhook_guard::verdict::Reason;

use crate::forgeries::{genuine, genuine_with};
use crate::support::{Request, endpoint, hex, variable};

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn second_names_of_a_field_are_refused() {
    let (policy, request) = genuine("braintree");
    for name in [
        "[bt_payload]",
        "[bt_payload",
        "%5Bbt_payload%5D",
        "[[bt_payload]",
        "]bt_payload",
        "?bt_payload",
        "btPayload",
        "bt-payload",
        "btpayload",
        "b%C4%B1_payload",
    ] {
        // The last one is an i without its dot, which this name has none of: nothing takes it for another.
        let expected = match name.starts_with("b%") {
            true => Reason::Accepted,
            false => Reason::SignatureDuplicated,
        };
        let mut after = request.clone();
        after.body.extend(format!("&{name}=ZXZpbA").as_bytes());
        assert_eq!(after.reason(&policy), expected, "{name} after");
        let mut before = request.clone();
        before.body.splice(..0, format!("{name}=ZXZpbA&").bytes());
        assert_eq!(before.reason(&policy), expected, "{name} before");
    }
}

#[test]
fn letters_with_and_without_a_dot_are_the_same_to_some() {
    let policy =
        endpoint(r#""signature": {"form": "sig", "message": "{form:id}", "body": "unsigned"}"#);
    let signature = hex(variable("SECRET").as_bytes(), b"1");
    let reason = |tail: &str| {
        let body = format!("sig={signature}&id=1{tail}");
        Request::new(body.as_bytes())
            .with("content-type", FORM)
            .reason(&policy)
    };
    assert_eq!(reason("&ix=2"), Reason::Accepted);
    for name in ["%C4%B0d", "%C4%B1d", "%C4%B1D"] {
        let tail = format!("&{name}=2");
        assert_eq!(reason(&tail), Reason::SignatureDuplicated, "{name}");
    }
}

#[test]
fn a_field_that_is_also_in_the_query_is_rejected() {
    for (provider, names) in [
        ("braintree", ["bt_payload", "bt_signature", "btPayload"]),
        ("dropbox-sign", ["json", "JSON", "[json]"]),
    ] {
        let (policy, request) = genuine_with(json!({"provider": provider, "query": "any"}));
        for name in names {
            let mut request = request.clone();
            request.path = Some(format!("/webhook?a=1;{name}=x"));
            assert_ne!(request.reason(&policy), Reason::Accepted, "{name}");
            request.path = Some(format!("/webhook?{name}=x"));
            let reason = request.reason(&policy);
            assert_eq!(reason, Reason::SignatureDuplicated, "{provider} {name}");
        }
    }
}

#[test]
fn a_parameter_that_is_also_in_an_unsigned_form_is_rejected() {
    let (policy, genuine) = genuine("mercado-pago");
    let reason = |kind: &str, body: &str| {
        let mut request = genuine.clone();
        request.set("content-type", kind);
        request.body = body.as_bytes().to_vec();
        request.reason(&policy)
    };
    let part = |name: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nq\r\n--x--\r\n")
    };
    let multipart = "multipart/form-data; boundary=x";
    assert_eq!(reason("application/json", "data.id=1"), Reason::Accepted);
    assert_eq!(reason(FORM, "id=1"), Reason::Accepted);
    assert_eq!(reason(multipart, &part("id")), Reason::Accepted);
    for name in ["data.id", "data_id", "dataId", "data[id]", "?data.id"] {
        let twice = Reason::SignatureDuplicated;
        assert_eq!(reason(FORM, &format!("{name}=1")), twice, "{name}");
        assert_eq!(reason(multipart, &part(name)), twice, "{name}");
    }
    // Readers differ in which of the two this body is.
    let unclear = format!("{FORM}, application/json");
    let denied = Reason::SignatureMalformed;
    assert_eq!(reason(&unclear, "data.id=1"), denied);
}

#[test]
fn a_file_is_not_a_field() {
    let (policy, genuine) = genuine("dropbox-sign");
    let text = String::from_utf8(genuine.body.clone()).unwrap();
    let reason = |from: &str, to: &str| {
        let mut request = genuine.clone();
        assert!(text.contains(from), "{from}");
        request.body = text.replacen(from, to, 1).into_bytes();
        request.reason(&policy)
    };
    for file in ["x.json", ""] {
        let named = format!("name=\"json\"; filename=\"{file}\"");
        let reason = reason("name=\"json\"", &named);
        assert_eq!(reason, Reason::SignatureDuplicated, "{file}");
    }
    let part = "--xYzZY\r\nContent-Disposition: form-data; name=\"NAME\"; filename=\"a.pdf\"\r\n\
        Content-Type: application/pdf\r\n\r\n%PDF\r\n--xYzZY";
    let with = |name: &str| reason("--xYzZY", &part.replace("NAME", name));
    assert_eq!(with("attachment-1"), Reason::Accepted);
    assert_eq!(with("[json]"), Reason::SignatureDuplicated);
}

#[test]
fn no_more_than_1000_parameters_are_read() {
    let (policy, request) = genuine_with(json!({"provider": "mercado-pago", "query": ["a"]}));
    let reason = |more: usize, separator: &str| {
        let mut request = request.clone();
        let more = format!("{separator}a=1").repeat(more);
        request.path = request.path.map(|path| path + &more);
        request.reason(&policy)
    };
    assert_eq!(reason(998, "&"), Reason::Accepted);
    assert_eq!(reason(999, "&"), Reason::QueryNotSigned);
    let any = genuine_with(json!({"provider": "mercado-pago", "query": "any"}));
    let mut request = request.clone();
    request.path = request.path.map(|path| path + &"&a=1".repeat(999));
    assert_eq!(request.reason(&any.0), Reason::SignatureDuplicated);
    let (policy, request) = genuine("braintree");
    let reason = |more: &str| {
        let mut request = request.clone();
        request.body.extend(more.as_bytes());
        request.reason(&policy)
    };
    assert_eq!(reason(&"&a=1".repeat(998)), Reason::Accepted);
    assert_eq!(reason(&"&a=1".repeat(999)), Reason::SignatureMalformed);
    // The `qs` package of Node.js counts those that are nothing.
    assert_eq!(reason(&"&".repeat(999)), Reason::SignatureMalformed);
}

/// An id in the JSON of a body that is signed by its hash was never read, so that no request was accepted.
#[test]
fn an_id_in_a_body_that_is_signed_by_its_hash_is_read() {
    let policy = endpoint(
        r#""signature": {"header": "X-S", "message": "{body_sha256_hex}", "id": {"json": "/id"}}"#,
    );
    let body = br#"{"id": "a"}"#;
    let hash: String = sha256(body);
    let signature = hex(variable("SECRET").as_bytes(), hash.as_bytes());
    let verdict = Request::new(body).with("x-s", signature).judge(&policy);
    assert_eq!(verdict.reason(), Reason::Accepted);
    let id = verdict.verified().unwrap().delivery_id();
    assert_eq!(id, Some(&b"a"[..]));
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a reader of forms finds a parameter: the name that it makes of one that was sent. Each rule is the reader's
/// own, for a name in the outermost object. `None`: the parameter has no name there.
type Reader = fn(&str) -> Option<String>;

const READERS: &[(&str, Reader)] = &[
    ("PHP", php),
    ("Rack 2.2", rack),
    ("qs", qs),
    ("ASP.NET", |name| Some(name.to_lowercase())),
    ("URLSearchParams", |name| {
        Some(name.strip_prefix('?').unwrap_or(name).to_owned())
    }),
    ("camel case", |name| {
        Some(name.replace(['_', '-', '.'], "").to_lowercase())
    }),
];

/// `php_register_variable_ex`: blanks before the name fall away, and `.`, blanks and a `[` without its end become `_`.
fn php(name: &str) -> Option<String> {
    let name = name.trim_start_matches(' ').split('\0').next()?;
    let (name, index) = match name.find('[').filter(|at| *at > 0) {
        Some(at) if name[at..].contains(']') => (&name[..at], true),
        _ => (name, false),
    };
    let plain = name.replace([' ', '.'], "_");
    Some(match index {
        true => plain,
        false => plain.replacen('[', "_", 1),
    })
}

/// `Rack::QueryParser#_normalize_params`: `\A[\[\]]*([^\[\]]+)\]*`.
fn rack(name: &str) -> Option<String> {
    let name = name.trim_start_matches(['[', ']']);
    let name = name.split(['[', ']']).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// `parseKeys` of `qs`: the text before the first `[...]`, or the text in it if there is none before.
fn qs(name: &str) -> Option<String> {
    let open = name.rfind('[').filter(|at| name[*at..].contains(']'));
    match open {
        Some(0) => Some(name[1..].split(']').next()?.to_owned()),
        _ => Some(name.split('[').next()?.to_owned()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// If a reader of forms finds a signed field, it finds the field that the guard checked, or the guard rejects.
    #[test]
    fn no_reader_takes_another_name_for_a_fields(
        name in "[\\[\\]? ._]{0,3}[bB][tT][._ -]{0,1}(\\[)?[pP]ayload[\\[\\]._ ]{0,3}x?[\\]]{0,1}",
    ) {
        let (policy, request) = braintree();
        let taken = READERS.iter().find(|(_, reader)| reader(&name) == reader("bt_payload"));
        if let Some((reader, _)) = taken {
            let mut request = request;
            let escaped: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            request.body.extend(format!("&{escaped}=ZXZpbA").as_bytes());
            let reason = request.reason(&policy);
            prop_assert_eq!(reason, Reason::SignatureDuplicated, "{} for {}", name, reader);
        }
    }
}

thread_local! {
    static BRAINTREE: (std::rc::Rc<webhook_guard::policy::Policy>, Request) = {
        let (policy, request) = genuine("braintree");
        (std::rc::Rc::new(policy), request)
    };
}

fn braintree() -> (std::rc::Rc<webhook_guard::policy::Policy>, Request) {
    BRAINTREE.with(Clone::clone)
}
