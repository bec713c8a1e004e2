//! The identity of deliveries, and the verdicts that the replay memory keeps.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use webhook_guard::delivery::DeliveryHash;
use webhook_guard::policy::Policy;
use webhook_guard::replay::{Change, EMPTY, Lease, ReplayCheck};
use webhook_guard::time::Moment;
use webhook_guard::time::UnixMillis;
use webhook_guard::verdict::{Denial, Outcome, Reason};
use webhook_guard::verify::{Verdict, Verified};

use crate::support::{NOW, Request, base64, endpoint, hex, policy, variable};

const BODY: &[u8] = br#"{"order": 1}"#;

/// A scheme with time and id, whose signature may come several times.
const SIGNED_ID: &str = r#""signature": {"header": "X-S", "separator": ",", "format": ["v1={signature}"],
    "message": "{id}.{timestamp}.{body}", "timestamp": {"header": "X-T"}, "id": {"header": "X-Id"}}"#;

/// The same without an id.
const SIGNED_TIME: &str = r#""signature": {"header": "X-S", "separator": ",", "format": ["v1={signature}"],
    "message": "{timestamp}.{body}", "timestamp": {"header": "X-T"}}"#;

const TWO_SECRETS: &str = r#", "secrets": [{"version": "new", "env": "SECRET"}, {"version": "old", "env": "OLD_SECRET"}]"#;

fn delivery(verdict: &Verdict) -> DeliveryHash {
    assert_eq!(verdict.reason(), Reason::Accepted);
    let verified = verdict.verified().expect("a secret verified it");
    verified.delivery().expect("it is remembered")
}

/// Any delivery that is remembered.
pub(crate) fn any_delivery() -> DeliveryHash {
    delivery(&with_id("a", NOW, BODY).judge(&endpoint(SIGNED_ID)))
}

/// So many milliseconds after now, by both clocks.
fn after(millis: u64) -> Moment {
    Moment {
        monotonic: millis,
        wall: UnixMillis(NOW * 1_000 + i64::try_from(millis).unwrap()),
    }
}

fn acquire(check: &ReplayCheck<'_>, bucket: &[u8], millis: u64) -> Result<(Change, Lease), Denial> {
    let (delivery, end) = (check.delivery, check.fresh_until);
    check.replay.acquire(bucket, delivery, end, after(millis))
}

fn with_id(id: &str, time: i64, body: &[u8]) -> Request {
    with_id_by("SECRET", id, time, body)
}

fn with_id_by(secret: &str, id: &str, time: i64, body: &[u8]) -> Request {
    let message = [format!("{id}.{time}.").as_bytes(), body].concat();
    Request::new(body)
        .with("X-Id", id)
        .with("X-T", time.to_string())
        .with(
            "X-S",
            format!("v1={}", hex(variable(secret).as_bytes(), &message)),
        )
}

fn with_time(secret: &str, time: i64, body: &[u8]) -> Request {
    let message = [format!("{time}.").as_bytes(), body].concat();
    Request::new(body).with("X-T", time.to_string()).with(
        "X-S",
        format!("v1={}", hex(variable(secret).as_bytes(), &message)),
    )
}

#[test]
fn an_id_is_the_same_delivery_whatever_else_is_signed_with_it() {
    let policy = endpoint(SIGNED_ID);
    let first = delivery(&with_id("a", NOW, BODY).judge(&policy));
    assert_eq!(
        first,
        delivery(&with_id("a", NOW + 60, b"{}").judge(&policy))
    );
    assert_ne!(first, delivery(&with_id("b", NOW, BODY).judge(&policy)));
}

#[test]
fn a_message_is_the_same_delivery_however_its_signature_is_dressed() {
    let policy = endpoint(&format!("{SIGNED_TIME}{TWO_SECRETS}"));
    let first = delivery(&with_time("SECRET", NOW, BODY).judge(&policy));
    let message = [format!("{NOW}.").as_bytes(), BODY].concat();
    let new = hex(variable("SECRET").as_bytes(), &message);
    let old = hex(variable("OLD_SECRET").as_bytes(), &message);
    for signature in [
        format!("v1={}", new.to_uppercase()),
        format!("v1={}, v1={new}", "0".repeat(64)),
        format!("v0=x,v1={new},v1={new}"),
        format!("v1={old},v1={new}"),
        // With the other secret only. A rotation must not admit a delivery once for each secret.
        format!("v1={old}"),
    ] {
        let mut request = Request::new(BODY)
            .with("X-S", signature.as_str())
            .with("X-T", NOW.to_string());
        request.cuts = vec![3];
        assert_eq!(first, delivery(&request.judge(&policy)), "{signature}");
    }
    for other in [
        with_time("SECRET", NOW + 1, BODY),
        with_time("SECRET", NOW, b"{}"),
        with_time("SECRET", NOW, b""),
    ] {
        assert_ne!(first, delivery(&other.judge(&policy)));
    }
}

