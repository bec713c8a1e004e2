//! Configurations that are refused, and the parts that tests make theirs of.

/// A configuration with one endpoint that has these fields besides its name, match and secrets.
pub(crate) fn with(fields: &str) -> String {
    format!(
        r#"{{"endpoints": [{{"name": "orders", "match": {{"path": "/webhook"}}, "secrets": [{{"version": "v1", "env": "SECRET"}}], {fields}}}]}}"#
    )
}

/// One with these secrets.
pub(crate) fn secrets(secrets: &str) -> String {
    format!(
        r#"{{"endpoints": [{{"name": "orders", "match": {{"path": "/webhook"}}, "secrets": {secrets}}}]}}"#
    )
}

/// One with this match.
pub(crate) fn matching(matcher: &str) -> String {
    format!(
        r#"{{"endpoints": [{{"name": "orders", "match": {matcher}, "secrets": [{{"version": "v1", "env": "SECRET"}}]}}]}}"#
    )
}

/// One with this signature block.
pub(crate) fn signature(block: &str) -> String {
    with(&format!(r#""signature": {block}"#))
}

/// Two endpoints, by their fields besides the secrets.
pub(crate) fn two(first: &str, second: &str) -> String {
    let one = |fields: &str| {
        format!(r#"{{{fields}, "secrets": [{{"version": "v1", "env": "SECRET"}}]}}"#)
    };
    format!(r#"{{"endpoints": [{}, {}]}}"#, one(first), one(second))
}

/// One with this `unmatched`, and an exact and a prefix endpoint.
pub(crate) fn passing(unmatched: &str) -> String {
    let endpoints = two(
        r#""name": "orders", "match": {"path": "/webhook"}"#,
        r#""name": "acme", "match": {"prefix": "/hooks/acme/", "host": "a.example"}"#,
    );
    endpoints.replacen('{', &format!(r#"{{"unmatched": {unmatched}, "#), 1)
}

pub(crate) fn faulty() -> Vec<String> {
    let nine: Vec<_> = (0..9)
        .map(|n| format!(r#"{{"version": "v{n}", "value": "a value of its own {n}"}}"#))
        .collect();
    let nine = format!(
        r#"{{"environment": "test", {}"#,
        &secrets(&format!("[{}]", nine.join(", ")))[1..]
    );
    let no_keys = [
        ("ed25519", "base64", "{body}", "bm8ga2V5"),
        ("sha256", "hex", "{secret}{body}", "61006263"),
    ];
    let mut all = no_keys
        .map(|(algorithm, key, message, value)| {
            let block =
                format!(r#"{{"header": "X-S", "algorithm": "{algorithm}", "key": "{key}", "message": "{message}"}}"#);
            let secret =
                format!(r#"[{{"version": "v1", "value": "{value}"}}], "signature": {block}"#);
            secrets(&secret).replacen('{', r#"{"environment": "test", "#, 1)
        })
        .to_vec();
    all.extend([
        String::new(),
        "{".into(),
        r#"{"endpoints": [}"#.into(),
        "[]".into(),
        "{}".into(),
        r#"{"endpoints": []}"#.into(),
        r#"{"endpoints": {}}"#.into(),
        r#"{"endpoints": [1]}"#.into(),
        r#"{"endpoint": []}"#.into(),
        r#"{"environment": " ", "unmatched": "allow", "public_url": "https://hooks.example.com/x", "endpoints": []}"#.into(),
        r#"{"endpoints": [{}]}"#.into(),
        with(r#""max_body_bytes": 2097152"#).replacen('{', r#"{"max_held_bytes": 3145727, "#, 1),
        passing(r#""pass""#),
        passing(r#"{}"#),
        passing(r#"["/app/"]"#),
        passing(r#"{"pass": []}"#),
        passing(r#"{"pass": "/app/", "deny": []}"#),
        passing(r#"{"pass": ["app/", "/a?b", "/a//b", 7, "/app/*"]}"#),
        passing(r#"{"pass": ["/webhook", "/WebHook/", "/hooks/acme", "/hooks/acme/public/", "/app/"]}"#),
        passing("true"),
        passing(r#""deny", "log": {}"#),
        passing(r#""deny", "log": "debug""#),
        passing(r#""deny", "log": {"accepted": "warn", "denied": "info"}"#),
        passing(r#""deny", "upstream_headers": "endpoint", "filter_states": ["verdicts"]"#),
        passing(r#""deny", "health_check": {}"#),
        passing(r#""deny", "health_check": "/healthz""#),
        passing(r#""deny", "health_check": {"path": "healthz", "port": 1}"#),
        passing(r#""deny", "health_check": {"path": "/health//z"}"#),
        passing(r#""deny", "health_check": {"path": "/healthz?full"}"#),
        passing(r#""deny", "health_check": {"path": "/webhook"}"#),
        passing(r#""deny", "health_check": {"path": "/hooks/acme/healthz"}"#),
        passing(r#"{"pass": ["/app/", "/healthz"]}, "health_check": {"path": "/healthz"}"#),
        passing(r#"{"pass": ["/app/"], "query": "any", "max_age": "1h"}"#),
        nine,
        two(r#""name": "a", "match": {"path": "/a"}"#, r#""name": "a", "match": {"path": "/b"}"#),
        two(r#""name": "a", "match": {"path": "/a"}"#, r#""name": "b", "match": {"path": "/a", "host": "x"}"#),
        two(r#""name": "a", "match": {"prefix": "/"}"#, r#""name": "b", "match": {"prefix": "/b/"}"#),
    ]);
    all.extend(
        [
            r#"{"prefix": "/internal/"}, "public_url": "https://hooks.example.com/public""#,
            r#"{"path": "webhook"}"#,
            r#"{"path": "/webhook?a=1"}"#,
            r#"{"path": "/web//hook"}"#,
            r#"{"path": "/caf\u00e9"}"#,
            r#"{"path": "/a/../b"}"#,
            r#"{"path": "/a", "prefix": "/b/"}"#,
            r#"{"prefix": "/hooks/acme"}"#,
            r#"{"path": "/webhook", "host": "https://x"}"#,
            r#"{"path": "/webhook", "host": "*.example.com"}"#,
            r#"{"pth": "/webhook"}"#,
            r#"{}"#,
            r#""/webhook""#,
        ]
        .map(matching),
    );
    all.extend(
        [
            r#""max_body_byts": 1"#,
            r#""max_body_bytes": -1"#,
            r#""max_body_bytes": 1.5"#,
            r#""max_body_bytes": 99999999999"#,
            r#""max_body_bytes": "1""#,
            r#""max_body_bytes": "25MB""#,
            r#""tolerance.past": "2h""#,
            r#""hunter2.hunter2": "2h""#,
            r#""mode": "enforced""#,
            r#""mode": null"#,
            r#""query": "all""#,
            r#""query": []"#,
            r#""query": ["a", "", "b=c"]"#,
            r#""query": 1"#,
            r#""signature": {"header": "X-S", "unsigned_query": "any"}"#,
            r#""methods": []"#,
            r#""methods": ["post", "CONNECT", "G ET"]"#,
            r#""allow": []"#,
            r#""allow": ["10.0.0.0/33", "10.0.0.1/8", "example.com", 7]"#,
            r#""signature": {"header": "X-S", "challenge": []}"#,
            r#""signature": {"header": "X-S", "challenge": "ping"}"#,
            r#""signature": {"header": "X-S", "challenge": [{}, {"method": "HEAD"}, {"method": "HEAD"}, {"method": "HEAD"}, {"method": "HEAD"}]}"#,
            r#""signature": {"header": "X-S", "challenge": [{"method": "HEAD"}, {"method": "HEAD"}, {"method": "HEAD"}, {"method": "HEAD"}, {"method": "HEAD"}]}"#,
            r#""signature": {"header": "X-S", "challenge": {"signed": "never", "when": {"claim": "a"}, "text": {"claim": "b"}, "verify_token": {"body": "c"}}}"#,
            r#""signature": {"header": "X-S", "challenge": {"signed": 1, "when": {"form": "a"}, "text": {"json": "/b"}}}"#,
            r#""signature": {"header": "X-S", "challenge": {"when": {"form": "a"}, "text": {"json": "/b"}}}"#,
            r#""signature": {"header": "X-S", "challenge": {"when": {"query": "a"}, "reply": "{mac}"}}"#,
            r#""signature": {"header": "X-S", "challenge": {"text": {"query": "a"}, "headers": {"x-a": "b"}, "reply": "ok"}}"#,
            r#""signature": {"header": "X-S", "challenge": {"signed": "optional", "text": {"form": "a"}, "headers": {"x-a": "{mac}"}}}"#,
            r#""signature": {"header": "X-S", "challenge": {"when": {"query": "a"}, "headers": {"a b": "c", "Set-Cookie": "c", "x-envoy-upstream-service-time": "1", "x-a": "c\r\nd: e", "x-b": " c", "x-c": "{text}", "x-d": "1", "X-D": "2", ":status": "204"}}}"#,
            r#""signature": {"header": "X-S", "challenge": {"when": {"query": "a"}, "headers": {"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"}}}"#,
            r#""signature": {"header": "X-S", "challenge": {"text": {"query": "a"}, "headers": {"Access-Control-Allow-Origin": "{challenge}", "Set-Cookie2": "a", "Grpc-Status": "0", "X-Webhook-Guard-Verdict": "a"}}}"#,
            r#""signature": {"header": "X-S", "challenge": {"when": {"query": "a"}, "headers": ["a"]}}"#,
            r#""signature": {"header": "X-S", "challenge": {"when": [], "status": 302}}"#,
            r#""signature": {"header": "X-S", "challenge": {"when": [{"query": "a"}, {"query": "b"}, {"query": "c"}, {"query": "d"}, {"query": "e"}]}}"#,
            r#""signature": {"header": "X-S", "challenge": {"when": {"query": "a"}, "status": 204, "reply": "ok"}}"#,
            r#""allow_from": []"#,
            r#""allow_from": [{"cluster": "", "authority": "a b", "path": "p", "pointer": "l", "refresh": "0s"}]"#,
            r#""allow_from": [{"cluster": "c", "authority": "a", "path": "/p", "pointer": "/l", "max_age": "1h"}]"#,
            r#""allow_from": [{"cluster": "c", "authority": "a", "path": "/p", "pointer": "/l", "refresh": "5h", "max_age": "4h"}]"#,
            r#""allow_from": [{"cluster": "c", "autority": "a", "pointer": "/l/0"}]"#,
            r#""client_address": "forward""#,
            r#""client_address": {"filter_state": ""}"#,
            r#""client_address": {"state": "x"}"#,
            r#""provider": "githb""#,
            r#""provider": "acme""#,
            r#""provider": 7"#,
            r#""provider": "github", "signature": {"header": "X-S"}"#,
            r#""provider": "github", "tolerance": "5m""#,
            r#""provider": "github", "id": {"header": "X-GitHub-Delivery"}"#,
            r#""provider": "github", "id": {}"#,
            r#""provider": "gitlab-token", "id": {"json": "/id"}"#,
            r#""provider": "svix", "id": {"json": "/id"}"#,
            r#""provider": "github", "id": {"json": "/id"}, "max_body_bytes": 4194305"#,
            r#""signature": {"header": "X-S"}, "id": {"json": "/id"}"#,
            r#""id": {"header": "X-Webhook-Signature"}"#,
            r#""provider": "svix", "id": {"json": "/id", "optional": true}"#,
            r#""provider": "standard-webhooks", "identity": "bytes""#,
            r#""provider": "github", "identity": "id""#,
            r#""provider": "gitlab-token", "identity": "message""#,
            r#""signature": {"header": "X-S"}, "identity": "none""#,
            r#""signature": {"header": "X-S", "id": {"header": "X-Id", "optional": true}, "message": "{id}.{body}"}"#,
            r#""signature": {"header": "X-S", "id": {"json": "/id", "optional": true}, "message": "{id}.{body}"}"#,
            r#""provider": "slack", "id": {"form": "trigger_id", "optional": true}"#,
            r#""signature": {"header": "X-S", "json_in_form": "event", "id": {"json": "/id", "optional": true}}"#,
            r#""signature": {"header": "X-S", "message": "{json:/id}", "body": "unsigned", "id": {"json": "/id", "optional": true}}"#,
            r#""provider": "zendesk", "replay": {"window": "1h"}"#,
            r#""provider": "slack", "tolerance": "5 minutes""#,
            r#""provider": "slack", "tolerance": "0s""#,
            r#""provider": "slack", "tolerance": {"past": "0s", "future": "soon", "both": "5m"}"#,
            r#""provider": "slack", "tolerance": 300"#,
            r#""provider": "slack", "tolerance": {"past": "8h"}, "replay": {"window": "8h4m59s"}"#,
            r#""provider": "github", "tolerance": {"past": "8h"}"#,
            r#""mode": "monitor", "mode": "monitor""#,
            r#""provider": "slack", "replay": {"window": "9m59s"}"#,
            r#""provider": "slack", "tolerance": "1h", "replay": {"window": "10m"}"#,
            r#""provider": "slack", "replay": {"windw": "10m", "lease": "0s", "max_memory_bytes": 65535, "status": 500}"#,
            r#""provider": "gitlab-token", "replay": {"window": "10m"}"#,
            r#""provider": "dropbox-sign", "replay": {"window": "10m"}"#,
            r#""replay": {"window": "10m"}"#,
            r#""signature": {"header": "X-S", "identity": "message"}, "replay": {}"#,
            r#""public_url": "hooks.example.com/path""#,
            r#""public_url": "https:///path""#,
            r#""public_url": "https://user@hooks.example.com/path""#,
            r#""public_url": "https://hooks.example.com/path?a=1""#,
            r#""public_url": "https://hooks.example.com#path""#,
            r#""public_url": "https://hooks.example.com/a/../path""#,
            r#""public_url": "https://hooks.example.com/a//path""#,
            r#""public_url": "https://hooks.example.com/a path""#,
            r#""public_url": "https://hooks.example.com/café""#,
            "\"a\\nb\\u001b\": 1",
        ]
        .map(with),
    );
    all.extend([
        r#"{}"#,
        r#"{"header": "X S"}"#,
        r#"{"header": "X-S", "separator": ""}"#,
        r#"{"header": "X-S", "format": []}"#,
        r#"{"header": "X-S", "format": ["t={timestamp}"], "message": "{timestamp}{body}"}"#,
        r#"{"header": "X-S", "format": ["v1={signatur}"]}"#,
        r#"{"header": "X-S", "message": "{bo\u000ady}"}"#,
        r#"{"header": "X-S", "format": ["v1={signature"]}"#,
        r#"{"header": "X-S", "format": ["{timestamp}{signature}"], "message": "{timestamp}{body}"}"#,
        r#"{"header": "X-S", "format": ["{signature},{signature}", "x"]}"#,
        r#"{"header": "X-S", "message": "{timestamp}"}"#,
        r#"{"header": "X-S", "message": "{body}{body}"}"#,
        r#"{"header": "X-S", "message": []}"#,
        r#"{"header": "X-S", "message": ["{body}", "{body}1", "{body}2", "{body}3", "{body}4"]}"#,
        r#"{"header": "X-S", "message": ["{body}", "{method}{body}"]}"#,
        r#"{"header": "X-S", "message": ["{method}.{body}", "{body}.{method}"]}"#,
        r#"{"header": "X-S", "message": ["{url_any_port}{body}", "{url_any_port}/{body}"]}"#,
        r#"{"header": "X-S", "message": ["{timestamp}.{body}", "{timestamp}:{body}"], "timestamp": {"header": "X-T"}}"#,
        r#"{"header": "X-S", "message": ["{body}", "{body}!"], "algorithm": "ed25519", "key": "hex"}"#,
        r#"{"header": "X-S", "message": "{url_any_port}{body}{secret}", "algorithm": "sha256"}"#,
        r#"{"header": "X-S", "algorithm": []}"#,
        r#"{"header": "X-S", "algorithm": ["hmac-sha1", "sha-256"]}"#,
        r#"{"header": "X-S", "algorithm": ["hmac-sha256", "token"]}"#,
        r#"{"form": "s", "message": "{form:a}", "algorithm": ["hmac-sha1", "hmac-sha256"], "body": "unsigned"}"#,
        r#"{"header": "X-S", "message": "{timestamp}.{id}.{body}"}"#,
        r#"{"header": "X-S", "timestamp": {"header": "X-T"}, "id": {"header": "X-Id"}}"#,
        r#"{"header": "X-S", "timestamp": {"unit": "s"}, "message": "{timestamp}{body}"}"#,
        r#"{"header": "X-S", "separator": ",", "format": ["t={timestamp}", "{signature}"], "timestamp": {"header": "X-T"}, "message": "{timestamp}{body}"}"#,
        r#"{"header": "X-S", "timestamp": {"unit": "minutes", "tolerance": "soon", "heder": "x"}}"#,
        r#"{"header": "X-S", "algorithm": "sha256", "encoding": "hexx", "key": "bas64"}"#,
        r#"{"header": "X-S", "message": "{url}{body}"}"#,
        r#"{"header": "X-S", "id": {}}"#,
        r#"{"header": "X-S", "identity": "id"}"#,
        r#"{"header": "X-S", "algorithm": "token", "body": "unsigned", "identity": "message"}"#,
        r#"{"header": "X-S", "algorithm": "sha256"}"#,
        r#"{"header": "X-S", "message": "{secret}{body}"}"#,
        r#"{"header": "X-S", "algorithm": "sha1"}"#,
        r#"{"header": "X-S", "algorithm": "hmac-md5"}"#,
        r#"{"header": "X-S", "algorithm": "MD5"}"#,
        r#"{"header": "X-S", "algorithm": "HMAC_SHA-256"}"#,
        r#"{"header": "X-S", "algorithm": "sha-512"}"#,
        r#"{"header": "X-S", "algorithm": "rsa-sha256"}"#,
            r#"{"header": "X-S", "message": "{header:a?a:*;}{header:b?a:*;}.{body}"}"#,
            r#"{"header": "X-S", "message": "{header:a?a:*;}{body}"}"#,
            r#"{"header": "X-S", "message": "{body}{header:a?a:*;}"}"#,
            r#"{"header": "X-S", "message": "{header:a?a*;}{header:b?ab*;}.{body}"}"#,
            r#"{"header": "X-S", "message": "{header:a?a:*;}a:b:{body}"}"#,
            r#"{"header": "X-S", "message": "{header:a?*;}.{body}"}"#,
            r#"{"header": "X-S", "message": "{header:a?a:*}.{body}"}"#,
            r#"{"header": "X-S", "separator": ",", "format": ["a,{signature}"]}"#,
            r#"{"header": "X-S", "format": [" v1={signature}"]}"#,
            r#"{"header": "X-S", "format": ["t={timestamp}", "v1={signature}"], "message": "{timestamp}{body}"}"#,
            r#"{"header": "X-S", "separator": ",", "format": ["{signature}", "t={timestamp}"], "message": "{timestamp}{body}"}"#,
            r#"{"header": "X-S", "id": {"header": "x-s"}, "message": "{id}.{body}"}"#,
            r#"{"header": "X-S", "key": "whsec_TheSecretItself123hunter2"}"#,
    ].map(signature));
    all.extend([
        r#"[]"#,
        r#""WEBHOOK_SECRET""#,
        r#"{"version": "v1", "env": "SECRET"}"#,
        r#"["hunter2-hunter2-hunter2"]"#,
        r#"[{"version": "v1"}]"#,
        r#"[{"version": "v1", "env": "SECRET", "value": "hunter2-hunter2-hunter2"}]"#,
        r#"[{"version": "v1", "value": "hunter2-hunter2-hunter2"}]"#,
        r#"[{"version": "v1", "env": "hunter2-hunter2-hunter2"}]"#,
        r#"[{"version": "v1", "env": "$WEBHOOK_SECRET"}]"#,
        r#"[{"version": "v1", "env": "${WEBHOOK_SECRET}"}]"#,
        r#"[{"version": "v1", "env": "2HUNTER"}]"#,
        r#"[{"version": "v1", "env": ""}]"#,
        r#"[{"version": "hunter2 hunter2 hunter2", "env": "SECRET"}]"#,
        r#"[{"version": "v1", "env": "SECRET", "sender": "hunter2 hunter2 hunter2"}]"#,
        r#"[{"version": "v1", "env": "NOT_SET"}]"#,
        r#"[{"version": "v1", "env": "EMPTY"}, {"version": "v2", "env": "BLANK"}, {"version": "v3", "env": "DASH"}]"#,
        r#"[{"version": "v1", "env": "SECRET"}, {"version": "v1", "env": "OLD_SECRET"}]"#,
        r#"[{"version": "v1", "env": "SECRET"}, {"version": "v2", "env": "COPY"}]"#,
        r#"[{"version": "v1", "env": "SECRET", "revoked": true}]"#,
        r#"[{"version": "v1", "env": "SECRET", "revoked": "yes"}]"#,
        r#"[{"version": "v1", "env": "SECRET", "revoked": "true"}]"#,
        r#"[{"version": "v1", "env": "SECRET", "environment": "staging"}]"#,
        r#"[{"version": "v1", "env": "SECRET", "not_after": "tomorrow"}]"#,
        r#"[{"version": "v1", "env": "SECRET", "not_before": "2026-02-01T00:00:00Z", "not_after": "2026-01-01T00:00:00Z"}]"#,
        r#"[{"version": "v1", "filter_state": ""}]"#,
        r#"[{"version": "v1", "filter_state": "webhook.secret", "env": "SECRET", "value": "hunter2-hunter2-hunter2"}]"#,
        r#"[{"version": "v1", "filter_state": "webhook.secret"}, {"version": "v2", "filter_state": "webhook.secret"}]"#,
        r#"[{"version": "v1", "filter_state": "webhook.secret", "revoked": true}]"#,
        r#"[{"version": "v1", "filter_state": "webhook.secret", "environment": "test"}]"#,
            r#"[{"version": "v1", "env": "NOT_SET", "revokd": true, "not_before": "2026-02-01T00:00:00Z", "not_after": "2026-01-01T00:00:00Z"}]"#,
            r#"[{"version": "v1", "env": "SECRET"}, {"version": "v2", "env": "COPY"}, {"version": "v3", "env": "NOT_SET"}]"#,
            r#"[{"version": "v1", "env": "HUNTER2HUNTER2"}]"#,
            r#"[{"version": "v1", "whsec_hunter2": ""}]"#,
    ].map(secrets));
    all.extend(
        [
            ("hex", "SECRET"),
            ("base64", "SECRET"),
            ("base64url", "SECRET"),
            ("whsec", "SECRET"),
            ("base64", "DASH_BASE64"),
            ("hex", "BLANK_HEX"),
            ("hex", "ZERO_HEX"),
            ("hex", "SPACE"),
            ("base64", "WHSEC"),
            ("base64", "PEM"),
            ("base64url", "QUOTED"),
            ("whsec", "SUPABASE"),
        ]
        .map(|(key, variable)| {
            signature(&format!(r#"{{"header": "X-S", "key": "{key}"}}"#))
                .replace("\"SECRET\"", &format!("\"{variable}\""))
        }),
    );
    all.push(
        r#"{"unmatchd": "deny", "endpoints": [
            {"name": "Orders", "match": {"path": "x"}, "provider": "githu", "secrets": [{"version": "v1", "env": "EMPTY"}],
             "allow": ["10.0.0.0/33"], "max_body_bytes": -1, "mode": "off"}]}"#
            .into(),
    );
    all
}
