//! Files that a command reads.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::failure::Failure;

/// The largest file that a command reads, in bytes. The largest body that a guard accepts is far smaller.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// A file with its name, for messages.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

impl SourceFile {
    /// Reads a file, or standard input if the path is `-`.
    ///
    /// # Errors
    /// The file cannot be read, or is too large.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let name = match path.as_os_str() == "-" {
            true => "standard input".to_owned(),
            false => path.display().to_string(),
        };
        let mut bytes = Vec::new();
        let read = match path.as_os_str() == "-" {
            true => io::stdin()
                .take(MAX_FILE.saturating_add(1))
                .read_to_end(&mut bytes),
            false => File::open(path).and_then(|file| {
                file.take(MAX_FILE.saturating_add(1))
                    .read_to_end(&mut bytes)
            }),
        };
        read.map_err(|error| Failure::new(format!("{name}: {error}")))?;
        match u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_FILE) {
            true => Ok(Self { name, bytes }),
            false => Err(Failure::new(format!(
                "{name}: the file is larger than 64 MiB: name another one"
            ))),
        }
    }

    /// Checks that at most one of the options reads standard input, which would be empty for a second one.
    ///
    /// # Errors
    /// Several options read standard input.
    pub(super) fn check_standard_input(options: &[(&str, Option<&Path>)]) -> Result<(), Failure> {
        let names: Vec<_> = options
            .iter()
            .filter(|(_, path)| path.is_some_and(|path| path.as_os_str() == "-"))
            .map(|(name, _)| *name)
            .collect();
        match names.as_slice() {
            [] | [_] => Ok(()),
            several => Err(Failure::new(format!(
                "{}: only one can be standard input: name a file for each other one",
                several.join(" and ")
            ))),
        }
    }

    /// The file as text.
    ///
    /// # Errors
    /// The file is not UTF-8.
    pub(super) fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.bytes).map_err(|_| {
            Failure::new(format!(
                "{}: the file is not UTF-8: save it as UTF-8",
                self.name
            ))
        })
    }
}
