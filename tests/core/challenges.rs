//! Handshakes: each is answered as its sender wants it, nothing else is, and no answer can be used as a
//! signature.

use proptest::prelude::*;
use webhook_guard::policy::Policy;
use webhook_guard::verdict::{Outcome, Reason};
use webhook_guard::verify::Verdict;

use crate::support::{NOW, Request, base64, endpoint, hex, read, read_in, variable};

/// A policy with one endpoint that answers the handshakes of `provider`.
fn answering(provider: &str, fields: &str) -> Policy {
    endpoint(&format!(
        r#""provider": "{provider}", "answer_challenges": true{fields}"#
    ))
}

/// The media type and the body of a verdict's answer.
fn answer(verdict: &Verdict) -> Option<(&str, &str)> {
    let answer = verdict.answer()?;
    assert_eq!(verdict.outcome(), Outcome::Challenged);
    assert_eq!(verdict.reason(), Reason::ChallengeAnswered);
    Some((answer.content_type, &answer.body))
}

fn get(target: &str) -> Request {
    let mut request = Request::new(b"");
    request.method = "GET";
    request.path = Some(target.to_owned());
    request
}

/// A delivery signed as Slack and Zoom do it, under these headers.
fn signed_v0(time: &str, signature: &str, body: &str) -> Request {
    let signed = format!("v0:{NOW}:{body}");
    let mac = hex(variable("SECRET").as_bytes(), signed.as_bytes());
    Request::new(body.as_bytes())
        .with(time, NOW.to_string())
        .with(signature, format!("v0={mac}"))
}

fn slack(body: &str) -> Request {
    signed_v0("X-Slack-Request-Timestamp", "X-Slack-Signature", body)
}

fn zoom(body: &str) -> Request {
    signed_v0("x-zm-request-timestamp", "x-zm-signature", body)
}

fn twitch(kind: &str, body: &str) -> Request {
    let signed = format!("msg-1{}{body}", "2023-11-14T22:13:20Z");
    let signature = hex(variable("SECRET").as_bytes(), signed.as_bytes());
    Request::new(body.as_bytes())
        .with("Twitch-Eventsub-Message-Id", "msg-1")
        .with("Twitch-Eventsub-Message-Timestamp", "2023-11-14T22:13:20Z")
        .with("Twitch-Eventsub-Message-Type", kind)
        .with(
            "Twitch-Eventsub-Message-Signature",
            format!("sha256={signature}"),
        )
}

#[test]
fn a_query_is_echoed_as_plain_text() {
    for (provider, method, target) in [
        ("dropbox", "GET", "/webhook?challenge=a%20b%2B%3Cc%3E"),
        ("nylas", "GET", "/webhook?x=1&challenge=a+b%2B<c>"),
        (
            "microsoft-graph",
            "POST",
            "/webhook?validationToken=a%20b%2B%3Cc%3E",
        ),
    ] {
        let policy = answering(provider, "");
        let mut request = get(target);
        request.method = method;
        let verdict = request.judge(&policy);
        assert_eq!(
            answer(&verdict),
            Some(("text/plain", "a b+<c>")),
            "{provider}"
        );
    }
}

