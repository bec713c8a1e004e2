//! Embeds the presets' `signature` blocks. The other fields of a preset's file are documentation, and add nothing to
//! the module. The command line, the feature `cli`, gets the whole files.
//!
//! Embeds the version, and in a git clone also the commit, into the module and the command line.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde_json::{Value, json};

const FOLDER: &str = "src/providers";

/// The module and the command are built from these. A change in one of them, except in a page, marks the build as
/// modified.
const SOURCES: [&str; 6] = [
    ".cargo",
    "Cargo.lock",
    "Cargo.toml",
    "build.rs",
    "rust-toolchain.toml",
    "src",
];

/// The commit changes with one of these files of git.
const GIT_FILES: [&str; 4] = ["HEAD", "logs/HEAD", "packed-refs", "reftable/tables.list"];

/// The digits of a commit that people read. `git rev-parse --short` returns more digits in a clone with more objects,
/// and equal commits must give equal modules.
const COMMIT_DIGITS: usize = 12;

/// The commit that is checked out.
struct Commit {
    hash: String,
    /// Whether the sources differ from it.
    is_modified: bool,
}

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
    let is_command = env::var_os("CARGO_FEATURE_CLI").is_some();
    if is_command {
        fs::write(Path::new(&out).join("catalogue.rs"), files(&signatures)?)?;
    }
    // Native tests do without the commit, because a commit would compile them again.
    let is_module = env::var("CARGO_CFG_TARGET_ARCH")? == "wasm32";
    let commit = match is_command || is_module {
        true => commit()?,
        false => None,
    };
    embed(commit.as_ref(), Path::new(&out))
}

/// An expression for the presets' names and whole files.
fn files(signatures: &BTreeMap<String, Value>) -> Result<String, Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join(FOLDER);
    let mut rows = String::new();
    for name in signatures.keys() {
        let file = folder.join(format!("{name}.json"));
        writeln!(rows, "    ({name:?}, include_str!({file:?})),")?;
    }
    Ok(format!("&[\n{rows}]\n"))
}

/// Embeds the version for people, the commit for a metric, and both for programs.
fn embed(commit: Option<&Commit>, out: &Path) -> Result<(), Box<dyn Error>> {
    let version = env::var("CARGO_PKG_VERSION")?;
    let short = commit.map(|commit| commit.hash.get(..COMMIT_DIGITS).unwrap_or(&commit.hash));
    let is_modified = commit.is_some_and(|commit| commit.is_modified);
    let (text, label) = match (short, is_modified) {
        (Some(short), false) => (format!("{version} ({short})"), short.to_owned()),
        (Some(short), true) => (
            format!("{version} ({short}, modified)"),
            format!("{short}-modified"),
        ),
        (None, _) => (version.clone(), "unknown".to_owned()),
    };
    println!("cargo::rustc-env=WEBHOOK_GUARD_VERSION={text}");
    println!("cargo::rustc-env=WEBHOOK_GUARD_COMMIT={label}");
    let record = json!({
        "version": version,
        "commit": commit.map(|commit| &commit.hash),
        "modified": is_modified,
    });
    fs::write(out.join("version.json"), record.to_string())?;
    Ok(())
}

/// The commit, or `None` outside of a git clone of this package.
fn commit() -> Result<Option<Commit>, Box<dyn Error>> {
    // Without this, a package within another repository would get the commit of that repository.
    if git(&["rev-parse", "--show-cdup"]).as_deref() != Some("") {
        return Ok(None);
    }
    let Some(hash) = git(&["rev-parse", "--verify", "HEAD"]) else {
        return Ok(None);
    };
    if !hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(format!("git rev-parse --verify HEAD printed {hash:?}, not a commit").into());
    }
    // Cargo builds again each time if a file that it watches is absent.
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"]).unwrap_or_default();
    for path in GIT_FILES.iter().copied().chain([branch.as_str()]) {
        if let Some(path) = git(&["rev-parse", "--git-path", path])
            && Path::new(&path).is_file()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for source in SOURCES {
        watch(Path::new(source))?;
    }
    let status = ["status", "--porcelain", "--untracked-files=normal", "--"];
    let status = [&status, &SOURCES[..], &[":(exclude)*.md"]].concat();
    let is_modified = git(&status).as_deref() != Some("");
    Ok(Some(Commit { hash, is_modified }))
}

/// Builds again after a change in a source, which builds the crate again anyway.
fn watch(path: &Path) -> Result<(), Box<dyn Error>> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            watch(&entry?.path())?;
        }
    } else if path.extension().is_none_or(|extension| extension != "md") {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    Ok(())
}

/// The output of git without its line end. `None` if git is absent, or fails.
fn git(arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    git.arg("--no-optional-locks").args(arguments);
    // A hook of git sets these, and they may name another repository.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(name);
    }
    let output = git.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim_end().to_owned())
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
