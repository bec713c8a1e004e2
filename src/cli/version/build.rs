//! The build of a module, as the module itself names it. The file is untrusted: each part has a limit.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use serde_json::{Value, json};

use super::sections;
use crate::version;

/// The section with the crates of a module, by cargo-auditable:
/// <https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md>.
const CRATES: &[u8] = b".dep-v0";

/// The most bytes of the section with the version, and of the crates as JSON.
const MAX_RECORD: usize = 1024;
const MAX_CRATES: u64 = 1024 * 1024;

/// The version and the commit of a build.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Build {
    pub(super) version: String,
    /// `None` for a build outside of a git clone.
    pub(super) commit: Option<String>,
    /// Whether the sources differ from the commit.
    pub(super) is_modified: bool,
}

/// A crate inside a module.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
}

/// A fault of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    NotAModule,
    NoVersion,
    SeveralVersions,
    Version,
    Crates,
}

impl Fault {
    /// The fault, and how to fix it.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::NotAModule => {
                "the file is not a WebAssembly module, or is cut: name webhook_guard.wasm"
            }
            Self::NoVersion => {
                "the module has no section `webhook_guard.version`: name a module of webhook-guard 0.1.0 or later"
            }
            Self::SeveralVersions => {
                "the module has several sections `webhook_guard.version` or `.dep-v0`: get the module again, and verify its checksum"
            }
            Self::Version => {
                "the section `webhook_guard.version` is malformed: get the module again, and verify its checksum"
            }
            Self::Crates => {
                "the section `.dep-v0` is malformed: get the module again, and verify its checksum"
            }
        }
    }
}

impl Build {
    /// The build of this command.
    pub(super) fn own() -> Option<Self> {
        Self::read(version::RECORD)
    }

    /// Reads the record of a build. `None` if it is malformed.
    fn read(record: &[u8]) -> Option<Self> {
        if record.len() > MAX_RECORD {
            return None;
        }
        let record: Value = serde_json::from_slice(record).ok()?;
        let is_commit = |text: &&str| {
            matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let commit = match record.get("commit")? {
            Value::Null => None,
            other => Some(other.as_str().filter(is_commit)?.to_owned()),
        };
        Some(Self {
            version: record.get("version")?.as_str()?.to_owned(),
            commit,
            is_modified: record.get("modified")?.as_bool()?,
        })
    }
}

/// Reads the build of a module, and its crates if it lists them.
pub(super) fn read(module: &[u8]) -> Result<(Build, Option<Vec<Crate>>), Fault> {
    let is_wanted = |name: &[u8]| name == version::SECTION.as_bytes() || name == CRATES;
    let sections = sections::custom(module, is_wanted).ok_or(Fault::NotAModule)?;
    let only = |wanted: &[u8]| {
        let mut found = sections.iter().filter(|(name, _)| *name == wanted);
        match (found.next(), found.next()) {
            (found, None) => Ok(found.map(|(_, content)| *content)),
            (_, Some(_)) => Err(Fault::SeveralVersions),
        }
    };
    let record = only(version::SECTION.as_bytes())?.ok_or(Fault::NoVersion)?;
    let build = Build::read(record).ok_or(Fault::Version)?;
    let crates = match only(CRATES)? {
        Some(content) => Some(crates(content).ok_or(Fault::Crates)?),
        None => None,
    };
    Ok((build, crates))
}

/// Reads the crates that are compiled into a module. `None` if the section is malformed.
fn crates(content: &[u8]) -> Option<Vec<Crate>> {
    let mut text = Vec::new();
    let limit = MAX_CRATES.checked_add(1)?;
    ZlibDecoder::new(content)
        .take(limit)
        .read_to_end(&mut text)
        .ok()?;
    if u64::try_from(text.len()).ok()? > MAX_CRATES {
        return None;
    }
    let document: Value = serde_json::from_slice(&text).ok()?;
    let packages = document.get("packages")?.as_array()?;
    // The others only ran during the build.
    let is_inside = |package: &&Value| package.get("kind").is_none_or(|kind| kind == "runtime");
    packages.iter().filter(is_inside).map(Crate::read).collect()
}

impl Crate {
    fn read(package: &Value) -> Option<Self> {
        let text = |name| Some(package.get(name)?.as_str()?.to_owned());
        Some(Self {
            name: text("name")?,
            version: text("version")?,
        })
    }

    pub(super) fn document(&self) -> Value {
        json!({"name": self.name, "version": self.version})
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    const RECORD: &str = r#"{"commit":"0123456789abcdef0123456789abcdef01234567","modified":false,"version":"0.1.0"}"#;
    const PACKAGES: &str = r#"{"packages":[{"name":"a","version":"1.0.0","source":"crates.io"},
        {"name":"b","version":"2.0.0","kind":"build"},{"name":"c","version":"3.0.0","kind":"runtime","root":true}]}"#;

