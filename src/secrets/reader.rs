//! The `secrets` of an endpoint and its `verify_token` in the configuration.

use std::env::VarError;

use super::environment::Environment;
#[cfg(feature = "cli")]
use super::environment::Unset;
use super::key::{self, KeyResult};
use super::secret::{KeySource, Secret};
use crate::config::{self, Node, Object};
use crate::crypto::{Algorithm, Key};
use crate::scheme::Scheme;
use crate::time::UnixMillis;

/// The most secrets of an endpoint that are in use, and the most revoked ones. Each costs a hash of the body if a
/// signature is wrong.
const MAX_SECRETS: usize = 8;

/// The error about a secret with several sources.
const ONE_SOURCE: &str =
    "a secret has exactly one source: keep one of `env`, `filter_state` and `value`";

/// A secret and its place in the configuration.
pub(crate) type Loaded<'a> = (Secret, Node<'a>);

/// An item of `secrets`.
enum Item<'a> {
    Loaded(Loaded<'a>),
    /// For another environment, or for a scheme with an error.
    Unused,
}

/// Reads `secrets`. If the scheme has an error, only the parts that do not depend on the scheme are checked.
pub(crate) fn read_list<'a>(
    node: Node<'a>,
    scheme: Option<&Scheme>,
    environment: Environment<'_>,
) -> Option<Vec<Loaded<'a>>> {
    if !node.is_list() {
        return node.error("expected a list of secrets: write [{version: v1, env: NAME}]");
    }
    let mut versions = Vec::new();
    let mut faulty = false;
    let mut has_unused = false;
    let mut loaded: Vec<Loaded<'a>> = Vec::new();
    for item in node.list()? {
        match read(item, scheme, environment, &mut versions) {
            Some(Item::Loaded(one)) => loaded.push(one),
            Some(Item::Unused) => has_unused = true,
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
        let encodings = scheme.map_or(1, |scheme| scheme.spec.key_encodings.len());
        counted.map(|(one, _)| one.source.count(encodings)).sum()
    };
    let (revoked, usable): (usize, usize) = (count(true), count(false));
    if usable > MAX_SECRETS || revoked > MAX_SECRETS {
        return node.error(format_args!(
            "at most {MAX_SECRETS} secrets can be in use, and {MAX_SECRETS} revoked: remove the oldest"
        ));
    }
    if usable == 0 && scheme.is_some() && !faulty {
        return match has_unused {
            false => node.error(
                "no secret is usable, which rejects every request: add one that is not revoked",
            ),
            true => node.error(format_args!(
                "no usable secret is for the environment {:?}: add one, or set `environment`",
                environment.name
            )),
        };
    }
    (!faulty).then_some(loaded)
}

/// Reads one secret.
fn read<'a>(
    node: Node<'a>,
    scheme: Option<&Scheme>,
    environment: Environment<'_>,
    versions: &mut Vec<String>,
) -> Option<Item<'a>> {
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
        // The value for another environment may be absent here.
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
    let Some((source, node)) = loaded.filter(|_| is_ours) else {
        return Some(Item::Unused);
    };
    let secret = Secret {
        version,
        source,
        key_id,
        sender,
        not_before,
        not_after,
        revoked: revoked.unwrap_or(false),
    };
    Some(Item::Loaded((secret, node)))
}

/// Reads the sender's name of the key.
fn read_key_id(node: Node<'_>, scheme: Option<&Scheme>) -> Option<String> {
    if scheme.is_some_and(|scheme| !scheme.has_key_ids()) {
        return node.error("this scheme's requests do not name their key: remove `key_id`");
    }
    Some(node.text()?.to_owned())
}

/// Makes keys of a secret's text. If the scheme has an error, only the parts that do not depend on it are checked.
fn load<'a>(
    source: SecretSource<'a>,
    scheme: Option<&Scheme>,
    environment: Environment<'_>,
) -> Option<(KeySource, Node<'a>)> {
    let is_public = scheme.is_some_and(|scheme| scheme.spec.signature.algorithm.has_public_key());
    let variable = source.variable();
    #[cfg(feature = "cli")]
    if let Some((node, name)) = source.unchecked(environment) {
        return Some((KeySource::Unchecked(name.to_owned()), node));
    }
    let (node, text) = source.value(is_public, environment)?;
    let text = check(node, variable, key::secret_in(&text))?;
    let keys = check(node, variable, key::make(scheme?, text))?;
    Some((KeySource::Held(keys), node))
}

