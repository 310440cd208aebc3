//! Java's trust stores (`cacerts`), with one certificate added.

mod find;
mod jks;
mod pkcs12;
#[cfg(test)]
mod tests;

pub use find::stores;

/// The trust store with a certificate (DER) added under `alias` (ASCII). `None`: neither a JKS under the password that
/// every runtime's comes with nor a PKCS#12 without one (as runtimes have it since JDK 18), so nothing that could be
/// extended without breaking it.
pub fn with_certificate(keystore: &[u8], alias: &str, certificate: &[u8]) -> Option<Vec<u8>> {
    jks::with_certificate(keystore, alias, certificate)
        .or_else(|| pkcs12::with_certificate(keystore, alias, certificate).ok())
}
