use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use openshell_api::generation::SignedGeneration;
use openshell_api::signing::{GatewayKey, Voucher};
use openshell_policy_host::SigningKey;

use super::{Run, World, marked};
use crate::supervisor::generations::Refusal;
use crate::supervisor::signers::{Signers, SignersError};
use crate::supervisor::state::StateDir;

const NOT_SIGNED: &str = "the generation was not signed by this sandbox's gateway, or was changed since";

fn next() -> SigningKey {
    SigningKey::from_bytes(&[8; 32])
}

/// A generation that another key than the world's signed.
fn by_next(world: &World, number: u64, mark: &str) -> SignedGeneration {
    SignedGeneration::sign(&world.generation(number, marked(mark)), &next()).expect("signs")
}

fn enforce(run: &Run, signed: SignedGeneration) -> Result<u64, Refusal> {
    let staged = run.generations.stage(run.generations.verify(signed)?)?;
    Ok(run.generations.activate(staged, &HashSet::new())?.generation)
}

fn refused(run: &Run, signed: SignedGeneration) -> String {
    enforce(run, signed).expect_err("it is refused").to_string()
}

#[test]
fn two_keys_are_trusted_until_one_is_dropped_and_a_restart_knows() {
    let world = World::new();
    let (old, new) = (GatewayKey::of(&world.key), GatewayKey::of(&next()));
    let voucher = Voucher::sign(new, &world.key);
    let run = world.start();
    enforce(&run, world.empty(1, "one")).expect("the start file's key");
    assert_eq!(refused(&run, by_next(&world, 2, "two")), NOT_SIGNED);
    run.signers.learn(&[old, new], &[voucher]).expect("it is vouched for");
    enforce(&run, by_next(&world, 2, "two")).expect("the new key");
    enforce(&run, world.empty(3, "three")).expect("the old one, too");
    drop(run);

    // Nobody is there to tell it again.
    let run = world.start();
    assert_eq!(run.signers.keys(), [old, new]);
    assert_eq!(run.generations.restore().expect("it is still trusted"), Some(3));
    enforce(&run, by_next(&world, 4, "four")).expect("the new key");
    run.signers.learn(&[new], &[]).expect("what is trusted may be all that is");
    assert_eq!(refused(&run, world.empty(5, "five")), NOT_SIGNED);
    assert_eq!(run.generations.current(), 4);
    drop(run);

    let run = world.start();
    assert_eq!(run.signers.keys(), [new]);
    assert_eq!(run.generations.restore().expect("the new key signed it"), Some(4));
    assert_eq!(refused(&run, world.empty(5, "five")), NOT_SIGNED);
    enforce(&run, by_next(&world, 5, "five")).expect("the new key");
}

#[test]
fn what_a_dropped_key_signed_is_neither_activated_nor_restored() {
    let world = World::new();
    let new = GatewayKey::of(&next());
    let run = world.start();
    enforce(&run, world.empty(1, "one")).expect("the start file's key");
    let staged = run.generations.stage(run.generations.verify(world.empty(2, "two")).expect("verifies"));
    run.signers.learn(&[new], &[Voucher::sign(new, &world.key)]).expect("it is vouched for");
    let refusal = run.generations.activate(staged.expect("stages"), &HashSet::new()).expect_err("its key is dropped");
    assert_eq!(refusal.to_string(), NOT_SIGNED);
    assert_eq!(run.generations.current(), 1, "what was enforced before still is");
    drop(run);

    let run = world.start();
    assert_eq!(run.generations.restore().expect_err("its key is dropped").to_string(), NOT_SIGNED);
    assert_eq!(run.generations.current(), 0, "everything is denied");
    assert!(run.live.load().credentials.is_empty());
    enforce(&run, by_next(&world, 3, "three")).expect("the new key");
}

#[test]
fn a_key_that_nobody_trusted_vouches_for_is_refused_and_nothing_changes() {
    let world = World::new();
    let (old, new) = (GatewayKey::of(&world.key), GatewayKey::of(&next()));
    let run = world.start();
    let check = |keys: &[GatewayKey], vouchers: &[Voucher], expected: &str| {
        let error = run.signers.learn(keys, vouchers).expect_err("it is refused");
        assert_eq!(error.to_string(), expected);
        assert_eq!(run.signers.keys(), [old]);
        assert!(!world.path("gateway-keys.json").exists());
    };
    let unvouched = format!("no key that is trusted vouches for {new}");
    check(&[new], &[], &unvouched);
    check(&[old, new], &[Voucher::sign(new, &next())], &unvouched);
    check(&[old, new], &[Voucher { by: old, ..Voucher::sign(new, &next()) }], &unvouched);
    check(&[], &[], "it was told to trust no key at all");
}

#[test]
fn a_sandbox_that_is_started_anew_trusts_whom_its_start_file_says() {
    let world = World::new();
    let (old, new) = (GatewayKey::of(&world.key), GatewayKey::of(&next()));
    let open = |token: &str| {
        let state = Arc::new(StateDir::open(world.dir.path()).expect("free"));
        Signers::open(state, token, vec![old])
    };
    open("one").expect("opens").learn(&[new], &[Voucher::sign(new, &world.key)]).expect("learns");
    assert_eq!(open("one").expect("opens").keys(), [new]);
    assert_eq!(open("two").expect("opens").keys(), [old]);
    fs::write(world.path("gateway-keys.json"), "{").expect("writes");
    assert!(matches!(open("one"), Err(SignersError::Damaged(_))), "the start file's key may have been dropped");
}