    /// A number in LEB128.
    fn number(mut value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value > 0x7f {
            bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
        bytes
    }

    fn module(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        for (name, content) in sections {
            let content = [&number(name.len()), name.as_bytes(), content].concat();
            module.push(0);
            module.extend(number(content.len()));
            module.extend(content);
        }
        module
    }

    fn compressed(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn of_record(record: &str) -> Result<Build, Fault> {
        read(&module(&[(version::SECTION, record.as_bytes())])).map(|(build, _)| build)
    }

    fn of_crates(content: &[u8]) -> Result<Option<Vec<Crate>>, Fault> {
        let sections = [(version::SECTION, RECORD.as_bytes()), (".dep-v0", content)];
        read(&module(&sections)).map(|(_, crates)| crates)
    }

    #[test]
    fn a_module_has_version_commit_and_the_crates_inside() {
        let build = of_record(RECORD).unwrap();
        assert_eq!(build.version, "0.1.0");
        assert_eq!(
            build.commit.unwrap(),
            "0123456789abcdef0123456789abcdef01234567"
        );
        assert!(!build.is_modified);
        let crates = of_crates(&compressed(PACKAGES.as_bytes()))
            .unwrap()
            .unwrap();
        let names: Vec<_> = crates.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(names, ["a", "c"]);
    }

    #[test]
    fn a_build_outside_of_a_clone_has_no_commit() {
        let record = r#"{"commit":null,"modified":false,"version":"0.1.0"}"#;
        assert_eq!(of_record(record).unwrap().commit, None);
        assert!(Build::own().is_some());
    }

    #[test]
    fn a_malformed_record_is_a_fault() {
        let long = RECORD.replace("0.1.0", &"0".repeat(MAX_RECORD));
        for record in [
            "",
            "{}",
            "[]",
            RECORD.trim_start_matches('{'),
            &long,
            &RECORD.replace("0123456789abcdef0123", "0123456789abcdef012"),
            &RECORD.replace("0123456789abcdef0123", "0123456789abcdef012\u{1b}"),
            &RECORD.replace("false", "0"),
            &RECORD.replace("\"0.1.0\"", "1"),
        ] {
            assert_eq!(of_record(record), Err(Fault::Version), "{record}");
        }
    }

    #[test]
    fn a_module_without_a_section_or_with_two_is_a_fault() {
        assert_eq!(read(b"\0asm\x0d\0\x01\0"), Err(Fault::NotAModule));
        assert_eq!(read(&module(&[("name", b"x")])), Err(Fault::NoVersion));
        let one = (version::SECTION, RECORD.as_bytes());
        assert_eq!(read(&module(&[one, one])), Err(Fault::SeveralVersions));
        let crates = compressed(PACKAGES.as_bytes());
        let two = [one, (".dep-v0", &crates), (".dep-v0", &crates)];
        assert_eq!(read(&module(&two)), Err(Fault::SeveralVersions));
    }

    #[test]
    fn malformed_and_large_crates_are_a_fault() {
        let spaces = vec![b' '; usize::try_from(MAX_CRATES).unwrap() + 1];
        let large = [PACKAGES.as_bytes(), &spaces].concat();
        let nested = "[".repeat(100_000);
        let texts = [
            &b""[..],
            b"{}",
            b"[]",
            &large,
            nested.as_bytes(),
            br#"{"packages":[{"name":"a"}]}"#,
        ];
        for text in texts {
            assert_eq!(of_crates(&compressed(text)), Err(Fault::Crates));
        }
        assert_eq!(of_crates(PACKAGES.as_bytes()), Err(Fault::Crates));
        let whole = compressed(PACKAGES.as_bytes());
        for end in 0..whole.len() {
            assert_eq!(of_crates(&whole[..end]), Err(Fault::Crates), "{end}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_module_is_read_or_refused(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
            end in any::<proptest::sample::Index>(),
        ) {
            let crates = compressed(PACKAGES.as_bytes());
            let sections = [(version::SECTION, RECORD.as_bytes()), (".dep-v0", &crates)];
            let mut module = module(&sections);
            for (place, byte) in changes {
                let place = place.index(module.len());
                module[place] = byte;
            }
            let end = end.index(2 * module.len()).min(module.len());
            if let Ok((build, _)) = read(&module[..end]) {
                prop_assert!(build.commit.is_none_or(|commit| commit.is_ascii()));
            }
        }
    }
}
