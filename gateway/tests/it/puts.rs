//! What is put into a bucket, as the database sees it: either a module names it, or it is removed.

use openshell_api::Name;
use openshell_api::module::Module;
use openshell_gateway::audit::Change;
use openshell_gateway::backup::{self, Restore};
use openshell_gateway::store::{By, Home, Spot, Store, StoreModule};
use serde_json::json;

use crate::world::{Database, World};

with_both!(of_a_module_and_a_removal_one_has_an_object, what_is_given_up_goes_and_is_forgotten_in_the_end);

const PLACE: &str = "s3://modules/prod";

fn digest(number: u32) -> String {
    format!("sha256:{number:064x}")
}

/// Stores a module whose bytes are there.
async fn named(store: &Store, version: &str, digest: &str, spot: &Spot) -> StoreModule {
    let module = Module {
        digest: digest.to_owned(),
        name: Name::parse("mine").unwrap(),
        version: version.to_owned(),
        size: 1,
        contract: "0.1.0".to_owned(),
        hooks: Vec::new(),
        imports: Vec::new(),
        pure_verdicts: true,
        settings_schema: json!({}),
        signed_by: Vec::new(),
        created_at: jiff::Timestamp::now(),
    };
    let change = Change::new(None, "module.upload", "mine".to_owned());
    store.put_module(&module, &Home::Bucket(spot.clone()), false, By::GATEWAY, &change).await.unwrap()
}

async fn of_a_module_and_a_removal_one_has_an_object(on: Database) {
    let world = World::new(on).await;
    let store = &world.running.gateway.store;
    let (mut stays, mut goes) = (0, 0);
    for number in 0..60 {
        let (digest, version) = (digest(number), number.to_string());
        let spot = Spot::new(PLACE.to_owned(), &digest);
        store.will_put(&spot, "other").await.unwrap();
        let given_up = async {
            // Both come first, now and then.
            tokio::time::sleep(std::time::Duration::from_micros(u64::from(number % 12) * 250)).await;
            store.give_up_puts_of("other").await.unwrap();
        };
        let (outcome, ()) = tokio::join!(named(store, &version, &digest, &spot), given_up);
        let kept = store.module_bytes(&digest).await.unwrap().map(|kept| kept.home);
        let undone = store.puts_to_undo(PLACE).await.unwrap().contains(&spot.object);
        match outcome {
            StoreModule::Stored => assert!(kept == Some(Home::Bucket(spot)) && !undone, "{number}"),
            StoreModule::Late => assert!(kept.is_none() && undone, "{number}"),
            other => panic!("{other:?}"),
        }
        stays += u32::from(!undone);
        goes += u32::from(undone);
    }
    println!("{stays} stay, {goes} go");
    assert!(stays > 0, "nothing was ever stored");

    // One that was given up for certain; and one that lost against another attempt of the same bytes.
    let late = Spot::new(PLACE.to_owned(), &digest(100));
    store.will_put(&late, "other").await.unwrap();
    store.give_up_puts_of("other").await.unwrap();
    assert_eq!(named(store, "100", &digest(100), &late).await, StoreModule::Late);
    let (first, second) = (Spot::new(PLACE.to_owned(), &digest(101)), Spot::new(PLACE.to_owned(), &digest(101)));
    assert_ne!(first, second);
    for spot in [&first, &second] {
        store.will_put(spot, "other").await.unwrap();
    }
    assert_eq!(named(store, "101", &digest(101), &first).await, StoreModule::Stored);
    assert_eq!(named(store, "102", &digest(101), &second).await, StoreModule::Stored);
    let kept = store.module_bytes(&digest(101)).await.unwrap().unwrap();
    assert_eq!(kept.home, Home::Bucket(first.clone()));
    let undone = store.puts_to_undo(PLACE).await.unwrap();
    assert!(undone.contains(&late.object) && undone.contains(&second.object) && !undone.contains(&first.object));
    // Not even somebody who writes to the database has an object removed that a module names.
    let forged = format!("INSERT INTO module_puts VALUES ('{PLACE}', '{}', 'x', 0, 1, NULL)", first.object);
    world.database.tamper(&world.dir.path().join("state"), &forged);
    assert!(!store.puts_to_undo(PLACE).await.unwrap().contains(&first.object));
}

