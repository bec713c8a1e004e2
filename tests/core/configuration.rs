//! Configurations: every fault, all at once, and what is accepted.

use std::fmt::Write;

use webhook_guard::policy::Policy;
use webhook_guard::time::UnixMillis;
use webhook_guard::verdict::Reason;

use crate::faulty::{faulty, secrets, signature, with};
use crate::support::{NOW, Request, VARIABLES, endpoint, policy, read, read_in, variable};

#[test]
fn every_fault_names_its_path_and_its_fix() {
    let mut snapshot = String::new();
    for configuration in faulty() {
        let faults = read(&configuration).expect_err(&configuration);
        assert!(!faults.is_empty(), "{configuration}");
        writeln!(snapshot, "{configuration}").unwrap();
        for fault in faults {
            let line = fault.to_string();
            assert!(!line.contains(char::is_control), "{line:?}");
            writeln!(snapshot, "    {line}").unwrap();
        }
    }
    insta::assert_snapshot!(snapshot);
}

#[test]
fn no_fault_and_no_rendering_shows_a_secret() {
    let mut shown = String::new();
    for configuration in faulty() {
        for fault in read(&configuration).unwrap_err() {
            write!(shown, "{fault} {fault:?}").unwrap();
        }
    }
    write!(shown, "{:?}", policy(&with(r#""mode": "enforce""#))).unwrap();
    let request = Request::signed(variable("SECRET"), b"body");
    write!(shown, "{:?}", request.judge(&endpoint(""))).unwrap();
    for (_, secret) in VARIABLES.iter().filter(|(_, value)| value.len() > 5) {
        assert!(!shown.contains(secret), "{secret:?}");
    }
    assert!(!shown.to_lowercase().contains("hunter2"));
}

#[test]
fn eight_faults_are_eight_lines() {
    let faults = read(faulty().last().unwrap()).unwrap_err();
    assert_eq!(faults.len(), 8, "{faults:?}");
}

#[test]
fn the_whole_of_the_language_is_read() {
    let (policy, warnings) = read(
        r#"{
        "environment": "production", "unmatched": {"pass": ["/app/", "/favicon.ico"]}, "public_url": "https://hooks.example.com",
        "endpoints": [
            {"name": "github", "match": {"path": "/hooks/github", "host": "hooks.example.com"}, "provider": "github",
             "secrets": [
                {"version": "2026-11", "env": "SECRET"},
                {"version": "2026-05", "env": "OLD_SECRET", "not_before": "2026-01-01T00:00:00Z", "not_after": "2026-12-24T00:00:00Z"},
                {"version": "2026-02", "env": "OTHER_SECRET", "revoked": true},
                {"version": "dev", "value": "dev-only", "environment": "development"}],
             "allow": ["192.30.252.0/22", "2a0a:a440::/29", "203.0.113.7"], "client_address": "direct", "methods": ["POST"],
             "max_body_bytes": 1048576.0, "mode": "enforce"},
            {"name": "slack", "match": {"path": "/hooks/slack"}, "provider": "slack", "tolerance": "5m", "mode": "monitor",
             "client_address": {"filter_state": "webhook_guard.peer"}, "secrets": [{"version": "v1", "env": "WHSEC"}]},
            {"name": "acme", "match": {"prefix": "/hooks/acme/"},
             "signature": {"header": "X-Acme-Signature", "separator": ",", "format": ["t={timestamp}", "v1={signature}"],
                "message": "{id}.{timestamp}.{body}", "algorithm": "hmac-sha256", "encoding": "hex", "key": "utf8",
                "timestamp": {"unit": "s", "tolerance": "5m"}, "id": {"header": "X-Acme-Id"}},
             "secrets": [{"version": "v1", "env": "SHORT"}]}]}"#,
    )
    .unwrap();
    let names: Vec<_> = policy
        .endpoints
        .iter()
        .map(|endpoint| endpoint.name.as_str())
        .collect();
    assert_eq!(names, ["github", "slack", "acme"]);
    let versions: Vec<_> = policy.endpoints[0]
        .secrets
        .iter()
        .map(|secret| secret.version.as_str())
        .collect();
    assert_eq!(versions, ["2026-11", "2026-05", "2026-02"]);
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "endpoints[2].secrets[0].env: in the environment variable SHORT, the secret is shorter than 16 bytes and could be guessed: make it longer"
        ]
    );
}

