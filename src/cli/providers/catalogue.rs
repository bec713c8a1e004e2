//! The files of the presets, which `build.rs` embeds.

use serde_json::Value;

use crate::cli::Result;
use crate::cli::failure::Failure;
use crate::cli::yaml::{self, Yaml};

/// The presets by name, each with its file.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));

/// A preset with its file. The file keeps the order of its fields.
#[derive(Debug)]
pub(super) struct Preset {
    pub(super) name: &'static str,
    file: Yaml,
    signature: Yaml,
}

/// All presets, by name.
///
/// # Errors
/// A file is not what a preset's file is.
pub(super) fn read() -> Result<Vec<Preset>> {
    let presets = FILES.iter().map(|(name, text)| {
        let file = parse(name, text)?;
        let signature = match file.get("signature") {
            // The name of a preset with the same block.
            Some(other) if other.text().is_some() => {
                let other = other.text().unwrap_or_default();
                let (name, text) = FILES
                    .iter()
                    .find(|(known, _)| *known == other)
                    .ok_or_else(|| broken(name))?;
                parse(name, text)?.get("signature").cloned()
            }
            block => block.cloned(),
        };
        Ok(Preset {
            name,
            signature: signature.ok_or_else(|| broken(name))?,
            file,
        })
    });
    presets.collect()
}

fn parse(name: &str, text: &str) -> Result<Yaml> {
    let documents = yaml::parse(text).map_err(|_| broken(name))?;
    documents.into_iter().next().ok_or_else(|| broken(name))
}

fn broken(name: &str) -> Failure {
    Failure::new(format!(
        "the preset {name} cannot be read: report this as a bug"
    ))
}

impl Preset {
    pub(super) fn sender(&self) -> &str {
        self.field("sender").unwrap_or_default()
    }

    /// A field of the file that is a text.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.file.get(name)?.text()
    }

    /// A field of the file that has fields of its own.
    pub(super) fn part(&self, name: &str) -> Option<&Yaml> {
        self.file.get(name)
    }

    /// The block, also of a preset whose file names another preset.
    pub(super) const fn signature(&self) -> &Yaml {
        &self.signature
    }

    /// The file as JSON, with the block.
    ///
    /// # Errors
    /// The file is not what a preset's file is.
    pub(super) fn document(&self) -> Result<Value> {
        let json = |value: &Yaml| serde_json::from_str::<Value>(&value.to_json());
        let mut document = json(&self.file).map_err(|_| broken(self.name))?;
        let signature = json(&self.signature).map_err(|_| broken(self.name))?;
        if let Some(fields) = document.as_object_mut() {
            fields.insert("signature".to_owned(), signature);
        }
        Ok(document)
    }
}
