//! The inputs of `verify` and `explain`.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::arguments::VerifyArguments;
use super::capture::{Capture, LogLine, Options};
use super::failure::Failure;
use super::judgement::{Judgement, is_health_check, judge, owner};
use super::secrets::{SecretText, Secrets};
use super::source::SourceFile;
use super::{Result, clock, policies};
use crate::policy::{EndpointIndex, Policy};
use crate::request::address::Client;
use crate::request::path;
use crate::time::UnixMillis;
use crate::verdict::Denial;
use crate::verify::Verdict;

/// The inputs of a command about a captured request.
#[derive(Debug)]
pub(super) struct Inputs {
    /// The configuration as JSON, without lists of addresses if no `--client` is given.
    pub(super) configuration: Vec<u8>,
    pub(super) policy: Policy,
    pub(super) secrets: Secrets,
    pub(super) capture: Capture,
    pub(super) client: Client,
    pub(super) now: UnixMillis,
    /// Remarks for the user: of the capture, of the log, and about what is not checked.
    pub(super) notes: Vec<String>,
}

impl Inputs {
    /// Reads the files that the arguments name. The policy has no keys yet.
    ///
    /// # Errors
    /// A file cannot be read, or has faults.
    pub(super) fn read(arguments: &VerifyArguments) -> Result<Self> {
        let inputs = Self::load(arguments)?;
        inputs.check_endpoint(arguments.config.endpoint.as_deref())?;
        Ok(inputs)
    }

    /// The same, where the endpoint that the arguments name gets the request although it does not match. A capture before
    /// a proxy that changes paths has another path.
    ///
    /// # Errors
    /// A file cannot be read, or has faults, or the configuration has no such endpoint.
    pub(super) fn read_for_endpoint(arguments: &VerifyArguments) -> Result<Self> {
        let mut inputs = Self::load(arguments)?;
        let Err(refusal) = inputs.check_endpoint(arguments.config.endpoint.as_deref()) else {
            return Ok(inputs);
        };
        let name = arguments.config.endpoint.as_deref().unwrap_or_default();
        match inputs.adopt(name) {
            Some(()) => Ok(inputs),
            None => Err(refusal),
        }
    }

    /// Changes the configuration so that an endpoint matches the request. `None` if it cannot.
    fn adopt(&mut self, name: &str) -> Option<()> {
        let path = path::without_query(self.capture.request.target.as_bytes());
        let path = std::str::from_utf8(path).ok()?.to_owned();
        let mut root: Value = serde_json::from_slice(&self.configuration).ok()?;
        let endpoints = root.get_mut("endpoints")?.as_array_mut()?;
        let mut own = None;
        for (index, endpoint) in endpoints.iter_mut().enumerate() {
            let fields = endpoint.as_object_mut()?;
            let is_own = fields.get("name").and_then(Value::as_str) == Some(name);
            let other = match is_own {
                true => json!({"path": path}),
                // The others keep their secrets, which may have made the signature.
                false => json!({"path": "/other", "host": format!("endpoint-{index}.invalid")}),
            };
            let before = fields.insert("match".to_owned(), other);
            if is_own {
                own = before;
            }
        }
        let own = own?;
        let configuration = root.to_string().into_bytes();
        let policy = policies::read(&configuration).ok()?;
        let index = owner(&policy, &self.capture.request).filter(|_| !self.capture.is_refused)?;
        if policy.endpoints.get(index.0)?.name != name {
            return None;
        }
        let matched = own.get("path").or_else(|| own.get("prefix"))?.as_str()?;
        let host = own.get("host").and_then(Value::as_str);
        let host = host.map_or_else(String::new, |host| format!(" and the host {host}"));
        self.notes.push(format!(
            "the endpoint {name} matches {matched}{host}, and the request has the path {path} and the host {}: without --endpoint, the guard does not use this endpoint",
            self.capture.request.authority
        ));
        self.configuration = configuration;
        self.policy = policy;
        Some(())
    }

