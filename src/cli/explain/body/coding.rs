//! Bodies that something compressed or decompressed.

use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use flate2::write::{DeflateEncoder, ZlibEncoder};
use flate2::{Compression, Crc};

use super::change::{Change, Changes, header};
use crate::cli::explain::hypothesis::{Case, Cause};

const COMPRESSED: &str = "Set `decompressed: true` and enable Envoy's decompressor before the guard, or turn off compression at the sender or proxy.";
const PLAIN: &str =
    "Pass the compressed body on as received: turn off decompression in front of the guard.";
const HEADER: &str = "Remove the content-encoding together with the compression: find the proxy that leaves the header behind.";
const ENCODED: &str = "Decode the base64 before the request reaches the guard, as API gateways mark by `isBase64Encoded`.";

/// The most bytes of a decompressed body.
const MAX_PLAIN: u64 = 8 * 1024 * 1024;

/// The longest body to compress.
const MAX_COMPRESSED: usize = 1024 * 1024;

/// The bodies with and without compression.
pub(super) fn changes(case: Case<'_>) -> Changes<'_> {
    let body = &case.request.body[..];
    let named = header(case.request, "content-encoding").filter(|coding| coding != "identity");
    let mut changes = Vec::new();
    for (name, plain) in decompressed(body, named.as_deref()) {
        let detail = format!("The sender signed the body before it was compressed ({name}).");
        let twice = decompressed(&plain, None);
        let change = |body| {
            Change::new(Cause::ContentEncoding, detail.clone(), COMPRESSED, body)
                .with("content-encoding", None)
        };
        changes.push(change(plain));
        changes.extend(twice.into_iter().map(|(_, plain)| change(plain)));
    }
    if named.is_some() {
        let detail = "The content-encoding names a compression, but the body is not compressed.";
        changes.push(
            Change::new(Cause::ContentEncoding, detail, HEADER, body.to_vec())
                .with("content-encoding", None),
        );
    }
    if let Some(decoded) = STANDARD
        .decode(body.trim_ascii())
        .ok()
        .filter(|decoded| !decoded.is_empty())
    {
        let detail = "The sender signed the body before something encoded it as base64.";
        changes.push(Change::new(
            Cause::ContentEncoding,
            detail,
            ENCODED,
            decoded,
        ));
    }
    let compress = move || match body.len() <= MAX_COMPRESSED && !body.is_empty() {
        true => compressed(body),
        false => Vec::new(),
    };
    let compressed = std::iter::once_with(compress)
        .flatten()
        .map(|(name, body)| {
            let detail = format!(
                "The sender signed the compressed body ({name}), which something decompressed."
            );
            let coding = name.split(' ').next();
            Change::new(Cause::ContentEncoding, detail, PLAIN, body)
                .with("content-encoding", coding)
        });
    Box::new(changes.into_iter().chain(compressed))
}

fn decompressed(body: &[u8], named: Option<&str>) -> Vec<(&'static str, Vec<u8>)> {
    let mut plain = Vec::new();
    let mut read = |name, reader: &mut dyn Read| {
        let mut bytes = Vec::new();
        let length = reader.take(MAX_PLAIN).read_to_end(&mut bytes);
        if length.is_ok_and(|length| length > 0) {
            plain.push((name, bytes));
        }
    };
    if body.starts_with(b"\x1f\x8b") {
        read("gzip", &mut MultiGzDecoder::new(body));
    }
    // The header of zlib: the method, and a check by which it is a multiple of 31.
    if let Some([first, second]) = body.first_chunk()
        && first & 15 == 8
        && u16::from_be_bytes([*first, *second]).is_multiple_of(31)
    {
        read("deflate", &mut ZlibDecoder::new(body));
    }
    if named == Some("deflate") {
        read("deflate without a header", &mut DeflateDecoder::new(body));
    }
    plain
}

/// The body as common writers compress it. Other versions of zlib may write other bytes.
fn compressed(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut bodies = Vec::new();
    let mut check = Crc::new();
    check.update(body);
    for (level, extra) in [(6, 0), (9, 2), (1, 4)] {
        let level = Compression::new(level);
        let mut raw = DeflateEncoder::new(Vec::new(), level);
        let Some(raw) = raw.write_all(body).ok().and_then(|()| raw.finish().ok()) else {
            continue;
        };
        for system in [3, 255, 0, 19] {
            for extra in [extra, 0] {
                let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra, system];
                let end = [check.sum().to_le_bytes(), check.amount().to_le_bytes()].concat();
                let name = format!("gzip level {}", level.level());
                bodies.push((name, [&head[..], &raw, &end].concat()));
            }
        }
        let mut zlib = ZlibEncoder::new(Vec::new(), level);
        if let Some(zlib) = zlib.write_all(body).ok().and_then(|()| zlib.finish().ok()) {
            bodies.push((format!("deflate level {}", level.level()), zlib));
        }
        bodies.push((
            format!("deflate without a header, level {}", level.level()),
            raw,
        ));
    }
    bodies
}

/// The limits of the search in this request.
pub(super) fn limits(case: Case<'_>) -> Vec<&'static str> {
    let named = header(case.request, "content-encoding").unwrap_or_default();
    match named.as_str() {
        "br" | "zstd" | "compress" => vec![
            "The body is compressed by a method other than gzip and deflate, which explain cannot decompress.",
        ],
        _ if case.request.body.starts_with(b"\x1f\x8b") => Vec::new(),
        _ => vec![
            "If something decompressed the body, explain tried common gzip writers only: others make different bytes.",
        ],
    }
}
