//! Allow lists that senders publish: their address, their format, and which worker fetches them when.
//!
//! One worker fetches a list for all workers. The list is stored in data that all workers share, so it survives the worker
//! and its configuration. An invalid answer does not change the list.

use std::time::Duration;

use crate::config::value::Value;
use crate::config::{Node, Object};
use crate::request::address::{AllowList, Range};
use crate::scheme::json_pointer::Pointer;
use crate::time::{self, Monotonic, later};

/// The largest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// The most values in the JSON of an answer. A prefix is one value, or a few if it is in an object.
const MAX_VALUES: u32 = 300_000;

/// The time between two fetches if `refresh` is absent.
const DEFAULT_REFRESH: Duration = Duration::from_secs(60 * 60);

/// The age at which a list expires if `max_age` is absent: a week.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The longest time until the next fetch after a failed one.
const RETRY: Duration = Duration::from_secs(30);

/// A list that a sender publishes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteAllowList {
    /// The Envoy cluster of the sender's host.
    pub cluster: String,
    /// The sender's host.
    pub authority: String,
    /// The path and query of the list.
    pub path: String,
    /// The place of the prefixes in the JSON, as in the configuration.
    pointer_text: String,
    pointer: Pointer,
    refresh: Duration,
    max_age: Duration,
}

impl RemoteAllowList {
    /// Reads an item of `allow_from`.
    pub(crate) fn read(node: Node<'_>) -> Option<Self> {
        let mut block = node.object("{cluster: sender_api, ..}")?;
        let hint = "add the Envoy cluster of the sender's host, such as `cluster: sender_api`";
        let cluster = block.required("cluster", hint, read_name);
        let hint = "add the sender's host, such as `authority: api.example.com`";
        let authority = block.required("authority", hint, read_name);
        let hint = "add the path of the list, such as `path: /meta`";
        let path = block.required("path", hint, read_path);
        let pointer = read_pointer(&mut block);
        let refresh = block.optional("refresh", read_refresh);
        let refresh = refresh.unwrap_or(DEFAULT_REFRESH);
        let max_age = block.optional("max_age", |node| read_max_age(node, refresh));
        block.close()?;
        let (pointer_text, pointer) = pointer?;
        let default_max_age = DEFAULT_MAX_AGE.max(refresh.saturating_mul(2));
        Some(Self {
            cluster: cluster?,
            authority: authority?,
            path: path?,
            pointer_text,
            pointer,
            refresh,
            max_age: max_age.unwrap_or(default_max_age),
        })
    }

    /// The name of the list in shared data. Another cluster or authority makes another list, so the prefixes of the old one
    /// no longer count.
    #[must_use]
    pub fn key(&self) -> String {
        [
            &self.cluster,
            &self.authority,
            &self.path,
            &self.pointer_text,
        ]
        .map(String::as_str)
        .join(" ")
    }

    /// Reads the list in an answer.
    ///
    /// # Errors
    /// The reason why the answer is rejected.
    pub fn read_answer(&self, answer: &[u8]) -> Result<AllowList, &'static str> {
        let json = Value::read(answer, MAX_VALUES).map_err(|_| "the answer is not JSON")?;
        let mut texts = Vec::new();
        let found = self.pointer.collect(&json, &mut texts);
        found.ok_or("`pointer` finds no texts in the answer")?;
        if texts.is_empty() {
            return Err("the list is empty");
        }
        let ranges = texts.into_iter().map(|text| Range::parse(text).ok());
        let ranges: Option<Vec<_>> = ranges.collect();
        let ranges = ranges.ok_or("an entry is not an address or a prefix")?;
        if ranges.iter().any(Range::is_too_wide) {
            return Err("a prefix is wider than /8, or /16 for IPv6");
        }
        let list = AllowList::new(ranges);
        if list.is_too_wide() {
            return Err("the list covers half of all addresses");
        }
        Ok(list)
    }
}

fn read_name(node: Node<'_>) -> Option<String> {
    match node.text()? {
        text if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Some(text.to_owned())
        }
        _ => {
            node.error("not a name: use letters, digits, dots and dashes, such as api.example.com")
        }
    }
}

fn read_path(node: Node<'_>) -> Option<String> {
    match node.text()? {
        text if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Some(text.to_owned())
        }
        _ => node.error("not a path: write it as sent, starting with a slash, such as /meta"),
    }
}

