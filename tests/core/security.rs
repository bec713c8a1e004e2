//! Every test that SECURITY.md and the README of this folder name exists, and every row has an answer.

use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The cells of each row of each table, without the heads.
fn tables(text: &str) -> Vec<Vec<Vec<&str>>> {
    let mut tables = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with("|---") {
            continue;
        }
        let mut rows = Vec::new();
        while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
            let cells = row.trim_matches('|').split('|');
            rows.push(cells.map(str::trim).collect());
        }
        tables.push(rows);
    }
    tables
}

/// The tests that a text names: `FILE::NAME`, or `FILE::CLASS::NAME`.
fn named(text: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|quoted| {
        let (file, test) = quoted.split_once("::")?;
        Some((file, test.split("::").collect()))
    })
}

/// Whether a file has this test, in this class if there is one.
fn exists(file: &str, test: &[&str]) -> bool {
    let Ok(text) = fs::read_to_string(root().join(file)) else {
        return false;
    };
    let (class, name) = match test {
        [name] => (None, name),
        [class, name] => (Some(class), name),
        _ => return false,
    };
    if file.ends_with(".rs") {
        // Those of `proptest!` have no `#[test]` of their own right above, but are called like this too.
        return class.is_none() && text.contains(&format!("fn {name}("));
    }
    let Some(class) = class else {
        return text.contains(&format!("\ndef {name}("));
    };
    let body = text.split(&format!("\nclass {class}:")).nth(1);
    let body = body.map(|body| body.split("\nclass ").next().unwrap_or_default());
    body.is_some_and(|body| body.contains(&format!("\n    def {name}(")))
}

#[test]
fn every_row_is_answered_by_a_test_that_exists_or_by_a_reason() {
    let [security, pitfalls] = ["SECURITY.md", "tests/core/README.md"]
        .map(|page| fs::read_to_string(root().join(page)).unwrap());
    let [security, pitfalls] = [tables(&security), tables(&pitfalls)];
    let ([invariants], [pitfalls]) = (security.as_slice(), pitfalls.as_slice()) else {
        panic!("each page has one table");
    };
    // All that were known when it was written; it may only grow.
    assert!(pitfalls.len() >= 52, "{}", pitfalls.len());
    for row in invariants {
        assert!(named(row[1]).count() > 0, "{row:?} has no test");
    }
    for row in invariants.iter().chain(pitfalls) {
        let [what, answer] = row.as_slice() else {
            panic!("{row:?} has not two cells");
        };
        assert!(what.len() > 10, "{row:?}");
        assert!(
            named(answer).count() > 0 || answer.len() > 40,
            "{row:?} has no answer"
        );
        for (file, test) in named(answer) {
            assert!(
                exists(file, &test),
                "{file}::{} is not there",
                test.join("::")
            );
        }
    }
}

#[test]
fn a_test_that_is_not_there_is_found_out() {
    assert!(exists(
        "tests/core/security.rs",
        &["a_test_that_is_not_there_is_found_out"]
    ));
    assert!(exists(
        "tests/envoy/test_presets.py",
        &["TestPreset", "test_no_signature"]
    ));
    for (file, test) in [
        ("tests/core/security.rs", &["a_test_that_was_removed"][..]),
        ("tests/core/removed.rs", &["a_test"]),
        ("tests/envoy/test_presets.py", &["test_no_signature"]),
        (
            "tests/envoy/test_presets.py",
            &["TestTimestamp", "test_no_signature"],
        ),
        (
            "tests/envoy/test_presets.py",
            &["TestRemoved", "test_no_signature"],
        ),
    ] {
        assert!(!exists(file, test), "{file}: {test:?}");
    }
    let rows = "| a | b |\n|---|---|\n| c | `x.rs::y`, `z` |\n\ntext\n";
    assert_eq!(tables(rows), [[["c", "`x.rs::y`, `z`"]]]);
    assert_eq!(
        named("`x.rs::y`, `z`").collect::<Vec<_>>(),
        [("x.rs", vec!["y"])]
    );
}
