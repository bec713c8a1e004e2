//! The reasons, and the order in which they are found.

use std::net::IpAddr;

use webhook_guard::request::address::{AllowList, Client, Range};
use webhook_guard::time::UnixMillis;
use webhook_guard::verdict::{Mode, Outcome, Reason};
use webhook_guard::verify::{Finish, Verdict};

use crate::support::{NOW, Request, endpoint, hex, policy, variable};

const BODY: &[u8] = br#"{"order": 1}"#;

fn good() -> Request {
    Request::signed(variable("SECRET"), BODY)
}

#[test]
fn a_signed_request_is_accepted_and_says_by_which_secret() {
    let verdict = good().judge(&endpoint(""));
    assert_eq!(
        (verdict.outcome(), verdict.reason()),
        (Outcome::Accepted, Reason::Accepted)
    );
    assert_eq!(verdict.verified().unwrap().secret().0, 0);
    assert_eq!(good().judge(&endpoint("")).response(), None);
}

#[test]
fn each_header_that_a_signature_needs() {
    let policy = endpoint("");
    let signature = hex(variable("SECRET").as_bytes(), BODY);
    let sent = |value: &str| {
        Request::new(BODY)
            .with("X-Webhook-Signature", value)
            .reason(&policy)
    };
    assert_eq!(Request::new(BODY).reason(&policy), Reason::SignatureMissing);
    assert_eq!(sent(&signature), Reason::Accepted);
    assert_eq!(sent(&signature.to_uppercase()), Reason::Accepted);
    assert_eq!(sent(&format!(" {signature} ")), Reason::Accepted);
    assert_eq!(sent(""), Reason::SignatureMalformed);
    assert_eq!(sent("sha256="), Reason::SignatureMalformed);
    assert_eq!(sent(&signature[1..]), Reason::SignatureMalformed);
    assert_eq!(
        sent(&format!("{signature},{signature}")),
        Reason::SignatureMalformed
    );
    assert_eq!(sent(&"0".repeat(64)), Reason::SignatureInvalid);
    assert_eq!(sent(&" ".repeat(9_000)), Reason::SignatureMalformed);
    let twice = good().with("x-webhook-signature", signature);
    assert_eq!(twice.reason(&policy), Reason::SignatureDuplicated);
    let binary = Request::new(BODY).with("x-webhook-signature", [0xff; 64]);
    assert_eq!(binary.reason(&policy), Reason::SignatureMalformed);
}

#[test]
fn a_key_that_everyone_knows_verifies_nothing() {
    let policy = endpoint("");
    for key in ["", "-", " ", "null", "SECRET"] {
        assert_eq!(
            Request::signed(key, BODY).reason(&policy),
            Reason::SignatureInvalid,
            "{key:?}"
        );
    }
}

#[test]
fn the_first_failure_in_the_order_is_the_verdicts() {
    let fields = r#""allow": ["203.0.113.7"], "max_body_bytes": 12, "provider": "slack""#;
    let policy = endpoint(fields);
    let outside = Client::Trusted(IpAddr::from([203, 0, 113, 8]));
    let mut request = Request::new(BODY);
    request.path = Some("//webhook".into());
    request.method = "GET";
    request.client = outside;
    request = request
        .with("upgrade", "websocket")
        .with("content-length", "13");
    let mut found = vec![request.reason(&policy)];
    request.path = Some("/other".into());
    found.push(request.reason(&policy));
    request.path = Some("/webhook?a=//b".into());
    found.push(request.reason(&policy));
    request.headers.remove(0);
    found.push(request.reason(&policy));
    request.client = Client::Trusted(IpAddr::from([203, 0, 113, 7]));
    found.push(request.reason(&policy));
    request.method = "POST";
    found.push(request.reason(&policy));
    request.path = Some("/webhook".into());
    found.push(request.reason(&policy));
    request.headers.clear();
    found.push(request.reason(&policy));
    request = request.with("x-slack-signature", "v0=00");
    found.push(request.reason(&policy));
    request.headers[0].1 = format!("v0={}", "0".repeat(64)).into();
    found.push(request.reason(&policy));
    request = request.with("x-slack-request-timestamp", "yesterday");
    found.push(request.reason(&policy));
    request.headers[1].1 = "1".into();
    found.push(request.reason(&policy));
    request.headers[1].1 = NOW.to_string().into();
    request.body.push(b' ');
    found.push(request.reason(&policy));
    request.body.pop();
    found.push(request.reason(&policy));
    assert_eq!(
        found,
        [
            Reason::PathAmbiguous,
            Reason::Unmatched,
            Reason::UpgradeRefused,
            Reason::ClientAddressDenied,
            Reason::MethodNotAllowed,
            Reason::QueryNotSigned,
            Reason::BodyTooLarge,
            Reason::SignatureMissing,
            Reason::SignatureMalformed,
            Reason::TimestampMissing,
            Reason::TimestampMalformed,
            Reason::TimestampExpired,
            Reason::BodyTooLarge,
            Reason::SignatureInvalid,
        ]
    );
}