fn read_refresh(node: Node<'_>) -> Option<Duration> {
    let refresh = node.parse(time::parse)?;
    match refresh.as_secs() {
        0 => node.error("too short: write at least 1s, such as 1h"),
        _ => Some(refresh),
    }
}

fn read_max_age(node: Node<'_>, refresh: Duration) -> Option<Duration> {
    let max_age = node.parse(time::parse)?;
    match max_age > refresh {
        true => Some(max_age),
        false => node.error(
            "the list would expire before its next fetch: make `max_age` longer than `refresh`",
        ),
    }
}

fn read_pointer(block: &mut Object<'_>) -> Option<(String, Pointer)> {
    let hint = "add the place of the prefixes in the JSON, such as /hooks or /items/*/cidr";
    block.required("pointer", hint, |node| {
        let pointer = node.parse(Pointer::parse)?;
        Some((node.text()?.to_owned(), pointer))
    })
}

/// The state of a list that all workers share.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FetchState {
    due: Monotonic,
    /// The number of successful fetches.
    pub number: u64,
    /// The time of the last successful fetch.
    pub fetched: Monotonic,
}

impl FetchState {
    /// Reads a state. Invalid bytes are the state of a list that was never fetched.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let (numbers, _) = bytes.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut next = || numbers.next().unwrap_or_default();
        Self {
            due: next(),
            number: next(),
            fetched: next(),
        }
    }

    /// The bytes of the state.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        [self.due, self.number, self.fetched]
            .map(u64::to_le_bytes)
            .concat()
    }

    /// Claims the next fetch, if it is due. No other worker can claim it until the retry time has passed.
    #[must_use]
    pub fn claim_fetch(self, list: &RemoteAllowList, now: Monotonic) -> Option<Self> {
        (self.due <= now).then(|| Self {
            due: later(now, list.refresh.min(RETRY)),
            ..self
        })
    }

    /// The time until the list expires, in milliseconds. 0 if it has reached its `max_age` or was never fetched.
    #[must_use]
    pub fn remaining(&self, list: &RemoteAllowList, now: Monotonic) -> Monotonic {
        match self.number {
            0 => 0,
            _ => later(self.fetched, list.max_age).saturating_sub(now),
        }
    }

    /// The state after a successful fetch.
    #[must_use]
    pub fn renewed(self, list: &RemoteAllowList, now: Monotonic) -> Self {
        Self {
            due: later(now, list.refresh),
            number: self.number.saturating_add(1),
            fetched: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Diagnostics;

    fn remote(pointer: &str) -> RemoteAllowList {
        let text = format!(
            r#"{{"cluster": "c", "authority": "a", "path": "/p", "pointer": "{pointer}", "refresh": "10m"}}"#
        );
        let value = Value::from_json(text.as_bytes()).expect("JSON");
        RemoteAllowList::read(Node::root(&value, &Diagnostics::default())).expect("a list")
    }

    fn list(pointer: &str, answer: &str) -> Result<AllowList, &'static str> {
        remote(pointer).read_answer(answer.as_bytes())
    }

    #[test]
    fn the_shapes_that_senders_publish() {
        let github = r#"{"verifiable_password_authentication": false, "hooks": ["192.30.252.0/22", "2a0a:a440::/29"], "web": ["0.0.0.0/0"]}"#;
        let stripe = r#"{"WEBHOOKS": ["3.18.12.63", "3.130.192.231"]}"#;
        let atlassian = r#"{"creationDate": "x", "items": [
            {"network": "104.192.136.0", "mask_len": 21, "cidr": "104.192.136.0/21", "mask": "255.255.248.0"},
            {"network": "2401:1d80:3000::", "mask_len": 36, "cidr": "2401:1d80:3000::/36"}]}"#;
        for (pointer, answer, inside) in [
            ("/hooks", github, "192.30.252.7"),
            ("/hooks", github, "2a0a:a440::1"),
            ("/hooks/*", github, "192.30.252.7"),
            ("/WEBHOOKS", stripe, "3.18.12.63"),
            ("/items/*/cidr", atlassian, "104.192.143.255"),
        ] {
            let list = list(pointer, answer).expect(answer);
            assert!(list.contains(inside.parse().expect(inside)), "{inside}");
            assert!(!list.contains("192.0.2.1".parse().expect("an address")));
        }
    }

    #[test]
    fn an_answer_that_is_not_a_list_is_rejected() {
        let halves = (0..=127).map(|first| format!(r#""{first}.0.0.0/8""#));
        let halves = halves.collect::<Vec<_>>().join(",");
        for answer in [
            "",
            "<html>",
            "{}",
            r#"{"l": []}"#,
            r#"{"l": null}"#,
            r#"{"l": {"a": "192.0.2.1"}}"#,
            r#"{"l": ["192.0.2.1", 7]}"#,
            r#"{"l": ["192.0.2.1", ["192.0.2.2"]]}"#,
            r#"{"l": ["192.0.2.1", "example.com"]}"#,
            r#"{"l": ["192.0.2.1", ""]}"#,
            r#"{"l": ["192.0.2.1"], "l": ["192.0.2.2"]}"#,
            r#"{"l": ["0.0.0.0/0"]}"#,
            r#"{"l": ["192.0.2.1", "::/0"]}"#,
            r#"{"l": ["::ffff:0:0/96"]}"#,
            r#"{"l": ["128.0.0.0/1"]}"#,
            r#"{"l": ["10.0.0.0/7"]}"#,
            r#"{"l": ["2000::/15"]}"#,
            &format!(r#"{{"l": [{halves}]}}"#),
        ] {
            assert!(list("/l", answer).is_err(), "{answer}");
        }
        assert!(list("/l", r#"{"l": ["10.0.0.0/8", "2000::/16"]}"#).is_ok());
        assert!(list("/l", r#"{"l": "192.0.2.1"}"#).is_ok());
    }

    #[test]
    fn one_worker_fetches_a_list_that_is_due() {
        let list = remote("/l");
        let never = FetchState::read(b"");
        let claimed = never.claim_fetch(&list, 1_000).expect("it is due");
        assert_eq!(claimed.claim_fetch(&list, 30_999), None);
        assert!(claimed.claim_fetch(&list, 31_000).is_some());
        let renewed = FetchState::read(&claimed.to_bytes()).renewed(&list, 2_000);
        assert_eq!((renewed.number, renewed.fetched), (1, 2_000));
        assert_eq!(renewed.claim_fetch(&list, 601_999), None);
        assert!(renewed.claim_fetch(&list, 602_000).is_some());
    }

    #[test]
    fn a_list_counts_up_to_its_age() {
        let list = remote("/l");
        assert_eq!(FetchState::default().remaining(&list, 0), 0);
        let state = FetchState::default().renewed(&list, 1_000);
        let week = 7 * 24 * 60 * 60 * 1_000;
        assert_eq!(state.remaining(&list, 1_000), week);
        assert_eq!(state.remaining(&list, 999 + week), 1_000 - 999);
        assert_eq!(state.remaining(&list, 1_000 + week), 0);
        assert_eq!(state.remaining(&list, u64::MAX), 0);
        assert!(
            state
                .renewed(&list, 1_000 + week)
                .remaining(&list, 1_000 + week)
                > 0
        );
    }

    #[test]
    fn another_cluster_or_authority_makes_another_list() {
        let key = |changed: &str, value: &str| {
            let mut list = remote("/l");
            match changed {
                "cluster" => list.cluster = value.into(),
                "authority" => list.authority = value.into(),
                "path" => list.path = value.into(),
                _ => {}
            }
            list.key()
        };
        let keys = [
            key("", ""),
            key("cluster", "d"),
            key("authority", "b"),
            key("path", "/q"),
            remote("/m").key(),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(at));
        }
    }

    #[test]
    fn a_list_is_the_same_after_it_was_kept() {
        let list = list(
            "/l",
            r#"{"l": ["192.0.2.0/24", "2001:db8::/32", "192.0.2.7"]}"#,
        );
        let list = list.expect("a list");
        let bytes = list.to_bytes();
        assert_eq!(bytes.len(), 2 * 33);
        assert_eq!(AllowList::from_bytes(&bytes), Some(list));
        assert_eq!(AllowList::from_bytes(&bytes[1..]), None);
        assert_eq!(AllowList::from_bytes(b""), None);
    }
}
