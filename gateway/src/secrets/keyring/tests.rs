//! What is put into a database by the first gateway, by an older one, and taken from it by others.

use std::net::{IpAddr, Ipv4Addr};

use openshell_api::audit::BROKEN_ACTION;
use openshell_api::generation::{Content, Generation, SignedGeneration};

use super::*;
use crate::store::{AuditQuery, Effect, NewGeneration};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn open(root: &std::path::Path, database: &Database) -> (StateDir, Result<Opened, KeyringError>) {
    let (dir, passphrase) = (StateDir::open(root).unwrap(), Passphrase::new("correct horse battery"));
    let opened = Opened::open(database, &dir, &passphrase, || make(&dir, &passphrase, HERE)).await;
    (dir, opened)
}

async fn entries(database: &Database) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let look = |known: Vec<Entry>| {
        found.extend(known.into_iter().map(|entry| (entry.name, entry.number)));
        Ok(Vec::new())
    };
    database.keyring(look, &[]).await.unwrap().unwrap();
    found
}

fn expected() -> Vec<(String, u64)> {
    [("admin.token", 0), ("keys", 1), ("salt", 0), ("secrets.key", 0)].map(|(name, n)| (name.to_owned(), n)).to_vec()
}

#[tokio::test]
async fn the_first_one_puts_there_what_others_take() {
    let (kept, first, second) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let database = Database::open(kept.path(), None).await.unwrap();
    let (one, opened) = open(first.path(), &database).await;
    let token = opened.unwrap().shared.token.clone();
    let (other, opened) = open(second.path(), &database).await;
    assert_eq!(opened.unwrap().shared.token, token);
    for file in [tls::CA_KEY_FILE, tls::CA_FILE, SIGNING_KEY_FILE, ADMIN_TOKEN_FILE, MASTER_KEYS] {
        assert_eq!(std::fs::read(one.path(file)).unwrap(), std::fs::read(other.path(file)).unwrap(), "{file}");
    }
    assert_eq!(entries(&database).await, expected());
}

#[tokio::test]
async fn what_an_older_version_put_there_becomes_one_entry_with_the_token_that_it_knows() {
    let (kept, first, second) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let database = Database::open(kept.path(), None).await.unwrap();
    let older = |_: Vec<Entry>| {
        let (dir, passphrase) = (StateDir::open(first.path()).unwrap(), Passphrase::new("correct horse battery"));
        make(&dir, &passphrase, HERE)?;
        // A line end that an operator's editor left.
        let key = std::fs::read(dir.path(SIGNING_KEY_FILE)).unwrap();
        std::fs::write(dir.path(SIGNING_KEY_FILE), [&key[..], b"\n"].concat()).unwrap();
        let sealing = passphrase.key(&[1; SALT_LEN])?;
        let mut entries = vec![Entry { name: SALT.to_owned(), number: 0, sealed: vec![1; SALT_LEN] }];
        for name in OLDER.into_iter().chain([ADMIN_TOKEN_FILE, MASTER_KEYS]) {
            entries.push(Entry { name: name.to_owned(), number: 0, sealed: seal(&sealing, name, &read(&dir, name)?)? });
        }
        Ok(entries)
    };
    database.keyring(older, &[]).await.unwrap().unwrap();
    let (one, opened) = open(first.path(), &database).await;
    let token = opened.unwrap().shared.token.clone();
    let digest = <sha2::Sha256 as sha2::Digest>::new_with_prefix("openshell replica 1");
    let digest = sha2::Digest::chain_update(digest, signing_key(&one).unwrap().to_bytes());
    assert_eq!(token, format!("osh_replica_{}", hex::encode(sha2::Digest::finalize(digest))));
    assert_eq!(entries(&database).await, expected());
    let (other, opened) = open(second.path(), &database).await;
    assert_eq!(opened.unwrap().shared.token, token);
    assert_eq!(signing_key(&one).unwrap(), signing_key(&other).unwrap());
    drop(one);
    open(first.path(), &database).await.1.map(drop).unwrap();
}

#[tokio::test]
async fn keys_are_taken_over_once_and_never_older_ones() {
    let (kept, first) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let database = Database::open(kept.path(), None).await.unwrap();
    let (dir, opened) = open(first.path(), &database).await;
    let authority = Arc::new(Authority::open(&dir, HERE, None).unwrap());
    let signing = Arc::new(Signing::open(&dir).unwrap());
    let keyring = opened.unwrap().begin(&database, authority.clone(), signing);
    let sealed = |number| {
        let next = keyring.shared().after(Turned::Authority(authority.turned().unwrap()));
        (next.authority.fingerprint(), next.seal(&keyring.key, number).unwrap())
    };
    let ((newer, next), (_, older), (_, wrong)) = (sealed(2), sealed(1), sealed(3));
    keyring.take(&older).unwrap();
    assert_eq!((keyring.number(), authority.fingerprints().1), (1, None), "an older one is no news");
    keyring.take(&next).unwrap();
    assert_eq!((keyring.number(), authority.fingerprints().0), (2, newer.clone()));
    // One that says that it is newer than it was sealed as.
    let forged = SealedKeys { number: 4, sealed: wrong.sealed };
    assert!(matches!(keyring.take(&forged), Err(KeyringError::WrongPassphrase)));
    assert_eq!((keyring.number(), authority.fingerprints().0), (2, newer));
}