/// Reports the error or the warning of a result, with the environment variable that contains the secret.
fn check<T>(node: Node<'_>, variable: Option<&str>, made: KeyResult<T>) -> Option<T> {
    let (made, finding) = match made {
        Ok((made, warning)) => (Some(made), warning),
        Err(error) => (None, Some(error)),
    };
    if let Some(finding) = finding {
        let finding = match variable {
            Some(name) => format!("in the environment variable {}, {finding}", printable(name)),
            None => finding.to_owned(),
        };
        match made {
            Some(_) => node.warn(finding),
            None => return node.error(finding),
        }
    }
    made
}

/// Reads a token that the operator chose. Its value comes from the environment, like that of a secret.
pub(crate) fn read_token(node: Node<'_>, environment: Environment<'_>) -> Option<Key> {
    let mut block = node.object("{env: NAME}")?;
    let source = SecretSource::read(&mut block);
    let variable = source.as_ref().and_then(SecretSource::variable);
    #[cfg(feature = "cli")]
    if source
        .as_ref()
        .is_some_and(|source| source.unchecked(environment).is_some())
    {
        block.close()?;
        return Key::new(Algorithm::Token, b"not known");
    }
    let text = source.and_then(|source| source.value(false, environment));
    block.close()?;
    let (node, text) = text?;
    let text = check(node, variable, key::secret_in(&text))?;
    Key::new(Algorithm::Token, text.as_bytes())
}

/// The source of a secret's value in the configuration.
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

    /// The environment variable that contains the secret.
    const fn variable(&self) -> Option<&'a str> {
        match self {
            Self::Variable(_, name) => Some(name),
            Self::Inline(..) => None,
        }
    }

    /// The name of a variable that is not set, if the environment accepts that. A text that is not the name of a variable
    /// is an error: it may be the secret itself.
    #[cfg(feature = "cli")]
    fn unchecked(&self, environment: Environment<'_>) -> Option<(Node<'a>, &'a str)> {
        match self {
            Self::Variable(node, name) => {
                let is_unset = environment.unset == Unset::Unchecked
                    && (environment.variable)(name) == Err(VarError::NotPresent);
                (is_unset && is_variable(name)).then_some((*node, *name))
            }
            Self::Inline(..) => None,
        }
    }

    /// The secret's text.
    fn value(self, is_public: bool, environment: Environment<'_>) -> Option<(Node<'a>, String)> {
        match self {
            Self::Inline(node, text) if is_public || environment.is_lenient() => Some((node, text.to_owned())),
            Self::Inline(node, _) => node.error(format_args!(
                "`value` is allowed only in development and test, not in {:?}: use `env: NAME`, or set `environment: development`, or the variable ENVIRONMENT",
                environment.name
            )),
            Self::Variable(node, name) => match (environment.variable)(name) {
                Ok(text) => Some((node, text)),
                Err(VarError::NotPresent) if !is_variable(name) => node.error(
                    "not the name of an environment variable: write the name alone, such as WEBHOOK_SECRET",
                ),
                Err(VarError::NotPresent) => node.error(format_args!(
                    "the environment variable {} is not set: set it for Envoy, and name it in `vm_config.environment_variables.host_env_keys`",
                    printable(name)
                )),
                Err(VarError::NotUnicode(_)) => node.error(format_args!(
                    "the environment variable {} is not UTF-8: encode the secret, and set `key` to the encoding",
                    printable(name)
                )),
            },
        }
    }
}

/// Whether a shell can set a variable of this name.
pub(crate) fn is_variable(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !matches!(name.bytes().next(), None | Some(b'0'..=b'9')) && name.bytes().all(is_part)
}

/// The name of a variable for an error. The operator may have written the secret in its place. An error therefore repeats
/// only capitals and `_`, and digits if there is a `_` too.
pub(crate) fn printable(name: &str) -> &str {
    let is_name = |byte: u8| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit();
    let has_digit = name.bytes().any(|byte| byte.is_ascii_digit());
    if name.bytes().all(is_name) && (name.contains('_') || !has_digit) {
        name
    } else {
        "that `env` names"
    }
}

/// Reads the name of a version or of a sender.
fn read_label(node: Node<'_>, what: &str) -> Option<String> {
    let text = node.text()?;
    // An error does not repeat the text, which may be the secret in the wrong place.
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
