//! The modules in tests/cli/modules. `webhook-guard version` prints their content.

use std::io::Write as _;
use std::{env, fs};

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// A module that lists its crates.
const LISTED: (&str, &str) = (
    r#"{"commit":"0123456789abcdef0123456789abcdef01234567","modified":false,"version":"0.1.0"}"#,
    r#"{"packages":[{"name":"base64","version":"0.23.0","source":"crates.io"},{"name":"sha2","version":"0.11.0","source":"crates.io"},{"name":"serde_derive","version":"1.0.0","source":"crates.io","kind":"build"}]}"#,
);

/// A module whose texts would write lines of their own, and change a terminal.
const HOSTILE: (&str, &str) = (
    r#"{"commit":null,"modified":true,"version":"0.1.0\ncommit: 0123\u001b[2J"}"#,
    r#"{"packages":[{"name":"a\u202eb","version":"1\r\ncrates: 0"}]}"#,
);

fn module((record, crates): (&str, &str)) -> Vec<u8> {
    // Without compression, the bytes do not depend on the version of the encoder.
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(crates.as_bytes()).unwrap();
    let crates = encoder.finish().unwrap();
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    let sections = [
        ("webhook_guard.version", record.as_bytes()),
        (".dep-v0", &crates),
    ];
    for (name, content) in sections {
        let content = [&number(name.len()), name.as_bytes(), content].concat();
        module.extend([&[0], &number(content.len())[..], &content].concat());
    }
    module
}

/// A number below 16384 in LEB128.
fn number(value: usize) -> Vec<u8> {
    vec![
        u8::try_from(value % 128 + 128).unwrap(),
        u8::try_from(value / 128).unwrap(),
    ]
}

/// Compares the files, or writes them as `make generate` does.
pub(crate) fn check_or_write() {
    for (name, content) in [("listed", LISTED), ("hostile", HOSTILE)] {
        let file = format!("tests/cli/modules/{name}.wasm");
        if env::var_os("TRYCMD").is_some_and(|value| value == "overwrite") {
            fs::write(&file, module(content)).unwrap();
        }
        assert!(
            fs::read(&file).unwrap() == module(content),
            "{file}: run make generate"
        );
    }
}