/// A gateway, as far as it has to do with keys.
struct Part {
    dir: StateDir,
    signing: Arc<Signing>,
    keyring: Arc<Keyring>,
    store: Store,
}

impl Part {
    async fn of(root: &std::path::Path, database: &Database) -> Self {
        let (dir, opened) = open(root, database).await;
        let authority = Arc::new(Authority::open(&dir, HERE, None).unwrap());
        let signing = Arc::new(Signing::open(&dir).unwrap());
        let keyring = Arc::new(opened.unwrap().begin(database, authority, signing.clone()));
        let store = Store::over(database.clone(), dir.root(), signing.clone(), Some(keyring.clone())).await.unwrap();
        Self { dir, signing, keyring, store }
    }

    async fn store(&self, signed_by: &Part) -> Result<(), StoreError> {
        let generation = Generation {
            sandbox_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
            number: 1,
            created_at: jiff::Timestamp::now(),
            cause: "test".to_owned(),
            content: Content::default(),
        };
        let signed = SignedGeneration::sign(&generation, &signed_by.signing.key()).unwrap();
        self.store_signed(signed).await
    }

    async fn store_signed(&self, signed: SignedGeneration) -> Result<(), StoreError> {
        let new = NewGeneration { sandbox_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(), number: 1, signed };
        self.store.commit(&[new], &Effect::None, &change()).await
    }

    async fn put(&self, keys: crate::signing::SigningKeys) -> Result<(), KeyringError> {
        self.keyring.put(&self.store, Turned::Signing(Box::new(keys)), Some(&change())).await
    }
}

fn change() -> Change {
    Change::new(None, "test", String::new())
}

#[tokio::test]
async fn nothing_is_written_with_keys_that_another_gateway_has_turned() {
    let (kept, first, second) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let database = Database::open(kept.path(), None).await.unwrap();
    let (near, far) = (Part::of(first.path(), &database).await, Part::of(second.path(), &database).await);
    let old = near.signing.public();
    near.put(near.signing.introduced().unwrap().unwrap()).await.unwrap();
    // One that has not heard of it writes in its place: it has heard by then.
    assert_eq!(far.signing.next(), None);
    let other = far.signing.introduced().unwrap().unwrap();
    assert!(matches!(far.put(other).await, Err(KeyringError::Meanwhile)));
    assert_eq!((far.keyring.number(), far.signing.next()), (2, near.signing.next()));
    far.store.tell(&change()).await.unwrap();

    near.put(near.signing.changed().unwrap()).await.unwrap();
    assert_eq!(far.signing.public(), old, "nobody has told it");
    // Signed with the key before, stored after the turn.
    assert!(matches!(far.store(&far).await, Err(StoreError::Outdated)));
    assert_eq!(far.signing.public(), near.signing.public());
    // What the key of now has signed gets as far as a sandbox that is not there.
    assert!(matches!(far.store(&far).await, Err(StoreError::Database(_))));
    near.put(near.signing.settled()).await.unwrap();
    near.put(near.signing.finished().unwrap()).await.unwrap();
    far.store.tell(&change()).await.unwrap();
    let head = far.store.audit_head().await.unwrap();
    assert!(head.holds() && head.key == near.signing.public().to_string() && head.key != old.to_string());
    // Each went on from what the other one wrote.
    let links = near.store.audit(&AuditQuery { limit: 100, ..AuditQuery::default() }).await.unwrap();
    assert!(!links.iter().any(|link| link.item.entry.get().contains(BROKEN_ACTION)));
    let dir = far.dir.root().to_owned();
    drop(far);
    assert_eq!(Part::of(&dir, &database).await.signing.past(), [old]);

    // A database that was put back: nothing is written by whoever has seen the newer one.
    let file = format!("sqlite://{}", kept.path().join("gateway.db").display());
    let pool = sqlx::SqlitePool::connect(&file).await.unwrap();
    sqlx::query("UPDATE keyring SET number = 2 WHERE name = 'keys'").execute(&pool).await.unwrap();
    let refused = near.store.tell(&change()).await.unwrap_err();
    assert!(refused.to_string().contains("number 2, after 5") && refused.hint().is_some(), "{refused}");
}
