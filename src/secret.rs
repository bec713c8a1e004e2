//! Secrets and their versions: which keys may accept a request, and which only report one.

use std::env::VarError;

use crate::config::{self, Node, Object};
use crate::duration::UnixMillis;
use crate::mac::{Algorithm, Key};
use crate::scheme::Scheme;
use crate::verdict::Reason;

/// The most secrets an endpoint may use, and the most revoked ones it may watch for: each costs a hash
/// of the body when a signature is wrong.
const MAX_SECRETS: usize = 8;

/// Keys shorter than this, in bytes, are warned of: they can be guessed.
const SHORT_KEY: usize = 16;

/// One version of an endpoint's secret.
#[derive(Debug)]
pub struct Secret {
    /// The version's name, unique within the endpoint.
    pub version: String,
    /// The key made of the secret.
    pub(crate) key: Key,
    /// The name by which the sender knows the key, where it says which one it signed with.
    pub(crate) key_id: Option<String>,
    not_before: Option<UnixMillis>,
    not_after: Option<UnixMillis>,
    revoked: bool,
}

impl Secret {
    /// What a signature by this secret means at `now`: [`Reason::Accepted`], or why it may not count.
    pub(crate) fn reason(&self, now: UnixMillis) -> Reason {
        if self.revoked {
            Reason::SecretRevoked
        } else if self.not_after.is_some_and(|end| now >= end) {
            Reason::SecretExpired
        } else if self.not_before.is_some_and(|begin| now < begin) {
            Reason::SecretNotYetValid
        } else {
            Reason::Accepted
        }
    }
}

/// Where the guard runs: which secrets it may use, and where their values are.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The environment's name.
    pub(crate) environment: &'a str,
    /// Looks up an environment variable.
    pub(crate) variable: &'a dyn Fn(&str) -> Result<String, VarError>,
}

impl Surroundings<'_> {
    /// Whether secrets may stand in the configuration itself: any environment but these counts as
    /// production.
    fn allows_inline(&self) -> bool {
        matches!(self.environment, "development" | "test")
    }

    /// Whether a secret for `environment` is for this one.
    fn is(&self, environment: &str) -> bool {
        environment == self.environment || (environment == "production" && !self.allows_inline())
    }
}

/// A secret and the significant bytes of its key, by which two keys are told to be one: they are needed
/// only until the configuration is read.
pub(crate) struct Loaded<'a> {
    pub(crate) secret: Secret,
    pub(crate) bytes: Vec<u8>,
    pub(crate) node: Node<'a>,
}

/// Reads `secrets`. Without a scheme, which was then faulty itself, only what does not depend on it
/// is checked.
pub(crate) fn read_list<'a>(
    node: Node<'a>,
    scheme: Option<&Scheme>,
    surroundings: Surroundings<'_>,
) -> Option<Vec<Loaded<'a>>> {
    let mut versions = Vec::new();
    let mut faulty = false;
    let mut excluded = 0_usize;
    let mut loaded: Vec<Loaded<'a>> = Vec::new();
    for item in node.list()? {
        match read(item, scheme, surroundings, &mut versions) {
            Some(keys) if keys.is_empty() => excluded = excluded.saturating_add(1),
            Some(keys) => loaded.extend(keys),
            None => faulty = true,
        }
    }
    for (index, one) in loaded.iter().enumerate() {
        let mut earlier = loaded.iter().take(index);
        let is_twin = |other: &&Loaded<'_>| {
            other.bytes == one.bytes && other.secret.version != one.secret.version
        };
        if let Some(twin) = earlier.find(is_twin) {
            faulty = true;
            one.node.fault::<()>(format_args!(
                "the same value as version {:?}: remove one of the two, or change it",
                twin.secret.version
            ));
        }
    }
    let revoked = loaded.iter().filter(|one| one.secret.revoked).count();
    let usable = loaded.len().saturating_sub(revoked);
    if usable > MAX_SECRETS || revoked > MAX_SECRETS {
        return node.fault(format_args!(
            "at most {MAX_SECRETS} secrets can be in use, and as many revoked: remove the oldest"
        ));
    }
    if usable == 0 && scheme.is_some() && !faulty {
        return match excluded {
            0 => node.fault("no usable secret: add one that is not revoked, or every request is denied"),
            _ => node.fault(format_args!(
                "no usable secret: {excluded} of them for another environment than {:?}; add one for it, or set `environment`",
                surroundings.environment
            )),
        };
    }
    (!faulty).then_some(loaded)
}

