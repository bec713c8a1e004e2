//! How many signatures by a private key one request makes the guard verify, and that no rotation needs more.

use ed25519_dalek::{Signer, SigningKey};
use webhook_guard::policy::Policy;
use webhook_guard::verdict::Reason;

use crate::support::{Request, policy};

const BODY: &[u8] = br#"{"order": 1}"#;

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sender(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

/// An endpoint with the public keys of these senders, some of them revoked.
fn with_keys(keys: impl Iterator<Item = (u8, bool)>) -> Policy {
    let secrets: Vec<_> = keys
        .map(|(number, revoked)| {
            let value = digits(sender(number).verifying_key().as_bytes());
            format!(r#"{{"version": "v{number}", "value": "{value}", "revoked": {revoked}}}"#)
        })
        .collect();
    let secrets = secrets.join(", ");
    policy(&format!(
        r#"{{"environment": "test", "endpoints": [{{"name": "orders", "match": {{"path": "/webhook"}}, "secrets": [{secrets}],
            "signature": {{"header": "X-S", "algorithm": "ed25519", "key": "hex", "separator": ","}}}}]}}"#
    ))
}

/// A request with the signatures of these senders.
fn signed_by(senders: &[u8]) -> Request {
    let signatures = senders
        .iter()
        .map(|number| digits(&sender(*number).sign(BODY).to_bytes()));
    let value = signatures.collect::<Vec<_>>().join(",");
    Request::new(BODY).with("x-s", value)
}

#[test]
fn a_rotation_is_verified_whatever_else_is_configured() {
    // Eight revoked keys precede eight valid ones.
    let keys = (1..=16).map(|number| (number, number <= 8));
    let policy = with_keys(keys);
    for number in 9..=16 {
        let request = signed_by(&[number]);
        assert_eq!(request.reason(&policy), Reason::Accepted, "{number}");
    }
    for senders in [[9, 10], [99, 9], [98, 12]] {
        let request = signed_by(&senders);
        assert_eq!(request.reason(&policy), Reason::Accepted, "{senders:?}");
    }
    let policy = with_keys((1..=2).map(|number| (number, false)));
    let request = signed_by(&[97, 98, 99, 2]);
    assert_eq!(request.reason(&policy), Reason::Accepted);
    // The use of a leaked key is still reported.
    let policy = with_keys((1..=8).map(|number| (number, number == 8)));
    assert_eq!(signed_by(&[8]).reason(&policy), Reason::SecretRevoked);
}

#[test]
fn no_request_makes_the_guard_verify_more_than_eight_signatures() {
    let policy = with_keys((1..=8).map(|number| (number, false)));
    for (others, last) in [(0, 8), (1, 4), (2, 2), (3, 2)] {
        let reason = |number: u8| {
            let mut senders = vec![99; others];
            senders.push(number);
            signed_by(&senders).reason(&policy)
        };
        assert_eq!(reason(last), Reason::Accepted, "{others} others");
        if last < 8 {
            let denied = Reason::SignatureInvalid;
            assert_eq!(reason(last + 1), denied, "{others} others");
        }
    }
}
