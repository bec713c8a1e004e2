//! Embeds the presets' `signature` blocks. The other fields of a preset's file are documentation, and add nothing to
//! the module.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use serde_json::Value;

const FOLDER: &str = "src/providers";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let mut signatures = BTreeMap::new();
    for entry in fs::read_dir(FOLDER)? {
        let file = entry?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let (name, signature) = preset(&file)?;
            signatures.insert(name, signature);
        }
    }
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("providers.rs"), table(&signatures)?)?;
    Ok(())
}

/// The name of a preset and its `signature`. The file is named after the preset.
fn preset(file: &Path) -> Result<(String, Value), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", file.display());
    let text: Value = serde_json::from_slice(&fs::read(file)?)?;
    let name = text.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| format!("{}: no name", file.display()))?;
    if file.file_stem().and_then(|stem| stem.to_str()) != Some(name) {
        return Err(format!("{}: the name in it is {name}", file.display()).into());
    }
    let signature = text
        .get("signature")
        .ok_or_else(|| format!("{}: no signature", file.display()))?;
    Ok((name.to_owned(), signature.clone()))
}

/// An expression for the presets' names and blocks. A block that several presets share is in it once.
fn table(signatures: &BTreeMap<String, Value>) -> Result<String, Box<dyn Error>> {
    let (mut blocks, mut rows) = (String::new(), String::new());
    let place = |name: &str| signatures.keys().position(|known| known == name);
    for (place_of_own, (name, signature)) in signatures.iter().enumerate() {
        let place_of_block = match signature {
            Value::Object(_) => {
                let block = signature.to_string();
                writeln!(blocks, "    const BLOCK_{place_of_own}: &str = {block:?};")?;
                place_of_own
            }
            // The name of a preset that has the block.
            Value::String(other) => match signatures.get(other) {
                Some(Value::Object(_)) => place(other).unwrap_or_default(),
                Some(_) => return Err(format!("{name}: {other} has no block of its own").into()),
                None => return Err(format!("{name}: {other} is not a preset").into()),
            },
            _ => {
                return Err(format!("{name}: a signature is a block or a preset's name").into());
            }
        };
        writeln!(rows, "        ({name:?}, BLOCK_{place_of_block}),")?;
    }
    Ok(format!("{{\n{blocks}    &[\n{rows}    ]\n}}\n"))
}