/// Reads one secret, with a key for each way in which the scheme makes one; no key is a secret for another
/// environment.
fn read<'a>(
    node: Node<'a>,
    scheme: Option<&Scheme>,
    surroundings: Surroundings<'_>,
    versions: &mut Vec<String>,
) -> Option<Vec<Loaded<'a>>> {
    let mut block = node.object()?;
    let version = block.required("version", "name the version, such as \"2026-11\"", |node| {
        let name = read_version(node)?;
        match versions.contains(&name) {
            true => node.fault(format_args!(
                "version {name:?} stands twice: name each differently"
            )),
            false => Some(name),
        }
    });
    versions.extend(version.clone());
    let environment = block.optional("environment", Node::text);
    let not_before = block.optional("not_before", read_time);
    let not_after = block.optional("not_after", read_time);
    let revoked = block.optional("revoked", Node::boolean);
    let key_id = block.optional("key_id", |node| read_key_id(node, scheme));
    let source = Source::read(&mut block);
    let is_ours = environment.is_none_or(|environment| surroundings.is(environment));
    // Of a secret for another environment not even the source is read.
    let loaded = source
        .filter(|_| is_ours)
        .and_then(|source| load(source, scheme, surroundings));
    if not_before
        .zip(not_after)
        .is_some_and(|(begin, end)| begin >= end)
    {
        node.fault::<()>("it is never valid: `not_after` is not after `not_before`");
    }
    block.close()?;
    let version = version?;
    let loaded = loaded.into_iter().flatten();
    Some(
        loaded
            .map(|(node, bytes, key)| Loaded {
                secret: Secret {
                    version: version.clone(),
                    key,
                    key_id: key_id.clone(),
                    not_before,
                    not_after,
                    revoked: revoked.unwrap_or(false),
                },
                bytes,
                node,
            })
            .collect(),
    )
}

/// Reads the name of a key, of a scheme whose requests name theirs.
fn read_key_id(node: Node<'_>, scheme: Option<&Scheme>) -> Option<String> {
    if scheme.is_some_and(|scheme| !scheme.names_keys()) {
        return node.fault("the scheme's requests do not say which key signed them: remove it");
    }
    Some(node.text()?.to_owned())
}

/// Makes keys of what a source holds. Without a scheme, only what does not depend on it is checked.
fn load<'a>(
    source: Source<'a>,
    scheme: Option<&Scheme>,
    surroundings: Surroundings<'_>,
) -> Option<Vec<(Node<'a>, Vec<u8>, Key)>> {
    let is_public = scheme.is_some_and(|scheme| scheme.written.algorithm.has_public_key());
    let (node, text) = source.value(is_public, surroundings)?;
    check_text(node, &text)?;
    let scheme = scheme?;
    let decoded: Vec<_> = scheme.keys.iter().map(|key| key.decode(&text)).collect();
    // Where there are several ways, a text need not suit all of them.
    if let Some(message) = decoded.iter().find_map(|bytes| bytes.as_ref().err())
        && decoded.iter().all(Result::is_err)
    {
        return node.fault(message);
    }
    let keys = decoded.into_iter().flatten().map(|bytes| {
        if !is_public {
            check_bytes(node, &bytes)?;
        }
        match Key::new(scheme.written.algorithm, &bytes) {
            Some(key) => Some((node, significant(&bytes).to_vec(), key)),
            None if is_public => node.fault("this is no public key of the scheme's algorithm"),
            None => node.fault("the secret is empty, or is hashed as it is and has a zero byte"),
        }
    });
    keys.collect()
}

/// Reads a token that the operator chose: from the environment, like a secret.
pub(crate) fn read_token(node: Node<'_>, surroundings: Surroundings<'_>) -> Option<Key> {
    let mut block = node.object()?;
    let source = Source::read(&mut block);
    let text = source.and_then(|source| source.value(false, surroundings));
    block.close()?;
    let (node, text) = text?;
    check_text(node, &text)?;
    Key::new(Algorithm::Token, text.as_bytes())
}