#[test]
fn what_is_doubtful_is_warned_of() {
    let (_, warnings) = read(
        r#"{"endpoints": [
            {"name": "a", "match": {"path": "/a"}, "secrets": [{"version": "v1", "env": "SPACE"}]},
            {"name": "b", "match": {"path": "/b"}, "secrets": [{"version": "v1", "env": "SECRET"}]},
            {"name": "c", "match": {"path": "/c"}, "secrets": [{"version": "v1", "env": "COPY"}],
             "provider": "slack", "tolerance": "31m", "replay": {"window": "0s"}, "allow": ["0.0.0.0/1", "128.0.0.0/1"]},
            {"name": "d", "match": {"path": "/d"}, "secrets": [{"version": "v1", "env": "COPY"}]}]}"#,
    )
    .unwrap();
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    // Each once, however many share a secret.
    assert_eq!(
        warnings,
        [
            "endpoints[0].secrets[0].env: in the environment variable SPACE, the secret starts or ends with white space: remove it unless the sender's secret has it",
            "endpoints[2].allow: the list covers half of all addresses or more: list the sender's addresses, or remove `allow`",
            "endpoints[2].tolerance: a captured request that is not remembered can be sent again for more than an hour: set `tolerance: 5m`, or remember all deliveries",
            "endpoints[2].secrets[0].env: endpoint \"b\" has the same secret, so signatures for one are valid for the other: use another secret",
            "endpoints[3].secrets[0].env: endpoint \"b\" has the same secret, so signatures for one are valid for the other: use another secret",
        ]
    );
}

#[test]
fn handshakes_in_monitor_mode_are_warned_of() {
    let endpoint = |mode: &str| {
        format!(
            r#"{{"endpoints": [{{"name": "a", "match": {{"path": "/a"}}, "provider": "nylas", "mode": "{mode}",
            "answer_challenges": true, "secrets": [{{"version": "v1", "env": "SECRET"}}]}}]}}"#
        )
    };
    let (_, warnings) = read(&endpoint("enforce")).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let (_, warnings) = read(&endpoint("monitor")).unwrap();
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "endpoints[0].answer_challenges: in `mode: monitor` the guard answers no handshake: set `mode: enforce` before the sender checks the endpoint"
        ]
    );
}

#[test]
fn a_header_that_envoy_drops_is_warned_of() {
    let (_, warnings) = read(
        r#"{"endpoints": [{"name": "a", "match": {"path": "/a"}, "signature": {"header": ["X-Sign", "X_Sign"]},
            "secrets": [{"version": "v1", "env": "SECRET"}]}]}"#,
    )
    .unwrap();
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "endpoints[0].signature.header[1]: Envoy drops headers with an underscore: set `headers_with_underscores_action: ALLOW`, or let a proxy rename the header"
        ]
    );
}

