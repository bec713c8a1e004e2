//! Headers that PHP and CGI read as others: both replace every byte of a name that is neither letter nor digit.

use proptest::prelude::*;
use webhook_guard::policy::endpoint::unwanted_headers;
use webhook_guard::policy::{Policy, Route};
use webhook_guard::request::headers::Headers;
use webhook_guard::verdict::Reason;

use crate::support::{NOW, Request, base64, endpoint, hex, variable};

const BODY: &[u8] = br#"{"order": 42}"#;

/// A scheme that reads a header in each way there is, `X_Odd` by a name that others fold.
const SCHEME: &str = r#""signature": {"header": ["X-Sig", "X-Sig-Old"], "message": "{id}.{timestamp}.{header:X_Odd}.{body}",
    "id": {"header": "X-Id"}, "timestamp": {"header": "X-Time"}, "key_id": {"header": "X-Key"},
    "require": {"x-version": "1"}}, "replay": {"window": "0s"}"#;

/// The name of a header in PHP and CGI, written independently of the code under test.
fn fold(name: &str) -> String {
    name.chars()
        .map(|char| match char {
            'a'..='z' | '0'..='9' => char,
            'A'..='Z' => char.to_ascii_lowercase(),
            _ => '_',
        })
        .collect()
}

fn signed() -> Request {
    let message = [format!("1.{NOW}.odd.").as_bytes(), BODY].concat();
    Request::new(BODY)
        .with("x-sig", hex(variable("SECRET").as_bytes(), &message))
        .with("x-id", "1")
        .with("x-time", NOW.to_string())
        .with("x-key", "k")
        .with("x-version", "1")
        .with("x_odd", "odd")
}

#[test]
fn a_header_that_php_reads_as_a_signed_one_is_a_duplicate() {
    let policy = endpoint(SCHEME);
    assert_eq!(signed().reason(&policy), Reason::Accepted);
    for twin in [
        "x.sig",
        "x_sig",
        "x~sig",
        "x.sig_old",
        "x_id",
        "x!time",
        "x.key",
        "x'version",
        "x-odd",
        "x.odd",
    ] {
        let request = signed().with(twin, "EVIL");
        assert_eq!(
            request.reason(&policy),
            Reason::SignatureDuplicated,
            "{twin}"
        );
    }
    for other in ["x.sigs", "x.si", "xsig", "x-sig.old-1", "content.type"] {
        assert_eq!(
            signed().with(other, "1").reason(&policy),
            Reason::Accepted,
            "{other}"
        );
    }
}

#[test]
fn so_is_one_of_a_preset_and_of_a_numbered_family() {
    let whsec = r#""secrets": [{"version": "v1", "env": "WHSEC"}]"#;
    let policy = endpoint(&format!(r#""provider": "standard-webhooks", {whsec}"#));
    let key = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let key = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key).unwrap();
    let message = [format!("msg_1.{NOW}.").as_bytes(), BODY].concat();
    let request = Request::new(BODY)
        .with("webhook-id", "msg_1")
        .with("webhook-timestamp", NOW.to_string())
        .with(
            "webhook-signature",
            format!("v1,{}", base64(&key, &message)),
        );
    assert_eq!(request.reason(&policy), Reason::Accepted);
    for twin in ["webhook.id", "webhook_timestamp", "webhook|signature"] {
        let request = request.clone().with(twin, "EVIL");
        assert_eq!(
            request.reason(&policy),
            Reason::SignatureDuplicated,
            "{twin}"
        );
    }

    let family = endpoint(r#""signature": {"header": "X-Sig-*"}"#);
    let request = Request::new(BODY).with("x-sig-1", hex(variable("SECRET").as_bytes(), BODY));
    assert_eq!(request.reason(&family), Reason::Accepted);
    for twin in ["x-sig.1", "x.sig-2", "x_sig_12"] {
        let request = request.clone().with(twin, "EVIL");
        assert_eq!(
            request.reason(&family),
            Reason::SignatureDuplicated,
            "{twin}"
        );
    }
    assert_eq!(
        request.with("x-sig.x", "1").reason(&family),
        Reason::Accepted
    );
}

/// The headers that are left of a request to `/webhook`, or to no endpoint.
fn left(policy: Option<&Policy>, names: &[String]) -> Vec<String> {
    let pairs: Vec<(&[u8], &[u8])> = names
        .iter()
        .map(|name| (name.as_bytes(), &b"1"[..]))
        .collect();
    let endpoint =
        policy.map(
            |policy| match policy.route(b"POST", Some(b"/webhook"), b"h", false) {
                Route::Guarded(_, endpoint) => endpoint,
                _ => panic!("no endpoint"),
            },
        );
    let unwanted = unwanted_headers(&Headers::new(&pairs), endpoint.map(|endpoint| &**endpoint));
    let times = |name: &str| {
        unwanted
            .iter()
            .filter(|each| **each == name.as_bytes())
            .count()
    };
    assert!(
        names.iter().all(|name| times(name) <= 1),
        "a name is removed once"
    );
    let stays = |name: &&String| times(name) == 0;
    names.iter().filter(stays).cloned().collect()
}

proptest! {
    #[test]
    fn no_two_names_that_reach_the_upstream_are_one_to_php(
        names in prop::collection::vec(
            "(x|X)[-_.~a](sig|id|odd|other|webhook[-_.]guard[-.!]endpoint)([-._](old|1))?|[!-9;-~]{1,12}", 0..12),
    ) {
        let policy = endpoint(SCHEME);
        for policy in [Some(&policy), None] {
            let left = left(policy, &names);
            for name in &left {
                let folded = fold(name);
                prop_assert!(!folded.starts_with("x_webhook_guard_"), "{name}");
                let is_read = policy.is_some() && name.eq_ignore_ascii_case("x_odd");
                let is_plain = name.chars().all(|char| char.is_ascii_alphanumeric() || char == '-');
                prop_assert!(is_plain || is_read, "{name}");
                let is_one = |other: &&String| fold(other) == folded && !other.eq_ignore_ascii_case(name);
                prop_assert_eq!(left.iter().find(is_one), None);
            }
        }
    }
}

#[test]
fn what_all_servers_read_alike_stays() {
    let names = [
        ":method",
        ":path",
        "x-sig",
        "x_odd",
        "content-type",
        "x-other-1",
    ]
    .map(str::to_owned);
    assert_eq!(left(Some(&endpoint(SCHEME)), &names), names);
    let odd = ["x_odd", "x.y", "x.y", "x_webhook.guard-endpoint"].map(str::to_owned);
    assert_eq!(left(None, &odd), Vec::<String>::new());
}

#[test]
fn nor_may_a_header_that_the_request_lists_have_a_twin() {
    let policy = endpoint(
        r#""signature": {"header": "X-S", "message": "{signed_headers}.{body}", "signed_headers": "X-L"}"#,
    );
    let message = [b"x-a:1;x-l:x-l,x-a.", BODY].concat();
    let request = Request::new(BODY)
        .with("x-s", hex(variable("SECRET").as_bytes(), &message))
        .with("x-l", "x-l,x-a")
        .with("x-a", "1");
    assert_eq!(request.reason(&policy), Reason::Accepted);
    for twin in ["x.a", "x_l"] {
        let request = request.clone().with(twin, "EVIL");
        assert_eq!(
            request.reason(&policy),
            Reason::SignatureDuplicated,
            "{twin}"
        );
    }
    assert_eq!(request.with("x.b", "1").reason(&policy), Reason::Accepted);
}