/// Where a secret's value comes from.
enum Source<'a> {
    Variable(Node<'a>, &'a str),
    Inline(Node<'a>, &'a str),
}

impl<'a> Source<'a> {
    fn read(block: &mut Object<'a>) -> Option<Self> {
        match (block.field("env"), block.field("value")) {
            (Some(_), Some(value)) => value.fault("a secret has one source: keep `env` or `value`"),
            (Some(env), None) => {
                let name = env.text()?;
                Some(Self::Variable(env, name))
            }
            (None, Some(value)) => {
                let text = value.text()?;
                Some(Self::Inline(value, text))
            }
            (None, None) => block.node.fault(
                "the secret has no source: add `env: NAME`, the environment variable that holds it",
            ),
        }
    }

    /// The secret's text.
    fn value(self, is_public: bool, surroundings: Surroundings<'_>) -> Option<(Node<'a>, String)> {
        match self {
            Self::Inline(node, text) if is_public || surroundings.allows_inline() => Some((node, text.to_owned())),
            Self::Inline(node, _) => node.fault(format_args!(
                "a secret may stand in the configuration in development or test only, and this is {:?}: use `env: NAME`",
                surroundings.environment
            )),
            Self::Variable(node, name) => match (surroundings.variable)(name) {
                Ok(text) => Some((node, text)),
                Err(VarError::NotPresent) => node.fault(format_args!(
                    "the environment variable {} is not set: set it for Envoy, and name it in `vm_config.environment_variables.host_env_keys`",
                    shown(name)
                )),
                Err(VarError::NotUnicode(_)) => node.fault(format_args!(
                    "the environment variable {} is not UTF-8: encode the secret, and name its encoding by `key`",
                    shown(name)
                )),
            },
        }
    }
}

/// A variable's name for a message. Somebody may have written the secret where the name belongs, so
/// only what looks like a name is repeated: capitals, and digits only where there is a `_` too.
fn shown(name: &str) -> &str {
    let is_name = |byte: u8| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit();
    let has_digit = name.bytes().any(|byte| byte.is_ascii_digit());
    if name.bytes().all(is_name) && (name.contains('_') || !has_digit) {
        name
    } else {
        "that `env` names"
    }
}

/// Refuses a text that is no secret: nothing, blanks, or the `-` that Envoy writes for a missing value.
fn check_text(node: Node<'_>, text: &str) -> Option<()> {
    match text.trim() {
        "" => node.fault("the secret is blank, and anybody can sign with nothing: set it to what the sender was given"),
        "-" => node.fault("the secret is \"-\", which is how Envoy writes a missing value: set it to what the sender was given"),
        trimmed => {
            if trimmed.len() < text.len() {
                node.warn("the secret begins or ends with white space, which is taken as part of it");
            }
            Some(())
        }
    }
}

/// A key without the zeros at its end, with which HMAC fills up keys in any case.
fn significant(key: &[u8]) -> &[u8] {
    let zeros = key.iter().rev().take_while(|byte| **byte == 0).count();
    let length = key.len().saturating_sub(zeros);
    key.get(..length).unwrap_or(key)
}

/// The same for what the text decodes to.
fn check_bytes(node: Node<'_>, bytes: &[u8]) -> Option<()> {
    match significant(bytes).trim_ascii() {
        b"" | b"-" => {
            return node
                .fault("the secret decodes to a blank: set it to what the sender was given");
        }
        _ => {}
    }
    if bytes.len() < SHORT_KEY {
        node.warn(format_args!(
            "the secret is shorter than {SHORT_KEY} bytes and could be guessed: make it longer"
        ));
    }
    Some(())
}

fn read_version(node: Node<'_>) -> Option<String> {
    let text = node.text()?;
    // The text is not repeated: somebody may have written the secret here.
    if !config::is_label(text) {
        return node.fault("a version is named by 1 to 63 letters, digits, dashes and underscores, the first no dash or underscore");
    }
    Some(text.to_owned())
}

fn read_time(node: Node<'_>) -> Option<UnixMillis> {
    node.parse(|text| {
        UnixMillis::from_rfc3339(text)
            .ok_or_else(|| "not a time: write one such as 2026-12-24T00:00:00Z".to_owned())
    })
}
