//! The values of secrets: from files, from the environment variables that the configuration names, or from a terminal.
//! Arguments never contain a value, because other users of the machine can read arguments.

use std::env::{self, VarError};
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::rc::Rc;

use super::failure::Failure;
use crate::policy::endpoint::Endpoint;
use crate::policy::{EndpointIndex, Policy};
use crate::scheme::Scheme;
use crate::secrets::{KeySource, Secret, make_keys, secret_in};

/// The largest file with a secret, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// The most names that an error lists.
const MAX_NAMES: usize = 20;

/// Where a command looks for the values of secrets.
#[derive(Debug)]
pub(super) struct Secrets {
    files: Vec<SecretFile>,
    /// Values of the configuration itself.
    inline: Vec<Inline>,
}

/// An option `--secret-file`.
struct SecretFile {
    endpoint: Option<String>,
    version: String,
    path: PathBuf,
}

/// The path may be a secret in the wrong place.
impl fmt::Debug for SecretFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}=..", self.name())
    }
}

impl SecretFile {
    fn name(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{endpoint}/{}", self.version),
            None => self.version.clone(),
        }
    }

    fn is_for(&self, endpoint: &str, version: &str) -> bool {
        self.version == version && self.endpoint.as_ref().is_none_or(|name| name == endpoint)
    }
}

/// A `value` of the configuration.
struct Inline {
    endpoint: String,
    version: String,
    text: String,
}

impl fmt::Debug for Inline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.endpoint, self.version)
    }
}

/// The value of a secret, as its source has it: a file may end with a line break.
#[derive(Clone)]
pub(super) struct SecretText {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// Without the text, which is a secret.
impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretText({})", self.origin)
    }
}

/// The source of a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    File,
    Variable(String),
    Configuration,
    Terminal,
}

impl Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => formatter.write_str("the file of --secret-file"),
            Self::Variable(name) => {
                write!(formatter, "the environment variable {}", shown(name))
            }
            Self::Configuration => formatter.write_str("the configuration"),
            Self::Terminal => formatter.write_str("the terminal"),
        }
    }
}

impl Secrets {
    /// The secrets of a configuration, with the options `--secret-file`.
    ///
    /// # Errors
    /// An option has the wrong form.
    pub(super) fn new(configuration: &[u8], options: &[String]) -> Result<Self, Failure> {
        let mut files: Vec<SecretFile> = Vec::new();
        for option in options {
            let file = secret_file(option).ok_or_else(|| {
                // The option may be a secret in the wrong place.
                Failure::new("--secret-file: write VERSION=PATH, or ENDPOINT/VERSION=PATH")
            })?;
            if files.iter().any(|other| other.name() == file.name()) {
                return Err(two_files(&file.name()));
            }
            files.push(file);
        }
        Ok(Self {
            files,
            inline: inline(configuration),
        })
    }

    /// Finds the endpoint of each `--secret-file` that names a version alone. Otherwise the secret of one sender could verify
    /// the requests of another one. `named` is the endpoint of `--endpoint`.
    ///
    /// # Errors
    /// No endpoint has the version, or several have it and none is named.
    pub(super) fn assign_files(
        &mut self,
        policy: &Policy,
        named: Option<&str>,
    ) -> Result<(), Failure> {
        let mut assigned: Vec<(String, String)> = Vec::new();
        for file in &self.files {
            let owner = self.owner(file, policy, named)?;
            let pair = (owner, file.version.clone());
            if assigned.contains(&pair) {
                return Err(two_files(&format!("{}/{}", pair.0, pair.1)));
            }
            assigned.push(pair);
        }
        for (file, (owner, _)) in self.files.iter_mut().zip(assigned) {
            file.endpoint = Some(owner);
        }
        Ok(())
    }

