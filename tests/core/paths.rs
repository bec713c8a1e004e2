//! Requests that pass without an endpoint, and paths that an upstream could confuse with an endpoint's path.

use webhook_guard::policy::Policy;
use webhook_guard::verdict::Reason;

use crate::faulty::passing;
use crate::support::{Request, policy, read, read_in, variable};

const BODY: &[u8] = br#"{"order": 1}"#;

/// The reason for a request that the prefix's sender signed.
fn sent(policy: &Policy, path: &str) -> Reason {
    to(policy, path, "b.example")
}

fn to(policy: &Policy, path: &str, authority: &'static str) -> Reason {
    let mut request = Request::signed(variable("OLD_SECRET"), BODY);
    request.path = Some(path.to_owned());
    request.authority = authority;
    request.reason(policy)
}

/// A policy with exact endpoints and, after them, prefixes of another sender.
fn policy_of(unmatched: &str, exact: &[&str], prefixes: &[&str]) -> Policy {
    let exact = exact.iter().map(|path| ("path", path, "SECRET"));
    let prefixes = prefixes.iter().map(|path| ("prefix", path, "OLD_SECRET"));
    let endpoints: Vec<_> = exact
        .chain(prefixes)
        .enumerate()
        .map(|(place, (field, path, secret))| {
            format!(
                r#"{{"name": "e{place}", "match": {{"{field}": "{path}"}}, "secrets": [{{"version": "v1", "env": "{secret}"}}]}}"#
            )
        })
        .collect();
    policy(&format!(
        r#"{{"unmatched": {unmatched}, "endpoints": [{}]}}"#,
        endpoints.join(", ")
    ))
}

/// Each endpoint with paths that some application takes for it.
const NEAR: &[(&str, &[&str])] = &[
    (
        "/webhook",
        &[
            "/webhook.json",
            "/webhook.x",
            "/webhook/x",
            "/webhook/",
            "/webhook/x/y.z",
            "/webhook::$DATA",
            "/webhook:$i30:$INDEX_ALLOCATION/x",
            "/webhook~",
            "/webhook,v",
            "/webhook.php",
            "/webhook;x=1/y",
            "/index.php/webhook",
            "/index.php/webhook/x",
            "/app.cgi/a/webhook.json",
            "/WebHook.JSON",
            "/%77ebhook%2ejson",
            "/webhook%EF%BC%9Bx",
            "/webhook%EF%BC%8E",
            "/webhook%EF%BC%8Ejson",
            "/webhook%E2%80%8B",
            "/webhook%EF%BB%BF/x",
            "/web%C2%ADhook",
            "/web%E2%81%A0hook/x",
            "/webhook%EF%BC%9Fx",
            "/webhook%EF%BC%8Fx",
            "/index.php%EF%BC%8Fwebhook",
            "/%EF%BD%97ebhook.json",
            "/webhook%20.x",
        ],
    ),
    (
        "/webhook.php",
        &[
            "/webhook.php/x",
            "/webhook",
            "/webhook/x",
            "/webhook.phtml",
            "/webhook.PHP",
            "/webhook.php7",
            "/webhook.php.bak",
            "/index.php/webhook",
        ],
    ),
    (
        "/hooks/github",
        &[
            "/hooks/github.json",
            "/hooks/github/x",
            "/hooks:$i30:$INDEX_ALLOCATION/github",
            "/index.php/hooks/github",
            "/hooks%EF%BC%8Fgithub",
            "/hooks%EF%BC%8Fgithub.json",
            "/hooks/%E2%80%8B/github",
        ],
    ),
    (
        "/index.php/hook",
        &[
            "/hook",
            "/hook.json",
            "/index.php/hook/x",
            "/index.php5/index.php/hook",
        ],
    ),
    (
        "/hook/index.php",
        &[
            "/hook",
            "/hook/",
            "/hook/index.php/x",
            "/hook/index",
            "/hook/index.html",
        ],
    ),
];

