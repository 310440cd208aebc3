use std::process::Command;

use super::with_certificate;

/// Written by `keytool` of JDK 21 without a password and without a MAC; holds [`ROOT`] as `root`.
const PKCS12: &[u8] = include_bytes!("testdata/cacerts.p12");
const ROOT: &[u8] = include_bytes!("testdata/root.der");

#[test]
fn what_has_no_password_is_extended_and_the_rest_left_alone() {
    let once = with_certificate(PKCS12, "one", ROOT).unwrap();
    let twice = with_certificate(&once, "two", ROOT).unwrap();
    let times = |store: &[u8]| store.windows(ROOT.len()).filter(|window| *window == ROOT).count();
    assert_eq!([times(PKCS12), times(&once), times(&twice)], [1, 2, 3]);
    // With a MAC there is a third part beside version and content.
    let body = [&PKCS12[4..], &[0x30, 0x00]].concat();
    let with_mac = [&[0x30, 0x82][..], &u16::try_from(body.len()).unwrap().to_be_bytes(), &body].concat();
    let mut other_version = PKCS12.to_vec();
    other_version[6] = 4;
    for broken in [&b""[..], b"\x30\x82", &PKCS12[..PKCS12.len() - 1], &with_mac, &other_version] {
        assert_eq!(with_certificate(broken, "x", ROOT), None);
    }
}

/// What Java itself makes of it, where there is one.
#[test]
fn java_trusts_what_was_added() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cacerts");
    std::fs::write(&file, with_certificate(PKCS12, "openshell", ROOT).unwrap()).unwrap();
    let mut keytool = Command::new("keytool");
    keytool.arg("-list").arg("-keystore").arg(&file).stdin(std::process::Stdio::null());
    let Ok(listed) = keytool.output() else { return };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for alias in ["root,", "openshell,"] {
        let line = listed.lines().find(|line| line.starts_with(alias)).unwrap_or_else(|| panic!("{alias} {listed}"));
        assert!(line.ends_with("trustedCertEntry, "), "{line}");
    }
}
