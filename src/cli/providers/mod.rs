//! `webhook-guard providers`: the presets.

mod catalogue;
mod example;
mod yaml_text;

use std::process::ExitCode;

use serde_json::Value;

use super::Result;
use super::arguments::{OutputFormat, ProvidersArguments};
use super::failure::Failure;
use super::output::{self, Style, styled};
use crate::config::did_you_mean;
use catalogue::Preset;

/// Prints the preset with the name, or lists those whose name or sender contains it.
pub(super) fn run(arguments: &ProvidersArguments) -> Result {
    let catalogue = catalogue::read()?;
    let name = arguments.name.as_deref().unwrap_or_default();
    let found = find(&catalogue, name)?;
    match (arguments.format, found.as_slice()) {
        (OutputFormat::Json, presets) => {
            let documents = presets.iter().map(|preset| preset.document());
            output::print_json(&documents.collect::<Result<Value>>()?)?;
        }
        (OutputFormat::Text, [preset]) => output::print(example::of(preset))?,
        (OutputFormat::Text, presets) => list(presets)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The preset with this name, or those whose name or sender contains the text.
fn find<'c>(catalogue: &'c [Preset], text: &str) -> Result<Vec<&'c Preset>> {
    let text = text.to_lowercase();
    if let Some(preset) = catalogue.iter().find(|preset| preset.name == text) {
        return Ok(vec![preset]);
    }
    let contains = |preset: &&Preset| {
        preset.name.contains(&text) || preset.sender().to_lowercase().contains(&text)
    };
    let found: Vec<_> = catalogue.iter().filter(contains).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<_> = catalogue.iter().map(|preset| preset.name).collect();
    Err(Failure::new(format!(
        "no preset and no sender contains `{}`: `webhook-guard providers` lists all{}",
        output::escaped(&text),
        did_you_mean(&text, &names)
    )))
}

fn list(presets: &[&Preset]) -> Result<()> {
    let width = presets.iter().map(|preset| preset.name.len()).max();
    let width = width.unwrap_or_default();
    let mut lines = String::new();
    for preset in presets {
        let padding = " ".repeat(width.saturating_sub(preset.name.len()));
        let name = styled(Style::Strong, preset.name);
        lines.push_str(&format!("{name}{padding}  {}\n", preset.sender()));
    }
    output::print_as_is(lines.as_bytes())
}
