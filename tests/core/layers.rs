//! The direction of imports between the modules of the core, as the table in `src/lib.rs` gives it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The levels of the table in `src/lib.rs`, by module.
fn levels() -> BTreeMap<String, u8> {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | "));
    rows.filter_map(|row| {
        let mut cells = row.split(" | ");
        let level = cells.next()?.parse().ok()?;
        let name = cells.next()?.trim_matches(['[', ']', '`']);
        Some((name.to_owned(), level))
    })
    .collect()
}

/// The Rust files below a folder, or the file itself.
fn files(path: &Path) -> Vec<String> {
    if path.is_file() {
        return vec![fs::read_to_string(path).unwrap()];
    }
    let entries = fs::read_dir(path).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| files(&path)).collect()
}

/// The modules that a module's code names by `crate::`, without itself.
fn imports(module: &str) -> BTreeSet<String> {
    let file = format!("src/{module}.rs");
    let folder = format!("src/{module}");
    let path = [file, folder]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let texts = files(Path::new(&path.expect(module)));
    let code = texts.iter().flat_map(|text| text.lines());
    let code = code.filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            let end = rest.find(|letter: char| letter != '_' && !letter.is_alphanumeric());
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .filter(|name| name != module)
        .collect()
}

#[test]
fn every_module_has_a_level() {
    let declared = fs::read_to_string("src/lib.rs").unwrap();
    let declared = declared.lines().filter_map(|line| {
        let name = line.trim_start_matches("pub ").strip_prefix("mod ")?;
        name.strip_suffix(';').map(str::to_owned)
    });
    let mut declared: BTreeSet<_> = declared.collect();
    for without in ["cli", "fuzzing", "shell"] {
        assert!(declared.remove(without), "{without}");
    }
    assert_eq!(declared, levels().into_keys().collect());
}

#[test]
fn no_module_imports_one_of_a_higher_level() {
    let levels = levels();
    for (module, level) in &levels {
        for import in imports(module) {
            let other = levels.get(&import);
            let other = other.unwrap_or_else(|| panic!("{module} imports {import}"));
            assert!(other <= level, "{module} imports {import}");
        }
    }
}

/// Removes modules whose imports are all removed, which those of a circle never are.
fn assert_no_circle(mut left: BTreeMap<String, BTreeSet<String>>) {
    while !left.is_empty() {
        let free: Vec<_> = left
            .iter()
            .filter(|(_, imports)| imports.iter().all(|import| !left.contains_key(import)))
            .map(|(name, _)| name.clone())
            .collect();
        assert!(!free.is_empty(), "these import each other: {left:?}");
        left.retain(|name, _| !free.contains(name));
    }
}

#[test]
fn no_two_modules_import_each_other() {
    let levels = levels();
    assert_no_circle(
        levels
            .keys()
            .map(|name| (name.clone(), imports(name)))
            .collect(),
    );
}

/// The modules of `src/scheme` that another one of them names. The parent may import its children, and they may
/// import it.
fn imports_in_scheme(path: &Path) -> BTreeSet<String> {
    let prefix = if path.is_dir() {
        "crate::scheme::"
    } else {
        "super::"
    };
    let texts = files(path).join("\n");
    let uses = texts.split(prefix).skip(1);
    uses.flat_map(|rest| {
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split_once('}').unwrap().0,
            None => rest.split_once(';').unwrap().0,
        };
        names.split(',').map(|name| {
            let letters = name.trim().chars();
            letters
                .take_while(|letter| *letter == '_' || letter.is_alphanumeric())
                .collect()
        })
    })
    .collect()
}

#[test]
fn no_two_modules_of_the_scheme_import_each_other() {
    let entries = fs::read_dir("src/scheme").unwrap();
    let modules = entries.map(|entry| entry.unwrap().path()).filter(|path| {
        path.is_dir() || path.extension().is_some_and(|extension| extension == "rs")
    });
    let modules: BTreeMap<_, _> = modules
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap();
            (name.to_owned(), imports_in_scheme(&path))
        })
        .filter(|(name, _)| name != "mod")
        .collect();
    assert!(modules["message"].contains("chunk") && modules["body"].contains("parameters"));
    assert_no_circle(modules);
}

#[test]
fn only_the_host_modules_know_the_abi() {
    fn check(folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                check(&path);
            } else if path.extension().is_some_and(|name| name == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let is_host = path.ends_with("shell/host/envoy.rs")
                    || path.ends_with("shell/host/callbacks.rs");
                assert_eq!(text.contains("extern \"C\""), is_host, "{}", path.display());
            }
        }
    }
    check(Path::new("src"));
}
