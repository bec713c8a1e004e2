//! Limits to the byte, what is read twice and what is not, and which of several secrets counts.

use webhook_guard::policy::Policy;
use webhook_guard::request::address::{AddressSource, Client};
use webhook_guard::time::UnixMillis;
use webhook_guard::verdict::{Outcome, Reason};
use webhook_guard::verify::Finish;

use crate::faulty::with;
use crate::names::sha256;
use crate::support::{NOW, Request, endpoint, hex, read, read_in, variable};

const BODY: &[u8] = br#"{"order": 1}"#;

/// Whether a request's verdict needs its body once more.
fn is_read_again(request: &Request, policy: &Policy) -> bool {
    let mut check = request.begin(policy).expect("it is held");
    check.body(&request.body).expect("it is not too large");
    assert_eq!(check.received(), request.body.len() as u64);
    matches!(check.finish(UnixMillis(NOW * 1_000)), Finish::NeedsBody(_))
}

#[test]
fn a_body_is_read_again_only_where_that_can_change_the_verdict() {
    let one = endpoint("");
    let two = endpoint(
        r#""secrets": [{"version": "new", "env": "SECRET"}, {"version": "old", "env": "OLD_SECRET"}]"#,
    );
    // The first valid secret is tried first, at any position.
    let expired = endpoint(
        r#""secrets": [{"version": "new", "env": "SECRET", "not_after": "2020-01-01T00:00:00Z"}, {"version": "old", "env": "OLD_SECRET"}]"#,
    );
    let json = endpoint(r#""signature": {"header": "X-Webhook-Signature", "id": {"json": "/id"}}"#);
    let challenged = endpoint(
        r#""answer_challenges": true, "signature": {"header": "X-Webhook-Signature", "challenge": {"signed": true, "text": {"json": "/c"}}}"#,
    );
    let signed = |secret| Request::signed(variable(secret), br#"{"id": "1"}"#);
    for (policy, secret, again) in [
        (&one, "SECRET", false),
        (&one, "OTHER_SECRET", false),
        (&two, "SECRET", false),
        (&two, "OLD_SECRET", true),
        (&expired, "OLD_SECRET", false),
        (&expired, "SECRET", true),
        (&json, "SECRET", true),
        // Only the JSON of the sender is parsed.
        (&json, "OTHER_SECRET", false),
    ] {
        assert_eq!(is_read_again(&signed(secret), policy), again, "{secret}");
    }
    for (size, again) in [(16 * 1024, true), (16 * 1024 + 1, false)] {
        let request = Request::signed(variable("SECRET"), &vec![b' '; size]);
        assert_eq!(is_read_again(&request, &challenged), again);
    }
}

fn slack(secret: &str, body: &[u8]) -> Request {
    let message = [format!("v0:{NOW}:").as_bytes(), body].concat();
    let signature = hex(variable(secret).as_bytes(), &message);
    Request::new(body)
        .with("X-Slack-Request-Timestamp", NOW.to_string())
        .with("X-Slack-Signature", format!("v0={signature}"))
}

#[test]
fn a_handshake_is_answered_up_to_a_size() {
    let policy = endpoint(
        r#""answer_challenges": true, "signature": {"header": "X-S", "challenge": {"text": {"json": "/c"}}}"#,
    );
    let sent = |size: usize| {
        let mut body = br#"{"c": "text"}"#.to_vec();
        body.resize(size, b' ');
        Request::new(&body)
    };
    assert_eq!(
        sent(16 * 1024).judge(&policy).outcome(),
        Outcome::Challenged
    );
    assert_eq!(
        sent(16 * 1024 + 1).reason(&policy),
        Reason::SignatureMissing
    );
}

/// An unsigned request holds no memory for longer than it may be a handshake.
#[test]
fn an_unsigned_request_that_cannot_be_a_handshake_ends_early() {
    let policy = |mode: &str| {
        endpoint(&format!(
            r#""provider": "slack", "answer_challenges": true, "mode": "{mode}""#
        ))
    };
    let form = ("content-type", "application/x-www-form-urlencoded");
    let enforced = policy("enforce");
    let check = Request::new(b"ssl_check=1&token=t").with(form.0, form.1);
    assert_eq!(check.judge(&enforced).outcome(), Outcome::Challenged);
    // The head alone shows that these cannot be handshakes.
    for headers in [
        [form, ("content-length", "16385")],
        [("content-type", "text/plain"), ("content-length", "9")],
        [("content-type", "multipart/mixed"), ("x-a", "b")],
        [
            (form.0, "application/x-www-form-urlencoded; charset=utf-16"),
            ("x-a", "b"),
        ],
    ] {
        let [(first, one), (second, two)] = headers;
        let request = Request::new(b"").with(first, one).with(second, two);
        let verdict = request.begin(&enforced).expect_err("a verdict");
        assert_eq!(verdict.reason(), Reason::SignatureMissing, "{headers:?}");
    }
    // The length is unknown until the body has arrived.
    let request = Request::new(b"").with(form.0, form.1);
    let mut check = request.begin(&enforced).expect("no verdict yet");
    assert!(check.body(&[b'a'; 16 * 1024]).is_ok());
    let verdict = check.body(b"a").expect_err("a verdict");
    assert_eq!(verdict.reason(), Reason::SignatureMissing);
    // In `monitor`, the guard answers no handshake.
    let monitored = request.begin(&policy("monitor")).expect_err("a verdict");
    assert_eq!(monitored.outcome(), Outcome::Monitored);
}

#[test]
fn a_handshake_signed_by_a_secret_that_may_not_accept_is_not_answered() {
    let policy = endpoint(
        r#""provider": "slack", "answer_challenges": true, "secrets": [
            {"version": "now", "env": "SECRET"}, {"version": "leaked", "env": "OLD_SECRET", "revoked": true}]"#,
    );
    let question = br#"{"type": "url_verification", "challenge": "text"}"#;
    let right = slack("SECRET", question).judge(&policy);
    assert_eq!(right.outcome(), Outcome::Challenged);
    // The request counts as a use of its secret.
    assert_eq!(right.verified().expect("a secret").secret().0, 0);
    // The memory is asked for a copy, but stores nothing: the handshake does not go upstream.
    let check = right.replay_check(&policy.endpoints[0]);
    assert!(!check.expect("Slack signs a time").acquires);
    let leaked = slack("OLD_SECRET", question).judge(&policy);
    assert_eq!(
        (leaked.outcome(), leaked.reason(), leaked.answer()),
        (Outcome::Denied, Reason::SecretRevoked, None)
    );
}

#[test]
fn the_first_of_several_valid_secrets_counts() {
    let secrets =
        r#"[{"version": "new", "env": "SECRET"}, {"version": "old", "env": "OLD_SECRET"}]"#;
    for message in ["{body}", "{body_sha256_hex}", "{json:/order}.{body}"] {
        let policy = endpoint(&format!(
            r#""signature": {{"header": "X-S", "separator": ",", "message": "{message}"}}, "secrets": {secrets}"#
        ));
        let signed = match message {
            "{body}" => BODY.to_vec(),
            "{body_sha256_hex}" => sha256(BODY).into_bytes(),
            _ => [b"1.", BODY].concat(),
        };
        let code = |secret| hex(variable(secret).as_bytes(), &signed);
        for secrets in [["SECRET", "OLD_SECRET"], ["OLD_SECRET", "SECRET"]] {
            let request = Request::new(BODY).with("X-S", secrets.map(code).join(","));
            let verdict = request.judge(&policy);
            assert_eq!(verdict.reason(), Reason::Accepted, "{message}");
            assert_eq!(verdict.verified().expect("a secret").secret().0, 0);
        }
        let old = Request::new(BODY).with("X-S", code("OLD_SECRET"));
        let verdict = old.judge(&policy);
        assert_eq!(verdict.verified().expect("a secret").secret().0, 1);
    }
}

#[test]
fn only_a_body_that_the_sender_signed_is_parsed() {
    let policy = endpoint(
        r#""id": {"json": "/order"}, "secrets": [{"version": "new", "env": "SECRET"}, {"version": "old", "env": "OLD_SECRET"}]"#,
    );
    let reason = |secret, body: &[u8]| Request::signed(variable(secret), body).reason(&policy);
    assert_eq!(reason("OLD_SECRET", BODY), Reason::Accepted);
    for secret in ["SECRET", "OLD_SECRET"] {
        assert_eq!(reason(secret, b"{"), Reason::SignatureMalformed);
    }
    assert_eq!(reason("OTHER_SECRET", b"{"), Reason::SignatureInvalid);
}

#[test]
fn of_several_that_verify_the_one_counts_that_accepts_and_then_the_worst_news() {
    let policy = endpoint(
        r#""signature": {"header": "X-S", "separator": ","}, "secrets": [
            {"version": "none", "env": "NEWLINE"},
            {"version": "now", "env": "SECRET"},
            {"version": "leaked", "env": "OLD_SECRET", "revoked": true},
            {"version": "past", "env": "OTHER_SECRET", "not_after": "2020-01-01T00:00:00Z"},
            {"version": "coming", "env": "WHSEC", "not_before": "2900-01-01T00:00:00Z"}]"#,
    );
    let sent = |secrets: &[&str]| {
        let codes = secrets
            .iter()
            .map(|secret| hex(variable(secret).as_bytes(), BODY));
        let value = codes.collect::<Vec<_>>().join(",");
        let verdict = Request::new(BODY).with("X-S", value).judge(&policy);
        (
            verdict.reason(),
            verdict.verified().map(|each| each.secret().0),
        )
    };
    let all = ["SECRET", "OLD_SECRET", "OTHER_SECRET", "WHSEC"];
    for (from, reason) in [
        (0, Reason::Accepted),
        (1, Reason::SecretRevoked),
        (2, Reason::SecretExpired),
        (3, Reason::SecretNotYetValid),
    ] {
        let mut secrets = all[from..].to_vec();
        assert_eq!(sent(&secrets), (reason, Some(from + 1)));
        secrets.reverse();
        assert_eq!(sent(&secrets), (reason, Some(from + 1)));
    }
}

