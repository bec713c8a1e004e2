//! The version and the commit of this build. `build.rs` gets the commit from git.

/// The version for people: `0.1.0 (0123abcd0123)`, or `0.1.0 (0123abcd0123, modified)` if the sources differ from the
/// commit. A build outside of a git clone has no commit, and neither have native tests.
pub const TEXT: &str = env!("WEBHOOK_GUARD_VERSION");

/// The version of the package.
pub const PACKAGE: &str = env!("CARGO_PKG_VERSION");

/// The first digits of the commit, with `-modified` if the sources differ from it, or `unknown`.
pub const COMMIT: &str = env!("WEBHOOK_GUARD_COMMIT");

/// The version, the full commit, and `modified`, as a JSON object.
pub const RECORD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/version.json"));

/// The name of the module's custom section with the record.
pub const SECTION: &str = "webhook_guard.version";

/// The content of the section. Programs read it from the file, without running the module.
///
/// The compiler writes the section for each static that it compiles, also if the linker then removes the static itself
/// from the module's memory. `#[used]` would keep it there, too.
#[cfg(target_arch = "wasm32")]
#[expect(
    unsafe_code,
    reason = "a custom section is not loaded, and no other object has one of this name"
)]
#[unsafe(link_section = "webhook_guard.version")]
pub static SECTION_CONTENT: [u8; include_bytes!(concat!(env!("OUT_DIR"), "/version.json")).len()] =
    *include_bytes!(concat!(env!("OUT_DIR"), "/version.json"));
