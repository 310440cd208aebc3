use super::key_file::Passphrase;
use super::*;

fn holds(path: &std::path::Path, text: &str) -> bool {
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_secret_opens_only_under_its_own_name_and_key() {
    let root = tempfile::tempdir().unwrap();
    let dir = StateDir::open(root.path()).unwrap();
    let secrets = SecretBox::open(&dir, None).unwrap();
    let sealed = secrets.seal("openai", "sk-1").unwrap();
    assert!(!sealed.windows(4).any(|window| window == b"sk-1"));
    assert_ne!(sealed, secrets.seal("openai", "sk-1").unwrap());
    assert_eq!(*SecretBox::open(&dir, None).unwrap().open_sealed("openai", &sealed).unwrap(), "sk-1");
    assert!(secrets.open_sealed("other", &sealed).is_err());
    for cut in [0, 1, 20, HEAD_LEN, sealed.len() - 1] {
        assert!(secrets.open_sealed("openai", &sealed[..cut]).is_err(), "{cut}");
    }
    for at in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[at] ^= 1;
        assert!(secrets.open_sealed("openai", &flipped).is_err(), "{at}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let other = SecretBox::open(&StateDir::open(elsewhere.path()).unwrap(), None).unwrap();
    assert!(other.open_sealed("openai", &sealed).is_err());
}

#[test]
fn the_master_key_turns_and_a_turn_that_was_interrupted_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let dir = StateDir::open(root.path()).unwrap();
    let secrets = SecretBox::open(&dir, None).unwrap();
    let old_file = std::fs::read(dir.path("secrets.key")).unwrap();
    let sealed = secrets.seal("a", "s").unwrap();
    assert_eq!(secrets.rewrap("a", &sealed).unwrap(), None);
    // As a gateway without envelopes wrote it.
    let first: Secret = secrets.newest();
    let nonce = [7; NONCE_LEN];
    let legacy = [&nonce[..], &encrypt(&first, &nonce, b"a", b"s").unwrap()].concat();
    assert_eq!(*secrets.open_sealed("a", &legacy).unwrap(), "s");

    secrets.turn(&dir).unwrap();
    // The gateway dies here; the next one knows both keys.
    let secrets = SecretBox::open(&dir, None).unwrap();
    assert!(secrets.is_turning());
    assert_eq!(*secrets.open_sealed("a", &sealed).unwrap(), "s");
    let turned = secrets.rewrap("a", &sealed).unwrap().expect("it is wrapped anew");
    assert_eq!(turned[HEAD_LEN..], sealed[HEAD_LEN..], "the secret itself is not touched");
    let renewed = secrets.rewrap("a", &legacy).unwrap().expect("it gets an envelope");
    secrets.forget_old_keys(&dir).unwrap();
    let secrets = SecretBox::open(&dir, None).unwrap();
    assert!(!secrets.is_turning());
    for sealed in [&turned, &renewed] {
        assert_eq!(*secrets.open_sealed("a", sealed).unwrap(), "s");
    }
    for sealed in [&sealed, &legacy] {
        assert!(secrets.open_sealed("a", sealed).is_err(), "the old key is gone");
    }
    assert_ne!(std::fs::read(dir.path("secrets.key")).unwrap(), old_file);
}

#[test]
fn a_passphrase_protects_the_key_file() {
    let root = tempfile::tempdir().unwrap();
    let dir = StateDir::open(root.path()).unwrap();
    let sealed = SecretBox::open(&dir, None).unwrap().seal("a", "s").unwrap();
    let clear = std::fs::read_to_string(dir.path("secrets.key")).unwrap();
    let phrase = Passphrase::new("correct horse battery");
    let secrets = SecretBox::open(&dir, Some(&phrase)).unwrap();
    assert_eq!(*secrets.open_sealed("a", &sealed).unwrap(), "s");
    assert!(!holds(&dir.path("secrets.key"), clear.trim()), "it is not in the clear any more");
    assert!(matches!(SecretBox::open(&dir, None), Err(KeyFileError::Protected { .. })));
    let wrong = Passphrase::new("incorrect horse");
    assert!(matches!(SecretBox::open(&dir, Some(&wrong)), Err(KeyFileError::WrongPassphrase { .. })));
    secrets.turn(&dir).unwrap();
    let again = SecretBox::open(&dir, Some(&phrase)).unwrap();
    assert_eq!((again.is_turning(), again.open_sealed("a", &sealed).unwrap().as_str()), (true, "s"));
    assert_eq!(format!("{phrase:?}"), "…");
}

#[test]
fn a_state_directory_serves_one_gateway() {
    let root = tempfile::tempdir().unwrap();
    let first = StateDir::open(root.path()).unwrap();
    assert!(matches!(StateDir::open(root.path()), Err(StateDirError::Busy { .. })));
    drop(first);
    StateDir::open(root.path()).unwrap();
}
