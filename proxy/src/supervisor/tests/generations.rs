use std::collections::HashSet;
use std::fs;

use openshell_api::generation::{Content, SignedGeneration};
use openshell_api::module::Binding;
use openshell_policy_host::SigningKey;

use super::{Run, World, marked};
use crate::supervisor::artifacts::Sent;
use crate::supervisor::generations::Refusal;

fn enforce(run: &Run, signed: SignedGeneration) -> Result<u64, Refusal> {
    let verified = run.generations.verify(signed)?;
    let staged = run.generations.stage(verified)?;
    Ok(run.generations.activate(staged, &HashSet::new())?.generation)
}

/// Offers a generation after number 5 (content "five") is enforced; answers what came of it and what is enforced then.
fn after_five(offer: impl FnOnce(&World) -> SignedGeneration) -> (String, u64) {
    let world = World::new();
    let run = world.start();
    enforce(&run, world.empty(5, "five")).expect("the first one is enforced");
    let outcome = enforce(&run, offer(&world)).map_or_else(|refusal| refusal.to_string(), |_| "enforced".to_owned());
    let current = run.generations.current();
    assert_eq!(run.live.load().generation, current);
    (outcome, current)
}

#[test]
fn only_what_is_signed_for_this_sandbox_and_newer_is_enforced() {
    let enforced = |number| ("enforced".to_owned(), number);
    let refused = |reason: &str| (reason.to_owned(), 5);
    assert_eq!(after_five(|world| world.empty(6, "six")), enforced(6));
    assert_eq!(after_five(|world| world.empty(90, "ninety")), enforced(90));
    assert_eq!(after_five(|world| world.empty(5, "five")), enforced(5));
    assert_eq!(
        after_five(|world| world.empty(5, "other")),
        refused("generation 5 is enforced already, with other content")
    );
    assert_eq!(
        after_five(|world| world.empty(4, "five")),
        refused("generation 4 is older than generation 5, which is enforced")
    );
    assert_eq!(
        after_five(|world| {
            let mut generation = world.generation(6, marked("six"));
            generation.sandbox_id = "another".to_owned();
            world.sign(&generation)
        }),
        refused("the generation was made for sandbox another, this is 01JD0000000000000000000000")
    );
    let not_signed = "the generation was not signed by this sandbox's gateway, or was changed since";
    assert_eq!(
        after_five(|world| {
            SignedGeneration::sign(&world.generation(6, marked("six")), &SigningKey::from_bytes(&[8; 32]))
                .expect("signs")
        }),
        refused(not_signed)
    );
    assert_eq!(
        after_five(|world| {
            let mut signed = world.empty(6, "six");
            signed.payload = signed.payload.replace("six", "hex");
            signed
        }),
        refused(not_signed)
    );
    assert_eq!(
        after_five(|world| SignedGeneration { signature: "?".to_owned(), ..world.empty(6, "six") }),
        refused("the generation's signature is malformed")
    );
}

#[test]
fn what_is_enforced_survives_a_restart() {
    let world = World::new();
    assert_eq!(world.start().generations.restore().expect("nothing to refuse"), None);
    enforce(&world.start(), world.empty(3, "three")).expect("enforced");
    let run = world.start();
    assert_eq!(run.generations.current(), 0);
    assert_eq!(run.generations.restore().expect("restored"), Some(3));
    assert!(run.live.load().credentials.contains_key("three"));
    assert!(matches!(enforce(&run, world.empty(2, "two")), Err(Refusal::Backwards { enforced: 3, offered: 2 })));
}

#[test]
fn what_was_staged_and_not_activated_leaves_nothing() {
    let world = World::new();
    let run = world.start();
    enforce(&run, world.empty(1, "one")).expect("enforced");
    let verified = run.generations.verify(world.empty(2, "two")).expect("verifies");
    let staged = run.generations.stage(verified).expect("stages");
    let files = || {
        fs::read_dir(world.dir.path()).expect("reads").filter_map(|entry| entry.ok()?.file_name().into_string().ok())
    };
    assert!(files().any(|name| name.ends_with(".staged")));
    drop(staged);
    assert!(!files().any(|name| name.ends_with(".staged")));
    drop(run);
    assert_eq!(world.start().generations.restore().expect("restored"), Some(1));
}

#[test]
fn a_damaged_last_generation_denies_everything() {
    let damage = |change: fn(&mut Vec<u8>)| {
        let world = World::new();
        enforce(&world.start(), world.empty(3, "three")).expect("enforced");
        let path = world.path("generation.json");
        let mut bytes = fs::read(&path).expect("reads");
        change(&mut bytes);
        fs::write(&path, bytes).expect("writes");
        let run = world.start();
        let refusal = run.generations.restore().expect_err("refused");
        assert_eq!(run.live.load().generation, 0);
        assert!(run.live.load().credentials.is_empty());
        refusal.to_string()
    };
    assert!(damage(|bytes| bytes.clear()).starts_with("the last enforced generation does not parse"));
    assert!(damage(|bytes| bytes.truncate(40)).starts_with("the last enforced generation does not parse"));
    let tampered = damage(|bytes| {
        let text = String::from_utf8(std::mem::take(bytes)).expect("is text");
        *bytes = text.replace("three", "seven").into_bytes();
    });
    assert!(tampered.starts_with("the generation was not signed"), "{tampered}");
}

#[test]
fn a_generation_whose_artifacts_are_gone_denies_and_still_counts() {
    let world = World::new();
    let binding = Binding {
        name: "web".parse().expect("a name"),
        version: "1".to_owned(),
        module: format!("sha256:{}", "0".repeat(64)),
        artifact: format!("sha256:{}", "1".repeat(64)),
        settings: serde_json::Value::Null,
        reuse: 0,
        deadline_ms: 50,
        granted_imports: Vec::new(),
        publisher: None,
    };
    let content = Content { chain: vec![binding], ..Content::default() };
    let signed = world.sign(&world.generation(7, content));
    fs::write(world.path("generation.json"), serde_json::to_vec(&signed).expect("serializes")).expect("writes");
    let run = world.start();
    assert!(matches!(run.generations.restore(), Err(Refusal::Missing { digests }) if digests.len() == 1));
    assert_eq!(run.generations.current(), 0);
    assert!(matches!(enforce(&run, world.empty(6, "six")), Err(Refusal::Backwards { enforced: 7, offered: 6 })));
    assert_eq!(enforce(&run, world.empty(8, "eight")).expect("enforced"), 8);
}

#[test]
fn a_digest_is_never_a_path() {
    let world = World::new();
    let run = world.start();
    for digest in ["../../etc/passwd", "sha256:../x", "sha256:", "", &format!("sha256:{}", "A".repeat(64))] {
        let refusal = run.generations.insert(digest, &Sent::Whole, b"bytes").expect_err("refused").to_string();
        assert_eq!(refusal, format!("{digest:?} is not a digest"));
    }
}