    /// The endpoint that a file is for.
    fn owner(
        &self,
        file: &SecretFile,
        policy: &Policy,
        named: Option<&str>,
    ) -> Result<String, Failure> {
        let endpoints = policy.endpoints.iter().filter(|endpoint| {
            let mut secrets = endpoint.secrets.iter();
            secrets.any(|secret| file.is_for(&endpoint.name, &secret.version))
        });
        let names: Vec<_> = endpoints.map(|endpoint| endpoint.name.as_str()).collect();
        // An endpoint may have a file of its own, which leaves this one to the others.
        let has_own = |name: &str| {
            let mut files = self.files.iter();
            file.endpoint.is_none()
                && files.any(|other| other.endpoint.is_some() && other.is_for(name, &file.version))
        };
        let free: Vec<_> = names
            .iter()
            .copied()
            .filter(|name| !has_own(name))
            .collect();
        match (free.as_slice(), named) {
            ([owner], _) => Ok((*owner).to_owned()),
            ([], _) if names.is_empty() => Err(Failure::new(format!(
                "--secret-file {}: the configuration has no such version: its versions are {}",
                file.name(),
                versions(policy)
            ))),
            ([], _) => Err(two_files(&file.name())),
            (_, Some(named)) if free.contains(&named) => Ok(named.to_owned()),
            _ => {
                let version = &file.version;
                let choices = free.iter().take(MAX_NAMES);
                let choices: Vec<_> = choices.map(|name| format!("{name}/{version}")).collect();
                Err(Failure::new(format!(
                    "--secret-file {version}: several endpoints have this version: write ENDPOINT/VERSION=PATH with one of {}",
                    choices.join(", ")
                )))
            }
        }
    }

    /// The file of an endpoint's secret. [`assign_files`](Self::assign_files) has found the endpoint of each file.
    fn file(&self, endpoint: &str, version: &str) -> Option<&SecretFile> {
        let mut files = self.files.iter();
        files.find(|file| file.endpoint.as_deref() == Some(endpoint) && file.version == version)
    }

    /// The value of an endpoint's secret from a file, from its variable or from the configuration. `None` if the value is
    /// known in none of these places.
    ///
    /// # Errors
    /// A file cannot be read, or a value is not text.
    pub(super) fn find(
        &self,
        endpoint: &Endpoint,
        secret: &Secret,
    ) -> Result<Option<SecretText>, Failure> {
        let version = &secret.version;
        if let Some(file) = self.file(&endpoint.name, version) {
            return Ok(Some(SecretText {
                text: read_file(file)?,
                origin: Origin::File,
            }));
        }
        let mut inline = self.inline.iter();
        if let Some(inline) =
            inline.find(|inline| inline.endpoint == endpoint.name && inline.version == *version)
        {
            return Ok(Some(SecretText {
                text: inline.text.clone(),
                origin: Origin::Configuration,
            }));
        }
        let KeySource::Unchecked(name) = &secret.source else {
            return Ok(None);
        };
        match env::var(name) {
            Ok(text) => Ok(Some(SecretText {
                text,
                origin: Origin::Variable(name.clone()),
            })),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(Failure::new(format!(
                "the environment variable {} is not UTF-8: encode the secret, and set `key` to the encoding",
                shown(name)
            ))),
        }
    }

    /// The value of a secret of the configuration, which may be for another environment: from a file, from the
    /// configuration or from its variable. `None` if the value is known in none of these places.
    pub(super) fn find_configured(
        &self,
        endpoint: &str,
        version: &str,
        variable: Option<&str>,
    ) -> Option<String> {
        if let Some(file) = self.file(endpoint, version) {
            return read_file(file).ok();
        }
        let mut inline = self.inline.iter();
        let inline = inline.find(|inline| inline.endpoint == endpoint && inline.version == version);
        inline
            .map(|inline| inline.text.clone())
            .or_else(|| env::var(variable?).ok())
    }

    /// The value of an endpoint's secret. A person at a terminal is asked for a missing one.
    ///
    /// # Errors
    /// The value is missing, and no terminal is there to ask.
    pub(super) fn find_or_ask(
        &self,
        endpoint: &Endpoint,
        secret: &Secret,
    ) -> Result<SecretText, Failure> {
        match self.find(endpoint, secret)? {
            Some(text) => Ok(text),
            None => ask(endpoint, secret),
        }
    }

