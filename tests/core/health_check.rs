//! The path on which the guard answers load balancers, and what does not count as a health check.

use webhook_guard::policy::{Policy, Route};
use webhook_guard::verdict::Denial;

use crate::support::{policy, read};

fn with(fields: &str, matcher: &str) -> String {
    format!(
        r#"{{{fields}, "endpoints": [{{"name": "orders", "match": {matcher}, "secrets": [{{"version": "v1", "env": "SECRET"}}]}}]}}"#
    )
}

fn shipped() -> Policy {
    policy(&with(
        r#""health_check": {"path": "/healthz"}, "unmatched": {"pass": ["/"]}"#,
        r#"{"path": "/webhook"}"#,
    ))
}

fn route<'p>(policy: &'p Policy, method: &str, target: &str, upgrades: bool) -> Route<'p> {
    let target = Some(target.as_bytes());
    policy.route(method.as_bytes(), target, b"10.0.0.1:8443", upgrades)
}

#[test]
fn get_and_head_of_the_exact_path_are_health_checks_for_any_host() {
    let policy = shipped();
    for authority in [
        "10.0.0.1:8443",
        "[::1]:8443",
        "hooks.example.com",
        "",
        "a@b",
    ] {
        for method in [&b"GET"[..], b"HEAD"] {
            let route = policy.route(method, Some(b"/healthz"), authority.as_bytes(), false);
            assert!(matches!(route, Route::HealthCheck), "{authority}");
        }
    }
}

#[test]
fn no_other_request_to_the_path_passes() {
    let policy = shipped();
    for method in ["POST", "OPTIONS", "CONNECT", "get", "", "GETHEAD"] {
        let route = route(&policy, method, "/healthz", false);
        assert!(matches!(route, Route::Deny(Denial::Unmatched)), "{method}");
    }
    let upgrade = route(&policy, "GET", "/healthz", true);
    assert!(matches!(upgrade, Route::Deny(Denial::Unmatched)));
}

#[test]
fn another_spelling_of_the_path_is_not_a_health_check() {
    let policy = shipped();
    for target in [
        "/healthz?",
        "/healthz?a=1",
        "/healthz/",
        "//healthz",
        "/%68ealthz",
        "/HEALTHZ",
        "/healthz%20",
        "/healthz;a",
        "/./healthz",
        "/healthz#",
        "healthz",
        "http://x/healthz",
        "/healthz\0",
        "/health",
        "",
        "*",
    ] {
        let route = route(&policy, "GET", target, false);
        assert!(!matches!(route, Route::HealthCheck), "{target}");
    }
}

#[test]
fn without_the_field_no_path_is_a_health_check() {
    let policy = policy(&with(r#""environment": "test""#, r#"{"path": "/webhook"}"#));
    let route = route(&policy, "GET", "/healthz", false);
    assert!(matches!(route, Route::Deny(Denial::Unmatched)));
}

#[test]
fn an_endpoint_near_the_path_keeps_its_requests() {
    let policy = policy(&with(
        r#""health_check": {"path": "/hooks"}"#,
        r#"{"prefix": "/hooks/"}"#,
    ));
    assert!(matches!(
        route(&policy, "GET", "/hooks", false),
        Route::HealthCheck
    ));
    assert!(matches!(
        route(&policy, "GET", "/hooks/a", false),
        Route::Guarded(..)
    ));
}

#[test]
fn a_path_that_is_also_an_endpoints_or_listed_is_refused() {
    for (fields, matcher) in [
        (
            r#""health_check": {"path": "/webhook"}"#,
            r#"{"path": "/webhook"}"#,
        ),
        (
            r#""health_check": {"path": "/webhook"}"#,
            r#"{"path": "/webhook", "host": "a.example"}"#,
        ),
        (
            r#""health_check": {"path": "/hooks/healthz"}"#,
            r#"{"prefix": "/hooks/"}"#,
        ),
        (r#""health_check": {"path": "/"}"#, r#"{"prefix": "/"}"#),
        (
            r#""health_check": {"path": "/a"}, "unmatched": {"pass": ["/app/", "/a"]}"#,
            r#"{"path": "/webhook"}"#,
        ),
    ] {
        let faults = read(&with(fields, matcher)).unwrap_err();
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["health_check.path"], "{fields} {matcher}");
    }
}
