//! PKCS#12 (RFC 7292) without a password: certificates in the open, and no MAC over them.
//!
//! What makes a certificate one to trust is an attribute of Java's own. Source: OpenJDK,
//! `sun.security.pkcs12.PKCS12KeyStore`.

use yasna::models::ObjectIdentifier;
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, DERWriter, Tag, construct_der, parse_der};

const VERSION: u8 = 3;
/// `id-data` of PKCS#7: content that is not encrypted.
const DATA: &[u64] = &[1, 2, 840, 113549, 1, 7, 1];
const CERTIFICATE_BAG: &[u64] = &[1, 2, 840, 113549, 1, 12, 10, 1, 3];
const X509_CERTIFICATE: &[u64] = &[1, 2, 840, 113549, 1, 9, 22, 1];
const FRIENDLY_NAME: &[u64] = &[1, 2, 840, 113549, 1, 9, 20];
/// Java's attribute of certificates that are trusted, by Oracle.
const TRUSTED_KEY_USAGE: &[u64] = &[2, 16, 840, 1, 113894, 746875, 1, 1];
const ANY_EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37, 0];

/// The store with one more content that holds the certificate. What was there stays byte for byte.
pub(super) fn with_certificate(keystore: &[u8], alias: &str, certificate: &[u8]) -> ASN1Result<Vec<u8>> {
    let safe = parse_der(keystore, |reader| {
        // A MAC would be a third part, and fail here.
        reader.read_sequence(|reader| match reader.next().read_u8()? {
            VERSION => data(reader.next()),
            _ => invalid(),
        })
    })?;
    let contents: Vec<Vec<u8>> = parse_der(&safe, |reader| reader.collect_sequence_of(|reader| reader.read_der()))?;
    let added = construct_der(|writer| {
        writer.write_sequence_of(|writer| bag(writer.next(), alias, certificate));
    });
    let safe = construct_der(|writer| {
        writer.write_sequence_of(|writer| {
            for content in &contents {
                writer.next().write_der(content);
            }
            write_data(writer.next(), &added);
        });
    });
    Ok(construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(VERSION);
            write_data(writer.next(), &safe);
        });
    }))
}

/// `ContentInfo` of unencrypted content.
fn data(reader: BERReader<'_, '_>) -> ASN1Result<Vec<u8>> {
    reader.read_sequence(|reader| match reader.next().read_oid()? {
        kind if kind == ObjectIdentifier::from_slice(DATA) => {
            reader.next().read_tagged(Tag::context(0), |reader| reader.read_bytes())
        }
        _ => invalid(),
    })
}

fn write_data(writer: DERWriter<'_>, content: &[u8]) {
    writer.write_sequence(|writer| {
        oid(writer.next(), DATA);
        writer.next().write_tagged(Tag::context(0), |writer| writer.write_bytes(content));
    });
}

/// `SafeBag` of a trusted certificate.
fn bag(writer: DERWriter<'_>, alias: &str, certificate: &[u8]) {
    writer.write_sequence(|writer| {
        oid(writer.next(), CERTIFICATE_BAG);
        writer.next().write_tagged(Tag::context(0), |writer| {
            writer.write_sequence(|writer| {
                oid(writer.next(), X509_CERTIFICATE);
                writer.next().write_tagged(Tag::context(0), |writer| writer.write_bytes(certificate));
            });
        });
        writer.next().write_set_of(|writer| {
            attribute(writer.next(), FRIENDLY_NAME, |writer| writer.write_bmp_string(alias));
            attribute(writer.next(), TRUSTED_KEY_USAGE, |writer| oid(writer, ANY_EXTENDED_KEY_USAGE));
        });
    });
}

fn attribute(writer: DERWriter<'_>, kind: &[u64], value: impl FnOnce(DERWriter<'_>)) {
    writer.write_sequence(|writer| {
        oid(writer.next(), kind);
        writer.next().write_set_of(|writer| value(writer.next()));
    });
}

fn oid(writer: DERWriter<'_>, components: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(components));
}

fn invalid<T>() -> ASN1Result<T> {
    Err(ASN1Error::new(ASN1ErrorKind::Invalid))
}
