//! The fuzz targets, over what fuzzing has kept and over bytes of no meaning: `make fuzz` goes on from there.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use webhook_guard::fuzzing;

/// Runs a target over its corpus, and over random bytes.
fn run(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut count = 0;
    for file in fs::read_dir(folder.join(name)).expect("a corpus") {
        let file = file.unwrap().path();
        target(&fs::read(&file).unwrap());
        count += 1;
    }
    assert!(count > 0, "the corpus of {name} is empty");
    proptest!(ProptestConfig::with_cases(500), |(data in prop::collection::vec(any::<u8>(), 0..400))| {
        target(&data);
    });
}

#[test]
fn the_configuration() {
    run("configuration", fuzzing::configuration);
}

#[test]
fn the_structs() {
    run("structs", fuzzing::structs);
}

#[test]
fn the_headers() {
    run("headers", fuzzing::headers);
}

#[test]
fn the_content() {
    run("content", fuzzing::content);
}

#[test]
fn the_times() {
    run("times", fuzzing::times);
}

#[test]
fn the_phases() {
    run("phases", fuzzing::phases);
}