#[test]
fn metas_needs_the_token_that_its_owner_chose() {
    let policy = answering("meta", r#", "verify_token": {"env": "OTHER_SECRET"}"#);
    let token = variable("OTHER_SECRET").replace(' ', "%20");
    let ask = |query: &str| get(&format!("/webhook?{query}")).judge(&policy);
    let right = format!("hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158201444");
    assert_eq!(answer(&ask(&right)), Some(("text/plain", "1158201444")));
    for wrong in [
        right.replace("another", "other"),
        right.replace("hub.verify_token", "verify_token"),
        right.replace("subscribe", "unsubscribe"),
        right.replace("hub.mode=subscribe&", ""),
        right.replace("&hub.challenge=1158201444", ""),
        format!("{right}&hub.verify_token={token}"),
        format!("{right}&hub.challenge=2"),
        "hub.mode=subscribe&hub.verify_token=&hub.challenge=1".to_owned(),
    ] {
        assert_eq!(ask(&wrong).reason(), Reason::MethodNotAllowed, "{wrong}");
    }
}

#[test]
fn xs_and_oktas() {
    let verdict = get("/webhook?crc_token=abc-DEF_12=").judge(&answering("x", ""));
    let mac = base64(variable("SECRET").as_bytes(), b"abc-DEF_12=");
    let expected = format!(r#"{{"response_token":"sha256={mac}"}}"#);
    assert_eq!(answer(&verdict), Some(("application/json", &*expected)));

    let asked = get("/webhook").with("X-Okta-Verification-Challenge", "a\"b\\c");
    let verdict = asked.judge(&answering("okta", ""));
    assert_eq!(
        answer(&verdict),
        Some(("application/json", r#"{"verification":"a\"b\\c"}"#))
    );
}

/// X signs the query of its GET by a formula of its own, in the header of a delivery's signature.
#[test]
fn xs_may_have_another_signature_than_a_delivery() {
    let header = "X-Twitter-Webhooks-Signature";
    let ask = get("/webhook?crc_token=abc&nonce=def").with(header, "sha256=AAAA");
    let reason = ask.reason(&answering("x", ""));
    assert_eq!(reason, Reason::ChallengeAnswered);
}

/// A vector of frain-dev/convoy's internal/pkg/crc/crc_test.go.
#[test]
fn xs_is_answered_as_another_project_answers_it() {
    let configuration = r#"{"endpoints": [{"name": "x", "match": {"path": "/webhook"}, "provider": "x", "answer_challenges": true, "secrets": [{"version": "v1", "value": "Convoy"}]}]}"#;
    let (policy, _) = read_in("test", configuration).unwrap();
    let verdict = get("/webhook?crc_token=uzwcfYtzr9").judge(&policy);
    let expected = r#"{"response_token":"sha256=HXvxTdsfShG6k2zC9NVANwFquJBdOugRYHax2vNiiOo="}"#;
    assert_eq!(answer(&verdict), Some(("application/json", expected)));
}

#[test]
fn probes_without_a_question() {
    for provider in ["trello", "intercom"] {
        let policy = endpoint(&format!(
            r#""provider": "{provider}", "answer_challenges": true, "public_url": "https://hooks.example.com""#
        ));
        let mut request = get("/webhook");
        assert_eq!(request.reason(&policy), Reason::MethodNotAllowed);
        request.method = "HEAD";
        assert_eq!(answer(&request.judge(&policy)), Some(("text/plain", "")));
    }
}

#[test]
fn signed_ones_are_answered_once_their_signature_verified() {
    let policy = answering("slack", "");
    let body = r#"{"type":"url_verification","token":"t","challenge":"3eZbrw1a"}"#;
    assert_eq!(
        answer(&slack(body).judge(&policy)),
        Some(("text/plain", "3eZbrw1a"))
    );
    let mut forged = slack(body);
    forged.body = body.replace("3eZ", "4eZ").into_bytes();
    assert_eq!(forged.reason(&policy), Reason::SignatureInvalid);
    assert_eq!(
        Request::new(body.as_bytes()).reason(&policy),
        Reason::SignatureMissing
    );
    for delivery in [
        r#"{"type":"event_callback","challenge":"3eZbrw1a"}"#,
        r#"{"type":"url_verification"}"#,
        r#"{"type":"url_verification","challenge":""}"#,
        r#"{"type":"url_verification","type":"event","challenge":"x"}"#,
        "no json",
        "",
    ] {
        assert_eq!(
            slack(delivery).reason(&policy),
            Reason::Accepted,
            "{delivery}"
        );
    }

    let policy = answering("twitch", "");
    let body = r#"{"challenge":"pogchamp-kappa-360noscope-vohiyo"}"#;
    let verdict = twitch("webhook_callback_verification", body).judge(&policy);
    assert_eq!(
        answer(&verdict),
        Some(("text/plain", "pogchamp-kappa-360noscope-vohiyo"))
    );
    assert_eq!(
        twitch("notification", body).reason(&policy),
        Reason::Accepted
    );
}

#[test]
fn zooms_hands_out_a_mac_of_a_token_and_of_nothing_else() {
    let policy = answering("zoom", "");
    let body =
        r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    let mac = hex(variable("SECRET").as_bytes(), b"qgg8vlvZRS6UYooatFL8Aw");
    let expected = format!(r#"{{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"{mac}"}}"#);
    assert_eq!(
        answer(&zoom(body).judge(&policy)),
        Some(("application/json", &*expected))
    );
    for token in ["v0:1700000000:x", "a b", "", &"x".repeat(129)] {
        let body = body.replace("qgg8vlvZRS6UYooatFL8Aw", token);
        assert_eq!(zoom(&body).reason(&policy), Reason::Accepted, "{token}");
    }
}

#[test]
fn mondays_needs_no_signature_and_goes_nowhere() {
    let policy = endpoint(
        r#""provider": "monday", "answer_challenges": true, "public_url": "https://hooks.example.com""#,
    );
    let verdict = Request::new(br#"{"challenge":"3eZ\u0022w1a"}"#).judge(&policy);
    assert_eq!(
        answer(&verdict),
        Some(("application/json", r#"{"challenge":"3eZ\"w1a"}"#))
    );
    assert!(verdict.verified().is_none());
    for other in [r#"{"event":1}"#, "", r#"{"challenge":{}}"#] {
        assert_eq!(
            Request::new(other.as_bytes()).reason(&policy),
            Reason::SignatureMissing
        );
    }
    let long = format!(r#"{{"challenge":"x","y":"{}"}}"#, "z".repeat(20_000));
    assert_eq!(
        Request::new(long.as_bytes()).reason(&policy),
        Reason::SignatureMissing
    );
}

const FORM: &str = "application/x-www-form-urlencoded";

fn form(body: &str) -> Request {
    Request::new(body.as_bytes()).with("content-type", FORM)
}

#[test]
fn woocommerces_ping_is_answered_and_its_deliveries_are_not() {
    let policy = answering("woocommerce", "");
    let ping = form("webhook_id=7");
    assert_eq!(answer(&ping.judge(&policy)), Some(("text/plain", "")));
    for charset in ["UTF-8", "utf-8"] {
        let kind = format!("{FORM}; charset={charset}");
        let ping = Request::new(b"webhook_id=7").with("content-type", kind);
        assert_eq!(ping.reason(&policy), Reason::ChallengeAnswered);
    }
    let silent = endpoint(r#""provider": "woocommerce""#);
    assert_eq!(ping.reason(&silent), Reason::SignatureMissing);
    // Another body, another type, a name that occurs twice, and a body above the limit.
    let long = format!("webhook_id=7&x={}", "x".repeat(16 * 1024));
    for (kind, body) in [
        (FORM, "webhook=7"),
        (FORM, ""),
        (FORM, "webhook_id=7&webhook_id=8"),
        (FORM, &long),
        ("application/json", "webhook_id=7"),
        ("application/json", r#"{"webhook_id":7}"#),
    ] {
        let other = Request::new(body.as_bytes()).with("content-type", kind);
        assert_eq!(other.reason(&policy), Reason::SignatureMissing, "{body}");
    }
    // A signed request is a delivery, even if a plugin of the shop sends it as a form.
    let header = "X-WC-Webhook-Signature";
    let mac = base64(variable("SECRET").as_bytes(), b"webhook_id=7");
    let signed = |signature: &str| ping.clone().with(header, signature);
    assert_eq!(signed(&mac).reason(&policy), Reason::Accepted);
    for (wrong, reason) in [
        (mac.replace('=', "A"), Reason::SignatureMalformed),
        (
            base64(variable("SECRET").as_bytes(), b"webhook_id=8"),
            Reason::SignatureInvalid,
        ),
        (String::new(), Reason::SignatureMalformed),
    ] {
        assert_eq!(signed(&wrong).reason(&policy), reason, "{wrong}");
    }
    let twice = signed(&mac).with(header, mac.as_str());
    assert_eq!(twice.reason(&policy), Reason::SignatureDuplicated);
}

#[test]
fn slacks_check_of_a_certificate_may_be_signed() {
    let policy = answering("slack", "");
    let body = "token=abc&ssl_check=1";
    let unsigned = form(body);
    assert_eq!(answer(&unsigned.judge(&policy)), Some(("text/plain", "")));
    let signed = slack(body).with("content-type", FORM);
    assert_eq!(answer(&signed.judge(&policy)), Some(("text/plain", "")));
    let mut forged = signed.clone();
    forged.body = b"token=abd&ssl_check=1".to_vec();
    assert_eq!(forged.reason(&policy), Reason::SignatureInvalid);
    let mut old = signed;
    old.now += 600_000;
    assert_eq!(old.reason(&policy), Reason::TimestampExpired);
    for body in [
        "token=abc&ssl_check=0",
        "token=abc&command=/x",
        "ssl_check=1;",
    ] {
        assert_eq!(form(body).reason(&policy), Reason::SignatureMissing);
        let command = slack(body).with("content-type", FORM);
        assert_eq!(command.reason(&policy), Reason::Accepted, "{body}");
    }
    // A signature without its time is not an absent one.
    let cut = form(body).with("X-Slack-Signature", format!("v0={}", "0".repeat(64)));
    assert_eq!(cut.reason(&policy), Reason::TimestampMissing);
}

#[test]
fn bitbuckets_test_is_answered_and_no_signed_event() {
    let policy = answering("bitbucket", "");
    let test = Request::new(br#"{"test": true}"#).with("X-Event-Key", "diagnostics:ping");
    let verdict = test.clone().judge(&policy);
    assert_eq!(answer(&verdict), Some(("text/plain", "")));
    for key in ["diagnostics:pings", "repo:refs_changed"] {
        let other = Request::new(br#"{"test": true}"#).with("X-Event-Key", key);
        assert_eq!(other.reason(&policy), Reason::SignatureMissing, "{key}");
    }
    let signature = hex(variable("SECRET").as_bytes(), &test.body);
    let signed = test.with("X-Hub-Signature", format!("sha256={signature}"));
    assert_eq!(signed.reason(&policy), Reason::Accepted);
}

/// A handshake may need several values, in both parts of a request, and all of them.
#[test]
fn every_condition_of_a_handshake_must_hold() {
    let policy = endpoint(
        r#""answer_challenges": true, "signature": {"header": "X-S", "challenge": {"when":
            [{"json": "/type", "is": "1"}, {"json": "/token"}, {"header": "X-A", "is": "b"}], "status": 204}}"#,
    );
    for (body, header, is_handshake) in [
        (r#"{"type": 1, "token": "t"}"#, "b", true),
        (r#"{"type": 1}"#, "b", false),
        (r#"{"type": 2, "token": "t"}"#, "b", false),
        (r#"{"type": 1, "token": "t"}"#, "c", false),
    ] {
        let request = Request::new(body.as_bytes()).with("X-A", header);
        let verdict = request.judge(&policy);
        let status = verdict.answer().map(|answer| answer.status);
        assert_eq!(status, is_handshake.then_some(204), "{body} {header}");
    }
}

#[test]
fn linkedins_is_answered_with_a_mac_that_signs_nothing() {
    let policy = answering("linkedin", "");
    let code = "890e4665-4dfe-4ab1-b689-ed553bceeed0";
    let ask =
        |code: &str| get(&format!("/webhook?challengeCode={code}&applicationId=42")).judge(&policy);
    let key = variable("SECRET").as_bytes();
    let mac = hex(key, code.as_bytes());
    let expected = format!(r#"{{"challengeCode":"{code}","challengeResponse":"{mac}"}}"#);
    assert_eq!(answer(&ask(code)), Some(("application/json", &*expected)));
    // The text of a message, which any client may ask for: the guard accepts no such message.
    for body in ["", "42", "890e4665-4dfe-4ab1-b689-ed553bceeed0"] {
        let message = format!("hmacsha256={body}");
        let verdict = ask(&message);
        let (_, given) = answer(&verdict).expect("a MAC");
        let mac = hex(key, message.as_bytes());
        assert!(given.contains(&mac));
        let forged = Request::new(body.as_bytes()).with("X-LI-Signature", mac);
        for answers in [true, false] {
            let fields = format!(r#""provider": "linkedin", "answer_challenges": {answers}"#);
            let reason = forged.reason(&endpoint(&fields));
            assert_eq!(reason, Reason::SignatureInvalid, "{body}");
        }
    }
    // Above the longest text of a challenge, and outside its characters, a message is a delivery.
    for body in ["{}".to_owned(), "4".repeat(118)] {
        let message = format!("hmacsha256={body}");
        assert_eq!(ask(&message).reason(), Reason::MethodNotAllowed, "{body}");
        let mac = hex(key, message.as_bytes());
        let delivery = Request::new(body.as_bytes()).with("X-LI-Signature", mac);
        assert_eq!(delivery.reason(&policy), Reason::Accepted, "{body}");
    }
}

/// The answer's own headers.
fn headers(verdict: &Verdict) -> Vec<(&str, &str)> {
    let headers = verdict.answer().expect("an answer").headers.iter();
    headers.map(|(name, value)| (&**name, &**value)).collect()
}

#[test]
fn azures_of_both_schemas_need_the_token_of_the_url() {
    let policy = answering("azure-event-grid", "");
    let token = variable("SECRET").replace(' ', "%20");
    let target = format!("/webhook?token={token}");
    let ask = |target: &str, origin: &str| {
        let mut request = get(target).with("WebHook-Request-Origin", origin);
        request.method = "OPTIONS";
        request.judge(&policy)
    };
    let verdict = ask(&target, "eventgrid.azure.net");
    assert_eq!(answer(&verdict), Some(("text/plain", "")));
    let expected = [
        ("webhook-allowed-origin", "eventgrid.azure.net"),
        ("webhook-allowed-rate", "*"),
        ("allow", "POST"),
    ];
    let mut given = headers(&verdict);
    given.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(given, expected);
    // No control character, white space or byte above ASCII enters a header, and no more than 1,024 bytes.
    for origin in ["", "a b", "a\r\nb: c", "a\0", "\u{e9}", &"a".repeat(1025)] {
        assert_eq!(
            ask(&target, origin).reason(),
            Reason::MethodNotAllowed,
            "{origin:?}"
        );
    }
    assert_eq!(ask("/webhook", "a").reason(), Reason::SignatureMissing);
    assert_eq!(
        ask("/webhook?token=guessed", "a").reason(),
        Reason::SignatureInvalid
    );

    let body = r#"[{"id":"1","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"512d38b6-\"x","validationUrl":"https://rp-eastus2.eventgrid.azure.net/x"}}]"#;
    let post = |target: &str, kind: &str| {
        let mut request = Request::new(body.as_bytes()).with("aeg-event-type", kind);
        request.path = Some(target.to_owned());
        request.with("content-type", "application/json; charset=utf-8")
    };
    let verdict = post(&target, "SubscriptionValidation").judge(&policy);
    let expected = r#"{"validationResponse":"512d38b6-\"x"}"#;
    assert_eq!(answer(&verdict), Some(("application/json", expected)));
    let unknown = post("/webhook?token=guessed", "SubscriptionValidation");
    assert_eq!(unknown.reason(&policy), Reason::SignatureInvalid);
    let absent = post("/webhook", "SubscriptionValidation");
    assert_eq!(absent.reason(&policy), Reason::SignatureMissing);
    assert_eq!(
        post(&target, "Notification").reason(&policy),
        Reason::Accepted
    );
}

#[test]
fn asanas_gets_its_secret_back_in_a_header() {
    let policy = answering("asana", "");
    let ask = Request::new(b"{}").with("X-Hook-Secret", "b537207f20cbfa02");
    let verdict = ask.judge(&policy);
    assert_eq!(answer(&verdict), Some(("text/plain", "")));
    assert_eq!(headers(&verdict), [("x-hook-secret", "b537207f20cbfa02")]);
    // A delivery stays one, whatever else it has.
    let mac = hex(variable("SECRET").as_bytes(), b"{}");
    let delivery = ask.clone().with("X-Hook-Signature", mac);
    assert_eq!(delivery.reason(&policy), Reason::Accepted);
    let forged = ask.with("X-Hook-Signature", "0".repeat(64));
    assert_eq!(forged.reason(&policy), Reason::SignatureInvalid);
}

/// A scheme of one's own with this handshake, and this place of the signature.
fn own(place: &str, challenge: &str) -> Policy {
    endpoint(&format!(
        r#""answer_challenges": true, "verify_token": {{"env": "OTHER_SECRET"}}, "signature": {{{place}, "challenge": {challenge}}}"#
    ))
}

#[test]
fn values_may_be_in_any_place_of_a_handshake() {
    let token = variable("OTHER_SECRET");
    let places = ["header", "query", "form", "json"];
    for when in places {
        for text in places {
            if [when, text].contains(&"form") && [when, text].contains(&"json") {
                continue;
            }
            let name = |place: &str, name: &str| match place {
                "json" => format!("/{name}"),
                _ => name.to_owned(),
            };
            let challenge = format!(
                r#"{{"when": {{"{when}": "{}", "is": "ping"}}, "text": {{"{text}": "{}"}}, "verify_token": {{"header": "x-token"}}}}"#,
                name(when, "kind"),
                name(text, "code"),
            );
            let policy = own(r#""header": "X-S""#, &challenge);
            let send = |kind: &str, code: &str| {
                let pair = |place| match (when == place, text == place) {
                    (true, true) => format!("kind={kind}&code={code}"),
                    (true, false) => format!("kind={kind}"),
                    (false, true) => format!("code={code}"),
                    (false, false) => String::new(),
                };
                let is_json = when == "json" || text == "json";
                let body = match is_json {
                    true => format!(r#"{{"kind":"{kind}","code":"{code}"}}"#),
                    false => pair("form"),
                };
                let mut request = match is_json {
                    true => Request::new(body.as_bytes()),
                    false => form(&body),
                };
                request.path = Some(format!("/webhook?{}", pair("query")));
                if when == "header" {
                    request = request.with("kind", kind);
                }
                if text == "header" {
                    request = request.with("code", code);
                }
                request
            };
            let ping = send("ping", "abc").with("x-token", token);
            let verdict = ping.judge(&policy);
            assert_eq!(answer(&verdict), Some(("text/plain", "abc")), "{challenge}");
            for other in [
                send("pong", "abc").with("x-token", token),
                send("ping", "").with("x-token", token),
                send("ping", "abc").with("x-token", "guessed"),
                send("ping", "abc"),
            ] {
                assert_eq!(
                    other.judge(&policy).outcome(),
                    Outcome::Denied,
                    "{challenge}"
                );
            }
        }
    }
}

/// The example of the scheme's page.
#[test]
fn a_websub_hub_gets_an_answer_for_one_topic() {
    let policy = endpoint(
        r#""answer_challenges": true, "signature": {"header": "X-Hub-Signature", "format": ["sha1={signature}"], "algorithm": "hmac-sha1", "challenge": {"method": "GET", "when": [{"query": "hub.mode", "is": "subscribe"}, {"query": "hub.topic", "is": "https://www.youtube.com/xml/feeds/videos.xml?channel_id=ID"}], "text": {"query": "hub.challenge"}}}"#,
    );
    let topic = "https%3A%2F%2Fwww.youtube.com%2Fxml%2Ffeeds%2Fvideos.xml%3Fchannel_id%3DID";
    let ask = |mode: &str, topic: &str| {
        get(&format!(
            "/webhook?hub.topic={topic}&hub.challenge=123&hub.mode={mode}&hub.lease_seconds=432000"
        ))
        .judge(&policy)
    };
    assert_eq!(
        answer(&ask("subscribe", topic)),
        Some(("text/plain", "123"))
    );
    let others = [
        ("unsubscribe", topic),
        ("subscribe", "x"),
        ("denied", topic),
    ];
    for (mode, topic) in others {
        assert_eq!(
            ask(mode, topic).reason(),
            Reason::MethodNotAllowed,
            "{mode}"
        );
    }
}

#[test]
fn a_signature_in_the_body_may_be_absent_from_a_handshake() {
    let challenge =
        r#"[{"when": {"json": "/kind", "is": "ping"}, "verify_token": {"json": "/token"}}]"#;
    let policy = own(
        r#""json": "/sig", "algorithm": "token", "body": "unsigned""#,
        challenge,
    );
    let token = variable("OTHER_SECRET");
    let judge = |body: String| Request::new(body.as_bytes()).reason(&policy);
    let with = |sig: &str| format!(r#"{{"kind":"ping","token":"{token}"{sig}}}"#);
    assert_eq!(judge(with("")), Reason::ChallengeAnswered);
    assert_eq!(judge(with(r#","sig":"x""#)), Reason::SignatureInvalid);
    assert_eq!(judge(with(r#","sig":"""#)), Reason::SignatureInvalid);
    assert_eq!(
        judge(with(r#","sig":1,"sig":2"#)),
        Reason::SignatureDuplicated
    );
    assert_eq!(
        judge(r#"{"kind":"ping"}"#.to_owned()),
        Reason::SignatureMissing
    );
    let secret = variable("SECRET");
    assert_eq!(
        judge(with(&format!(r#","sig":"{secret}""#))),
        Reason::Accepted
    );
    let long = format!(r#","x":"{}""#, "x".repeat(16 * 1024));
    assert_eq!(judge(with(&long)), Reason::SignatureMissing);
}

#[test]
fn nothing_is_answered_unless_it_is_asked_for() {
    let dropbox = r#""provider": "dropbox""#;
    let ask = get("/webhook?challenge=x");
    for (fields, reason) in [
        (dropbox.to_owned(), Reason::MethodNotAllowed),
        (
            format!(r#"{dropbox}, "answer_challenges": false"#),
            Reason::MethodNotAllowed,
        ),
        (
            format!(r#"{dropbox}, "answer_challenges": true, "mode": "monitor""#),
            Reason::MethodNotAllowed,
        ),
        (
            format!(r#"{dropbox}, "answer_challenges": true, "mode": "disabled""#),
            Reason::EndpointDisabled,
        ),
        (
            format!(r#"{dropbox}, "answer_challenges": true, "allow": ["192.0.2.1"]"#),
            Reason::ClientAddressDenied,
        ),
    ] {
        assert_eq!(ask.reason(&endpoint(&fields)), reason, "{fields}");
    }
    // A form in the body, and headers in the answer, pass no check either.
    for (provider, request) in [
        ("woocommerce", form("webhook_id=7")),
        ("asana", Request::new(b"").with("X-Hook-Secret", "abc")),
    ] {
        let reason = |fields: &str| request.reason(&answering(provider, fields));
        assert_eq!(reason(""), Reason::ChallengeAnswered);
        let listed = r#", "allow": ["192.0.2.1"]"#;
        assert_eq!(reason(listed), Reason::ClientAddressDenied);
        let monitored = request.judge(&answering(provider, r#", "mode": "monitor""#));
        assert_eq!(monitored.reason(), Reason::SignatureMissing);
        assert_eq!(monitored.outcome(), Outcome::Monitored);
        let disabled = r#", "mode": "disabled""#;
        assert_eq!(reason(disabled), Reason::EndpointDisabled);
        let mut other = request.clone();
        other.method = "PUT";
        let policy = answering(provider, "");
        assert_eq!(other.reason(&policy), Reason::MethodNotAllowed);
    }
    let mut upgrade = ask.clone();
    upgrade = upgrade.with("upgrade", "websocket");
    assert_eq!(
        upgrade.reason(&answering("dropbox", "")),
        Reason::UpgradeRefused
    );
}

#[test]
fn faults_of_handshakes() {
    let fault = |fields: &str| {
        let configuration = format!(
            r#"{{"endpoints": [{{"name": "orders", "match": {{"path": "/webhook"}}, {fields}, "secrets": [{{"version": "v1", "env": "SECRET"}}]}}]}}"#
        );
        read(&configuration).expect_err(fields)[0].to_string()
    };
    assert!(fault(r#""provider": "github", "answer_challenges": true"#).contains("no handshake"));
    assert!(fault(r#""provider": "notion", "answer_challenges": true"#).contains("no handshake"));
    assert!(
        fault(r#""provider": "meta", "answer_challenges": true"#)
            .contains("`verify_token` is missing")
    );
    assert!(
        fault(r#""provider": "x", "answer_challenges": true, "verify_token": {"env": "SECRET"}"#)
            .contains("checks a token")
    );
    let own = |challenge: &str| {
        fault(&format!(
            r#""signature": {{"header": "X-S", "challenge": {challenge}}}"#
        ))
    };
    assert!(
        own(r#"{"text": {"query": "a"}, "reply": "b"}"#).contains("does not contain {challenge}")
    );
    assert!(own(r#"{"text": {"json": "/a"}, "reply": "{mac}"}"#).contains("signed: true"));
    assert!(
        own(r#"{"when": {"json": "/a"}, "text": {"form": "b"}}"#)
            .contains("either `form` or `json`")
    );
}

/// The senders whose handshakes need no signature, and Azure's, which need a token.
const UNSIGNED: [&str; 6] = [
    "azure-event-grid",
    "asana",
    "bitbucket",
    "linkedin",
    "slack",
    "woocommerce",
];

proptest! {
    /// A request without a signature is answered or denied, and puts nothing but visible ASCII into a header.
    #[test]
    fn an_unsigned_request_is_answered_or_denied(
        provider in prop::sample::select(&UNSIGNED),
        method in prop::sample::select(&["POST", "GET", "OPTIONS"]),
        name in prop::sample::select(&["X-Hook-Secret", "X-Event-Key", "WebHook-Request-Origin", "aeg-event-type"]),
        value in "[!-~]{0,12}[!-~\\t\\r\\né ]?|[!-~]{1000,1100}",
        body in "webhook_id=[ -~]{0,3}|ssl_check=[ -~]{0,2}|[ -~]{0,40}",
        is_form in any::<bool>(),
    ) {
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let token = variable("SECRET").replace(' ', "%20");
        let mut request = match is_form {
            true => form(&body),
            false => Request::new(body.as_bytes()),
        };
        request.method = method;
        let query = match provider {
            "azure-event-grid" => format!("token={token}"),
            _ => format!("challengeCode={encoded}"),
        };
        request.path = Some(format!("/webhook?{query}"));
        let verdict = request.with(name, value.clone()).judge(&answering(provider, ""));
        let Some(answer) = verdict.answer() else {
            let is_signed = provider == "azure-event-grid" && method == "POST";
            prop_assert!(verdict.outcome() == Outcome::Denied || is_signed);
            return Ok(());
        };
        prop_assert!(answer.body.len() <= 8 * 1024);
        for (_, value) in &answer.headers {
            prop_assert!(value.len() <= 1024 && value.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    /// The guard never accepts a text whose MAC it reveals in a handshake as a signed message.
    #[test]
    fn no_answer_is_a_signature(text in "[A-Za-z0-9_=-]{1,140}|[ -~]{1,60}") {
        let policy = answering("x", "");
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let asked = get(&format!("/webhook?crc_token={encoded}")).judge(&policy);
        if let Some((_, reply)) = answer(&asked) {
            let signature = reply.trim_start_matches(r#"{"response_token":""#).trim_end_matches("\"}");
            let replayed = Request::new(text.as_bytes()).with("X-Twitter-Webhooks-Signature", signature);
            prop_assert_eq!(replayed.reason(&policy), Reason::SignatureInvalid);
        }
    }

    /// Bodies of any other form are taken as they are without the handshake.
    #[test]
    fn other_bodies_are_taken(body in "[{\\[ ][ -~]{0,200}|[A-Za-z0-9]{129,200}|") {
        let policy = answering("x", "");
        let signature = format!("sha256={}", base64(variable("SECRET").as_bytes(), body.as_bytes()));
        let request = Request::new(body.as_bytes()).with("X-Twitter-Webhooks-Signature", signature);
        prop_assert_eq!(request.reason(&policy), Reason::Accepted);
    }
}
