//! Embeds the providers' `signature` blocks, so that a preset costs the module its block alone:
//! the rest of a provider's file is documentation.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

const FOLDER: &str = "src/providers";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let mut files = fs::read_dir(FOLDER)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "json")
    });
    files.sort();

    let mut table = String::from("&[\n");
    for file in &files {
        let (name, signature) = provider(file)?;
        writeln!(table, "    ({name:?}, {signature:?}),")?;
    }
    table.push(']');
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("providers.rs"), table)?;
    Ok(())
}

/// The name and the `signature` block of one provider's file, which bears the provider's name.
fn provider(file: &Path) -> Result<(String, String), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", file.display());
    let text: serde_json::Value = serde_json::from_slice(&fs::read(file)?)?;
    let name = text.get("name").and_then(|name| name.as_str());
    let name = name.ok_or_else(|| format!("{}: no name", file.display()))?;
    if file.file_stem().and_then(|stem| stem.to_str()) != Some(name) {
        return Err(format!("{}: the provider in it is {name}", file.display()).into());
    }
    let signature = text
        .get("signature")
        .ok_or_else(|| format!("{}: no signature block", file.display()))?;
    Ok((name.to_owned(), signature.to_string()))
}
