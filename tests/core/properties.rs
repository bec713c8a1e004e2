//! Properties of all requests, checked with generated ones.

use proptest::prelude::*;
use webhook_guard::config::parse;
use webhook_guard::policy::Policy;
use webhook_guard::policy::endpoint::unwanted_headers;
use webhook_guard::request::headers::{Headers, join_pairs, split_pairs};
use webhook_guard::verdict::{Outcome, Reason};

use crate::support::{NOW, Request, base64, endpoint, hex, variable};

const SECRETS: &str =
    r#""secrets": [{"version": "new", "env": "SECRET"}, {"version": "old", "env": "OLD_SECRET"}]"#;

/// A scheme with everything in it: timestamp, id, and signed bytes on both sides of the body.
const SCHEME: &str = r#""signature": {"header": "X-S", "separator": ",", "format": ["t={timestamp}", "v1={signature}"],
    "message": "{id}.{timestamp}.{body}.end", "encoding": "base64", "id": {"header": "X-Id"}}"#;

fn signed(secret: &str, id: &str, body: &[u8]) -> (Request, Vec<u8>) {
    let message = [format!("{id}.{NOW}.").as_bytes(), body, b".end"].concat();
    let signature = base64(variable(secret).as_bytes(), &message);
    let request = Request::new(body)
        .with("x-s", format!("t={NOW},v1={signature}"))
        .with("x-id", id);
    (
        request,
        crate::support::mac(variable(secret).as_bytes(), &message),
    )
}

fn policy() -> Policy {
    endpoint(&format!("{SCHEME}, {SECRETS}"))
}

proptest! {
    #[test]
    fn any_split_of_the_body_gives_the_same_verdict(
        body in prop::collection::vec(any::<u8>(), 0..2_000),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
        secret in prop::sample::select(vec!["SECRET", "OLD_SECRET", "OTHER_SECRET"]),
    ) {
        let (mut request, _) = signed(secret, "evt_1", &body);
        let whole = request.judge(&policy());
        request.cuts = cuts;
        prop_assert_eq!(request.judge(&policy()), whole.clone());
        let accepted = secret != "OTHER_SECRET";
        prop_assert_eq!(whole.outcome() == Outcome::Accepted, accepted);
    }

    #[test]
    fn any_flipped_bit_of_the_message_is_a_denial(
        body in prop::collection::vec(any::<u8>(), 1..300),
        part in 0..3_usize,
        bit in any::<usize>(),
    ) {
        let (mut request, _) = signed("SECRET", "evt_1", &body);
        let flipped = match part {
            0 => &mut request.body,
            1 => &mut request.headers[1].1,
            _ => {
                // The timestamp's digits, after `t=`.
                &mut request.headers[0].1
            }
        };
        let range = if part == 2 { 2..2 + NOW.to_string().len() } else { 0..flipped.len() };
        let at = bit / 8 % range.len() + range.start;
        flipped[at] ^= 1 << (bit % 8);
        prop_assert_eq!(request.judge(&policy()).outcome(), Outcome::Denied);
    }

    #[test]
    fn any_flipped_bit_of_the_signature_is_a_denial(body in prop::collection::vec(any::<u8>(), 0..300), bit in 0..256_usize) {
        let mut code = crate::support::mac(variable("SECRET").as_bytes(), &body);
        code[bit / 8] ^= 1 << (bit % 8);
        let text: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        let request = Request::new(&body).with("x-webhook-signature", text);
        prop_assert_eq!(request.reason(&endpoint("")), Reason::SignatureInvalid);
    }

    #[test]
    fn no_header_value_panics_or_is_accepted(value in prop::collection::vec(any::<u8>(), 0..200), id in prop::collection::vec(any::<u8>(), 0..40)) {
        let request = Request::new(b"body").with("x-s", value).with("x-id", id);
        prop_assert_eq!(request.judge(&policy()).outcome(), Outcome::Denied);
    }

    #[test]
    fn no_path_panics_or_is_accepted(path in ".{0,60}", bytes in "[/a-z%0-9.;?#]{0,40}") {
        for path in [path, bytes] {
            let mut request = Request::new(b"body");
            request.path = Some(path);
            prop_assert_eq!(request.judge(&policy()).outcome(), Outcome::Denied);
        }
    }

    #[test]
    fn a_path_near_an_endpoint_never_passes_unverified(upper in any::<u16>(), escaped in any::<u16>(), layers in 1..3_usize) {
        let passing = crate::support::policy(
            r#"{"unmatched": {"pass": ["/"]}, "endpoints": [{"name": "orders", "match": {"path": "/hooks/orders"}, "secrets": [{"version": "v1", "env": "SECRET"}]}]}"#,
        );
        let mut path = String::new();
        for (index, char) in "/hooks/orders".chars().enumerate() {
            let char = if upper >> index & 1 == 1 { char.to_ascii_uppercase() } else { char };
            if escaped >> index & 1 == 1 {
                path.push_str(&format!("%{}{:02x}", "25".repeat(layers - 1), u32::from(char)));
            } else {
                path.push(char);
            }
        }
        let mut request = Request::new(b"body");
        request.path = Some(path);
        prop_assert_eq!(request.judge(&passing).outcome(), Outcome::Denied);
    }

    #[test]
    fn nor_does_one_with_more_around_it(
        before in "(/[a-z]{1,3}(\\.php)?){0,2}", invisible in 0..13_usize, after in "([.:~,;/a-z0-9_-]|%EF%BC%8E){0,6}",
    ) {
        let passing = crate::support::policy(
            r#"{"unmatched": {"pass": ["/"]}, "endpoints": [{"name": "orders", "match": {"path": "/hooks/orders"}, "secrets": [{"version": "v1", "env": "SECRET"}]}]}"#,
        );
        let (start, end) = "/hooks/orders".split_at(invisible);
        let mut request = Request::new(b"body");
        request.path = Some(format!("{before}{start}%C2%AD{end}{after}"));
        prop_assert_eq!(request.judge(&passing).outcome(), Outcome::Denied);
    }

    #[test]
    fn no_bytes_panic_the_readers(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
        let _ = Policy::read(&bytes, &|_| Ok("a value for any variable".to_owned()));
        if let Some(pairs) = split_pairs(&bytes) {
            prop_assert!(unwanted_headers(&Headers::new(&pairs), None).len() <= pairs.len());
        }
    }

    #[test]
    fn header_maps_survive_the_way_to_the_host(pairs in prop::collection::vec((".{0,20}", ".{0,20}"), 0..10)) {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let map = join_pairs(&pairs).unwrap();
        let bytes: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        prop_assert_eq!(split_pairs(&map), Some(bytes));
    }
}

#[test]
fn a_body_is_hashed_alike_with_and_without_a_second_secret() {
    for secret in ["SECRET", "OLD_SECRET"] {
        let request = Request::signed(variable(secret), b"body");
        assert_eq!(
            request.headers[0].1,
            hex(variable(secret).as_bytes(), b"body").into_bytes()
        );
        assert_eq!(request.reason(&endpoint(SECRETS)), Reason::Accepted);
    }
}
