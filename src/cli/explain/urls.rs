//! Mistakes in the URL, where the sender signs it.

use super::hypothesis::Cause;
use super::search::Search;
use crate::cli::request::Request;
use crate::policy::Policy;
use crate::request::percent::{self, Plus};

/// The most parts of each kind that are combined.
const MAX_PARTS: usize = 40;

/// A URL in its parts.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

/// Tries other URLs: each part alone, then two parts together.
pub(super) fn try_all(search: &mut Search<'_>) {
    let scheme = &search.subject.endpoint.scheme;
    if !scheme.signs_origin() && !scheme.signs_path() {
        return;
    }
    let Some(policy) = search.policy(&search.setup.with_any_url()) else {
        return;
    };
    let request = search.subject.request;
    let received = configured(search);
    let origins = origins(&received, request);
    let paths = paths(&received, request);
    let queries = queries(&received, request);
    let changed = |origin: &(String, String), path: &String, query: &String| Url {
        scheme: origin.0.clone(),
        host: origin.1.clone(),
        path: path.clone(),
        query: query.clone(),
    };
    let own = (received.scheme.clone(), received.host.clone());
    let mut urls = vec![received.clone()];
    urls.extend(
        origins
            .iter()
            .map(|origin| changed(origin, &received.path, &received.query)),
    );
    urls.extend(
        paths
            .iter()
            .map(|path| changed(&own, path, &received.query)),
    );
    urls.extend(
        queries
            .iter()
            .map(|query| changed(&own, &received.path, query)),
    );
    for path in &paths {
        urls.extend(
            origins
                .iter()
                .map(|origin| changed(origin, path, &received.query)),
        );
        urls.extend(queries.iter().map(|query| changed(&own, path, query)));
    }
    for query in &queries {
        urls.extend(
            origins
                .iter()
                .map(|origin| changed(origin, &received.path, query)),
        );
    }
    for url in urls {
        if try_one(search, &policy, &url) {
            let (detail, fix) = explain(&received, &url);
            search.add(Cause::Url, detail, fix);
            return;
        }
    }
}

/// The URL that the guard expects the sender to have signed.
fn configured(search: &Search<'_>) -> Url {
    let request = search.subject.request;
    let (path, query) = split_target(&request.target);
    let mut url = Url {
        scheme: request.scheme.clone(),
        host: request.authority.clone(),
        path: path.to_owned(),
        query: query.to_owned(),
    };
    if let Some((scheme, rest)) = search
        .setup
        .public_url()
        .and_then(|url| url.split_once("://"))
    {
        let length = rest.find('/').unwrap_or(rest.len());
        let (host, _) = rest.split_at_checked(length).unwrap_or((rest, ""));
        url.scheme = scheme.to_owned();
        url.host = host.to_owned();
        let target = search.subject.endpoint.public_url.target(path.as_bytes());
        url.path = String::from_utf8_lossy(&target).into_owned();
    }
    url
}

fn try_one(search: &mut Search<'_>, policy: &Policy, url: &Url) -> bool {
    let mut request = search.subject.request.clone();
    request.scheme.clone_from(&url.scheme);
    request.authority.clone_from(&url.host);
    request.target = match url.query.is_empty() {
        true => url.path.clone(),
        false => format!("{}?{}", url.path, url.query),
    };
    search.verify(policy, &request).is_some()
}

