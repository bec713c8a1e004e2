//! The URL of a captured request.

use super::Read;
use crate::cli::request::Request;

/// Sets the scheme, the authority and the target of a request from its URL. Returns the user and password in the URL.
pub(super) fn set<'u>(request: &mut Request, url: &'u str) -> Read<Option<&'u str>> {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => ("http".to_owned(), url),
    };
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err("the URL is not of HTTP: write one that begins with https://".to_owned());
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let (user, authority) = match authority.rsplit_once('@') {
        Some((user, authority)) => (Some(user), authority),
        None => (None, authority),
    };
    if authority.is_empty() || url.contains(char::is_whitespace) {
        return Err(
            "the URL has no host, or contains blanks: write it as it was called".to_owned(),
        );
    }
    request.scheme = scheme;
    authority.clone_into(&mut request.authority);
    request.target = match target.starts_with('/') {
        true => target.to_owned(),
        false => format!("/{target}"),
    };
    Ok(user)
}