#[test]
fn a_rotated_secret_and_a_changed_tolerance_leave_a_delivery_the_same() {
    let request = with_time("SECRET", NOW, BODY);
    let first = delivery(&request.judge(&endpoint(SIGNED_TIME)));
    let rotated = r#", "tolerance": "1m", "secrets": [{"version": "2", "env": "OTHER_SECRET"}, {"version": "1", "env": "SECRET"}]"#;
    assert_eq!(
        first,
        delivery(&request.judge(&endpoint(&format!("{SIGNED_TIME}{rotated}"))))
    );
}

#[test]
fn endpoints_do_not_share_deliveries() {
    let one = |name: &str| {
        policy(&format!(
            r#"{{"endpoints": [{{"name": "{name}", "match": {{"path": "/webhook"}}, {SIGNED_ID},
                "secrets": [{{"version": "v1", "env": "SECRET"}}]}}]}}"#
        ))
    };
    let request = with_id("a", NOW, BODY);
    assert_ne!(
        delivery(&request.judge(&one("a"))),
        delivery(&request.judge(&one("b")))
    );
}

#[test]
fn whether_the_body_is_streamed_or_read_whole_or_not_signed() {
    let json_id = r#""signature": {"header": "X-S", "id": {"json": "/id"}}"#;
    let policy = endpoint(json_id);
    let body = br#"{"id": "evt_1", "n": 1}"#;
    let first = Request::new(body).with("X-S", hex(variable("SECRET").as_bytes(), body));
    let other = br#"{"n": 2, "id": "evt_1"}"#;
    let second = Request::new(other).with("X-S", hex(variable("SECRET").as_bytes(), other));
    assert_eq!(
        delivery(&first.judge(&policy)),
        delivery(&second.judge(&policy))
    );

    let policy = endpoint(
        r#""signature": {"header": "X-S", "message": "{path}{header:X-Nonce}", "body": "unsigned",
            "identity": "message"}, "replay": {"window": "1h"}"#,
    );
    let with_nonce = |nonce: &str| {
        let message = format!("/webhook{nonce}");
        Request::new(b"a=1")
            .with(
                "X-S",
                hex(variable("SECRET").as_bytes(), message.as_bytes()),
            )
            .with("X-Nonce", nonce)
    };
    let first = delivery(&with_nonce("1").judge(&policy));
    assert_eq!(first, delivery(&with_nonce("1").judge(&policy)));
    assert_ne!(first, delivery(&with_nonce("2").judge(&policy)));

    // The same body, hashed as it comes, of a sender that never sends one twice.
    let own =
        r#""signature": {"header": "X-S", "identity": "message"}, "replay": {"window": "24h"}"#;
    let policy = endpoint(own);
    let signed =
        |body: &[u8]| Request::new(body).with("X-S", hex(variable("SECRET").as_bytes(), body));
    let first = delivery(&signed(BODY).judge(&policy));
    assert_eq!(first, delivery(&signed(BODY).judge(&policy)));
    assert_ne!(first, delivery(&signed(b"{}").judge(&policy)));
}

