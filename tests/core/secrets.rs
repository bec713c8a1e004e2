//! Secrets that Envoy provides in its filter state for each request.

use std::rc::Rc;

use ed25519_dalek::{Signer, SigningKey};
use webhook_guard::policy::Policy;
use webhook_guard::time::UnixMillis;
use webhook_guard::verdict::{Outcome, Reason};
use webhook_guard::verify::Finish;

use crate::support::{NOW, Request, base64, endpoint, hex, read, variable};

const BODY: &[u8] = br#"{"order": 1}"#;
const FIRST: &str = "the first value of a live secret";
const SECOND: &str = "the second value of a live secret";

/// A policy with one endpoint that has these secrets.
fn secrets(secrets: &str) -> Policy {
    endpoint(&format!(r#""secrets": [{secrets}]"#))
}

/// One whose only secret is live.
fn live() -> Policy {
    secrets(r#"{"version": "sds", "filter_state": "webhook.orders"}"#)
}

impl Request {
    /// The request while filter state holds this.
    fn at(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.state.push((name, value.as_ref().to_vec()));
        self
    }
}

fn signed(key: &str, value: impl AsRef<[u8]>) -> Request {
    Request::signed(key, BODY).at("webhook.orders", value)
}

#[test]
fn each_request_is_held_against_the_value_of_its_time() {
    let policy = live();
    assert_eq!(signed(FIRST, FIRST).reason(&policy), Reason::Accepted);
    assert_eq!(
        signed(SECOND, FIRST).reason(&policy),
        Reason::SignatureInvalid
    );
    assert_eq!(signed(SECOND, SECOND).reason(&policy), Reason::Accepted);
    assert_eq!(
        signed(FIRST, SECOND).reason(&policy),
        Reason::SignatureInvalid
    );
    assert_eq!(signed(FIRST, FIRST).reason(&policy), Reason::Accepted);
}

#[test]
fn a_key_is_made_once_for_each_value() {
    let policy = live();
    let endpoint = &policy.endpoints[0];
    let keyring = |value: &str| endpoint.keyring(vec![Some(value.into())]);
    let (first, is_new) = keyring(FIRST);
    assert!(is_new);
    let (again, is_new) = keyring(FIRST);
    assert!(!is_new && Rc::ptr_eq(&first, &again));
    let (other, is_new) = keyring(SECOND);
    assert!(is_new && !Rc::ptr_eq(&first, &other));
}

#[test]
fn one_line_break_at_the_end_is_the_files() {
    let policy = live();
    for end in ["\n", "\r\n"] {
        let value = format!("{FIRST}{end}");
        assert_eq!(signed(FIRST, &value).reason(&policy), Reason::Accepted);
        assert_eq!(
            signed(&value, &value).reason(&policy),
            Reason::SignatureInvalid
        );
    }
    for end in ["\n\n", "\r", " \n", "\n\r\n"] {
        let value = format!("{FIRST}{end}");
        let key = value.strip_suffix("\r\n").or(value.strip_suffix('\n'));
        let key = key.unwrap_or(&value);
        assert_eq!(signed(key, &value).reason(&policy), Reason::Accepted);
        assert_eq!(
            signed(FIRST, &value).reason(&policy),
            Reason::SignatureInvalid
        );
        let (keyring, _) = policy.endpoints[0].keyring(vec![Some(value.into())]);
        let texts: Vec<_> = keyring.notes.iter().map(|note| note.text).collect();
        assert!(texts[0].contains("white space"), "{texts:?}");
    }
}

#[test]
fn a_value_that_is_none_is_the_hosts_error_and_never_a_key() {
    let policy = live();
    let absent = Request::signed(FIRST, BODY);
    assert_eq!(absent.reason(&policy), Reason::HostError);
    for value in [&b""[..], b"-", b" \t", b"\n", b"\r\n", b"-\n", b"\xff\xfe"] {
        let text = String::from_utf8_lossy(value);
        for key in [&*text, text.trim(), "", "-", FIRST] {
            let reason = signed(key, value).reason(&policy);
            assert_eq!(reason, Reason::HostError, "{value:?} {key:?}");
        }
    }
}

#[test]
fn what_is_missing_is_noted_with_its_reason() {
    let policy = endpoint(
        r#""signature": {"header": "X-S", "key": "hex"}, "secrets": [{"version": "sds", "filter_state": "webhook.orders"}]"#,
    );
    let noted = |value: Option<&[u8]>| {
        let (keyring, _) = policy.endpoints[0].keyring(vec![value.map(Into::into)]);
        let notes = keyring.notes.iter();
        let notes: Vec<_> = notes.map(|note| (note.is_missing, note.text)).collect();
        assert!(notes.len() <= 1, "{notes:?}");
        assert!(!format!("{keyring:?}").contains("3132"), "it is shown");
        notes.first().copied()
    };
    let (is_missing, text) = noted(None).unwrap();
    assert!(is_missing && text.contains("absent"), "{text}");
    for (value, part) in [
        (&b"-"[..], "missing value"),
        (b" ", "blank"),
        (b"\xff", "UTF-8"),
        (b"no hex", "not hex"),
        (b"2020", "blank"),
        (b"2d", "blank"),
        (b"0000", "blank"),
    ] {
        let (is_missing, text) = noted(Some(value)).unwrap();
        assert!(is_missing && text.contains(part), "{value:?}: {text}");
    }
    let (is_missing, text) = noted(Some(b"313233")).unwrap();
    assert!(
        !is_missing && text.contains("shorter than 16 bytes"),
        "{text}"
    );
    let long = b"3132333435363738393031323334353637383930";
    assert_eq!(noted(Some(long)), None);
}

#[test]
fn another_version_verifies_while_one_is_missing() {
    let policy = secrets(
        r#"{"version": "sds", "filter_state": "webhook.orders"}, {"version": "v1", "env": "SECRET"}"#,
    );
    for value in ["-", FIRST] {
        let verdict = signed(variable("SECRET"), value).judge(&policy);
        assert_eq!(verdict.reason(), Reason::Accepted);
        assert_eq!(verdict.verified().unwrap().secret().0, 1);
    }
    let forged = |value| signed("nobody's secret", value).reason(&policy);
    assert_eq!(forged("-"), Reason::HostError);
    assert_eq!(forged(FIRST), Reason::SignatureInvalid);
    assert_eq!(
        Request::new(BODY).at("webhook.orders", "-").reason(&policy),
        Reason::SignatureMissing,
        "a request without a signature is no secret's fault"
    );
}

/// One that could not have accepted anyway changes no verdict.
#[test]
fn a_missing_version_counts_only_where_it_might_have_verified() {
    for fields in [
        r#""revoked": true"#,
        r#""not_after": "2001-01-01T00:00:00Z""#,
        r#""not_before": "2901-01-01T00:00:00Z""#,
    ] {
        let policy = secrets(&format!(
            r#"{{"version": "v1", "env": "SECRET"}}, {{"version": "sds", "filter_state": "webhook.orders", {fields}}}"#
        ));
        let forged = signed("nobody's secret", "-").reason(&policy);
        assert_eq!(forged, Reason::SignatureInvalid, "{fields}");
    }
    let policy = endpoint(
        r#""signature": {"header": "X-S", "key_id": {"header": "X-Key"}}, "secrets": [
            {"version": "v1", "env": "SECRET", "key_id": "one"},
            {"version": "sds", "filter_state": "webhook.orders", "key_id": "two"}]"#,
    );
    let forged = |key_id: &str| {
        let request = Request::new(BODY).with("X-S", hex(b"nobody's secret", BODY));
        request.with("X-Key", key_id).reason(&policy)
    };
    assert_eq!(forged("one"), Reason::SignatureInvalid);
    assert_eq!(forged("two"), Reason::HostError);
    assert_eq!(forged("three"), Reason::SignatureInvalid);
}

#[test]
fn monitoring_lets_nothing_pass_that_has_no_secret() {
    let policy = endpoint(
        r#""mode": "monitor", "secrets": [{"version": "sds", "filter_state": "webhook.orders"}]"#,
    );
    let verdict = signed(FIRST, "-").judge(&policy);
    assert_eq!(
        (verdict.outcome(), verdict.reason()),
        (Outcome::Denied, Reason::HostError)
    );
    let verdict = signed(FIRST, SECOND).judge(&policy);
    assert_eq!(verdict.outcome(), Outcome::Monitored);
}

#[test]
fn two_versions_may_hold_one_value() {
    let policy = secrets(
        r#"{"version": "a", "filter_state": "webhook.orders"},
           {"version": "b", "filter_state": "webhook.other", "not_after": "2001-01-01T00:00:00Z"}"#,
    );
    let verdict = signed(FIRST, FIRST)
        .at("webhook.other", FIRST)
        .judge(&policy);
    assert_eq!(verdict.reason(), Reason::Accepted);
    assert_eq!(verdict.verified().unwrap().secret().0, 0);
}

/// Whichever of the two is live, and whichever is written first.
#[test]
fn a_revoked_value_is_not_accepted_as_another_version() {
    for (good, revoked) in [
        (
            r#""filter_state": "webhook.orders""#,
            r#""filter_state": "webhook.leaked""#,
        ),
        (r#""filter_state": "webhook.orders""#, r#""env": "SECRET""#),
        (r#""env": "SECRET""#, r#""filter_state": "webhook.leaked""#),
    ] {
        let good = format!(r#"{{"version": "good", {good}}}"#);
        let revoked = format!(r#"{{"version": "leaked", "revoked": true, {revoked}}}"#);
        for (first, second, index) in [(&good, &revoked, 1), (&revoked, &good, 0)] {
            let policy = secrets(&format!("{first}, {second}"));
            let leaked = variable("SECRET");
            let verdict = signed(leaked, leaked)
                .at("webhook.leaked", leaked)
                .judge(&policy);
            assert_eq!(verdict.reason(), Reason::SecretRevoked, "{good} {revoked}");
            assert_eq!(verdict.verified().unwrap().secret().0, index);
        }
    }
}

#[test]
fn a_request_keeps_the_keys_that_it_began_with() {
    let policy = secrets(
        r#"{"version": "sds", "filter_state": "webhook.orders"}, {"version": "v1", "env": "SECRET"}"#,
    );
    for key in [FIRST, variable("SECRET")] {
        let held = Request::signed(key, BODY).at("webhook.orders", FIRST);
        let mut check = held.begin(&policy).expect("it is held");
        assert_eq!(signed(SECOND, SECOND).reason(&policy), Reason::Accepted);
        check.body(BODY).expect("it is small");
        let verdict = match check.finish(UnixMillis(NOW * 1_000)) {
            Finish::Done(verdict) => verdict,
            Finish::NeedsBody(mut again) => {
                again.body(BODY);
                again.finish()
            }
        };
        assert_eq!(verdict.reason(), Reason::Accepted);
    }
}

#[test]
fn a_public_key_may_be_live() {
    let policy = endpoint(
        r#""signature": {"header": "X-S", "algorithm": "ed25519", "key": "hex"},
           "secrets": [{"version": "sds", "filter_state": "webhook.orders"}]"#,
    );
    let sender = SigningKey::from_bytes(&[7; 32]);
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let signature: String = digits(&sender.sign(BODY).to_bytes());
    let sent = |value: &str| {
        let request = Request::new(BODY).with("X-S", signature.as_str());
        request.at("webhook.orders", value).reason(&policy)
    };
    let key: String = digits(sender.verifying_key().as_bytes());
    assert_eq!(sent(&format!("{key}\n")), Reason::Accepted);
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
    let other: String = digits(other.as_bytes());
    assert_eq!(sent(&other), Reason::SignatureInvalid);
    for value in ["-", "", &key[2..], &"0".repeat(64)] {
        assert_eq!(sent(value), Reason::HostError, "{value}");
    }
}

/// Polar's older secrets are raw keys, and newer ones are base64. A value needs to be only one of them.
#[test]
fn a_value_need_not_suit_each_way_of_making_a_key() {
    let policy = endpoint(
        r#""provider": "polar", "secrets": [{"version": "sds", "filter_state": "webhook.orders"}]"#,
    );
    let delivery = |key: &[u8], value: &str| {
        let message = [format!("msg_1.{NOW}.").as_bytes(), BODY].concat();
        let request = Request::new(BODY)
            .with("webhook-id", "msg_1")
            .with("webhook-timestamp", NOW.to_string())
            .with("webhook-signature", format!("v1,{}", base64(key, &message)));
        request.at("webhook.orders", value).judge(&policy)
    };
    for (key, value) in [
        (
            &b"polar_whs_not base64 at all"[..],
            "polar_whs_not base64 at all",
        ),
        (
            b"whsec_dGhlIGtleSBpdHNlbGYsIGRlY29kZWQ=",
            "whsec_dGhlIGtleSBpdHNlbGYsIGRlY29kZWQ=",
        ),
        (
            b"the key itself, decoded",
            "whsec_dGhlIGtleSBpdHNlbGYsIGRlY29kZWQ=",
        ),
    ] {
        let verdict = delivery(key, value);
        assert_eq!(verdict.reason(), Reason::Accepted, "{value}");
        assert_eq!(verdict.verified().unwrap().secret().0, 0);
        let (keyring, _) = policy.endpoints[0].keyring(vec![Some(value.into())]);
        assert!(keyring.notes.is_empty(), "{:?}", keyring.notes);
    }
    assert_eq!(delivery(b"-", "-").reason(), Reason::HostError);
}

#[test]
fn a_handshake_is_answered_by_the_value_of_its_time() {
    let policy = endpoint(
        r#""provider": "x", "answer_challenges": true, "secrets": [{"version": "sds", "filter_state": "webhook.orders"}]"#,
    );
    let ask = |value: &str| {
        let mut request = Request::new(b"").at("webhook.orders", value);
        request.method = "GET";
        request.path = Some("/webhook?crc_token=abc".into());
        request.judge(&policy)
    };
    for value in [FIRST, SECOND] {
        let mac = base64(value.as_bytes(), b"abc");
        let answer = ask(value).answer().unwrap().body.clone();
        assert_eq!(answer, format!(r#"{{"response_token":"sha256={mac}"}}"#));
    }
    assert_eq!(ask("-").outcome(), Outcome::Denied);
}

#[test]
fn the_limit_of_usable_secrets_holds() {
    let many = |count: usize| {
        let one = |n: usize| format!(r#"{{"version": "v{n}", "filter_state": "s{n}"}}"#);
        let all: Vec<_> = (0..count).map(one).collect();
        read(&format!(
            r#"{{"endpoints": [{{"name": "a", "match": {{"path": "/a"}}, "secrets": [{}]}}]}}"#,
            all.join(", ")
        ))
    };
    assert!(many(8).is_ok());
    let faults = many(9).unwrap_err();
    assert!(
        faults[0].message.contains("at most 8 secrets"),
        "{faults:?}"
    );
}

#[test]
fn one_filter_state_for_two_endpoints_is_doubtful() {
    let one = |name: &str| {
        format!(
            r#"{{"name": "{name}", "match": {{"path": "/{name}"}}, "secrets": [{{"version": "v1", "filter_state": "s"}}]}}"#
        )
    };
    let configuration = format!(r#"{{"endpoints": [{}, {}]}}"#, one("a"), one("b"));
    let (_, warnings) = read(&configuration).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].message.contains("has the same secret"));
}

#[test]
fn an_endpoint_says_when_its_last_secret_runs_out() {
    let expires = |list: &str| secrets(list).endpoints[0].expiry().metric_value();
    let first = r#""version": "a", "env": "SECRET""#;
    let second = r#""version": "b", "filter_state": "s""#;
    let end = |year: i64| format!(r#""not_after": "{year}-01-01T00:00:00Z""#);
    assert_eq!(expires(&format!("{{{first}}}")), 0);
    assert_eq!(
        expires(&format!("{{{first}, {}}}", end(2027))),
        1_798_761_600
    );
    assert_eq!(
        expires(&format!(
            "{{{first}, {}}}, {{{second}, {}}}",
            end(2027),
            end(2026)
        )),
        1_798_761_600
    );
    assert_eq!(
        expires(&format!("{{{first}, {}}}, {{{second}}}", end(2027))),
        0
    );
    assert_eq!(
        expires(&format!(
            "{{{first}, {}}}, {{{second}, \"revoked\": true}}",
            end(2026)
        )),
        1_767_225_600,
        "a revoked one accepts nothing"
    );
    assert_eq!(
        expires(&format!("{{{first}, {}}}", end(1960))),
        1,
        "0 would say never"
    );
}

#[test]
fn no_rendering_shows_a_live_secret() {
    let policy = live();
    let request = signed(FIRST, FIRST);
    let check = request.begin(&policy).expect("it is held");
    for shown in [format!("{policy:?}"), format!("{check:?}")] {
        assert!(!shown.contains(FIRST), "{shown}");
        assert!(
            !shown.contains(&format!("{:?}", FIRST.as_bytes())),
            "{shown}"
        );
    }
}

#[test]
fn a_line_break_at_the_end_of_a_variable_is_its_files() {
    let policy = secrets(r#"{"version": "v1", "env": "NEWLINE"}"#);
    let value = variable("NEWLINE");
    let line = value.trim_end();
    assert_eq!(
        Request::signed(line, BODY).reason(&policy),
        Reason::Accepted
    );
    let reason = Request::signed(value, BODY).reason(&policy);
    assert_eq!(reason, Reason::SignatureInvalid);
}