#[test]
fn no_path_that_an_application_takes_for_an_endpoints_passes() {
    for (endpoint, paths) in NEAR {
        let policy = policy_of(r#"{"pass": ["/"]}"#, &[endpoint], &[]);
        for path in *paths {
            assert_eq!(sent(&policy, path), Reason::Unmatched, "{endpoint}: {path}");
        }
        assert_eq!(sent(&policy, "/other"), Reason::Passed);
    }
    // Routers that match the beginning of a path, and those that mount a part of the application anywhere.
    let policy = policy_of(
        r#"{"pass": ["/"]}"#,
        &["/webhook", "/a/b"],
        &["/hooks/acme/"],
    );
    for path in [
        "/webhookx",
        "/webhooks",
        "/webhook-x/y",
        "/en/webhook",
        "/x/y/webhooks",
        "/en/a/b/c",
        "/hooks/acme",
        "/hooks/acmex",
        "/en/HOOKS/acme/x",
        "/hooks;x/acme/y",
    ] {
        assert_eq!(sent(&policy, path), Reason::Unmatched, "{path}");
    }
    for path in [
        "/",
        "/web",
        "/hooks",
        "/hooks/",
        "/hooks/acm",
        "/a",
        "/a/x/b",
        "/xwebhook",
        "/?next=/webhook",
    ] {
        assert_eq!(sent(&policy, path), Reason::Passed, "{path}");
    }
    // More segments than are compared.
    assert_eq!(sent(&policy, &"/x".repeat(100)), Reason::Passed);
    assert_eq!(sent(&policy, &"/x".repeat(101)), Reason::Unmatched);
    assert_eq!(
        sent(&policy, "/x/%EF%BC%8E%EF%BC%8E/webhook"),
        Reason::PathAmbiguous
    );
}

#[test]
fn nor_does_another_senders_prefix_take_it() {
    for (endpoint, paths) in NEAR {
        let policy = policy_of(r#""deny""#, &[endpoint], &["/"]);
        for path in *paths {
            assert_eq!(sent(&policy, path), Reason::Unmatched, "{endpoint}: {path}");
        }
        assert_eq!(sent(&policy, "/other"), Reason::Accepted);
    }
    let policy = policy_of(r#""deny""#, &["/hooks/github"], &["/hooks/"]);
    for path in [
        "/hooks/github.json",
        "/hooks/github/x",
        "/hooks/github:x",
        "/hooks/x.php/hooks/github",
    ] {
        assert_eq!(sent(&policy, path), Reason::Unmatched, "{path}");
    }
    let policy = policy_of(r#""deny""#, &["/webhook"], &["/index.php/", "/webhook/"]);
    assert_eq!(sent(&policy, "/index.php/webhook"), Reason::Unmatched);
    assert_eq!(
        sent(&policy, "/webhook/"),
        Reason::Unmatched,
        "the slash is all that tells them apart"
    );
    assert_eq!(sent(&policy, "/webhook/%20"), Reason::Unmatched);
}

/// An application in a folder routes by the path after its program. A server may find a program without its suffix.
#[test]
fn a_program_within_the_path_hides_no_endpoint() {
    for (listed, endpoint, path) in [
        ("/shop/", "/shop/webhook", "/shop/index.php/webhook"),
        ("/shop/", "/shop/webhook", "/shop/app_dev.php/webhook/x"),
        ("/shop/", "/shop/webhook", "/shop/INDEX.PHP/webhook.json"),
        ("/", "/hooks/github", "/hooks/index.php/github"),
        ("/", "/hooks/github", "/hooks.php/github"),
    ] {
        let passing = policy_of(&format!(r#"{{"pass": ["{listed}"]}}"#), &[endpoint], &[]);
        assert_eq!(sent(&passing, path), Reason::Unmatched, "{path} passes");
        let rival = policy_of(r#""deny""#, &[endpoint], &[listed]);
        assert_eq!(sent(&rival, path), Reason::Unmatched, "{path} by {listed}");
    }
    // The operator's own prefix, and pages that lead to no endpoint.
    let policy = policy_of(r#""deny""#, &["/hooks"], &["/hooks/"]);
    assert_eq!(sent(&policy, "/hooks/deliver.php"), Reason::Accepted);
    let policy = policy_of(r#"{"pass": ["/"]}"#, &["/shop/webhook"], &[]);
    for path in [
        "/index.php",
        "/shop/index.php",
        "/shop/about.html",
        "/about.html/x",
    ] {
        assert_eq!(sent(&policy, path), Reason::Passed, "{path}");
    }
}

#[test]
fn the_order_of_endpoints_does_not_matter_for_what_lies_elsewhere() {
    let policy = policy(
        r#"{"endpoints": [
            {"name": "a", "match": {"prefix": "/index.php/"}, "secrets": [{"version": "v1", "env": "OLD_SECRET"}]},
            {"name": "b", "match": {"path": "/webhook"}, "secrets": [{"version": "v1", "env": "SECRET"}]}]}"#,
    );
    assert_eq!(sent(&policy, "/index.php/webhook"), Reason::Unmatched);
    assert_eq!(sent(&policy, "/index.php/other"), Reason::Accepted);
}

#[test]
fn what_a_prefixs_own_sender_sends_is_taken() {
    for (exact, prefix, paths) in [
        (
            "/hooks/a",
            "/hooks/",
            &[
                "/hooks/b",
                "/hooks/ab",
                "/hooks/a-b",
                "/hooks/a_b",
                "/hooks/a%C3%A9",
                "/hooks/x/a",
                "/hooks/x/hooks/a",
            ][..],
        ),
        (
            "/hooks/github",
            "/hooks/",
            &[
                "/hooks/github-enterprise",
                "/hooks/github2",
                "/hooks/gitlab/x",
            ],
        ),
        // The segments of the prefix do not indicate the endpoint above it.
        (
            "/webhook",
            "/webhook/",
            &["/webhook/stripe", "/webhook/x/y.json"],
        ),
        (
            "/hooks/github",
            "/hooks/github/",
            &["/hooks/github/1", "/hooks/github/1.json"],
        ),
        (
            "/webhook",
            "/tenants/",
            &[
                "/tenants/42/webhook",
                "/tenants/acme.com/webhook",
                "/tenants/42/webhook/x",
            ],
        ),
        (
            "/hooks/acme.com",
            "/hooks/",
            &["/hooks/acme", "/hooks/acme.de"],
        ),
        ("/v1.2", "/", &["/v1.3", "/v1.3/x", "/v1"]),
        ("/", "/x/", &["/x/", "/x/y"]),
        (
            "/webhook",
            "/",
            &["/", "/webhooks/x", "/webhook2", "/other/hook"],
        ),
    ] {
        let policy = policy_of(r#""deny""#, &[exact], &[prefix]);
        for path in paths {
            assert_eq!(
                sent(&policy, path),
                Reason::Accepted,
                "{exact}, {prefix}: {path}"
            );
        }
        assert_eq!(sent(&policy, exact), Reason::SignatureInvalid, "{exact}");
    }
    // A prefix in a prefix, and hosts: the first that matches has a request.
    let policy = policy(
        r#"{"endpoints": [
            {"name": "a", "match": {"prefix": "/", "host": "b.example"}, "secrets": [{"version": "v1", "env": "OLD_SECRET"}]},
            {"name": "b", "match": {"path": "/hooks/x"}, "secrets": [{"version": "v1", "env": "SECRET"}]},
            {"name": "c", "match": {"prefix": "/hooks/acme/"}, "secrets": [{"version": "v1", "env": "OLD_SECRET"}]},
            {"name": "d", "match": {"prefix": "/hooks/"}, "secrets": [{"version": "v1", "env": "OLD_SECRET"}]},
            {"name": "e", "match": {"prefix": "/"}, "secrets": [{"version": "v1", "env": "OLD_SECRET"}]}]}"#,
    );
    for path in [
        "/",
        "/hooks/x",
        "/hooks/x/y",
        "/hooks/x.json",
        "/hooks/acme/x",
    ] {
        assert_eq!(to(&policy, path, "b.example"), Reason::Accepted, "{path}");
    }
    for path in ["/", "/hooks/acme/x", "/hooks/acme/", "/hooks/y", "/y"] {
        assert_eq!(to(&policy, path, "c.example"), Reason::Accepted, "{path}");
    }
    for path in ["/hooks/x.json", "/hooks/acme", "/hooks/acme.x/y"] {
        assert_eq!(to(&policy, path, "c.example"), Reason::Unmatched, "{path}");
    }
}

#[test]
fn a_request_with_an_endpoints_own_path_belongs_to_it_whatever_is_near() {
    let exact = [
        "/webhook",
        "/webhook/stripe",
        "/webhook.json",
        "/hooks/github",
        "/hooks/github-enterprise",
        "/index.php/webhook",
    ];
    let policy = policy_of(r#"{"pass": ["/"]}"#, &exact, &["/hooks/acme/"]);
    for path in exact {
        let mut request = Request::signed(variable("SECRET"), BODY);
        request.path = Some(path.to_owned());
        assert_eq!(request.reason(&policy), Reason::Accepted, "{path}");
    }
}

#[test]
fn only_what_is_listed_passes() {
    let policy = policy_of(
        r#"{"pass": ["/app/", "/static/logo.png", "/hooks/docs/", "/webhook/public/", "/webhooks/"]}"#,
        &["/webhook", "/hooks/github"],
        &[],
    );
    for path in [
        "/app/",
        "/app/x?y=/webhook",
        "/static/logo.png",
        "/hooks/docs/x",
        "/hooks/docs/x/github",
        // Near an endpoint, but listed by name.
        "/webhook/public/",
        "/webhook/public/x.json",
        "/webhooks/x",
    ] {
        assert_eq!(sent(&policy, path), Reason::Passed, "{path}");
    }
    for path in [
        "/",
        "/app",
        "/App/x",
        "/static/logo.png/x",
        "/static/",
        "/webhook/x",
        "/webhook.json",
        // Near an endpoint by what follows.
        "/app/webhook",
        "/app/webhook.json",
        "/app/index.php/hooks/github",
        "/hooks/docs/webhook",
        "/webhook/public/webhook/x",
        "*",
    ] {
        assert_eq!(sent(&policy, path), Reason::Unmatched, "{path}");
    }
}

#[test]
fn an_index_is_also_its_folder() {
    let policy = policy_of(r#"{"pass": ["/hooks/"]}"#, &["/hooks/index.php"], &[]);
    assert_eq!(sent(&policy, "/hooks/"), Reason::Unmatched);
    assert_eq!(sent(&policy, "/hooks/index.php/x"), Reason::Unmatched);
    assert_eq!(sent(&policy, "/hooks/docs"), Reason::Passed);
}

#[test]
fn without_a_list_all_that_is_near_no_endpoint_passes_in_development() {
    for environment in ["development", "test"] {
        let (policy, _) = read_in(environment, &passing(r#""pass""#)).unwrap();
        for path in ["/", "/other", "/web", "/hooks/acm", "/?next=/webhook", "*"] {
            assert_eq!(sent(&policy, path), Reason::Passed, "{path}");
        }
        for path in [
            "/WebHook",
            "/webhook.json",
            "/webhoo%E2%84%AA",
            "/hooks/acme",
            "/hooks/acme/x",
        ] {
            assert_eq!(sent(&policy, path), Reason::Unmatched, "{path}");
        }
        for path in [
            "//webhook",
            "/a/../webhook",
            "/webhook%2f",
            "/webhook\\",
            "/a/..;/webhook",
            "/web%00hook",
        ] {
            assert_eq!(sent(&policy, path), Reason::PathAmbiguous, "{path}");
        }
        for authority in ["a.example", "A.EXAMPLE:8443", "a.example."] {
            assert_eq!(
                to(&policy, "/hooks/acme/x", authority),
                Reason::SignatureInvalid,
                "{authority}"
            );
        }
    }
    for environment in ["", "production", "staging", "Development"] {
        let faults = read_in(environment, &passing(r#""pass""#)).unwrap_err();
        assert!(faults[0].to_string().contains("list paths"), "{faults:?}");
    }
}

#[test]
fn what_is_listed_and_doubtful_is_warned_of() {
    let (policy, warnings) = read(&passing(
        r#"{"pass": ["/app/", "/webhook/public/", "/docs/webhooks", "/", "/hooks/acme-docs/"]}"#,
    ))
    .unwrap();
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    let near = |place: usize, name: &str| {
        format!(
            "unmatched.pass[{place}]: the path resembles that of endpoint {name:?} and passes unverified: check that no webhook handler runs there"
        )
    };
    assert_eq!(
        warnings[1..],
        [
            near(1, "orders"),
            near(2, "orders"),
            "unmatched.pass[3]: every path that does not resemble an endpoint's path passes unverified: list only the application's own paths".to_owned(),
            near(4, "acme"),
        ]
    );
    for path in [
        "/webhook/public/x",
        "/docs/webhooks",
        "/x",
        "/hooks/acme-docs/x",
    ] {
        assert_eq!(sent(&policy, path), Reason::Passed, "{path}");
    }
}

#[test]
fn an_endpoint_for_a_whole_host_leaves_what_is_listed_to_others() {
    let configuration = |host: &str, listed: &str| {
        format!(
            r#"{{"unmatched": {{"pass": ["{listed}"]}}, "endpoints": [{{"name": "a", "match": {{"prefix": "/"{host}}},
                "secrets": [{{"version": "v1", "env": "OLD_SECRET"}}]}}]}}"#
        )
    };
    let host = r#", "host": "hooks.example""#;
    let policy = policy(&configuration(host, "/app/"));
    assert_eq!(to(&policy, "/app/x", "hooks.example"), Reason::Accepted);
    assert_eq!(to(&policy, "/app/x", "b.example"), Reason::Passed);
    assert_eq!(to(&policy, "/other", "b.example"), Reason::Unmatched);
    for (host, listed) in [(host, "/"), ("", "/app/")] {
        let faults = read(&configuration(host, listed)).unwrap_err();
        assert!(faults[0].to_string().contains("so none pass"), "{faults:?}");
    }
}

#[test]
fn nothing_that_asks_for_another_protocol_passes() {
    let policy = policy_of(r#"{"pass": ["/app/"]}"#, &["/webhook"], &[]);
    let request = |path: &str, method: &'static str, header: Option<(&str, &str)>| {
        let mut request = Request::new(BODY);
        request.path = Some(path.to_owned());
        request.method = method;
        if let Some((name, value)) = header {
            request = request.with(name, value);
        }
        request.reason(&policy)
    };
    for (method, header) in [
        ("GET", Some(("upgrade", "websocket"))),
        ("POST", Some(("upgrade", ""))),
        ("CONNECT", Some((":protocol", "websocket"))),
        ("GET", Some((":protocol", "connect-udp"))),
        ("CONNECT", None),
    ] {
        assert_eq!(
            request("/app/x", method, header),
            Reason::UpgradeRefused,
            "{method} {header:?}"
        );
        assert_eq!(
            request("/webhook", method, header),
            Reason::UpgradeRefused,
            "{method} {header:?}"
        );
        assert_eq!(
            request("/other", method, header),
            Reason::Unmatched,
            "{method} {header:?}"
        );
    }
    assert_eq!(
        request("/app/x", "GET", Some(("x-upgrade", "websocket"))),
        Reason::Passed
    );
}