#[test]
fn only_what_may_go_on_is_remembered() {
    let expired = r#", "secrets": [{"version": "2", "env": "OTHER_SECRET"}, {"version": "1", "env": "SECRET", "not_after": "2020-01-01T00:00:00Z"}]"#;
    let request = with_time("SECRET", NOW, BODY);
    let remembered = |policy, request: &Request| {
        let verdict = request.judge(&policy);
        verdict
            .replay_check(&policy.endpoints[0])
            .map(|check| check.acquires)
    };
    assert_eq!(remembered(endpoint(SIGNED_TIME), &request), Some(true));
    assert_eq!(
        remembered(endpoint(&format!("{SIGNED_TIME}{expired}")), &request),
        None
    );
    let forged = with_time("OTHER_SECRET", NOW, BODY);
    assert_eq!(remembered(endpoint(SIGNED_TIME), &forged), None);
    // Mode `monitor` reads the memory, but does not change it.
    let monitor = endpoint(&format!(r#"{SIGNED_TIME}, "mode": "monitor""#));
    assert_eq!(remembered(monitor, &request), Some(false));
    let off = endpoint(&format!(r#"{SIGNED_TIME}, "replay": {{"window": "0s"}}"#));
    assert_eq!(remembered(off, &request), None);
    assert_eq!(
        remembered(endpoint(""), &Request::signed(variable("SECRET"), BODY)),
        None
    );
}

#[test]
fn a_copy_is_answered_as_its_sender_needs_it() {
    let (id, time) = (with_id("a", NOW, BODY), with_time("SECRET", NOW, BODY));
    let answer = |fields: &str, signed: &Request, denial| {
        let policy = endpoint(fields);
        let verdict = signed.judge(&policy);
        assert_eq!(verdict.outcome(), Outcome::Accepted);
        let again = verdict.reject_duplicate(&policy.endpoints[0], denial);
        (
            again.outcome(),
            again.response().map(|response| response.status),
        )
    };
    let denied = |status| (Outcome::Denied, Some(status));
    assert_eq!(answer(SIGNED_ID, &id, Denial::Replayed), denied(200));
    assert_eq!(answer(SIGNED_ID, &id, Denial::InFlight), denied(409));
    assert_eq!(answer(SIGNED_TIME, &time, Denial::Replayed), denied(409));
    // The sender may repeat the same request for hours.
    let long = format!(r#"{SIGNED_TIME}, "tolerance": {{"past": "8h"}}"#);
    assert_eq!(answer(&long, &time, Denial::Replayed), denied(200));
    assert_eq!(answer(&long, &time, Denial::InFlight), denied(409));
    let own = format!(r#"{SIGNED_TIME}, "replay": {{"status": 202}}"#);
    assert_eq!(answer(&own, &time, Denial::Replayed), denied(202));
    assert_eq!(answer(&own, &time, Denial::InFlight), denied(409));
    let monitor = format!(r#"{SIGNED_ID}, "mode": "monitor""#);
    assert_eq!(
        answer(&monitor, &id, Denial::Replayed),
        (Outcome::Monitored, None)
    );
}

#[test]
fn a_copy_has_the_secret_and_the_id_of_its_original() {
    let policy = endpoint(SIGNED_ID);
    let verdict = with_id("a", NOW, BODY).judge(&policy);
    let again = verdict.reject_duplicate(&policy.endpoints[0], Denial::Replayed);
    let verified = again.verified().expect("it was verified");
    assert_eq!(verified.delivery_id(), Some(&b"a"[..]));
}

/// The least that a block can say counts: the window that is as long as a request is fresh, the smallest memory.
#[test]
fn a_memory_is_as_large_and_a_claim_as_long_as_the_block_says() {
    let block = r#""replay": {"window": "600s", "lease": "2s", "max_memory_bytes": 65536}"#;
    let policy = endpoint(&format!("{SIGNED_TIME}, {block}"));
    let mut bucket = EMPTY.to_vec();
    let mut evicted = 0;
    for time in NOW..NOW + 20 {
        let verdict = with_time("SECRET", time, BODY).judge(&policy);
        let check = verdict.replay_check(&policy.endpoints[0]).expect("it is");
        let (change, _) = acquire(&check, &bucket, 0).expect("a lease");
        let lapsed = acquire(&check, &change.bucket, 2_001);
        assert_eq!(
            lapsed.map(|(_, lease)| lease.delivery()),
            Ok(check.delivery)
        );
        let held = acquire(&check, &change.bucket, 2_000);
        assert_eq!(held.expect_err("it is held"), Denial::InFlight);
        assert!(change.bucket.len() <= 65536 / 256);
        evicted += change.evicted;
        bucket = change.bucket;
    }
    assert!(evicted > 0);
}

/// The memory keeps a delivery at least until its signature is no longer fresh.
#[test]
fn a_verified_request_says_until_when_it_is_fresh() {
    let policy = endpoint(SIGNED_TIME);
    let mut request = with_time("SECRET", NOW, BODY);
    let verdict = request.judge(&policy);
    let end = verdict.verified().and_then(Verified::fresh_until);
    let end = end.expect("the sender signs a time");
    request.now = end.0;
    assert_eq!(request.reason(&policy), Reason::Accepted);
    request.now += 1;
    assert_eq!(request.reason(&policy), Reason::TimestampExpired);
    let untimed = Request::signed(variable("SECRET"), BODY).judge(&endpoint(""));
    assert_eq!(untimed.verified().and_then(Verified::fresh_until), None);
}

/// A request that is stamped as far ahead as it may be is fresh for twice the tolerance, and remembered for
/// longer.
#[test]
fn a_request_from_the_future_does_not_outlive_its_memory() {
    let policy = endpoint(SIGNED_TIME);
    let mut request = with_time("SECRET", NOW + 300, BODY);
    let verdict = request.judge(&policy);
    let check = verdict.replay_check(&policy.endpoints[0]).expect("it is");
    let (change, lease) = acquire(&check, EMPTY, 0).expect("a lease");
    let delivered = check.replay.complete(&change.bucket, &lease, after(0));
    // The last fresh millisecond, also if the upstream answered within the first.
    request.now += 600_000;
    assert_eq!(request.reason(&policy), Reason::Accepted);
    let again = acquire(&check, &delivered.bucket, 600_000);
    assert_eq!(again.expect_err("it is known"), Denial::Replayed);
    request.now += 1;
    assert_eq!(request.reason(&policy), Reason::TimestampExpired);
}

/// A sender may repeat a request for hours. A copy that arrives within that time meets the memory of the delivery.
#[test]
fn a_delivery_is_remembered_for_as_long_as_a_retry_of_it_is_fresh() {
    let policy = endpoint(&format!(
        r#"{SIGNED_TIME}, "tolerance": {{"past": "8h", "future": "1m"}}"#
    ));
    // As far ahead as it may be, so that it is fresh for the longest time.
    let mut request = with_time("SECRET", NOW + 60, BODY);
    let verdict = request.judge(&policy);
    let check = verdict.replay_check(&policy.endpoints[0]).expect("it is");
    let (change, lease) = acquire(&check, EMPTY, 0).expect("a lease");
    let delivered = check.replay.complete(&change.bucket, &lease, after(0));
    let span = 8 * 3_600_000 + 60_000;
    for elapsed in [60_000, 3_660_000, 25_260_000, span] {
        request.now = NOW * 1_000 + i64::try_from(elapsed).unwrap();
        assert_eq!(request.reason(&policy), Reason::Accepted, "{elapsed}");
        let again = acquire(&check, &delivered.bucket, elapsed);
        assert_eq!(again.expect_err("it is known"), Denial::Replayed);
        // A delivery that failed has no entry, so that its retry goes upstream.
        let released = check.replay.release(&change.bucket, &lease, after(0));
        let bucket = released.expect("it had the lease").bucket;
        assert!(acquire(&check, &bucket, elapsed).is_ok(), "{elapsed}");
    }
    request.now += 1;
    assert_eq!(request.reason(&policy), Reason::TimestampExpired);
}

fn signed_by_github(body: &[u8]) -> Request {
    let signature = hex(variable("SECRET").as_bytes(), body);
    Request::new(body).with("X-Hub-Signature-256", format!("sha256={signature}"))
}

#[test]
fn an_id_may_be_set_beside_a_provider_or_the_default_scheme() {
    let policy = endpoint(r#""provider": "github", "id": {"json": "/event/id"}"#);
    let verdict = |body: &[u8]| signed_by_github(body).judge(&policy);
    let first = verdict(br#"{"event": {"id": "e1"}, "attempt": 1}"#);
    let id = first.verified().as_ref().unwrap().delivery_id();
    assert_eq!(id, Some(&b"e1"[..]));
    let retried = verdict(br#"{"event": {"id": "e1"}, "attempt": 2}"#);
    assert_eq!(delivery(&first), delivery(&retried));
    assert_ne!(
        delivery(&first),
        delivery(&verdict(br#"{"event": {"id": "e2"}}"#))
    );
    let copy = first.reject_duplicate(&policy.endpoints[0], Denial::Replayed);
    assert_eq!(copy.response().map(|response| response.status), Some(200));

    let default = endpoint(r#""id": {"json": "/id"}"#);
    let of_default = |body: &[u8]| Request::signed(variable("SECRET"), body).judge(&default);
    assert_eq!(
        delivery(&of_default(br#"{"id": 7}"#)),
        delivery(&of_default(br#"{"n": 1, "id": "7"}"#))
    );
    // The header is part of the message.
    let nonce = endpoint(
        r#""provider": "plivo", "public_url": "https://hooks.example.com", "id": {"header": "x-plivo-signature-v2-nonce"}"#,
    );
    let signature = base64(
        variable("SECRET").as_bytes(),
        b"https://hooks.example.com/webhooknonce-1",
    );
    let request = Request::new(BODY)
        .with("X-Plivo-Signature-V2", signature)
        .with("X-Plivo-Signature-V2-Nonce", "nonce-1");
    let verdict = request.judge(&nonce);
    let id = verdict.verified().unwrap().delivery_id();
    assert_eq!(id, Some(&b"nonce-1"[..]));
    // Where the sender signs a time as well, a retry with a new time is a copy too.
    let timed = endpoint(r#""provider": "slack", "id": {"json": "/event_id"}"#);
    let stamped = |time: i64| {
        let body = br#"{"event_id": "Ev1"}"#;
        let message = [format!("v0:{time}:").as_bytes(), body].concat();
        let signature = hex(variable("SECRET").as_bytes(), &message);
        Request::new(body)
            .with("X-Slack-Request-Timestamp", time.to_string())
            .with("X-Slack-Signature", format!("v0={signature}"))
    };
    assert_eq!(
        delivery(&stamped(NOW).judge(&timed)),
        delivery(&stamped(NOW + 60).judge(&timed))
    );
}

/// The presets whose senders repeat an id in the body.
#[test]
fn a_retried_event_is_the_same_delivery_and_another_event_is_none() {
    let key = variable("SECRET").as_bytes();
    type Sign<'k> = &'k dyn Fn(&[u8]) -> (&'static str, String);
    let url = b"https://hooks.example.com/webhook";
    let square: Sign = &|body| {
        let signature = base64(key, &[&url[..], body].concat());
        ("x-square-hmacsha256-signature", signature)
    };
    let pagerduty: Sign = &|body| ("X-PagerDuty-Signature", format!("v1={}", hex(key, body)));
    let circleci: Sign = &|body| ("circleci-signature", format!("v1={}", hex(key, body)));
    let coinbase: Sign = &|body| ("X-CC-Webhook-Signature", hex(key, body));
    for (provider, sign, before, after) in [
        ("square", square, r#"{"event_id": "#, "}"),
        ("pagerduty", pagerduty, r#"{"event": {"id": "#, "}}"),
        (
            "circleci",
            circleci,
            r#"{"webhook": {"id": "w"}, "id": "#,
            "}",
        ),
        (
            "coinbase-commerce",
            coinbase,
            r#"{"id": 1, "event": {"id": "#,
            "}}",
        ),
    ] {
        let policy = endpoint(&format!(
            r#""provider": "{provider}", "public_url": "https://hooks.example.com""#
        ));
        let judge = |id: &str, attempt: u8| {
            let body = format!("{before}{id}, \"attempt\": {attempt}{after}");
            let (header, signature) = sign(body.as_bytes());
            let request = Request::new(body.as_bytes()).with(header, signature);
            request.judge(&policy)
        };
        let first = delivery(&judge("\"e1\"", 1));
        assert_eq!(first, delivery(&judge("\"e1\"", 2)), "{provider}");
        assert_ne!(first, delivery(&judge("\"e2\"", 1)), "{provider}");
        for none in ["\"\"", "null"] {
            assert!(is_forgotten(&judge(none, 1)), "{provider}");
        }
    }
}

/// Whether a request is accepted and not remembered.
fn is_forgotten(verdict: &Verdict) -> bool {
    let verified = verdict
        .verified()
        .filter(|_| verdict.reason() == Reason::Accepted);
    verified.is_some_and(|verified| verified.delivery().is_none())
}

#[test]
fn a_delivery_without_an_optional_id_is_accepted_and_not_remembered() {
    let policy = endpoint(r#""provider": "github", "id": {"json": "/id", "optional": true}"#);
    for body in [
        &br#"{"id": ""}"#[..],
        br#"{"id": null}"#,
        br#"{"zen": "ping"}"#,
        br#"["id"]"#,
        b"",
        b"id=e1",
        b"<id>e1</id>",
        b"\x1f\x8b\x08",
    ] {
        let verdict = signed_by_github(body).judge(&policy);
        assert!(is_forgotten(&verdict), "{}", String::from_utf8_lossy(body));
    }
    for (body, reason) in [
        (
            &br#"{"id": "e1", "id": "e2"}"#[..],
            Reason::SignatureDuplicated,
        ),
        (br#"{"id": {"id": "e1"}}"#, Reason::SignatureDuplicated),
        (br#"{"id": 1.5}"#, Reason::SignatureDuplicated),
    ] {
        let shown = String::from_utf8_lossy(body);
        assert_eq!(signed_by_github(body).reason(&policy), reason, "{shown}");
    }
}

/// A client cannot hide the id of a copy: only the signed bytes decide whether a body has one.
#[test]
fn no_header_hides_an_optional_id() {
    let policy = endpoint(r#""provider": "github", "id": {"json": "/id", "optional": true}"#);
    let copy = signed_by_github(br#"{"id": "e1"}"#);
    let first = delivery(&copy.judge(&policy));
    for (header, value) in [
        ("content-type", "application/json"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "multipart/form-data; boundary=x"),
        ("content-type", "application/json; charset=utf-16"),
        ("content-encoding", "gzip"),
    ] {
        let copy = copy.clone().with(header, value);
        assert_eq!(delivery(&copy.judge(&policy)), first, "{header}: {value}");
    }
    // Next to another value of the body, such a header is a fault of the request.
    let timed = endpoint(
        r#""provider": "linear", "id": {"json": "/webhookId", "optional": true}, "tolerance": "1m""#,
    );
    let body = format!(
        r#"{{"webhookId": "w", "webhookTimestamp": {}}}"#,
        NOW * 1_000
    );
    let signature = hex(variable("SECRET").as_bytes(), body.as_bytes());
    let request = Request::new(body.as_bytes()).with("Linear-Signature", signature);
    delivery(&request.judge(&timed));
    let hidden = request.with("content-encoding", "gzip");
    assert_eq!(hidden.reason(&timed), Reason::SignatureMalformed);
}

/// A sender whose deliveries may be equal is remembered only as the endpoint says.
#[test]
fn an_endpoint_sets_the_identity_of_its_provider() {
    let time = "2023-11-14T22:13:20Z";
    let body = br#"{"id": "e1"}"#;
    let signature = base64(
        variable("SECRET").as_bytes(),
        &[time.as_bytes(), body].concat(),
    );
    let request = Request::new(body)
        .with("X-Zendesk-Webhook-Signature", signature)
        .with("X-Zendesk-Webhook-Signature-Timestamp", time);
    let judge =
        |fields: &str| request.judge(&endpoint(&format!(r#""provider": "zendesk"{fields}"#)));
    assert!(is_forgotten(&judge("")));
    assert!(is_forgotten(&judge(
        r#", "id": {"json": "/other", "optional": true}"#
    )));
    assert!(is_forgotten(&judge(
        r#", "id": {"json": "/id"}, "identity": "none""#
    )));
    let by_id = delivery(&judge(r#", "id": {"json": "/id"}"#));
    assert_eq!(
        by_id,
        delivery(&judge(r#", "id": {"json": "/id"}, "identity": "id""#))
    );
    let by_message = delivery(&judge(r#", "identity": "message""#));
    assert_ne!(by_message, by_id);
    assert_eq!(
        by_message,
        delivery(&judge(r#", "id": {"json": "/id"}, "identity": "message""#))
    );
    // Without a signed time, the window has no default.
    let github = signed_by_github(body);
    let by_message = r#""provider": "github", "identity": "message", "replay": {"window": "1h"}"#;
    delivery(&github.judge(&endpoint(by_message)));
}

#[test]
fn a_delivery_without_its_id_is_malformed_once_its_signature_verified() {
    let policy = endpoint(r#""provider": "github", "id": {"json": "/id"}"#);
    for (body, reason) in [
        (&br#"{"id": "e1"}"#[..], Reason::Accepted),
        (br#"{"id": ""}"#, Reason::SignatureMalformed),
        (br#"{"id": null}"#, Reason::SignatureMalformed),
        (br#"{"zen": "ping"}"#, Reason::SignatureMalformed),
        (br#"["id"]"#, Reason::SignatureMalformed),
        (b"", Reason::SignatureMalformed),
        (b"id=e1", Reason::SignatureMalformed),
        (br#"{"id": "e1", "id": "e2"}"#, Reason::SignatureDuplicated),
        (br#"{"id": {"id": "e1"}}"#, Reason::SignatureDuplicated),
    ] {
        let request = signed_by_github(body);
        let shown = String::from_utf8_lossy(body);
        assert_eq!(request.reason(&policy), reason, "{shown}");
        // A forged body is not read.
        let mut forged = request;
        forged.set("X-Hub-Signature-256", &format!("sha256={}", "0".repeat(64)));
        assert_eq!(forged.reason(&policy), Reason::SignatureInvalid, "{shown}");
    }
}

/// Two secrets of one sender, one of another sender, and one without a sender's name.
const SENDERS: &str = r#", "secrets": [
    {"version": "1", "env": "SECRET", "sender": "a"}, {"version": "2", "env": "OLD_SECRET", "sender": "a"},
    {"version": "3", "env": "OTHER_SECRET", "sender": "b"}, {"version": "4", "env": "SHORT"}]"#;
const OF_SENDERS: [&str; 4] = ["SECRET", "OLD_SECRET", "OTHER_SECRET", "SHORT"];

/// The deliveries of one request by each secret: those of one sender are one, and no others.
fn assert_apart(policy: &Policy, request: impl Fn(&str) -> Request) {
    let deliveries = OF_SENDERS.map(|secret| delivery(&request(secret).judge(policy)));
    let [first, rotated, other, unnamed] = deliveries;
    assert_eq!(first, rotated);
    assert_ne!(first, other);
    assert_ne!(first, unnamed);
    assert_ne!(other, unnamed);
}

#[test]
fn senders_that_share_an_endpoint_do_not_share_deliveries() {
    let by_id = endpoint(&format!("{SIGNED_ID}{SENDERS}"));
    assert_apart(&by_id, |secret| with_id_by(secret, "a", NOW, BODY));
    // By the message, streamed, and by an id in the body.
    let by_message = endpoint(&format!("{SIGNED_TIME}{SENDERS}"));
    assert_apart(&by_message, |secret| with_time(secret, NOW, BODY));
    let by_json = r#""signature": {"header": "X-S", "id": {"json": "/id"}}"#;
    let by_json = endpoint(&format!("{by_json}{SENDERS}"));
    let with_json = |secret: &str, body: &[u8]| {
        Request::new(body).with("X-S", hex(variable(secret).as_bytes(), body))
    };
    assert_apart(&by_json, |secret| with_json(secret, br#"{"id": "x"}"#));
    // By what is known before the body.
    let unsigned = r#""signature": {"header": "X-S", "message": "{header:X-N}", "body": "unsigned",
        "id": {"header": "X-N"}}"#;
    let by_header = endpoint(&format!("{unsigned}{SENDERS}"));
    assert_apart(&by_header, |secret| {
        let signature = hex(variable(secret).as_bytes(), b"x");
        Request::new(BODY).with("X-N", "x").with("X-S", signature)
    });
    // A secret without a name cannot write the name of another sender into its id.
    let written = with_json("SHORT", br#"{"id": "x\u0000a"}"#);
    let named = with_json("SECRET", br#"{"id": "x"}"#);
    assert_ne!(
        delivery(&written.judge(&by_json)),
        delivery(&named.judge(&by_json))
    );
}

/// An update of the guard keeps the remembered deliveries.
#[test]
fn without_senders_a_delivery_is_the_hash_of_its_id_or_message() {
    let hash = |message: &[u8]| {
        let mut mac = Hmac::<Sha512>::new_from_slice(b"orders").unwrap();
        mac.update(message);
        mac.finalize().into_bytes()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let by_id = delivery(&with_id("a", NOW, BODY).judge(&endpoint(SIGNED_ID)));
    assert_eq!(by_id.to_string(), hash(b"a"));
    let message = [format!("{NOW}.").as_bytes(), BODY].concat();
    let by_message = delivery(&with_time("SECRET", NOW, BODY).judge(&endpoint(SIGNED_TIME)));
    assert_eq!(by_message.to_string(), hash(&message));
}

/// The digest by which a rate limit counts the copies of a message.
fn digest(request: &Request, policy: &Policy) -> Option<String> {
    let verdict = request.judge(policy);
    let verified = verdict.verified()?;
    assert!(verified.message().is_none() || verified.delivery().is_none());
    verified.message().map(|digest| digest.to_string())
}

#[test]
fn copies_of_one_message_share_a_digest_where_nothing_is_remembered() {
    let orders = endpoint(r#""query": ["other"]"#);
    let request = Request::signed(variable("SECRET"), BODY);
    let first = digest(&request, &orders).expect("a digest");
    assert_eq!(first.len(), 32);
    let code = hex(variable("SECRET").as_bytes(), BODY);
    assert!(!code.contains(&first) && !first.contains(&code[..8]));

    // Unsigned parts change nothing.
    let mut copy = request.clone().with("X-Other", "1");
    copy.path = Some("/webhook?other=1".to_owned());
    copy.set("X-Webhook-Signature", &code.to_uppercase());
    copy.cuts = vec![3];
    assert_eq!(digest(&copy, &orders), Some(first.clone()));

    let other = Request::signed(variable("SECRET"), b"{}");
    let other = digest(&other, &orders).expect("a digest");
    assert_ne!(first, other);
    let renamed = policy(
        r#"{"endpoints": [{"name": "other", "match": {"path": "/webhook"},
            "secrets": [{"version": "v1", "env": "SECRET"}]}]}"#,
    );
    assert_ne!(Some(first), digest(&request, &renamed));
}

#[test]
fn a_message_that_a_later_secret_verifies_has_a_digest() {
    let policy = endpoint(&TWO_SECRETS[2..]);
    let request = Request::signed(variable("OLD_SECRET"), BODY);
    let first = digest(&request, &policy).expect("a digest");
    let alone = endpoint(r#""secrets": [{"version": "v1", "env": "OLD_SECRET"}]"#);
    assert_eq!(digest(&request, &alone), Some(first));
}

#[test]
fn a_message_has_no_digest_where_two_deliveries_could_share_it() {
    let signed = |fields: &str| {
        let policy = endpoint(fields);
        digest(&Request::signed(variable("SECRET"), BODY), &policy)
    };
    assert!(signed("").is_some());
    // A digest that no header shows is not computed.
    let silent = policy(
        r#"{"upstream_headers": ["endpoint"], "endpoints": [{"name": "orders", "match": {"path": "/webhook"},
            "secrets": [{"version": "v1", "env": "SECRET"}]}]}"#,
    );
    assert_eq!(
        digest(&Request::signed(variable("SECRET"), BODY), &silent),
        None
    );
    // The delivery identifies the copies there.
    assert_eq!(
        digest(&with_time("SECRET", NOW, BODY), &endpoint(SIGNED_TIME)),
        None
    );
    let forgotten = endpoint(&format!(r#"{SIGNED_TIME}, "replay": {{"window": "0s"}}"#));
    assert!(digest(&with_time("SECRET", NOW, BODY), &forgotten).is_some());
    // A token is the same for every delivery.
    let token = r#""signature": {"header": "X-T", "algorithm": "token", "body": "unsigned"}"#;
    let request = Request::new(BODY).with("X-T", variable("SECRET"));
    let verdict = request.judge(&endpoint(token));
    assert_eq!(verdict.reason(), Reason::Accepted);
    assert_eq!(digest(&request, &endpoint(token)), None);
    // So may be what a sender signs beside the body.
    let unsigned = r#""signature": {"header": "X-S", "message": "{path}", "body": "unsigned"}"#;
    let signature = hex(variable("SECRET").as_bytes(), b"/webhook");
    let request = Request::new(BODY).with("X-S", signature);
    assert_eq!(request.reason(&endpoint(unsigned)), Reason::Accepted);
    assert_eq!(digest(&request, &endpoint(unsigned)), None);
    // Requests that are not accepted are not counted.
    let expired = r#""secrets": [{"version": "2", "env": "OTHER_SECRET"}, {"version": "1", "env": "SECRET", "not_after": "2020-01-01T00:00:00Z"}]"#;
    assert_eq!(signed(expired), None);
    assert_eq!(
        signed(r#""secrets": [{"version": "1", "env": "OTHER_SECRET"}]"#),
        None
    );
}

#[test]
fn an_empty_id_names_no_delivery() {
    let policy = endpoint(SIGNED_ID);
    assert_eq!(
        with_id("", NOW, BODY).reason(&policy),
        Reason::SignatureMalformed
    );
}

/// The headers came while the request was fresh, and its last byte when it no longer was.
#[test]
fn what_depends_on_time_is_judged_at_the_verdict() {
    let policy = endpoint(SIGNED_TIME);
    let mut request = with_time("SECRET", NOW - 299, BODY);
    request.took = 1_000;
    assert_eq!(request.reason(&policy), Reason::Accepted);
    request.took = 1_001;
    assert_eq!(request.reason(&policy), Reason::TimestampExpired);
    // A clock that was set back meanwhile.
    let mut request = with_time("SECRET", NOW + 300, BODY);
    request.took = -1;
    assert_eq!(request.reason(&policy), Reason::TimestampFuture);

    // A secret that ran out while the body came, and one that became valid.
    let until =
        r#", "secrets": [{"version": "1", "env": "SECRET", "not_after": "2023-11-14T22:13:30Z"}]"#;
    let from =
        r#", "secrets": [{"version": "1", "env": "SECRET", "not_before": "2023-11-14T22:13:30Z"}]"#;
    for (secrets, early, late) in [
        (until, Reason::Accepted, Reason::SecretExpired),
        (from, Reason::SecretNotYetValid, Reason::Accepted),
    ] {
        let policy = endpoint(&format!("{SIGNED_TIME}{secrets}"));
        let mut request = with_time("SECRET", NOW, BODY);
        request.took = 9_999;
        assert_eq!(request.reason(&policy), early);
        request.took = 10_000;
        assert_eq!(request.reason(&policy), late);
    }
}

/// A time in the body is read at the verdict, by the clock of the verdict.
#[test]
fn a_time_in_the_body_is_judged_at_the_verdict() {
    let block = r#""signature": {"header": "X-S", "timestamp": {"json": "/t"}}"#;
    let policy = endpoint(block);
    let body = format!(r#"{{"t": {NOW}}}"#);
    let mut request = Request::signed(variable("SECRET"), body.as_bytes());
    request.set("X-S", &hex(variable("SECRET").as_bytes(), body.as_bytes()));
    request.took = 300_000;
    assert_eq!(request.reason(&policy), Reason::Accepted);
    request.took = 300_001;
    assert_eq!(request.reason(&policy), Reason::TimestampExpired);
}
