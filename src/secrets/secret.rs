//! Secrets and their versions: which keys may accept a request, and which only report one.

use std::env::VarError;
use std::rc::Rc;

use crate::config::{self, Node, Object};
use crate::crypto::{Algorithm, Key};
use crate::scheme::Scheme;
use crate::secrets::key::{self, KeyResult};
use crate::time::UnixMillis;
use crate::verdict::Denial;

/// The most secrets an endpoint may use, and the most revoked ones it may watch for: each costs a hash
/// of the body when a signature is wrong.
const MAX_SECRETS: usize = 8;

/// What is said of a secret with several sources.
const ONE_SOURCE: &str =
    "a secret has exactly one source: keep one of `env`, `filter_state` and `value`";

/// One version of an endpoint's secret.
#[derive(Debug)]
pub struct Secret {
    /// The version's name, unique within the endpoint.
    pub version: String,
    pub(crate) source: KeySource,
    /// The name by which the sender knows the key, where it says which one it signed with.
    pub(crate) key_id: Option<String>,
    /// Whose secret it is, where several senders share the endpoint.
    pub(crate) sender: Option<String>,
    not_before: Option<UnixMillis>,
    not_after: Option<UnixMillis>,
    pub(crate) revoked: bool,
}

/// Where a secret's key comes from.
#[derive(Debug)]
pub(crate) enum KeySource {
    /// It was made when the configuration was read, in each way that the scheme has.
    Held(Vec<Rc<Key>>),
    /// The filter state of this name holds its text, for each request anew.
    FilterState(String),
}

impl KeySource {
    /// Whether both make one key, as far as that is known.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Held(keys), Self::Held(others)) => keys
                .iter()
                .any(|key| others.iter().any(|other| other.same_secret(key))),
            (Self::FilterState(name), Self::FilterState(other)) => name == other,
            _ => false,
        }
    }

    /// How many keys there are, or may be.
    const fn count(&self, ways: usize) -> usize {
        match self {
            Self::Held(keys) => keys.len(),
            Self::FilterState(_) => ways,
        }
    }
}

impl Secret {
    /// Whether another one makes the same key, as far as that is known.
    pub(crate) fn same_key(&self, other: &Self) -> bool {
        self.source.is(&other.source)
    }

    /// The filter state that holds it.
    #[must_use]
    pub fn filter_state(&self) -> Option<&str> {
        match &self.source {
            KeySource::Held(_) => None,
            KeySource::FilterState(name) => Some(name),
        }
    }

    /// When it may no longer be used: long ago where it is revoked, `None` where it always may.
    pub(crate) fn end(&self) -> Option<UnixMillis> {
        match self.revoked {
            true => Some(UnixMillis(0)),
            false => self.not_after,
        }
    }

    /// Whether the secret may accept a request at `now`.
    ///
    /// # Errors
    /// The secret is revoked, expired or not yet valid.
    pub(crate) fn validity(&self, now: UnixMillis) -> Result<(), Denial> {
        if self.revoked {
            Err(Denial::SecretRevoked)
        } else if self.not_after.is_some_and(|end| now >= end) {
            Err(Denial::SecretExpired)
        } else if self.not_before.is_some_and(|begin| now < begin) {
            Err(Denial::SecretNotYetValid)
        } else {
            Ok(())
        }
    }
}

/// Where the guard runs: which secrets it may use, and where their values are.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// The environment's name.
    pub(crate) name: &'a str,
    /// Looks up an environment variable.
    pub(crate) variable: &'a dyn Fn(&str) -> Result<String, VarError>,
}

impl Environment<'_> {
    /// Whether secrets may stand in the configuration itself, and all paths pass: any environment but these
    /// counts as production.
    pub(crate) fn is_lenient(&self) -> bool {
        matches!(self.name, "development" | "test")
    }

    /// Whether a secret for `environment` is for this one.
    fn is(&self, name: &str) -> bool {
        name == self.name || (name == "production" && !self.is_lenient())
    }
}

/// A secret and where it stands in the configuration.
pub(crate) type Loaded<'a> = (Secret, Node<'a>);