    /// Reads the files that the arguments name.
    fn load(arguments: &VerifyArguments) -> Result<Self> {
        SourceFile::check_standard_input(&[
            ("--config", Some(&arguments.config.config)),
            ("--request", Some(&arguments.request)),
            ("--log", arguments.log.as_deref()),
        ])?;
        let configuration = policies::configuration(&SourceFile::read(&arguments.config.config)?)?;
        let (configuration, has_lists) = match arguments.client {
            Some(_) => (configuration, false),
            None => policies::without_addresses(configuration),
        };
        let mut secrets = Secrets::new(&configuration, &arguments.config.secret_files)?;
        let policy = policies::read_from(&configuration, &arguments.config.config)?;
        secrets.assign_files(&policy, arguments.config.endpoint.as_deref())?;
        let options = Options {
            entry: arguments.entry,
            scheme: &arguments.scheme,
        };
        let mut capture = Capture::read(&SourceFile::read(&arguments.request)?, options)?;
        let mut notes = std::mem::take(&mut capture.notes);
        if has_lists {
            notes.push("the client's address is not checked: pass it by --client".to_owned());
        }
        if let Some(log) = &arguments.log {
            let named = arguments.config.endpoint.as_deref();
            let own =
                owner(&policy, &capture.request).and_then(|index| policy.endpoints.get(index.0));
            let endpoint = named.or_else(|| own.map(|endpoint| endpoint.name.as_str()));
            let line = LogLine::read(&SourceFile::read(log)?, &capture.request, endpoint)?;
            notes.extend(line.compare(&capture.request));
        }
        let mut inputs = Self {
            configuration,
            policy,
            secrets,
            capture,
            client: Client::Trusted(arguments.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            now: clock::now(arguments.config.at),
            notes,
        };
        if inputs.is_health_check() {
            let note =
                "the guard answers the request itself, because its path is that of `health_check`";
            inputs.notes.push(note.to_owned());
        }
        Ok(inputs)
    }

    /// Checks that the request belongs to the endpoint that the arguments name.
    fn check_endpoint(&self, name: Option<&str>) -> Result<()> {
        let Some(name) = name else {
            return Ok(());
        };
        let names: Vec<_> = self
            .policy
            .endpoints
            .iter()
            .map(|each| each.name.as_str())
            .collect();
        if !names.contains(&name) {
            return Err(Failure::new(format!(
                "--endpoint: name one of the endpoints in the configuration: {}",
                names.join(", ")
            )));
        }
        match self
            .owner()
            .and_then(|EndpointIndex(index)| names.get(index))
        {
            Some(owner) if *owner == name => Ok(()),
            Some(owner) => Err(Failure::new(format!(
                "--endpoint {name}: the request's path or host belongs to the endpoint {owner}: correct the path or `match`"
            ))),
            None => Err(Failure::new(format!(
                "--endpoint {name}: the request's path or host belongs to no endpoint: correct the path or `match`"
            ))),
        }
    }

    /// The endpoint that the request belongs to.
    pub(super) fn owner(&self) -> Option<EndpointIndex> {
        if self.capture.is_refused {
            return None;
        }
        owner(&self.policy, &self.capture.request)
    }

    /// Whether the guard answers the request as a health check.
    pub(super) fn is_health_check(&self) -> bool {
        !self.capture.is_refused && is_health_check(&self.policy, &self.capture.request)
    }

    /// Judges the request.
    pub(super) fn judge(&self) -> Judgement {
        if self.capture.is_refused {
            return Judgement {
                endpoint: None,
                verdict: Verdict::deny(Denial::Incomplete),
            };
        }
        judge(&self.policy, &self.capture.request, self.client, self.now)
    }

    /// Gives the policy the keys of the request's endpoint. `needs_more` says whether a missing value may matter.
    ///
    /// # Errors
    /// A value cannot be a secret of the endpoint's scheme, or is missing, and no terminal is there to ask.
    pub(super) fn unlock(
        &mut self,
        needs_more: impl Fn(&Judgement) -> bool,
    ) -> Result<Vec<Option<SecretText>>> {
        let Some(index) = self.owner() else {
            return Ok(Vec::new());
        };
        let (request, client, now) = (&self.capture.request, self.client, self.now);
        let unlocked = self.secrets.unlock(&mut self.policy, index, |policy| {
            needs_more(&judge(policy, request, client, now))
        })?;
        self.notes.extend(unlocked.warnings);
        Ok(unlocked.texts)
    }
}
