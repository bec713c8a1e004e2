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
fn the_lists() {
    run("lists", fuzzing::lists);
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
    // Each endpoint, each key, times about the edges of the tolerance, and each change alone.
    let bodies: [&[u8]; 6] = [
        b"{}",
        b"{}",
        b"abc",
        br#"{"id": "e"}"#,
        b"b=2&a=1&a=1",
        b"[]",
    ];
    for (endpoint, body) in bodies.iter().enumerate() {
        for key in 0..4 {
            for time in [3, 4, 103, 203, 204] {
                for change in 0..10 {
                    for number in [0, 1, 15] {
                        for shown in 0..3 {
                            let mut data = vec![endpoint as u8, key, time, 3];
                            data.extend(b"evt");
                            data.push(body.len() as u8);
                            data.extend(*body);
                            // One change, to the first header, with these bytes where it wants some.
                            data.extend([1, 0, number, change, 1, b'!', 7, shown, 5]);
                            fuzzing::phases(&data);
                            // None.
                            let unchanged = data.len() - 9;
                            data.truncate(unchanged);
                            data.extend([0, 7, shown, 5]);
                            fuzzing::phases(&data);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_exchange() {
    run("exchange", fuzzing::exchange);
    // To each endpoint, genuine or forged, with each call of each callback failing once. The last target is the path of
    // the health check, where `id` selects the method.
    for (target, id) in (0..8).map(|target| (target, 0)).chain([(7, 2)]) {
        for key in [0, 3] {
            for call in 0..40 {
                let request = [target, key, id, 103, 0, 0, 2, b'{', b'}', 0];
                let (head, last, rest) = (vec![0x80, call], vec![0x85, call], vec![5]);
                let (answer, end) = (vec![0x87, call, 0, 1, 0, 0], vec![0x89, call, 2]);
                fuzzing::exchange(&[&head[..], &request, &rest].concat());
                fuzzing::exchange(&[&[0][..], &request, &last, &answer, &end].concat());
            }
        }
    }
    // A delivery with an answer of each status, in two parts or broken off in each way.
    let delivery = [&[0, 2, 0, 0, 103, 0, 0, 2][..], b"{}", &[0, 5]].concat();
    for status in 0..5 {
        for grpc in 0..9 {
            for (part, details) in [
                (1, 0),
                (1, 1),
                (1, 2),
                (2, 0),
                (2, 1),
                (2, 2),
                (3, 0),
                (3, 1),
                (3, 2),
            ] {
                let headers = [7, 0, 0, grpc % 3, status];
                let rest = [7, part, 1, grpc / 3, status];
                let rest = if part == 3 { &[][..] } else { &rest };
                fuzzing::exchange(&[&delivery[..], &headers, rest, &[9, details]].concat());
            }
        }
    }
}
