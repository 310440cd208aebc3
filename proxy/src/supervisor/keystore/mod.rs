//! Java's trust stores (`cacerts`), with one certificate added.

mod jks;
mod pkcs12;
#[cfg(test)]
mod tests;

/// Where Java runtimes keep the certificates they trust. `lib/security/cacerts` of a runtime often is a link to the first.
pub const KEYSTORES: [&str; 5] = [
    "/etc/ssl/certs/java/cacerts",
    "/etc/pki/ca-trust/extracted/java/cacerts",
    "/etc/pki/java/cacerts",
    "/opt/java/openjdk/lib/security/cacerts",
    "/usr/lib/jvm/default-jvm/lib/security/cacerts",
];

/// The trust store with a certificate (DER) added under `alias` (ASCII). `None`: neither a JKS under the password that
/// every runtime's comes with nor a PKCS#12 without one (as runtimes have it since JDK 18), so nothing that could be
/// extended without breaking it.
pub fn with_certificate(keystore: &[u8], alias: &str, certificate: &[u8]) -> Option<Vec<u8>> {
    jks::with_certificate(keystore, alias, certificate)
        .or_else(|| pkcs12::with_certificate(keystore, alias, certificate).ok())
}