async fn what_is_given_up_goes_and_is_forgotten_in_the_end(on: Database) {
    let world = World::new(on).await;
    let store = &world.running.gateway.store;
    let state = world.dir.path().join("state");
    let spot = Spot::new(PLACE.to_owned(), &digest(1));
    store.will_put(&spot, "other").await.unwrap();
    let shifted = |column: &str, ms: i64| {
        world.database.tamper(&state, &format!("UPDATE module_puts SET {column} = {column} - {ms}"));
    };
    let look = async || {
        store.give_up_old_puts(PLACE).await.unwrap();
        store.puts_to_undo(PLACE).await.unwrap().len()
    };
    assert_eq!(look().await, 0, "it may be under way");
    shifted("begun_ms", 590_000);
    assert_eq!(look().await, 0, "it may be under way");
    assert_eq!(store.puts_to_undo("s3://modules/other").await.unwrap().len(), 0);
    shifted("begun_ms", 20_000);
    assert_eq!((look().await, store.count_left(PLACE).await.unwrap()), (1, 1));
    store.undone_put(PLACE, &spot.object).await.unwrap();
    assert_eq!((look().await, store.count_left(PLACE).await.unwrap()), (0, 0));
    // Twice as late it is looked for once more, and again, until an hour is over. Age, age when it was removed last, whether it is due:
    let left = || world.database.rows(&state, "SELECT count(*) FROM module_puts").trim().to_owned();
    for (age_ms, removed_ms, due) in [
        (1_000_000, 610_000, 0),
        (1_230_000, 610_000, 1),
        (2_400_000, 1_230_000, 0),
        (3_500_000, 1_730_000, 1),
        (3_700_000, 1_730_000, 1),
    ] {
        let begun_ms = jiff::Timestamp::now().as_millisecond() - age_ms;
        let set = format!("UPDATE module_puts SET begun_ms = {begun_ms}, removed_ms = {begun_ms} + {removed_ms}");
        world.database.tamper(&state, &set);
        assert_eq!((look().await, left().as_str()), (due, "1"), "{age_ms}");
        store.undone_put(PLACE, &spot.object).await.unwrap();
    }
    assert_eq!(left(), "0");
    // Whoever comes after that all the same has nothing to name, and what it put goes.
    assert_eq!(named(store, "1", &digest(1), &spot).await, StoreModule::Late);
    store.put_too_late(&spot, "other").await.unwrap();
    assert_eq!(look().await, 1);

    // A clock that was set back makes no attempt last for ever.
    let other = Spot::new(PLACE.to_owned(), &digest(2));
    store.will_put(&other, "other").await.unwrap();
    assert_eq!(look().await, 1);
    shifted("begun_ms", -86_400_000);
    assert_eq!(look().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_removes_nothing_and_a_restored_gateway_goes_on_removing() {
    let world = World::new(Database::Sqlite).await;
    let state = world.dir.path().join("state");
    let store = &world.running.gateway.store;
    let rows = |state: &std::path::Path| {
        Database::Sqlite.rows(state, "SELECT object || ' ' || given_up FROM module_puts ORDER BY object")
    };
    // On its way while the backup is made, named afterwards: only the newer backup knows that it is.
    let (named_later, left) = (Spot::new(PLACE.to_owned(), &digest(1)), Spot::new(PLACE.to_owned(), &digest(2)));
    store.will_put(&named_later, "other").await.unwrap();
    let older = backup::create(&state, None, Vec::new()).await.unwrap().out;
    assert_eq!(named(store, "1", &digest(1), &named_later).await, StoreModule::Stored);
    store.will_put(&left, "other").await.unwrap();
    assert_eq!(rows(&state).trim(), format!("{} 0", left.object));

    let other = tempfile::tempdir().unwrap();
    let there = other.path().join("state");
    backup::restore(&there, Restore { input: older.as_slice(), passphrase: None, force: false }).await.unwrap();
    assert_eq!(rows(&there).trim(), "", "it would remove what the other one names");
    world
        .changed_meanwhile(async |state| {
            let restore = Restore { input: older.as_slice(), passphrase: None, force: true };
            backup::restore(state, restore).await.unwrap();
            assert_eq!(rows(state).trim(), format!("{} 1", left.object), "what was left then is left still");
        })
        .await;
}
