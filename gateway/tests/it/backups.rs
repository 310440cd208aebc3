//! Backups of a gateway that goes on meanwhile, and gateways that are made of them.

use std::path::{Path, PathBuf};

use crate::world::{Database, World};
use openshell_gateway::backup::{self, BackupError, Restore, Restored};
use openshell_gateway::secrets::Passphrase;
use serde_json::json;

fn passphrase(directory: &Path, text: &str) -> Passphrase {
    let path = directory.join("passphrase");
    std::fs::write(&path, text).unwrap();
    Passphrase::read(&path).unwrap()
}

async fn made(world: &World, with: Option<&Passphrase>) -> Vec<u8> {
    backup::create(&world.dir.path().join("state"), with, Vec::new()).await.unwrap().out
}

async fn put(state: &Path, backup: &[u8], with: Option<&Passphrase>, force: bool) -> Result<Restored, BackupError> {
    backup::restore(state, Restore { input: backup, passphrase: with, force }).await
}

fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_file() && entry.file_name() != "lock")
        .map(|entry| (entry.path(), std::fs::read(entry.path()).unwrap()))
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_one_moment_while_everything_goes_on() {
    let world = World::new(Database::Sqlite).await;
    world.sandbox("a").await;
    let secret = passphrase(world.dir.path(), "correct horse");
    let making = async {
        let mut backups = Vec::new();
        for _ in 0..2 {
            backups.push(made(&world, Some(&secret)).await);
        }
        backups
    };
    let changing = async {
        for n in 0..4 {
            world.push(&["a"], &format!("host-{n}.test")).await.ok();
            world.post("/v1/users", json!({ "name": format!("u{n}"), "role": "viewer" })).await.ok();
        }
    };
    let turning = async {
        for n in 0..2 {
            let provider = json!({ "name": format!("p{n}"), "type": "openai", "secret": format!("sk-{n}") });
            world.post("/v1/providers", provider).await.ok();
            world.post("/v1/keys/rotate", json!(null)).await.ok();
        }
    };
    let (backups, (), ()) = tokio::join!(making, changing, turning);
    for backup in backups {
        for needle in ["sk-0", "BEGIN PRIVATE KEY", "CREATE TABLE"] {
            assert!(!backup.windows(needle.len()).any(|part| part == needle.as_bytes()), "{needle}");
        }
        let other = tempfile::tempdir().unwrap();
        let state = other.path().join("state");
        let restored = put(&state, &backup, Some(&secret), false).await.unwrap();
        assert!(restored.aside.is_none() && restored.unknown.is_empty(), "{restored:?}");
        let there = World::at(other).await;
        let known = there.items("/v1/users?limit=1000").await.as_array().unwrap().len();
        let generations = there.items("/v1/sandboxes/a/generations").await.as_array().unwrap().len();
        assert!(known >= 1 && generations >= 1, "{known} {generations}");
        // What the keys of that moment protect opens.
        there.post("/v1/keys/rotate", json!(null)).await.ok();
        let told = there.items("/v1/audit?action=gateway.restore").await;
        assert_eq!(told.as_array().unwrap().len(), 1, "{told}");
        assert_eq!(there.items("/v1/audit?action=audit.broken").await, json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_still_runs_comes_back_to_a_state_that_was_set_back() {
    let world = World::new(Database::Sqlite).await;
    let a = world.sandbox("a").await;
    world.push(&["a"], "one.test").await.ok();
    let backup = made(&world, None).await;
    world.push(&["a"], "two.test").await.ok();
    // Newer credentials than the backup knows.
    let pairs = a.pairs(1).await.len();
    assert!(pairs >= 1);
    world.sandbox("later").await;
    let token = world.user("vera", "viewer").await;

    let state = world.dir.path().join("state");
    let busy = put(&state, &backup, None, true).await.unwrap_err();
    assert!(matches!(busy, BackupError::State(_)) && busy.to_string().contains("is running"), "{busy}");
    let mut restored = None;
    let world = world
        .changed_meanwhile(async |state| {
            let kept = files(state);
            let refused = put(state, &backup, None, false).await.unwrap_err();
            assert!(matches!(refused, BackupError::NotEmpty { .. }), "{refused}");
            assert_eq!(files(state), kept, "nothing was changed");
            restored = Some(put(state, &backup, None, true).await.unwrap());
        })
        .await;
    let restored = restored.unwrap();
    assert_eq!(restored.unknown, ["later"]);
    assert_eq!(restored.aside.as_deref(), Some(state.canonicalize().unwrap().join("before-restore").as_path()));
    assert!(state.join("before-restore/gateway.db").exists());
    a.state.lock().unwrap().hello_generation = Some(3);
    a.connect();
    let back =
        world.until("/v1/sandboxes/a", |sandbox| sandbox["connected"] == true && sandbox["generation"] == 4).await;
    assert_eq!(back["phase"], "running");
    let policies = world.get("/v1/sandboxes/a/policies").await.ok();
    assert!(policies.to_string().contains("one.test") && !policies.to_string().contains("two.test"), "{policies}");
    world.push(&["a"], "three.test").await.ok();
    world.call(&token, reqwest::Method::GET, "/v1/whoami", None).await.problem(401, "unauthorized");
    assert_eq!(world.items("/v1/audit?action=audit.broken").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_good_changes_nothing() {
    let world = World::new(Database::Sqlite).await;
    world.sandbox("a").await;
    let (right, wrong) =
        (passphrase(world.dir.path(), "correct horse"), passphrase(world.dir.path(), "battery staple"));
    let sealed = made(&world, Some(&right)).await;
    let plain = made(&world, None).await;
    let other = tempfile::tempdir().unwrap();
    let state = other.path().join("state");
    let check = async |backup: &[u8], with: Option<&Passphrase>, expected: &str| {
        let found = put(&state, backup, with, true).await.unwrap_err();
        assert!(found.to_string().contains(expected), "{expected}: {found}");
        assert_eq!(files(&state), [], "{expected}");
        assert!(!state.join("restore.new").exists() && !state.join("restore.ready").exists(), "{expected}");
    };
    check(&sealed, None, "no passphrase was given").await;
    check(&sealed, Some(&wrong), "does not open").await;
    check(&sealed[..sealed.len() - 1], Some(&right), "it ends in the middle").await;
    check(&sealed[..sealed.len() / 2], Some(&right), "it ends in the middle").await;
    check(&plain[..plain.len() - 36], None, "it ends in the middle").await;
    let mut changed = plain.clone();
    let at = changed.len() / 2;
    changed[at] ^= 1;
    check(&changed, None, "a checksum does not hold").await;
    check(b"no backup at all, but a file of some length", None, "it is no backup").await;

    // A database that a later version wrote.
    let newer = world.restart().await;
    let backup = {
        let state = newer.dir.path().join("state");
        newer.running.stop().await;
        let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                   VALUES (9999, 'later', 1, x'00', 0)";
        Database::Sqlite.tamper(&state, sql);
        backup::create(&state, None, Vec::new()).await.unwrap().out
    };
    check(&backup, None, "by a newer version").await;
    let nowhere = backup::create(other.path(), None, Vec::new()).await.unwrap_err();
    assert!(matches!(nowhere, BackupError::NoState { .. }), "{nowhere}");
}