#[test]
fn values_of_8_kib_are_read_and_no_longer_ones() {
    let scheme =
        r#""signature": {"header": "X-S", "message": "{id}|{body}", "id": {"header": "X-Id"}}"#;
    let policy = endpoint(scheme);
    let sent = |id: usize, padding: usize| {
        let id = "i".repeat(id);
        let message = [id.as_bytes(), b"|", BODY].concat();
        let signature = hex(variable("SECRET").as_bytes(), &message);
        Request::new(BODY)
            .with("X-Id", id.as_str())
            .with("X-S", format!("{signature}{}", " ".repeat(padding)))
            .reason(&policy)
    };
    assert_eq!(sent(8192, 0), Reason::Accepted);
    assert_eq!(sent(8193, 0), Reason::SignatureMalformed);
    assert_eq!(sent(1, 8192 - 64), Reason::Accepted);
    assert_eq!(sent(1, 8193 - 64), Reason::SignatureMalformed);
}

#[test]
fn a_header_may_occur_sixteen_times_at_most() {
    let policy =
        endpoint(r#""signature": {"header": "X-S", "repeat": true, "format": ["v1={signature}"]}"#);
    let sent = |count: usize| {
        let mut request = Request::new(BODY);
        for _ in 1..count {
            request = request.with("X-S", "none of the scheme's");
        }
        let signature = hex(variable("SECRET").as_bytes(), BODY);
        request
            .with("X-S", format!("v1={signature}"))
            .reason(&policy)
    };
    assert_eq!(sent(16), Reason::Accepted);
    assert_eq!(sent(17), Reason::SignatureMalformed);
}

#[test]
fn of_two_tokens_the_first_one_counts() {
    let policy = endpoint(
        r#""signature": {"header": "X-S", "separator": ",", "format": ["{token}"], "body": "unsigned"}"#,
    );
    let token = |secret: &str| {
        use ::base64::Engine as _;
        let url_safe = ::base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let head = url_safe.encode(br#"{"alg":"HS256"}"#);
        let message = format!("{head}.{}", url_safe.encode(b"{}"));
        let code = crate::support::mac(variable(secret).as_bytes(), message.as_bytes());
        format!("{message}.{}", url_safe.encode(code))
    };
    let (right, forged) = (token("SECRET"), token("OTHER_SECRET"));
    let sent = |value: String| Request::new(BODY).with("X-S", value).reason(&policy);
    assert_eq!(sent(right.clone()), Reason::Accepted);
    assert_eq!(sent(forged.clone()), Reason::SignatureInvalid);
    assert_eq!(sent(format!("{forged},{right}")), Reason::SignatureInvalid);
}

#[test]
fn a_timestamp_of_64_bytes_is_read_and_no_longer_one() {
    let policy = endpoint(
        r#""signature": {"header": "X-S", "message": "{timestamp}.{body}", "timestamp": {"header": "X-T", "unit": "rfc3339"}}"#,
    );
    let sent = |digits: usize| {
        let time = format!("2023-11-14T22:13:20.{}Z", "0".repeat(digits));
        let message = [time.as_bytes(), b".", BODY].concat();
        Request::new(BODY)
            .with("X-T", time)
            .with("X-S", hex(variable("SECRET").as_bytes(), &message))
            .reason(&policy)
    };
    assert_eq!(sent(43), Reason::Accepted);
    assert_eq!(sent(44), Reason::TimestampMalformed);
}

#[test]
fn addresses_by_each_way_and_the_prefix_of_all_mapped_ones() {
    for (written, source) in [
        (r#""direct""#, AddressSource::Direct),
        (r#""forwarded""#, AddressSource::Forwarded),
        (r#""proxy_protocol""#, AddressSource::ProxyProtocol),
        (
            r#"{"filter_state": "peer"}"#,
            AddressSource::FilterState("peer".to_owned()),
        ),
    ] {
        let policy = endpoint(&format!(r#""client_address": {written}"#));
        assert_eq!(policy.endpoints[0].client_address, source);
    }
    let mapped = endpoint(r#""allow": ["::ffff:0:0/96"]"#);
    for (address, reason) in [
        ("10.1.2.3", Reason::Accepted),
        ("::1", Reason::ClientAddressDenied),
    ] {
        let client = Client::Trusted(address.parse().expect("an address"));
        assert_eq!(client.ip(), address.parse().ok());
        let request = Request {
            client,
            ..Request::signed(variable("SECRET"), BODY)
        };
        assert_eq!(request.reason(&mapped), reason, "{address}");
    }
    // One bit less is of IPv6, and its first address another.
    let faults = read(&with(r#""allow": ["::ffff:0:0/95"]"#)).expect_err("a fault");
    assert!(faults[0].message.contains("bits after its length"));
}

#[test]
fn secrets_of_16_bytes_are_long_enough_and_missing_variables_are_named() {
    let warnings = |secret: &str| {
        let configuration = format!(
            r#"{{"endpoints": [{{"name": "a", "match": {{"path": "/a"}}, "secrets": [{{"version": "v1", "value": "{secret}"}}]}}]}}"#
        );
        read_in("test", &configuration).expect("a policy").1.len()
    };
    assert_eq!(warnings(&"x".repeat(16)), 0);
    assert_eq!(warnings(&"x".repeat(15)), 1);
    let unset = |name: &str| {
        let secrets = format!(r#"[{{"version": "v1", "env": "{name}"}}]"#);
        let faults = read(&crate::faulty::secrets(&secrets)).expect_err("not set");
        faults[0].message.clone()
    };
    for name in ["NAME", "NAME_2", "_"] {
        assert!(
            unset(name).contains(&format!("variable {name} is")),
            "{name}"
        );
    }
    // This text may be the secret itself.
    for name in ["NAME2", "sesame", "A B"] {
        assert!(!unset(name).contains(name), "{name}");
    }
}

#[test]
fn a_malformed_key_and_a_short_secret_have_different_messages() {
    let keys = r#"[{"version": "v1", "value": "00112233"}]"#;
    let configuration = with(&format!(
        r#""signature": {{"header": "X-S", "algorithm": "ed25519", "key": "hex"}}, "secrets": {keys}"#
    ))
    .replacen(r#""secrets": [{"version": "v1", "env": "SECRET"}], "#, "", 1);
    let faults = read(&configuration).expect_err("no key");
    assert!(faults[0].message.contains("not a public key"), "{faults:?}");
}