/// Other schemes and hosts.
fn origins(received: &Url, request: &Request) -> Vec<(String, String)> {
    let mut hosts = vec![received.host.clone(), request.authority.clone()];
    for name in [
        "x-forwarded-host",
        "x-original-host",
        "x-host",
        "x-envoy-original-host",
    ] {
        hosts.extend(values(request, name));
    }
    let forwarded: Vec<_> = values(request, "forwarded")
        .iter()
        .flat_map(|value| {
            value
                .split([';', ','])
                .map(|part| part.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    hosts.extend(forwarded.iter().filter_map(|part| {
        let value = part
            .strip_prefix("host=")
            .or_else(|| part.strip_prefix("Host="))?;
        Some(value.trim_matches('"').to_owned())
    }));
    let ports = values(request, "x-forwarded-port");
    let mut all = Vec::new();
    for host in hosts {
        let bare = match host.rsplit_once(':') {
            Some((bare, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => bare.to_owned(),
            _ => host.clone(),
        };
        let www = match bare.strip_prefix("www.") {
            Some(rest) => rest.to_owned(),
            None => format!("www.{bare}"),
        };
        let mut forms = vec![host, bare.clone(), bare.to_ascii_lowercase(), www];
        forms.extend(ports.iter().map(|port| format!("{bare}:{port}")));
        forms.extend(["443", "80", "8443", "8080"].map(|port| format!("{bare}:{port}")));
        for host in forms {
            for scheme in ["https", "http"] {
                push(&mut all, (scheme.to_owned(), host.clone()));
            }
        }
    }
    all.retain(|(scheme, host)| *scheme != received.scheme || *host != received.host);
    all
}

/// Other paths.
fn paths(received: &Url, request: &Request) -> Vec<String> {
    let own = [
        received.path.clone(),
        split_target(&request.target).0.to_owned(),
    ];
    let originals = originals(request)
        .into_iter()
        .map(|target| split_target(&target).0.to_owned());
    let mut all = Vec::new();
    let prefixes = ["x-forwarded-prefix", "x-script-name", "x-forwarded-path"];
    let prefixes: Vec<_> = prefixes
        .iter()
        .flat_map(|name| values(request, name))
        .collect();
    for path in own.into_iter().chain(originals) {
        let mut forms = vec![path.clone()];
        forms.push(match path.strip_suffix('/') {
            Some(rest) if !rest.is_empty() => rest.to_owned(),
            _ => format!("{path}/"),
        });
        forms.extend(
            prefixes
                .iter()
                .map(|prefix| format!("{}{path}", prefix.trim_end_matches('/'))),
        );
        forms.extend(prefixes.iter().filter_map(|prefix| {
            path.strip_prefix(prefix.trim_end_matches('/'))
                .map(str::to_owned)
        }));
        forms.push(path.to_ascii_lowercase());
        let decoded = percent::decode(path.as_bytes(), Plus::Literal, |_| true);
        forms.push(String::from_utf8_lossy(&decoded).into_owned());
        let encoded = percent::encode(path.as_bytes(), b"/-._~");
        forms.push(String::from_utf8_lossy(&encoded).into_owned());
        // A proxy may have removed the first segment.
        for prefix in ["/api", "/webhooks", "/webhook", "/hooks", "/v1"] {
            forms.push(format!("{prefix}{path}"));
        }
        if let Some((_, rest)) = path.trim_start_matches('/').split_once('/') {
            forms.push(format!("/{rest}"));
        }
        forms.into_iter().for_each(|form| push(&mut all, form));
    }
    push(&mut all, "/".to_owned());
    all.retain(|path| *path != received.path);
    all
}

/// Other queries.
fn queries(received: &Url, request: &Request) -> Vec<String> {
    let mut all = Vec::new();
    for target in originals(request) {
        push(&mut all, split_target(&target).1.to_owned());
    }
    let query = &received.query;
    if !query.is_empty() {
        push(&mut all, String::new());
        let mut parameters: Vec<_> = query.split('&').collect();
        parameters.reverse();
        push(&mut all, parameters.join("&"));
        parameters.sort_unstable();
        push(&mut all, parameters.join("&"));
        push(&mut all, query.replace('+', "%20"));
        push(&mut all, query.replace("%20", "+"));
        let decoded = percent::decode(query.as_bytes(), Plus::Literal, |_| true);
        push(&mut all, String::from_utf8_lossy(&decoded).into_owned());
        let encoded = percent::encode(query.as_bytes(), b"=&-._~%+");
        push(&mut all, String::from_utf8_lossy(&encoded).into_owned());
        push(&mut all, lower_escapes(query));
        // A proxy may have added one parameter.
        let parameters: Vec<_> = query.split('&').collect();
        for skipped in 0..parameters.len() {
            let kept = parameters
                .iter()
                .enumerate()
                .filter(|(place, _)| *place != skipped);
            let kept: Vec<_> = kept.map(|(_, parameter)| *parameter).collect();
            push(&mut all, kept.join("&"));
        }
    }
    all.retain(|other| other != query);
    all
}

/// A query with the digits of its percent-encoding in the other case.
fn lower_escapes(query: &str) -> String {
    let mut left = 0_u8;
    let letters = query.chars().map(|letter| {
        let is_digit = left > 0;
        left = if letter == '%' {
            2
        } else {
            left.saturating_sub(1)
        };
        match is_digit && letter.is_ascii_uppercase() {
            true => letter.to_ascii_lowercase(),
            false if is_digit => letter.to_ascii_uppercase(),
            false => letter,
        }
    });
    letters.collect()
}

/// The targets that proxies keep in headers.
fn originals(request: &Request) -> Vec<String> {
    let names = [
        "x-envoy-original-path",
        "x-original-uri",
        "x-original-url",
        "x-rewrite-url",
        "x-forwarded-uri",
        "x-request-uri",
    ];
    let values = names.iter().flat_map(|name| values(request, name));
    let targets = values.map(|value| match value.split_once("://") {
        // A whole URL.
        Some((_, rest)) => rest
            .find('/')
            .and_then(|start| rest.get(start..))
            .unwrap_or("/")
            .to_owned(),
        None => value,
    });
    targets.filter(|target| target.starts_with('/')).collect()
}

/// The values of a header that are text.
fn values(request: &Request, name: &str) -> Vec<String> {
    let named = request.headers.iter().filter(|(header, _)| header == name);
    let texts = named.filter_map(|(_, value)| std::str::from_utf8(value).ok());
    texts
        .flat_map(|value| value.split(',').take(4))
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
        .collect()
}

fn split_target(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

fn push<T: PartialEq>(all: &mut Vec<T>, value: T) {
    if all.len() < MAX_PARTS && !all.contains(&value) {
        all.push(value);
    }
}

/// The detail and the fix of a difference. A query may contain secrets, so that it is not shown.
fn explain(received: &Url, signed: &Url) -> (String, String) {
    let mut details = Vec::new();
    if (&received.scheme, &received.host) != (&signed.scheme, &signed.host) {
        details.push(format!(
            "{}://{} instead of {}://{}",
            signed.scheme, signed.host, received.scheme, received.host
        ));
    }
    if received.path != signed.path {
        details.push(format!(
            "the path {} instead of {}",
            signed.path, received.path
        ));
    }
    let fix = match details.is_empty() {
        true => "find the proxy that changes the query".to_owned(),
        false => format!(
            "set `public_url: {}://{}{}`",
            signed.scheme,
            signed.host,
            if received.path == signed.path {
                ""
            } else {
                &signed.path
            }
        ),
    };
    if received.query != signed.query {
        details.push(
            "another query, which a proxy may have reordered, encoded or extended".to_owned(),
        );
    }
    if details.is_empty() {
        details.push("the URL as it arrived, without `public_url`".to_owned());
    }
    (format!("the sender signed {}", details.join(", and ")), fix)
}