#[test]
fn what_was_pasted_with_a_secret_is_warned_of() {
    for (variable, part) in [
        ("NEWLINE", None),
        ("QUOTED", Some("is in quotation marks")),
        ("ESCAPED", Some("ends with a backslash and an n")),
        ("BOM", Some("starts with a byte order mark")),
        ("SUPABASE", Some("starts with `v1,`")),
        ("PEM", Some("is PEM")),
    ] {
        let secrets = secrets(&format!(r#"[{{"version": "v1", "env": "{variable}"}}]"#));
        let (_, warnings) = read(&secrets).unwrap();
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        match part {
            None => assert_eq!(warnings, [""; 0]),
            Some(part) => {
                assert_eq!(warnings.len(), 1);
                let named = format!("in the environment variable {variable}, the secret {part}");
                assert!(warnings[0].contains(&named), "{warnings:?}");
            }
        }
    }
}

#[test]
fn a_long_tolerance_is_warned_of_only_where_nothing_is_remembered() {
    let own = r#""signature": {"header": "X-S", "message": "{timestamp}.{body}", "timestamp": {"header": "X-T", "tolerance": "300h"}, "identity": "none"}"#;
    for (fields, place) in [
        (r#""provider": "slack", "tolerance": "300h""#, None),
        (
            r#""provider": "slack", "tolerance": {"past": "300h"}"#,
            None,
        ),
        (
            r#""provider": "slack", "tolerance": "30m", "replay": {"window": "0s"}"#,
            None,
        ),
        (
            r#""provider": "slack", "tolerance": {"past": "1h"}, "replay": {"window": "0s"}"#,
            Some("endpoints[0].tolerance"),
        ),
        (own, Some("endpoints[0]")),
        // Deliveries without the id are not remembered.
        (
            r#""provider": "slack", "tolerance": "1h", "id": {"json": "/id", "optional": true}"#,
            Some("endpoints[0].tolerance"),
        ),
        (
            r#""provider": "slack", "tolerance": "1h", "id": {"json": "/id"}"#,
            None,
        ),
    ] {
        let endpoint = format!(
            r#"{{"name": "a", "match": {{"path": "/a"}}, "secrets": [{{"version": "v1", "env": "SECRET"}}], {fields}}}"#
        );
        let (_, warnings) = read(&format!(r#"{{"endpoints": [{endpoint}]}}"#)).unwrap();
        let places: Vec<_> = warnings
            .iter()
            .map(|warning| warning.path.as_str())
            .collect();
        assert_eq!(places, Vec::from_iter(place), "{fields}");
    }
}

#[test]
fn requests_that_differ_only_in_an_unsigned_query_are_warned_about() {
    for (fields, is_warned) in [
        (r#""provider": "slack", "methods": ["POST", "GET"]"#, true),
        (
            r#""provider": "zendesk", "identity": "message", "methods": ["GET"]"#,
            true,
        ),
        (r#""provider": "slack""#, false),
        (
            r#""provider": "slack", "methods": ["GET"], "replay": {"window": "0s"}"#,
            false,
        ),
        (
            r#""provider": "slack", "methods": ["GET"], "id": {"json": "/id"}"#,
            false,
        ),
        (
            r#""provider": "slack", "methods": ["GET"], "identity": "none""#,
            false,
        ),
        (r#""provider": "zendesk", "methods": ["GET"]"#, false),
        (r#""provider": "messagebird", "methods": ["GET"]"#, false),
        (r#""provider": "vonage", "methods": ["GET"]"#, false),
        (r#""provider": "lark", "methods": ["GET"]"#, false),
    ] {
        let (_, warnings) = read(&with(fields)).unwrap();
        let is_of_query = |text: String| text.contains("the sender signs no query");
        let found = warnings.iter().map(ToString::to_string).any(is_of_query);
        assert_eq!(found, is_warned, "{fields}");
    }
}

#[test]
fn an_address_from_a_proxy_counts_only_where_clients_cannot_bypass_the_proxy() {
    for (fields, is_warned) in [
        (
            r#""client_address": "forwarded", "allow": ["192.0.2.1"]"#,
            true,
        ),
        (
            r#""client_address": "proxy_protocol", "allow": ["192.0.2.1"]"#,
            true,
        ),
        (
            r#""client_address": "forwarded",
            "allow_from": [{"cluster": "c", "authority": "a", "path": "/", "pointer": "/l"}]"#,
            true,
        ),
        (r#""client_address": "forwarded""#, false),
        (
            r#""client_address": "direct", "allow": ["192.0.2.1"]"#,
            false,
        ),
        (
            r#""client_address": {"filter_state": "k"}, "allow": ["192.0.2.1"]"#,
            false,
        ),
    ] {
        let (_, warnings) = read(&with(fields)).unwrap();
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        let warning = "endpoints[0].client_address: clients that bypass the proxy can claim any address: limit the listener to the proxy by `direct_source_prefix_ranges`";
        let wanted = if is_warned { vec![warning] } else { vec![] };
        assert_eq!(warnings, wanted, "{fields}");
    }
}

#[test]
fn secrets_follow_the_environment() {
    let configuration = secrets(
        r#"[{"version": "live", "env": "SECRET", "environment": "production"},
            {"version": "dev", "value": "a value for development", "environment": "development"},
            {"version": "own", "env": "OTHER_SECRET", "environment": "staging"}]"#,
    );
    for (environment, versions) in [
        ("", vec!["live"]),
        ("production", vec!["live"]),
        ("prod", vec!["live"]),
        ("-", vec!["live"]),
        ("Development", vec!["live"]),
        (" development", vec!["live"]),
        ("staging", vec!["live", "own"]),
        ("development", vec!["dev"]),
    ] {
        let (policy, _) = read_in(environment, &configuration).unwrap();
        let known: Vec<_> = policy.endpoints[0]
            .secrets
            .iter()
            .map(|secret| secret.version.as_str())
            .collect();
        assert_eq!(known, versions, "{environment:?}");
    }
    assert!(read_in("test", &configuration).is_err());
    let named = format!(r#"{{"environment": "development", {}"#, &configuration[1..]);
    let (policy, _) = read_in("production", &named).unwrap();
    assert_eq!(policy.endpoints[0].secrets[0].version, "dev");
    let absent = secrets(
        r#"[{"version": "v1", "env": "SECRET"}, {"version": "dev", "env": "NOT_SET", "environment": "development"}]"#,
    );
    assert!(
        read(&absent).is_ok(),
        "the source of an excluded secret is not read"
    );
}

#[test]
fn a_url_that_is_signed_needs_its_origin_outside_development() {
    let configuration = signature(r#"{"header": "X-S", "message": "{url}{body}"}"#);
    assert!(read_in("production", &configuration).is_err());
    assert!(read_in("test", &configuration).is_err());
    assert!(read_in("development", &configuration).is_ok());
    let (policy, _) = read_in("development", &configuration).unwrap();
    let message = b"https://hooks.example.com/webhookbody";
    let signature = crate::support::hex(variable("SECRET").as_bytes(), message);
    assert_eq!(
        Request::new(b"body").with("x-s", signature).reason(&policy),
        Reason::Accepted
    );
}

#[test]
fn eight_secrets_and_as_many_revoked_can_be_known() {
    let many = |usable: usize, revoked: usize| {
        let one = |n: usize| {
            format!(
                r#"{{"version": "v{n}", "value": "a value of its own {n}", "revoked": {}}}"#,
                n >= usable
            )
        };
        let all: Vec<_> = (0..usable + revoked).map(one).collect();
        read_in("test", &secrets(&format!("[{}]", all.join(", "))))
    };
    assert!(many(8, 8).is_ok());
    assert!(many(9, 0).is_err());
    assert!(many(1, 9).is_err());
}

/// A value that is not there yet may be read in each way that the scheme has.
#[test]
fn each_way_to_read_a_secret_is_one_more() {
    let many = |ways: &str, count: usize| {
        let one = |n: usize| format!(r#"{{"version": "v{n}", "filter_state": "webhook.{n}"}}"#);
        let all: Vec<_> = (0..count).map(one).collect();
        let block = format!(r#""signature": {{"header": "X-S", "key": {ways}}}"#);
        read(&secrets(&format!("[{}], {block}", all.join(", "))))
    };
    let two = r#"["base64", "utf8"]"#;
    assert!(many(two, 4).is_ok());
    assert!(many(two, 5).is_err());
    assert!(many(r#""utf8""#, 8).is_ok());
}

#[test]
fn acceptance_does_not_depend_on_the_clock() {
    let expired =
        secrets(r#"[{"version": "v1", "env": "SECRET", "not_after": "2001-01-01T00:00:00Z"}]"#);
    let (policy, _) = read(&expired).unwrap();
    assert_eq!(
        policy.stale(UnixMillis(NOW * 1_000)).collect::<Vec<_>>(),
        ["orders"]
    );
    assert_eq!(policy.stale(UnixMillis(0)).count(), 0);
    assert_eq!(
        Request::signed(variable("SECRET"), b"body").reason(&policy),
        Reason::SecretExpired
    );
}

#[test]
fn a_struct_is_read_like_json() {
    let json: serde_json::Value = serde_json::from_str(&with(
        r#""max_body_bytes": 5, "methods": ["PUT", "POST"], "mode": "enforce""#,
    ))
    .unwrap();
    let bytes = encode_struct(json.as_object().unwrap());
    let (policy, _) = Policy::read(&bytes, &|_| Ok(variable("SECRET").to_owned())).unwrap();
    assert_eq!(
        Request::signed(variable("SECRET"), b"12345").reason(&policy),
        Reason::Accepted
    );
    assert_eq!(
        Request::signed(variable("SECRET"), b"123456").reason(&policy),
        Reason::BodyTooLarge
    );
    let faults = Policy::read(&bytes[..bytes.len() - 1], &|_| Ok(String::new())).unwrap_err();
    assert!(
        faults[0].message.contains("google.protobuf.Struct"),
        "{}",
        faults[0]
    );
}

/// Encodes JSON as protobuf does: the inverse of the code under test, after the same specification.
fn encode_struct(fields: &serde_json::Map<String, serde_json::Value>) -> Vec<u8> {
    let entry = |(name, value): (&String, &serde_json::Value)| {
        delimited(
            1,
            &[delimited(1, name.as_bytes()), delimited(2, &encode(value))].concat(),
        )
    };
    fields.iter().flat_map(entry).collect()
}

fn encode(value: &serde_json::Value) -> Vec<u8> {
    match value {
        serde_json::Value::Null => vec![0x08, 0],
        serde_json::Value::Bool(value) => vec![0x20, u8::from(*value)],
        serde_json::Value::Number(value) => {
            [&[0x11][..], &value.as_f64().unwrap().to_le_bytes()].concat()
        }
        serde_json::Value::String(value) => delimited(3, value.as_bytes()),
        serde_json::Value::Object(fields) => delimited(5, &encode_struct(fields)),
        serde_json::Value::Array(items) => delimited(
            6,
            &items
                .iter()
                .flat_map(|item| delimited(1, &encode(item)))
                .collect::<Vec<_>>(),
        ),
    }
}

fn delimited(field: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut out = vec![field << 3 | 2];
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

/// The schema states these values as text, so only this test compares them with the code.
#[test]
fn an_absent_field_has_its_documented_default() {
    const SIGNED_ID: &str =
        r#""signature": {"header": "X-S", "id": {"header": "X-I"}, "message": "{id}.{body}"}"#;
    const TIMED: &str = r#""signature": {"header": "X-S", "timestamp": {"header": "X-T""#;
    const LIST: &str =
        r#""allow_from": [{"cluster": "c", "authority": "a", "path": "/p", "pointer": "/l""#;
    let shown = |text: &str| {
        let (policy, _) = read(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
        format!("{policy:#?}")
    };
    let unsigned = format!(r#"{TIMED}}}, "message": "{{timestamp}}.{{body}}"}}"#);
    let five_minutes =
        format!(r#"{TIMED}, "tolerance": "5m"}}, "message": "{{timestamp}}.{{body}}"}}"#);
    let (list, listed) = (
        format!("{LIST}}}]"),
        format!(r#"{LIST}, "refresh": "1h", "max_age": "168h"}}]"#),
    );
    for (without, fields) in [
        (r#""mode": "enforce""#, r#""max_body_bytes": 1048576"#),
        (r#""mode": "enforce""#, r#""methods": ["POST"]"#),
        (r#""mode": "enforce""#, r#""client_address": "direct""#),
        (r#""mode": "enforce""#, r#""decompressed": false"#),
        (r#""mode": "enforce""#, r#""query": "none""#),
        (SIGNED_ID, r#""replay": {"window": "24h"}"#),
        (
            SIGNED_ID,
            r#""replay": {"window": "24h", "lease": "20s", "max_memory_bytes": 2097152, "status": 200}"#,
        ),
        (&unsigned, r#""replay": {"window": "10m"}"#),
        (&unsigned, &five_minutes),
        (&list, &listed),
    ] {
        let more = match fields.starts_with(without.split('{').next().unwrap_or(without)) {
            true => fields.to_owned(),
            false => format!("{without}, {fields}"),
        };
        assert_eq!(shown(&with(without)), shown(&with(&more)), "{fields}");
    }
    let held = with(r#""mode": "enforce""#);
    let more = held.replacen('{', r#"{"max_held_bytes": 134217728, "#, 1);
    assert_eq!(shown(&held), shown(&more));
}

/// Envoy hands over the digits of a large number in YAML as text.
#[test]
fn a_number_above_31_bits_may_come_as_text() {
    let read = |text: &str| {
        let more = r#"{"max_held_bytes": "#.to_owned() + text + ", ";
        read(&with(r#""mode": "enforce""#).replacen('{', &more, 1))
            .map(|(policy, _)| policy.max_held)
    };
    assert_eq!(read("4294967295").unwrap(), 4_294_967_295);
    assert_eq!(read(r#""2147483648""#).unwrap(), 2_147_483_648);
    for text in [
        r#""2147483647""#,
        r#""4294967296""#,
        r#""+2147483648""#,
        r#""02147483648""#,
        r#""3e9""#,
        r#""""#,
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn a_sender_that_changes_nothing_is_warned_of() {
    let warnings = |fields: &str| {
        let secrets = r#"[{"version": "v1", "env": "SECRET", "sender": "a"}]"#;
        let configuration = secrets_with(secrets, fields);
        let (_, warnings) = read(&configuration).unwrap();
        warnings.len()
    };
    assert_eq!(warnings(""), 1);
    assert_eq!(warnings(r#", "provider": "slack""#), 0);
    assert_eq!(warnings(r#", "id": {"json": "/id"}"#), 0);
}

fn secrets_with(list: &str, fields: &str) -> String {
    format!(
        r#"{{"endpoints": [{{"name": "orders", "match": {{"path": "/webhook"}}, "secrets": {list}{fields}}}]}}"#
    )
}
