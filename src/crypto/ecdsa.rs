//! ECDSA on P-256 (FIPS 186-5): how public keys and signatures are written.

use p256::AffinePoint;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::elliptic_curve::point::AffineCoordinates;

/// The beginning of a P-256 key in SubjectPublicKeyInfo (RFC 5480). The point follows.
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Reads a key: a point (SEC 1), or a SubjectPublicKeyInfo in DER. No known sender compresses the point. Support for
/// that would add seven kilobytes to the module.
pub(super) fn key(bytes: &[u8]) -> Option<Box<VerifyingKey>> {
    const UNCOMPRESSED: &[u8] = &[4];
    let point = bytes.strip_prefix(P256_SPKI).unwrap_or(bytes);
    let (x, y) = point
        .strip_prefix(UNCOMPRESSED)?
        .split_first_chunk::<32>()?;
    let y = <&[u8; 32]>::try_from(y).ok()?;
    let point = AffinePoint::from_coordinates(&(*x).into(), &(*y).into());
    let key = VerifyingKey::from_affine(point.into_option()?);
    key.ok().map(Box::new)
}

/// Reads a signature in DER (X.690): a sequence of two positive integers, each in as few bytes as possible. A general
/// DER reader would add five kilobytes to the module.
pub(super) fn signature(der: &[u8]) -> Option<Signature> {
    let (numbers, rest) = der_value(der, 0x30)?;
    let (r, numbers) = der_value(numbers, 0x02)?;
    let (s, numbers) = der_value(numbers, 0x02)?;
    if !rest.is_empty() || !numbers.is_empty() {
        return None;
    }
    let mut signature = [0; 64];
    for (half, number) in signature.chunks_mut(32).zip([r, s]) {
        let number = match number {
            [0, rest @ ..] if matches!(rest, [0x80..=0xff, ..]) => rest,
            [0x01..=0x7f, ..] => number,
            // Zero, a superfluous zero byte, a negative number, or nothing.
            _ => return None,
        };
        let at = half.len().checked_sub(number.len())?;
        half.get_mut(at..)?.copy_from_slice(number);
    }
    Signature::from_slice(&signature).ok()
}

/// The content of a value with this tag, and the bytes after it. Its length has one byte, which suffices here.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let ([found, length @ ..=0x7f], rest) = der.split_first_chunk()? else {
        return None;
    };
    rest.split_at_checked((*length).into())
        .filter(|_| *found == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_in_der_are_written_in_one_way() {
        let reads = |der: &[u8]| signature(der).is_some();
        assert!(reads(&[0x30, 6, 2, 1, 1, 2, 1, 0x7f]));
        assert!(reads(&[0x30, 7, 2, 2, 0, 0x80, 2, 1, 1]));
        for other in [
            &b""[..],
            &[0x30],
            &[0x30, 6, 2, 1, 1, 2, 1],
            &[0x30, 6, 2, 1, 1, 2, 1, 1, 0],
            &[0x30, 7, 2, 1, 1, 2, 1, 1, 0],
            &[0x31, 6, 2, 1, 1, 2, 1, 1],
            &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 1],
            &[0x30, 7, 2, 2, 0, 1, 2, 1, 1],
            &[0x30, 6, 2, 1, 0x80, 2, 1, 1],
            &[0x30, 6, 2, 1, 0, 2, 1, 1],
            &[0x30, 5, 2, 0, 2, 1, 1],
            &[0x30, 6, 3, 1, 1, 2, 1, 1],
        ] {
            assert!(!reads(other), "{other:?}");
        }
    }
}