    /// The value of each secret of an endpoint, `None` for the missing ones. If all values are missing, a person at a
    /// terminal is asked for them.
    ///
    /// # Errors
    /// The endpoint has no value at all, and no terminal is there to ask.
    pub(super) fn of_endpoint(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Vec<Option<SecretText>>, Failure> {
        let mut texts = Vec::new();
        for secret in &endpoint.secrets {
            texts.push(self.find(endpoint, secret)?);
        }
        if texts.iter().all(Option::is_none) {
            ask_missing(endpoint, &mut texts)?;
        }
        Ok(texts)
    }

    /// Makes the keys of an endpoint's secrets. `needs_more` says of a policy with the keys of the known values whether a
    /// missing value may matter. Then a person at a terminal is asked for the missing ones.
    ///
    /// # Errors
    /// A value cannot be a secret of the endpoint's scheme, or is missing, and no terminal is there to ask.
    pub(super) fn unlock(
        &self,
        policy: &mut Policy,
        index: EndpointIndex,
        needs_more: impl Fn(&Policy) -> bool,
    ) -> Result<Unlocked, Failure> {
        let mut texts = self.of_endpoint(endpoint(policy, index)?)?;
        let mut warnings = install(policy, index, &texts)?;
        if texts.iter().any(Option::is_none) && needs_more(policy) {
            ask_missing(endpoint(policy, index)?, &mut texts)?;
            warnings = install(policy, index, &texts)?;
        }
        Ok(Unlocked { texts, warnings })
    }
}

/// The values of an endpoint's secrets. The policy has their keys.
#[derive(Debug)]
pub(super) struct Unlocked {
    /// In the order of the secrets, `None` for a value that was not needed.
    pub(super) texts: Vec<Option<SecretText>>,
    /// Findings about the values, without the values.
    pub(super) warnings: Vec<String>,
}

fn endpoint(policy: &Policy, EndpointIndex(index): EndpointIndex) -> Result<&Endpoint, Failure> {
    let endpoint = policy.endpoints.get(index).map(|endpoint| &**endpoint);
    endpoint.ok_or_else(|| Failure::new("the policy has no such endpoint"))
}

/// Asks a person at a terminal for the missing values of an endpoint.
///
/// # Errors
/// No terminal is there to ask.
pub(super) fn ask_missing(
    endpoint: &Endpoint,
    texts: &mut [Option<SecretText>],
) -> Result<(), Failure> {
    for (secret, text) in endpoint.secrets.iter().zip(texts) {
        if text.is_none() {
            *text = Some(ask(endpoint, secret)?);
        }
    }
    Ok(())
}

/// Makes the keys of an endpoint's secrets from these values, in the order of the secrets. A secret without a value has no
/// key. Returns warnings about the values.
///
/// # Errors
/// A value cannot be a secret of the endpoint's scheme.
pub(super) fn install(
    policy: &mut Policy,
    EndpointIndex(index): EndpointIndex,
    texts: &[Option<SecretText>],
) -> Result<Vec<String>, Failure> {
    let in_use = || Failure::new("the endpoint is in use");
    let mut warnings = Vec::new();
    let endpoint = policy.endpoints.get_mut(index).and_then(Rc::get_mut);
    let endpoint = endpoint.ok_or_else(in_use)?;
    for (secret, text) in endpoint.secrets.iter_mut().zip(texts) {
        let Some(text) = text else {
            continue;
        };
        let secret = Rc::get_mut(secret).ok_or_else(in_use)?;
        let about = |finding| {
            format!(
                "version {} of endpoint {}: in {}, {finding}",
                secret.version, endpoint.name, text.origin
            )
        };
        let (source, warning) =
            source(&endpoint.scheme, &text.text).map_err(|fault| Failure::new(about(fault)))?;
        warnings.extend(warning.map(about));
        secret.source = source;
    }
    Ok(warnings)
}

/// The keys of a text, and a warning about the text.
fn source(scheme: &Scheme, text: &str) -> Result<(KeySource, Option<&'static str>), &'static str> {
    let (text, warning) = secret_in(text)?;
    let (keys, other) = make_keys(scheme, text)?;
    Ok((KeySource::Held(keys), warning.or(other)))
}

/// Reads `VERSION=PATH` or `ENDPOINT/VERSION=PATH`.
fn secret_file(option: &str) -> Option<SecretFile> {
    let (name, path) = option.split_once('=')?;
    let (endpoint, version) = match name.split_once('/') {
        Some((endpoint, version)) => (Some(endpoint), version),
        None => (None, name),
    };
    let is_label = |text: &str| crate::config::is_label(text);
    let is_valid = is_label(version) && endpoint.is_none_or(is_label) && !path.is_empty();
    is_valid.then(|| SecretFile {
        endpoint: endpoint.map(str::to_owned),
        version: version.to_owned(),
        path: PathBuf::from(path),
    })
}

/// Reads the file of a secret. An error does not repeat the path, which may be the secret itself.
fn read_file(file: &SecretFile) -> Result<String, Failure> {
    let fail = |why: &dyn Display| Failure::new(format!("--secret-file {}: {why}", file.name()));
    let mut bytes = Vec::new();
    let read = File::open(&file.path)
        .and_then(|opened| {
            opened
                .take(MAX_SECRET.saturating_add(1))
                .read_to_end(&mut bytes)
        })
        .map_err(|error| fail(&format_args!("the file cannot be read: {error}")))?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_SECRET) {
        return Err(fail(
            &"the file is larger than 64 KiB: name one with the secret alone",
        ));
    }
    String::from_utf8(bytes).map_err(|_| {
        fail(&"the file is not UTF-8: encode the secret, and set `key` to the encoding")
    })
}

/// Asks for a value on the terminal, without echo.
fn ask(endpoint: &Endpoint, secret: &Secret) -> Result<SecretText, Failure> {
    let (name, version) = (&endpoint.name, &secret.version);
    let missing = || {
        let place = match &secret.source {
            KeySource::Unchecked(name) => {
                format!("set the environment variable {}, ", shown(name))
            }
            KeySource::Held(_) | KeySource::FilterState(_) => String::new(),
        };
        Failure::new(format!(
            "version {version} of endpoint {name} has no value here: {place}name a file by `--secret-file {name}/{version}=PATH`, or run the command on a terminal, which asks for it"
        ))
    };
    // Without a person who sees the question, the command would wait without end.
    if !io::stderr().is_terminal() {
        return Err(missing());
    }
    let question = format!("Secret {version} of endpoint {name}: ");
    let text = rpassword::prompt_password(question).map_err(|_| missing())?;
    Ok(SecretText {
        text,
        origin: Origin::Terminal,
    })
}

fn two_files(name: &str) -> Failure {
    Failure::new(format!(
        "--secret-file {name}: the version has two files: name one"
    ))
}

/// The versions of each endpoint.
fn versions(policy: &Policy) -> String {
    let endpoints = policy.endpoints.iter();
    let names = endpoints.flat_map(|endpoint| {
        let secrets = endpoint.secrets.iter();
        secrets.map(|secret| format!("{}/{}", endpoint.name, secret.version))
    });
    let names: Vec<_> = names.take(MAX_NAMES).collect();
    names.join(", ")
}

/// The values that a configuration contains.
fn inline(configuration: &[u8]) -> Vec<Inline> {
    let value = serde_json::from_slice::<serde_json::Value>(configuration).unwrap_or_default();
    let text = |value: &serde_json::Value, name| {
        let text = value.get(name).and_then(serde_json::Value::as_str);
        text.map(str::to_owned)
    };
    let list = |value: &serde_json::Value, name| {
        let list = value.get(name).and_then(serde_json::Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let mut found = Vec::new();
    for endpoint in list(&value, "endpoints") {
        for secret in list(&endpoint, "secrets") {
            if let (Some(name), Some(version), Some(value)) = (
                text(&endpoint, "name"),
                text(&secret, "version"),
                text(&secret, "value"),
            ) {
                found.push(Inline {
                    endpoint: name,
                    version,
                    text: value,
                });
            }
        }
    }
    found
}

/// The name of a variable, unless it looks like a secret in the wrong place.
fn shown(name: &str) -> &str {
    crate::secrets::printable(name)
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::cli::policies;

    const CONFIGURATION: &str = r#"{"endpoints": [
        {"name": "a", "match": {"path": "/a"}, "secrets": [
            {"version": "v1", "env": "CLI_TEST_NOT_SET"},
            {"version": "v2", "filter_state": "b.v2"}
        ]},
        {"name": "b", "match": {"path": "/b"}, "secrets": [{"version": "v1", "env": "CLI_TEST_OTHER"}]}
    ]}"#;

    fn policy() -> Policy {
        policies::read(CONFIGURATION.as_bytes()).expect("valid without the values of secrets")
    }

    fn secrets(options: &[String]) -> Secrets {
        Secrets::new(CONFIGURATION.as_bytes(), options).expect("valid options")
    }

    fn file(name: &str, content: &[u8]) -> String {
        let path =
            std::env::temp_dir().join(format!("webhook-guard-{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("a temporary file");
        path.to_str().expect("a name").to_owned()
    }

    #[test]
    fn an_option_with_the_wrong_form_is_not_repeated() {
        for option in ["whsec_hunter2", "v1=", "=x", "a/b/c=x", "v 1=x", "/v1=x"] {
            let error = Secrets::new(b"", &[option.to_owned()]).expect_err("no option");
            assert_eq!(
                error.to_string(),
                "--secret-file: write VERSION=PATH, or ENDPOINT/VERSION=PATH"
            );
        }
        let mut secrets = secrets(&["a/v1=/hunter2".to_owned()]);
        let policy = policy();
        secrets.assign_files(&policy, None).expect("an endpoint");
        let endpoint = &policy.endpoints[0];
        let error = secrets
            .find(endpoint, &endpoint.secrets[0])
            .expect_err("no file");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn the_file_of_an_endpoint_precedes_that_of_a_version() {
        let (one, other) = (file("one", b"first\n"), file("other", b"second"));
        let mut secrets = secrets(&[format!("v1={one}"), format!("b/v1={other}")]);
        let policy = policy();
        secrets.assign_files(&policy, None).expect("known versions");
        let text = |index: usize| {
            let endpoint = &policy.endpoints[index];
            let found = secrets.find(endpoint, &endpoint.secrets[0]);
            found.expect("a file").expect("a value").text
        };
        assert_eq!((text(0).as_str(), text(1).as_str()), ("first\n", "second"));
    }

    #[test]
    fn a_file_for_several_endpoints_is_an_error() {
        let file = file("several", b"a secret of one sender");
        let version = [format!("v1={file}")];
        for named in [None, Some("absent")] {
            let error = secrets(&version).assign_files(&policy(), named);
            assert_eq!(
                error.expect_err("two endpoints").to_string(),
                "--secret-file v1: several endpoints have this version: write ENDPOINT/VERSION=PATH with one of a/v1, b/v1"
            );
        }
        let mut secrets = secrets(&version);
        secrets
            .assign_files(&policy(), Some("b"))
            .expect("an endpoint");
        let value = |endpoint| secrets.find_configured(endpoint, "v1", None);
        assert_eq!(value("a"), None);
        assert_eq!(value("b").as_deref(), Some("a secret of one sender"));
    }

    #[test]
    fn two_files_for_one_secret_are_an_error() {
        for options in [
            vec!["a/v1=x", "b/v1=y", "v1=z"],
            vec!["v2=x", "a/v2=y"],
            vec!["v1=x", "v1=y"],
        ] {
            let options: Vec<_> = options.into_iter().map(str::to_owned).collect();
            let assigned = Secrets::new(CONFIGURATION.as_bytes(), &options)
                .and_then(|mut secrets| secrets.assign_files(&policy(), Some("a")));
            let error = assigned.expect_err("two files").to_string();
            assert!(error.contains("has two files"), "{error}");
        }
    }

    #[test]
    fn a_file_for_an_unknown_version_is_an_error() {
        let mut secrets = secrets(&["v9=x".to_owned()]);
        let error = secrets.assign_files(&policy(), None);
        let error = error.expect_err("no such version");
        assert_eq!(
            error.to_string(),
            "--secret-file v9: the configuration has no such version: its versions are a/v1, a/v2, b/v1"
        );
    }

    #[test]
    fn a_value_becomes_the_key_of_a_filter_state() {
        let path = file("state", b"a secret with enough bytes\r\n");
        let mut secrets = secrets(&[format!("v2={path}")]);
        let mut policy = policy();
        secrets.assign_files(&policy, None).expect("an endpoint");
        let unlocked = secrets.unlock(&mut policy, EndpointIndex(0), |_| false);
        assert_eq!(unlocked.expect("one value").warnings, Vec::<String>::new());
        let sources: Vec<_> = policy.endpoints[0].secrets.iter().collect();
        assert!(matches!(sources[0].source, KeySource::Unchecked(_)));
        assert!(matches!(sources[1].source, KeySource::Held(_)));
    }

    #[test]
    fn a_value_that_cannot_be_a_secret_is_an_error() {
        let path = file("blank", b"\n");
        let secrets = secrets(&[format!("a/v1={path}")]);
        let error = secrets.unlock(&mut policy(), EndpointIndex(0), |_| false);
        let error = error.expect_err("a blank file").to_string();
        assert!(
            error.starts_with(
                "version v1 of endpoint a: in the file of --secret-file, the secret is blank"
            ),
            "{error}"
        );
    }

    #[test]
    fn values_are_never_shown() {
        let text = SecretText {
            text: "hunter2".to_owned(),
            origin: Origin::Terminal,
        };
        assert!(!format!("{text:?}").contains("hunter2"));
    }
}