/// Reads `secrets`. Without a scheme, which was then faulty itself, only what does not depend on it
/// is checked.
pub(crate) fn read_list<'a>(
    node: Node<'a>,
    scheme: Option<&Scheme>,
    environment: Environment<'_>,
) -> Option<Vec<Loaded<'a>>> {
    let mut versions = Vec::new();
    let mut faulty = false;
    let mut excluded = 0_usize;
    let mut loaded: Vec<Loaded<'a>> = Vec::new();
    for item in node.list()? {
        match read(item, scheme, environment, &mut versions) {
            Some(Some(one)) => loaded.push(one),
            Some(None) => excluded = excluded.saturating_add(1),
            None => faulty = true,
        }
    }
    for (index, (one, node)) in loaded.iter().enumerate() {
        let mut earlier = loaded.iter().take(index);
        if let Some((other, _)) = earlier.find(|(other, _)| other.same_key(one)) {
            faulty = true;
            node.error::<()>(format_args!(
                "version {:?} has the same value: remove one of the two, or change it",
                other.version
            ));
        }
    }
    let count = |is_revoked: bool| {
        let counted = loaded.iter().filter(|(one, _)| one.revoked == is_revoked);
        let ways = scheme.map_or(1, |scheme| scheme.spec.key_encodings.len());
        counted.map(|(one, _)| one.source.count(ways)).sum()
    };
    let (revoked, usable): (usize, usize) = (count(true), count(false));
    if usable > MAX_SECRETS || revoked > MAX_SECRETS {
        return node.error(format_args!(
            "at most {MAX_SECRETS} secrets can be in use, and {MAX_SECRETS} revoked: remove the oldest"
        ));
    }
    if usable == 0 && scheme.is_some() && !faulty {
        return match excluded {
            0 => node.error(
                "no secret is usable, which rejects every request: add one that is not revoked",
            ),
            _ => node.error(format_args!(
                "no usable secret is for the environment {:?}: add one, or set `environment`",
                environment.name
            )),
        };
    }
    (!faulty).then_some(loaded)
}

/// Reads one secret; `Some(None)` is one for another environment.
fn read<'a>(
    node: Node<'a>,
    scheme: Option<&Scheme>,
    environment: Environment<'_>,
    versions: &mut Vec<String>,
) -> Option<Option<Loaded<'a>>> {
    let mut block = node.object("{version: v1, env: NAME}")?;
    let version = block.required("version", "name the version, such as \"2026-11\"", |node| {
        let name = read_label(node, "version")?;
        match versions.contains(&name) {
            true => node.error(format_args!(
                "version {name:?} is already used: give each version its own name"
            )),
            false => Some(name),
        }
    });
    versions.extend(version.clone());
    let only_in = block.optional("environment", Node::text);
    let not_before = block.optional("not_before", read_time);
    let not_after = block.optional("not_after", read_time);
    let revoked = block.optional("revoked", Node::boolean);
    let key_id = block.optional("key_id", |node| read_key_id(node, scheme));
    let sender = block.optional("sender", |node| read_label(node, "sender"));
    let is_ours = only_in.is_none_or(|name| environment.is(name));
    let loaded = match block.field("filter_state") {
        Some(node) => {
            for other in [block.field("env"), block.field("value")] {
                other.and_then(|other| other.error::<()>(ONE_SOURCE));
            }
            config::read_filter_state(node).map(|name| (KeySource::FilterState(name), node))
        }
        // Of a secret for another environment not even the source is read.
        None => SecretSource::read(&mut block)
            .filter(|_| is_ours)
            .and_then(|source| load(source, scheme, environment)),
    };
    if not_before
        .zip(not_after)
        .is_some_and(|(begin, end)| begin >= end)
    {
        node.error::<()>("the secret is never valid: set `not_after` to a time after `not_before`");
    }
    block.close()?;
    let version = version?;
    Some(loaded.filter(|_| is_ours).map(|(source, node)| {
        let secret = Secret {
            version,
            source,
            key_id,
            sender,
            not_before,
            not_after,
            revoked: revoked.unwrap_or(false),
        };
        (secret, node)
    }))
}

