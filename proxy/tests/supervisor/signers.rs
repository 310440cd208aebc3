//! The gateway signs with another key: the supervisor takes it because the one before vouches for it, keeps it, and drops the one before.

use nix::sys::signal::Signal;
use openshell_api::generation::{Content, SignedGeneration};
use openshell_api::link::{FromSupervisor, ToSupervisor};
use openshell_api::patch;
use openshell_api::signing::{GatewayKey, Voucher};
use openshell_policy_host::{Artifact, Compiled, SigningKey, digest};

use super::gateway::Link;
use super::world::{World, binding, rules};

const NOT_SIGNED: &str = "the generation was not signed by this sandbox's gateway, or was changed since";

/// The same artifact, signed by another key.
fn anew(compiled: &Compiled, from: &SigningKey, to: &SigningKey) -> Compiled {
    let signed = Artifact::sign_anew(&compiled.bytes, &compiled.digest, &from.verifying_key(), to);
    let (manifest, bytes) = signed.expect("it is signed by the first key");
    Compiled { digest: digest(&bytes), bytes, manifest }
}

fn content(compiled: &Compiled) -> Content {
    Content { chain: vec![binding("web", compiled)], ..Content::default() }
}

/// Tells it whom to trust; answers whom it says that it trusts.
async fn told(link: &mut Link, keys: &[GatewayKey], vouchers: &[Voucher]) -> Vec<GatewayKey> {
    link.say(&ToSupervisor::SigningKeys { keys: keys.to_vec(), vouchers: vouchers.to_vec() }).await;
    link.until(|message| match message {
        FromSupervisor::SigningKeys { keys } => Some(keys),
        _ => None,
    })
    .await
}

async fn enforced(link: &mut Link, name: &str, generation: SignedGeneration) -> String {
    match link.stage(name, generation).await.as_str() {
        "staged" => link.activate(name).await,
        other => other.to_owned(),
    }
}

#[tokio::test]
async fn a_supervisor_goes_from_one_key_to_the_next() {
    let world = World::new().await;
    let next = SigningKey::from_bytes(&[8; 32]);
    let (old, new) = (GatewayKey::of(&world.key), GatewayKey::of(&next));
    let voucher = Voucher::sign(new, &world.key);
    let first = rules(&world.key);
    let second = anew(first, &world.key, &next);
    let by_next = |number, content| world.sign_with(&next, number, content);

    let (supervisor, mut link) = world.begin().await;
    assert_eq!(link.stage("two", world.sign(2, content(first))).await, format!("need {}", first.digest));
    link.artifact(10, &first.digest, &first.bytes).await;
    assert_eq!(link.outcome("two").await, "staged");
    assert_eq!(link.activate("two").await, "enforcing 2");

    // Who is not vouched for is not trusted, whoever says so.
    assert_eq!(told(&mut link, &[old, new], &[]).await, [old]);
    assert_eq!(link.stage("three", by_next(3, content(&second))).await, NOT_SIGNED);
    assert_eq!(told(&mut link, &[old, new], std::slice::from_ref(&voucher)).await, [old, new]);
    let need = format!("need {} having {}", second.digest, first.digest);
    assert_eq!(link.stage("three", by_next(3, content(&second))).await, need);
    // What differs is a signature.
    let difference = patch::between(&first.bytes, &second.bytes).expect("they have much in common");
    assert!(difference.len() < 1024, "{}", difference.len());
    link.patch(11, &second.digest, Some(&first.digest), &difference).await;
    assert_eq!(link.outcome("three").await, "staged");
    assert_eq!(link.activate("three").await, "enforcing 3");

    // The one before is dropped, and with it whatever it signs.
    assert_eq!(told(&mut link, &[new], &[]).await, [new]);
    assert_eq!(enforced(&mut link, "four", world.empty(4, "four")).await, NOT_SIGNED);
    let third = anew(&second, &next, &world.key);
    assert_eq!(third.digest, first.digest, "what the old key signed");
    assert_eq!(told(&mut link, &[old, new], &[voucher]).await, [new], "no key vouches for the one before it");

    // From its own disk, with the old key in its start file and no gateway there.
    supervisor.signal(Signal::SIGKILL);
    supervisor.end().await;
    drop(link);
    let _again = world.start();
    let mut link = world.gateway.accept().await;
    match link.hear().await {
        Some(super::gateway::Heard::Said(FromSupervisor::Hello { generation, signing_keys, .. })) => {
            assert_eq!((generation, signing_keys), (3, Some(vec![new])));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(enforced(&mut link, "four", world.empty(4, "four")).await, NOT_SIGNED);
    assert_eq!(enforced(&mut link, "four", by_next(4, content(&second))).await, "enforcing 4");
}

#[tokio::test]
async fn an_artifact_of_a_dropped_key_is_refused() {
    let world = World::new().await;
    let next = SigningKey::from_bytes(&[8; 32]);
    let new = GatewayKey::of(&next);
    let (_supervisor, mut link) = world.begin().await;
    assert_eq!(told(&mut link, &[new], &[Voucher::sign(new, &world.key)]).await, [new]);
    let first = rules(&world.key);
    // The generation is signed as it should be; what it names is not.
    let generation = world.sign_with(&next, 2, content(first));
    assert_eq!(link.stage("two", generation).await, format!("need {}", first.digest));
    link.artifact(10, &first.digest, &first.bytes).await;
    let reason = link.outcome("two").await;
    assert!(reason.contains("not signed by the gateway's key"), "{reason}");
}
