//! `webhook-guard version`: the version and the commit of this command, or of a module.

mod build;
mod sections;

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::Result;
use super::arguments::{OutputFormat, VersionArguments};
use super::failure::Failure;
use super::output::{self, escaped};
use super::source::SourceFile;
use crate::crypto;
use build::{Build, Crate};

/// The output about a build.
struct Report {
    build: Build,
    file: Option<FileReport>,
}

/// The output about the file of a module.
struct FileReport {
    sha256: String,
    bytes: usize,
    /// `None` if the module does not list its crates.
    crates: Option<Vec<Crate>>,
}

/// Prints the version of this command, or of the module that the arguments name.
pub(super) fn run(arguments: &VersionArguments) -> Result {
    let report = match &arguments.module {
        Some(path) => of_module(path)?,
        None => Report {
            build: Build::own().ok_or_else(|| Failure::new("the command has no version"))?,
            file: None,
        },
    };
    match arguments.format {
        OutputFormat::Text => output::print_as_is(report.text().as_bytes())?,
        OutputFormat::Json => output::print_json(&report.document())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn of_module(path: &Path) -> Result<Report> {
    let SourceFile { name, bytes } = SourceFile::read(path)?;
    let (build, crates) =
        build::read(&bytes).map_err(|fault| Failure::new(format!("{name}: {}", fault.text())))?;
    Ok(Report {
        build,
        file: Some(FileReport {
            sha256: hex(&crypto::sha256(&bytes)),
            bytes: bytes.len(),
            crates,
        }),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Report {
    fn text(&self) -> String {
        let Build {
            version,
            commit,
            is_modified,
        } = &self.build;
        let modified = match is_modified {
            true => ", with changes that are not committed",
            false => "",
        };
        let commit = commit.as_deref().unwrap_or("unknown");
        let mut text = format!(
            "version: {}\ncommit: {commit}{modified}\n",
            escaped(version)
        );
        let Some(file) = &self.file else {
            return text;
        };
        text.push_str(&format!("sha256: {}\nbytes: {}\n", file.sha256, file.bytes));
        match &file.crates {
            None => text.push_str("crates: not listed in this module\n"),
            Some(crates) => {
                text.push_str(&format!("crates: {}\n", crates.len()));
                for each in crates {
                    let (name, version) = (escaped(&each.name), escaped(&each.version));
                    text.push_str(&format!("  {name} {version}\n"));
                }
            }
        }
        text
    }

    fn document(&self) -> Value {
        let Build {
            version,
            commit,
            is_modified,
        } = &self.build;
        let mut document = json!({"version": version, "commit": commit, "modified": is_modified});
        if let (Some(file), Some(fields)) = (&self.file, document.as_object_mut()) {
            let crates = file.crates.as_ref();
            let crates = crates.map(|crates| crates.iter().map(Crate::document).collect::<Value>());
            fields.insert("sha256".to_owned(), json!(file.sha256));
            fields.insert("bytes".to_owned(), json!(file.bytes));
            fields.insert("crates".to_owned(), json!(crates));
        }
        document
    }
}
