//! Who trusts which CA talks to which gateway, at each step of a turn and across restarts.

use std::net::{IpAddr, Ipv4Addr};

use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn opened(dir: &std::path::Path) -> (StateDir, Authority) {
    let dir = StateDir::open(dir).unwrap();
    let authority = Authority::open(&dir, HERE, None).unwrap();
    (dir, authority)
}

fn turn(authority: &Authority) -> Result<(), TlsError> {
    authority.take(&authority.turned()?)
}

fn finish(authority: &Authority) -> Result<(), TlsError> {
    authority.take(&authority.finished()?)
}

/// Whether a client that trusts these certificates finishes a handshake.
fn talks(authority: &Authority, pem: &str) -> bool {
    talks_at("localhost", authority, pem)
}

/// The same of a client that knows it by this name.
fn talks_at(host: &'static str, authority: &Authority, pem: &str) -> bool {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), host.try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(authority.server().unwrap()).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        if server.process_new_packets().is_err() {
            return false;
        }
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        if client.process_new_packets().is_err() {
            return false;
        }
        if !client.is_handshaking() && !server.is_handshaking() {
            return true;
        }
    }
    false
}

#[test]
fn who_trusts_either_talks_until_the_turn_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let (state, authority) = opened(dir.path());
    let first = authority.trusted();
    assert_eq!(first.epoch, 0);
    assert!(talks(&authority, &first.pem));
    assert!(matches!(finish(&authority), Err(TlsError::NotTurning)));

    turn(&authority).unwrap();
    let both = authority.trusted();
    assert!(both.epoch > first.epoch && both.pem.ends_with(&first.pem));
    let second = std::fs::read_to_string(authority.path()).unwrap();
    assert!(both.pem.starts_with(&second) && second != first.pem);
    assert!(matches!(turn(&authority), Err(TlsError::Turning)));
    let (now, before) = authority.fingerprints();
    assert_eq!(before, Some(of_pem(&first.pem)));
    assert_eq!(now, of_pem(&second));
    let rows = [(&first.pem, true), (&second, true), (&both.pem, true)];
    for (pem, good) in rows {
        assert_eq!(talks(&authority, pem), good);
    }
    drop(state);
    let (state, authority) = opened(dir.path());
    assert_eq!(authority.trusted(), both);
    for (pem, good) in rows {
        assert_eq!(talks(&authority, pem), good, "after a restart");
    }

    finish(&authority).unwrap();
    assert!(authority.trusted().epoch > both.epoch);
    assert_eq!(authority.trusted().pem, second);
    let rows = [(&first.pem, false), (&second, true), (&both.pem, true)];
    for (pem, good) in rows {
        assert_eq!(talks(&authority, pem), good);
    }
    drop(state);
    let (_state, authority) = opened(dir.path());
    for (pem, good) in rows {
        assert_eq!(talks(&authority, pem), good, "after a restart");
    }
    // And once more: the second one vouches for a third.
    turn(&authority).unwrap();
    assert!(talks(&authority, &second) && !talks(&authority, &first.pem));
}

#[test]
fn a_turn_that_was_cut_off_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (state, authority) = opened(dir.path());
    let first = authority.trusted().pem;
    let old_key = std::fs::read(dir.path().join(CA_KEY_FILE)).unwrap();
    turn(&authority).unwrap();
    // As if it had ended after the first file, and after the second.
    let key = std::fs::read_to_string(dir.path().join(CA_KEY_FILE)).unwrap();
    let pem = std::fs::read_to_string(authority.path()).unwrap();
    let turn: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join(TURN_FILE)).unwrap()).unwrap();
    let next = serde_json::json!({ "key": key, "pem": pem, "turn": turn }).to_string();
    drop((state, authority));
    for turned in [false, true] {
        std::fs::write(dir.path().join("ca-next.json"), &next).unwrap();
        std::fs::write(dir.path().join(CA_KEY_FILE), &old_key).unwrap();
        std::fs::write(dir.path().join(CA_FILE), &first).unwrap();
        if !turned {
            std::fs::remove_file(dir.path().join(TURN_FILE)).unwrap();
        }
        let (_state, authority) = opened(dir.path());
        assert_eq!(authority.trusted().pem, format!("{pem}{first}"));
        assert!(talks(&authority, &first) && talks(&authority, &pem));
        assert!(!dir.path().join("ca-next.json").exists());
    }
    std::fs::write(dir.path().join("ca-next.json"), "{").unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let refused = Authority::open(&state, HERE, None).err().unwrap().to_string();
    assert!(refused.contains("ca-next.json: EOF"), "{refused}");
}

#[test]
fn it_answers_to_what_it_is_called_meanwhile_also_after_a_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (_state, authority) = opened(dir.path());
    let check = |expected: bool| {
        for host in ["gateway.example", "10.1.2.3"] {
            assert_eq!(talks_at(host, &authority, &authority.trusted().pem), expected, "{host}");
        }
    };
    check(false);
    authority.answer_to(["gateway.example".to_owned(), "10.1.2.3".to_owned()]).unwrap();
    check(true);
    turn(&authority).unwrap();
    check(true);
    finish(&authority).unwrap();
    check(true);
    assert!(talks(&authority, &authority.trusted().pem));
}