#[test]
fn disabled_comes_before_anything_of_the_endpoint() {
    let policy = endpoint(r#""mode": "disabled", "allow": ["192.0.2.1"]"#);
    let verdict = good().judge(&policy);
    assert_eq!(
        (verdict.outcome(), verdict.reason()),
        (Outcome::Denied, Reason::EndpointDisabled)
    );
    assert_eq!(verdict.response().unwrap().retry_after, Some("60"));
}

#[test]
fn upgrades_in_all_their_forms_are_refused() {
    let plain = endpoint("");
    let monitored = endpoint(r#""mode": "monitor", "methods": ["POST", "GET"]"#);
    for policy in [&plain, &monitored] {
        let upgrade = good().with("upgrade", "h2c").judge(policy);
        assert_eq!(
            (upgrade.outcome(), upgrade.reason()),
            (Outcome::Denied, Reason::UpgradeRefused)
        );
        assert_eq!(
            good().with(":protocol", "websocket").reason(policy),
            Reason::UpgradeRefused
        );
        let mut connect = good();
        connect.method = "CONNECT";
        assert_eq!(connect.reason(policy), Reason::UpgradeRefused);
        connect.path = None;
        assert_eq!(connect.reason(policy), Reason::UpgradeRefused);
    }
    let mut no_path = good();
    no_path.path = None;
    assert_eq!(no_path.reason(&plain), Reason::HostError);
}

#[test]
fn addresses_decide_where_there_is_a_list() {
    let listed = endpoint(r#""allow": ["203.0.113.0/24"]"#);
    let free = endpoint("");
    let inside = IpAddr::from([203, 0, 113, 7]);
    for (client, reason) in [
        (Client::Trusted(inside), Reason::Accepted),
        (
            Client::Trusted(IpAddr::from([198, 51, 100, 1])),
            Reason::ClientAddressDenied,
        ),
        (Client::Untrusted(inside), Reason::ClientAddressUntrusted),
        (Client::Unreadable, Reason::ClientAddressUntrusted),
        (Client::Absent, Reason::HostError),
    ] {
        let request = Request { client, ..good() };
        assert_eq!(request.reason(&listed), reason, "{client:?}");
        assert_eq!(request.reason(&free), Reason::Accepted, "{client:?}");
    }
}

/// An address that no list names may still be on the one that has not come, so that its sender has to try again.
#[test]
fn a_list_that_has_not_come_may_hold_any_address() {
    let one = r#"{"cluster": "c", "authority": "a", "path": "/", "pointer": "/l"}"#;
    let two = r#"{"cluster": "c", "authority": "b", "path": "/", "pointer": "/l"}"#;
    let from = format!(r#""allow_from": [{one}, {two}]"#);
    let list = |text: &str| Some(AllowList::new(vec![Range::parse(text).unwrap()]));
    let (here, elsewhere) = (list("203.0.113.0/24"), list("192.0.2.0/24"));
    let (pending, denied) = (Reason::AllowListPending, Reason::ClientAddressDenied);
    for (allow, published, reason) in [
        ("", vec![], pending),
        ("", vec![None, None], pending),
        ("", vec![elsewhere.clone(), None], pending),
        ("", vec![None, here.clone()], Reason::Accepted),
        ("", vec![elsewhere.clone(), here], Reason::Accepted),
        ("", vec![elsewhere.clone(), elsewhere.clone()], denied),
        (r#""allow": ["192.0.2.1"], "#, vec![None, None], pending),
        (
            r#""allow": ["192.0.2.1"], "#,
            vec![elsewhere.clone(), None],
            pending,
        ),
        (
            r#""allow": ["203.0.113.7"], "#,
            vec![None, None],
            Reason::Accepted,
        ),
        (
            r#""allow": ["192.0.2.1"], "#,
            vec![elsewhere.clone(), elsewhere],
            denied,
        ),
    ] {
        let policy = endpoint(&format!("{allow}{from}"));
        let request = Request {
            published,
            ..good()
        };
        assert_eq!(
            request.reason(&policy),
            reason,
            "{allow}{:?}",
            request.published
        );
        let client = Client::Untrusted(IpAddr::from([203, 0, 113, 7]));
        let forged = Request { client, ..request };
        assert_eq!(forged.reason(&policy), Reason::ClientAddressUntrusted);
    }
}

#[test]
fn monitor_never_forwards_a_request_that_the_guard_could_not_verify() {
    let denied: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| reason.outcome(Mode::Monitor) == Outcome::Denied)
        .map(|reason| reason.name())
        .collect();
    assert_eq!(
        denied,
        [
            "upgrade_refused",
            "trailers_refused",
            "host_error",
            "internal_error",
            "body_unavailable",
            "overloaded",
            "incomplete",
        ]
    );
    let others = Reason::ALL
        .iter()
        .filter(|reason| reason.denial().is_none());
    for mode in [Mode::Enforce, Mode::Monitor, Mode::Disabled] {
        let outcomes: Vec<_> = others.clone().map(|other| other.outcome(mode)).collect();
        assert_eq!(
            outcomes,
            [Outcome::Accepted, Outcome::Challenged, Outcome::Passed]
        );
    }
    for denial in Reason::ALL.iter().filter_map(|reason| reason.denial()) {
        for mode in [Mode::Enforce, Mode::Monitor, Mode::Disabled] {
            let verdict = Verdict::fail(denial, mode);
            assert_eq!(verdict.outcome(), verdict.reason().outcome(mode));
            assert_eq!(verdict.reason(), Reason::from(denial));
            let is_answered = verdict.outcome() == Outcome::Denied;
            let response = verdict.reason().response().filter(|_| is_answered);
            assert_eq!(verdict.response(), response);
        }
        let denied = Verdict::deny(denial);
        assert_eq!(denied.outcome(), Outcome::Denied);
    }
}

#[test]
fn each_outcome_has_its_label() {
    let labels = [
        (Outcome::Accepted, "accepted"),
        (Outcome::Denied, "denied"),
        (Outcome::Monitored, "monitored"),
        (Outcome::Passed, "passed"),
        (Outcome::Challenged, "challenged"),
    ];
    for (outcome, label) in labels {
        assert_eq!(outcome.name(), label);
    }
}

#[test]
fn a_reason_is_counted_for_the_requests_that_can_have_it() {
    let names = |is_counted: fn(Reason) -> bool| {
        let reasons = Reason::ALL.iter().filter(|reason| is_counted(**reason));
        reasons.map(|reason| reason.name()).collect::<Vec<_>>()
    };
    assert_eq!(
        names(|reason| !reason.is_counted_with_endpoint()),
        ["passed", "path_ambiguous", "unmatched"]
    );
    assert_eq!(
        names(Reason::is_counted_without_endpoint),
        [
            "passed",
            "path_ambiguous",
            "unmatched",
            "upgrade_refused",
            "host_error",
            "incomplete",
        ]
    );
}

#[test]
fn monitor_lets_through_what_enforce_denies_but_not_what_was_never_looked_at() {
    let policy = endpoint(r#""mode": "monitor", "allow": ["203.0.113.7"], "max_body_bytes": 12"#);
    let forged = Request::signed("forged", BODY);
    let large = Request::signed(variable("SECRET"), b"thirteen bytes");
    for (request, reason) in [
        (forged.clone(), Reason::SignatureInvalid),
        (Request::new(BODY), Reason::SignatureMissing),
        (large, Reason::BodyTooLarge),
        (
            Request {
                method: "GET",
                ..good()
            },
            Reason::MethodNotAllowed,
        ),
    ] {
        let verdict = request.judge(&policy);
        assert_eq!(
            (verdict.outcome(), verdict.reason()),
            (Outcome::Monitored, reason)
        );
        assert_eq!(verdict.response(), None);
    }
    assert_eq!(good().judge(&policy).outcome(), Outcome::Accepted);
    let absent = Request {
        client: Client::Absent,
        ..forged
    }
    .judge(&policy);
    assert_eq!(
        (absent.outcome(), absent.reason()),
        (Outcome::Denied, Reason::HostError)
    );
}

#[test]
fn limits_hold_to_the_byte_by_length_and_by_count() {
    let policy = endpoint(r#""max_body_bytes": 12"#);
    assert_eq!(
        good().with("content-length", "12").reason(&policy),
        Reason::Accepted
    );
    // A content-length that servers could read differently counts as too large.
    for length in [
        "13",
        "99999999999999999999",
        "+12",
        "-12",
        "12,12",
        "1 2",
        "0xc",
        "012",
        "00",
        "",
    ] {
        let reason = good().with("content-length", length).reason(&policy);
        assert_eq!(reason, Reason::BodyTooLarge, "{length}");
    }
    let twice = good().with("content-length", "12");
    assert_eq!(
        twice.with("content-length", "+12").reason(&policy),
        Reason::BodyTooLarge
    );
    let large = Request::signed(variable("SECRET"), b"thirteen byte");
    assert_eq!(large.reason(&policy), Reason::BodyTooLarge);
}

#[test]
fn a_large_body_is_hashed_to_its_last_byte() {
    let policy = endpoint("");
    let mut request = Request::signed(variable("SECRET"), &vec![b'x'; 1 << 20]);
    request.cuts = (1..16).map(|chunk| chunk << 16).collect();
    assert_eq!(request.reason(&policy), Reason::Accepted);
    for at in [0, (1 << 16) - 1, 1 << 16, 1 << 19, (1 << 20) - 1] {
        let mut changed = request.clone();
        changed.body[at] = b'y';
        assert_eq!(changed.reason(&policy), Reason::SignatureInvalid, "{at}");
    }
}

#[test]
fn a_body_that_cannot_be_read_again_whole_is_a_host_error() {
    let policy = endpoint(VERSIONS);
    let read_again = |bytes: &[u8]| {
        let mut check = Request::signed(variable("OLD_SECRET"), BODY)
            .begin(&policy)
            .unwrap();
        check.body(BODY).unwrap();
        let Finish::NeedsBody(mut again) = check.finish(UnixMillis(NOW * 1_000)) else {
            panic!("another secret made it");
        };
        assert_eq!(again.missing(), 12);
        again.body(bytes);
        again.finish().reason()
    };
    assert_eq!(read_again(BODY), Reason::SecretExpired);
    assert_eq!(read_again(&BODY[..11]), Reason::HostError);
    assert_eq!(read_again(b""), Reason::HostError);
}

const VERSIONS: &str = r#""secrets": [
    {"version": "new", "env": "SECRET", "not_before": "2023-11-14T22:13:20Z"},
    {"version": "old", "env": "OLD_SECRET", "not_after": "2023-11-14T22:13:20Z"},
    {"version": "leaked", "env": "OTHER_SECRET", "revoked": true, "not_after": "2023-01-01T00:00:00Z"}
]"#;

#[test]
fn each_version_of_a_secret_has_its_time() {
    let policy = endpoint(VERSIONS);
    let at = |secret: &str, millis: i64| {
        let mut request = Request::signed(variable(secret), BODY);
        request.now = NOW * 1_000 + millis;
        let verdict = request.judge(&policy);
        (verdict.reason(), verdict.verified().unwrap().secret().0)
    };
    assert_eq!(at("SECRET", -1), (Reason::SecretNotYetValid, 0));
    assert_eq!(at("SECRET", 0), (Reason::Accepted, 0));
    assert_eq!(at("OLD_SECRET", -1), (Reason::Accepted, 1));
    assert_eq!(at("OLD_SECRET", 0), (Reason::SecretExpired, 1));
    assert_eq!(at("OTHER_SECRET", -1), (Reason::SecretRevoked, 2));
    assert_eq!(at("OTHER_SECRET", 0), (Reason::SecretRevoked, 2));
    assert_eq!(
        Request::signed("none of them", BODY).reason(&policy),
        Reason::SignatureInvalid
    );
}

#[test]
fn of_several_signatures_the_one_that_accepts_counts_and_a_revoked_one_is_the_worst_news() {
    let policy = endpoint(&format!(
        r#""signature": {{"header": "X-S", "separator": ",", "format": ["v1={{signature}}"]}}, {VERSIONS}"#
    ));
    let both = |first: &str, second: &str, millis: i64| {
        let sign = |secret: &str| hex(variable(secret).as_bytes(), BODY);
        let value = format!("v1={}, v0=x, v1=zz, v1={}", sign(first), sign(second));
        let mut request = Request::new(BODY).with("x-s", value);
        request.now = NOW * 1_000 + millis;
        request.reason(&policy)
    };
    assert_eq!(both("OTHER_SECRET", "SECRET", 0), Reason::Accepted);
    assert_eq!(both("SECRET", "OTHER_SECRET", 0), Reason::Accepted);
    assert_eq!(both("OLD_SECRET", "OTHER_SECRET", 0), Reason::SecretRevoked);
    assert_eq!(both("OTHER_SECRET", "SECRET", -1), Reason::SecretRevoked);
    assert_eq!(both("SECRET", "OLD_SECRET", -1), Reason::Accepted);
}

#[test]
fn a_secret_of_the_past_counts_more_than_one_of_the_future() {
    let versions = [
        r#"{"version": "next", "env": "OTHER_SECRET", "not_before": "2901-01-01T00:00:00Z"}"#,
        r#"{"version": "last", "env": "OLD_SECRET", "not_after": "2001-01-01T00:00:00Z"}"#,
    ];
    let signature = |secret: &str| hex(variable(secret).as_bytes(), BODY);
    for [first, second] in [versions, [versions[1], versions[0]]] {
        let policy = endpoint(&format!(
            r#""signature": {{"header": "X-S", "separator": ","}}, "secrets": [{first}, {second}]"#
        ));
        let value = [signature("OTHER_SECRET"), signature("OLD_SECRET")].join(",");
        let request = Request::new(BODY).with("x-s", value);
        assert_eq!(request.reason(&policy), Reason::SecretExpired);
    }
}

#[test]
fn a_prefix_does_not_take_what_may_be_another_endpoints() {
    let policy = policy(
        r#"{"endpoints": [
            {"name": "strict", "match": {"path": "/hooks/payments"}, "secrets": [{"version": "v1", "env": "SECRET"}]},
            {"name": "host", "match": {"path": "/hooks/other", "host": "a.example"}, "secrets": [{"version": "v1", "env": "OTHER_SECRET"}]},
            {"name": "rest", "match": {"prefix": "/hooks/"}, "mode": "monitor", "secrets": [{"version": "v1", "env": "OLD_SECRET"}]}]}"#,
    );
    let sent = |path: &str, authority: &'static str| {
        let mut request = Request::signed(variable("OLD_SECRET"), BODY);
        request.path = Some(path.to_owned());
        request.authority = authority;
        request.reason(&policy)
    };
    for path in [
        "/hooks/payments/",
        "/hooks/Payments",
        "/hooks/%70ayments",
        "/hooks/payments;x",
        "/hooks/payments/x",
        "/hooks/payments.json",
    ] {
        assert_eq!(sent(path, "b.example"), Reason::Unmatched, "{path}");
    }
    for path in ["/hooks/payment", "/hooks/payments-eu", "/hooks/other"] {
        assert_eq!(sent(path, "b.example"), Reason::Accepted, "{path}");
    }
    assert_eq!(sent("/hooks/Other", "a.example"), Reason::Unmatched);
    // The same applies to a host that some servers read differently: the text before an `@` is a user name.
    for authority in [
        "x@a.example",
        "b.example:80@a.example",
        "a.example%2e",
        "b.example,a.example",
        "a.example#",
        "a.example\\",
    ] {
        assert_eq!(
            sent("/hooks/other", authority),
            Reason::PathAmbiguous,
            "{authority}"
        );
    }
    for authority in ["", "[::1]:443", "b_1.example:8080"] {
        assert_eq!(
            sent("/hooks/other", authority),
            Reason::Accepted,
            "{authority}"
        );
    }
}
