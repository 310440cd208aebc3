use super::*;
use crate::secrets::SIGNING_KEY_FILE;

impl Signing {
    fn introduce(&self) -> Result<bool, SigningError> {
        self.introduced()?.map_or(Ok(false), |next| self.take(next).map(|()| true))
    }

    fn change(&self) -> Result<(), SigningError> {
        self.take(self.changed()?)
    }

    fn settle(&self) -> Result<(), SigningError> {
        self.take(self.settled())
    }

    fn finish(&self) -> Result<(), SigningError> {
        self.take(self.finished()?)
    }
}

fn open(root: &Path) -> Signing {
    let text = std::fs::read(root.join(SIGNING_KEY_FILE)).unwrap();
    Signing::of(root, secrets::parse_signing_key(&text).unwrap()).unwrap()
}

/// A directory whose next key is made.
fn introduced() -> (tempfile::TempDir, Signing) {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join(SIGNING_KEY_FILE), "07".repeat(32)).unwrap();
    let signing = open(root.path());
    assert!(!root.path().join(TURN_FILE).exists(), "a key that never turned leaves nothing");
    assert!(signing.introduce().unwrap());
    (root, signing)
}

#[test]
fn a_key_turns_step_by_step_and_each_survives_a_restart() {
    let (root, signing) = introduced();
    let (first, second) = (signing.public(), signing.next().unwrap());
    assert!(!signing.introduce().unwrap(), "the next one is there");
    assert!(matches!(signing.finish(), Err(SigningError::Unused)));
    let signing = open(root.path());
    assert_eq!((signing.public(), signing.next(), signing.previous()), (first, Some(second), None));
    assert_eq!(signing.trusted().0, [first, second]);

    signing.change().unwrap();
    for signing in [signing, open(root.path())] {
        assert_eq!((signing.public(), signing.next(), signing.previous()), (second, None, Some(first)));
        assert_eq!(signing.trusted().0, [second, first]);
        assert_eq!(signing.left_over().map(|left| GatewayKey::of(&left)), Some(first));
        assert!(signing.owns(&first) && signing.owns(&second));
        assert!(matches!(signing.introduce(), Err(SigningError::Turning)));
        assert!(matches!(signing.change(), Err(SigningError::NotTurning)));
    }
    let signing = open(root.path());
    signing.settle().unwrap();
    for signing in [signing, open(root.path())] {
        assert!(signing.left_over().is_none() && !signing.owns(&first));
        assert_eq!(signing.previous(), Some(first), "it is trusted still");
    }
    let text = std::fs::read_to_string(root.path().join(TURN_FILE)).unwrap();
    assert!(!text.contains(&"07".repeat(32)), "its secret is gone");

    let signing = open(root.path());
    signing.finish().unwrap();
    for signing in [signing, open(root.path())] {
        let (keys, vouchers) = signing.trusted();
        assert_eq!(keys, [second]);
        assert_eq!(signing.past(), [first]);
        assert_eq!(openshell_api::signing::reachable(&[first], &vouchers), [first, second], "who was away learns");
        assert!(matches!(signing.finish(), Err(SigningError::NotTurning)));
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&root.path().join(TURN_FILE).metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_change_that_is_cut_off_has_not_happened_or_is_done() {
    let (root, signing) = introduced();
    let (first, second) = (signing.public(), signing.next().unwrap());
    // Its first write is there, and no more.
    let turn = Turn { previous: Some(Previous::of(&signing.key())), ..Turn::read(root.path()).unwrap() };
    turn.write(root.path()).unwrap();
    let signing = open(root.path());
    assert_eq!((signing.public(), signing.next(), signing.previous()), (first, Some(second), None));
    assert_eq!(Turn::read(root.path()).unwrap().previous, None);

    // Its second one, too.
    turn.write(root.path()).unwrap();
    std::fs::write(root.path().join(SIGNING_KEY_FILE), turn.next.unwrap().text()).unwrap();
    let signing = open(root.path());
    assert_eq!((signing.public(), signing.next(), signing.previous()), (second, None, Some(first)));
    assert!(signing.left_over().is_some());
    assert_eq!(Turn::read(root.path()).unwrap().next, None);
}

#[test]
fn only_so_many_vouchers_are_kept() {
    let (root, signing) = introduced();
    for _ in 0..40 {
        signing.change().unwrap();
        signing.finish().unwrap();
        signing.introduce().unwrap();
    }
    let vouchers = Turn::read(root.path()).unwrap().vouchers;
    assert_eq!(vouchers.len(), 32);
    assert_eq!(vouchers.last().map(|voucher| voucher.key), signing.next());
}

#[test]
fn a_damaged_turn_is_refused() {
    let (root, _) = introduced();
    let path = root.path().join(TURN_FILE);
    for damage in ["{", r#"{"next":"00"}"#, r#"{"previous":{"key":"ed25519:00"}}"#] {
        std::fs::write(&path, damage).unwrap();
        let found = Signing::of(root.path(), SigningKey::from_bytes(&[7; 32])).err();
        assert!(matches!(found, Some(SigningError::Files(StateDirError::NotJson { .. }))), "{damage}: {found:?}");
    }
}