/// Reads the name of a key, of a scheme whose requests name theirs.
fn read_key_id(node: Node<'_>, scheme: Option<&Scheme>) -> Option<String> {
    if scheme.is_some_and(|scheme| !scheme.has_key_ids()) {
        return node.error("this scheme's requests do not name their key: remove `key_id`");
    }
    Some(node.text()?.to_owned())
}

/// Makes keys of what a source holds. Without a scheme, only what does not depend on it is checked.
fn load<'a>(
    source: SecretSource<'a>,
    scheme: Option<&Scheme>,
    environment: Environment<'_>,
) -> Option<(KeySource, Node<'a>)> {
    let is_public = scheme.is_some_and(|scheme| scheme.spec.signature.algorithm.has_public_key());
    let (node, text) = source.value(is_public, environment)?;
    check(node, key::check_text(&text))?;
    let keys = check(node, key::make(scheme?, &text))?;
    Some((KeySource::Held(keys), node))
}

/// Reports what was found of a text.
fn check<T>(node: Node<'_>, made: KeyResult<T>) -> Option<T> {
    match made {
        Ok((made, warning)) => {
            warning.into_iter().for_each(|warning| node.warn(warning));
            Some(made)
        }
        Err(fault) => node.error(fault),
    }
}

/// Reads a token that the operator chose: from the environment, like a secret.
pub(crate) fn read_token(node: Node<'_>, environment: Environment<'_>) -> Option<Key> {
    let mut block = node.object("{env: NAME}")?;
    let source = SecretSource::read(&mut block);
    let text = source.and_then(|source| source.value(false, environment));
    block.close()?;
    let (node, text) = text?;
    check(node, key::check_text(&text))?;
    Key::new(Algorithm::Token, text.as_bytes())
}

/// Where a secret's value stands, as it was written.
enum SecretSource<'a> {
    Variable(Node<'a>, &'a str),
    Inline(Node<'a>, &'a str),
}

impl<'a> SecretSource<'a> {
    fn read(block: &mut Object<'a>) -> Option<Self> {
        match (block.field("env"), block.field("value")) {
            (Some(_), Some(value)) => value.error(ONE_SOURCE),
            (Some(env), None) => {
                let name = env.text()?;
                Some(Self::Variable(env, name))
            }
            (None, Some(value)) => {
                let text = value.text()?;
                Some(Self::Inline(value, text))
            }
            (None, None) => block.node.error(
                "the secret has no source: add `env: NAME` with the name of an environment variable, or `filter_state: KEY`",
            ),
        }
    }

    /// The secret's text.
    fn value(self, is_public: bool, environment: Environment<'_>) -> Option<(Node<'a>, String)> {
        match self {
            Self::Inline(node, text) if is_public || environment.is_lenient() => Some((node, text.to_owned())),
            Self::Inline(node, _) => node.error(format_args!(
                "`value` is allowed only in development and test, not in {:?}: use `env: NAME`",
                environment.name
            )),
            Self::Variable(node, name) => match (environment.variable)(name) {
                Ok(text) => Some((node, text)),
                Err(VarError::NotPresent) => node.error(format_args!(
                    "the environment variable {} is not set: set it for Envoy, and name it in `vm_config.environment_variables.host_env_keys`",
                    shown(name)
                )),
                Err(VarError::NotUnicode(_)) => node.error(format_args!(
                    "the environment variable {} is not UTF-8: encode the secret, and set `key` to the encoding",
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

/// Reads the name of a version, or of a sender.
fn read_label(node: Node<'_>, what: &str) -> Option<String> {
    let text = node.text()?;
    // The text is not repeated: somebody may have written the secret here.
    if !config::is_label(text) {
        return node.error(format_args!("not a valid {what}: use 1 to 63 letters, digits, - and _, starting with a letter or digit"));
    }
    Some(text.to_owned())
}

fn read_time(node: Node<'_>) -> Option<UnixMillis> {
    node.parse(|text| {
        UnixMillis::from_rfc3339(text)
            .ok_or_else(|| "not a time: write one such as 2026-12-24T00:00:00Z".to_owned())
    })
}
