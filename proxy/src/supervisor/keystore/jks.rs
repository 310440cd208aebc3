//! The JKS format, Java's own.
//!
//! Source: OpenJDK, `sun.security.provider.JavaKeyStore` (`engineStore`, `getPreKeyedHash`).

use sha1::{Digest as _, Sha1};

const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const VERSION: u32 = 2;
/// Tag of an entry that is a certificate alone.
const TRUSTED: u32 = 2;
/// The password every runtime's `cacerts` comes with.
const PASSWORD: &str = "changeit";
const DIGEST: usize = 20;

/// The trust store with a certificate (DER) added under `alias`. `None`: not a JKS of certificates under the usual
/// password, so nothing that could be extended without breaking it.
pub(super) fn with_certificate(keystore: &[u8], alias: &str, certificate: &[u8]) -> Option<Vec<u8>> {
    let (body, digest) = keystore.split_at_checked(keystore.len().checked_sub(DIGEST)?)?;
    if hash(body) != digest {
        return None;
    }
    let mut rest = body.strip_prefix(&MAGIC)?;
    if number(&mut rest)? != VERSION {
        return None;
    }
    let count = number(&mut rest)?;
    let mut extended = Vec::with_capacity(keystore.len() + alias.len() + certificate.len() + 64);
    extended.extend(MAGIC);
    extended.extend(VERSION.to_be_bytes());
    extended.extend(count.checked_add(1)?.to_be_bytes());
    extended.extend(rest);
    extended.extend(TRUSTED.to_be_bytes());
    text(&mut extended, alias)?;
    // When it was added, in milliseconds: the same each time, so that equal inputs give equal stores.
    extended.extend(0_u64.to_be_bytes());
    text(&mut extended, "X.509")?;
    extended.extend(u32::try_from(certificate.len()).ok()?.to_be_bytes());
    extended.extend(certificate);
    let digest = hash(&extended);
    extended.extend(digest);
    Some(extended)
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*first))
}

/// As `DataOutput.writeUTF` writes ASCII.
fn text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    out.extend(u16::try_from(text.len()).ok()?.to_be_bytes());
    out.extend(text.as_bytes());
    Some(())
}

fn hash(bytes: &[u8]) -> [u8; DIGEST] {
    let mut sha1 = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        sha1.update(unit.to_be_bytes());
    }
    sha1.update("Mighty Aphrodite");
    sha1.update(bytes);
    sha1.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Vec<u8> {
        let mut store = [&MAGIC[..], &VERSION.to_be_bytes(), &0_u32.to_be_bytes()].concat();
        store.extend(hash(&store));
        store
    }

    #[test]
    fn certificates_are_added_and_broken_stores_left_alone() {
        let once = with_certificate(&empty(), "a", b"der").unwrap();
        let twice = with_certificate(&once, "b", b"other").unwrap();
        assert_eq!(twice[8..12], 2_u32.to_be_bytes());
        assert!(twice.starts_with(&[&MAGIC[..], &VERSION.to_be_bytes(), &2_u32.to_be_bytes()].concat()));
        assert!(twice.windows(once.len() - DIGEST - 12).any(|window| *window == once[12..once.len() - DIGEST]));
        let mut flipped = once.clone();
        flipped[11] ^= 1;
        for broken in [&b""[..], b"\x30\x82", &flipped, &once[..once.len() - 1]] {
            assert_eq!(with_certificate(broken, "c", b"der"), None);
        }
    }
}
