//! Generations: what is enforced, what is refused, and what a crash or a lost link leaves.

use nix::sys::signal::Signal;
use openshell_api::generation::{Content, SignedGeneration};
use openshell_api::link::ToSupervisor;
use openshell_api::{compress, patch};
use openshell_policy_host::SigningKey;

use super::world::{World, binding, compile, rules};

#[tokio::test]
async fn it_says_who_it_is() {
    let world = World::new().await;
    let _supervisor = world.start();
    let mut link = world.gateway.accept().await;
    assert_eq!((link.path.as_str(), link.authorization.as_str()), ("/v1/supervisor", "Bearer the-token"));
    assert_eq!(link.hello().await, 0);
}

#[tokio::test]
async fn a_gateway_of_another_ca_is_not_talked_to() {
    let world = World::new().await;
    let mut spec = world.spec();
    spec.gateway_ca = super::gateway::Gateway::open().await.ca;
    let _supervisor = world.start_as(&spec);
    assert!(world.gateway.refuses_handshake().await);
}

#[tokio::test]
async fn refusals_change_nothing() {
    let world = World::new().await;
    let (_supervisor, mut link) = world.begin().await;
    let unsigned = "the generation was not signed by this sandbox's gateway, or was changed since";
    let rows: [(SignedGeneration, &str); 5] = [
        (world.sign_with(&SigningKey::from_bytes(&[9; 32]), 2, Content::default()), unsigned),
        (SignedGeneration { payload: "{}".to_owned(), ..world.empty(2, "two") }, unsigned),
        (
            SignedGeneration { signature: String::new(), ..world.empty(2, "two") },
            "the generation's signature is malformed",
        ),
        (world.empty(1, "other"), "generation 1 is enforced already, with other content"),
        (world.empty(0, "none"), "generation 0 is older than generation 1, which is enforced"),
    ];
    for (number, (generation, reason)) in rows.into_iter().enumerate() {
        let name = format!("push-{number}");
        assert_eq!(link.stage(&name, generation).await, reason);
        assert_eq!(link.activate(&name).await, "nothing is staged under this name");
    }
    assert_eq!(link.stage("again", world.empty(1, "one")).await, "staged");
    assert_eq!(link.activate("again").await, "enforcing 1");
    assert_eq!(link.activate("again").await, "nothing is staged under this name");
    assert_eq!(link.stage("aborted", world.empty(2, "two")).await, "staged");
    link.say(&ToSupervisor::Abort { push: "aborted".to_owned() }).await;
    assert_eq!(link.activate("aborted").await, "nothing is staged under this name");
}

#[tokio::test]
async fn of_two_staged_only_the_newer_may_follow_the_older() {
    let world = World::new().await;
    let (_supervisor, mut link) = world.begin().await;
    assert_eq!(link.stage("two", world.empty(2, "two")).await, "staged");
    assert_eq!(link.stage("three", world.empty(3, "three")).await, "staged");
    assert_eq!(link.activate("three").await, "enforcing 3");
    assert_eq!(link.activate("two").await, "generation 2 is older than generation 3, which is enforced");
}

#[tokio::test]
async fn garbage_ends_the_link_and_changes_nothing() {
    let world = World::new().await;
    let (_supervisor, mut link) = world.begin().await;
    link.bytes(77, b"bytes that nobody waits for").await;
    link.say_text("{\"type\":\"nonsense\"}".to_owned()).await;
    link.ended().await;
    let mut link = world.gateway.accept().await;
    assert_eq!(link.hello().await, 1);
    assert_eq!(link.stage("two", world.empty(2, "two")).await, "staged");
}

#[tokio::test]
async fn what_was_staged_ends_with_its_link() {
    let world = World::new().await;
    let (_supervisor, mut link) = world.begin().await;
    assert_eq!(link.stage("two", world.empty(2, "two")).await, "staged");
    drop(link);
    let mut link = world.gateway.accept().await;
    assert_eq!(link.hello().await, 1);
    assert_eq!(link.activate("two").await, "nothing is staged under this name");
}

#[tokio::test]
async fn a_killed_supervisor_enforces_again_what_it_did() {
    let world = World::new().await;
    let (supervisor, mut link) = world.begin().await;
    assert_eq!(link.stage("five", world.empty(5, "five")).await, "staged");
    assert_eq!(link.activate("five").await, "enforcing 5");
    assert_eq!(link.stage("six", world.empty(6, "six")).await, "staged");
    supervisor.signal(Signal::SIGKILL);
    supervisor.end().await;
    let _again = world.start();
    let mut link = world.gateway.accept().await;
    assert_eq!(link.hello().await, 5);
    let older = "generation 4 is older than generation 5, which is enforced";
    assert_eq!(link.stage("four", world.empty(4, "four")).await, older);
}

#[tokio::test]
async fn artifacts_are_sent_once_and_checked() {
    let world = World::new().await;
    let (supervisor, mut link) = world.begin().await;
    let compiled = rules(&world.key);
    let content = |names: &[&str]| Content {
        chain: names.iter().map(|name| binding(name, compiled)).collect(),
        ..Content::default()
    };
    let need = format!("need {}", compiled.digest);

    assert_eq!(link.stage("bad", world.sign(2, content(&["web"]))).await, need);
    let mut tampered = compiled.bytes.clone();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    link.artifact(10, &compiled.digest, &tampered).await;
    let reason = link.outcome("bad").await;
    assert!(reason.contains(&compiled.digest), "{reason}");

    assert_eq!(link.stage("good", world.sign(2, content(&["web"]))).await, need);
    link.artifact(11, &compiled.digest, &compiled.bytes).await;
    assert_eq!(link.outcome("good").await, "staged");
    assert_eq!(link.activate("good").await, "enforcing 2");

    assert_eq!(link.stage("more", world.sign(3, content(&["web", "twice"]))).await, "staged");
    assert_eq!(link.activate("more").await, "enforcing 3");

    let same = link.stage("same", world.sign(4, content(&["web", "web"]))).await;
    assert_eq!(same, "two policies of one chain are bound as web");
    let mut router = content(&[]);
    router.router = Some(binding("web", compiled));
    let reason = link.stage("router", world.sign(4, router)).await;
    assert_eq!(reason, "policy web is bound as router and has no route hook");
    let mut other = content(&["other"]);
    other.chain[0].module = format!("sha256:{}", "0".repeat(64));
    let reason = link.stage("other", world.sign(4, other)).await;
    assert!(reason.starts_with("policy other: its artifact holds module sha256:"), "{reason}");
    let mut ungranted = content(&["ungranted"]);
    ungranted.chain[0].granted_imports.clear();
    let reason = link.stage("ungranted", world.sign(4, ungranted)).await;
    assert!(compiled.manifest.imports.is_empty() || reason.starts_with("policy ungranted: "), "{reason}");

    supervisor.signal(Signal::SIGKILL);
    supervisor.end().await;
    let stored = world.path("state/artifacts").join(compiled.digest.trim_start_matches("sha256:"));
    assert_eq!(std::fs::read(&stored).expect("it is kept"), compiled.bytes);
    let again = world.start();
    let mut link = world.gateway.accept().await;
    assert_eq!(link.hello().await, 3);

    again.signal(Signal::SIGKILL);
    again.end().await;
    std::fs::write(&stored, &tampered).expect("it is damaged");
    let _denying = world.start();
    let mut link = world.gateway.accept().await;
    assert_eq!(link.hello().await, 0, "a damaged artifact never loads");
    assert_eq!(link.stage("again", world.sign(3, content(&["web", "twice"]))).await, need);
    link.artifact(12, &compiled.digest, &compiled.bytes).await;
    assert_eq!(link.outcome("again").await, "staged");
    assert_eq!(link.activate("again").await, "enforcing 3");
}

#[tokio::test]
async fn an_artifact_may_be_made_of_another() {
    let world = World::new().await;
    let (_supervisor, mut link) = world.begin().await;
    let one = rules(&world.key);
    let yaml = "version: 1\nnetwork_policies:\n  no:\n    endpoints: [{ host: other.test, port: 443, protocol: rest, access: read-write }]\n    binaries: [{ path: '/**' }]\n";
    let two = compile(yaml, &world.key);
    let content = |compiled| Content { chain: vec![binding("web", compiled)], ..Content::default() };
    assert_eq!(link.stage("one", world.sign(2, content(one))).await, format!("need {}", one.digest));
    link.artifact(10, &one.digest, &one.bytes).await;
    assert_eq!(link.outcome("one").await, "staged");
    assert_eq!(link.activate("one").await, "enforcing 2");

    let need = format!("need {}", two.digest);
    let having = format!("{need} having {}", one.digest);
    let fits = patch::between(&one.bytes, &two.bytes).expect("settings are a small part");
    assert!(fits.len() < two.bytes.len() / 10, "{} of {} bytes", fits.len(), two.bytes.len());
    let mut other = fits.clone();
    *other.last_mut().expect("it is not empty") ^= 1;
    let nobody = format!("sha256:{}", "0".repeat(64));
    // What does not make it changes nothing, and is followed by the question for all of it.
    let rows = [(&fits[..40], &one.digest), (&other[..], &one.digest), (&fits[..], &nobody), (&fits[..], &need)];
    for (channel, (bytes, base)) in (20..).zip(rows) {
        let push = format!("push-{channel}");
        assert_eq!(link.stage(&push, world.sign(3, content(&two))).await, having);
        link.patch(channel, &two.digest, Some(base), bytes).await;
        assert_eq!(link.outcome(&push).await, need);
        link.say(&ToSupervisor::Abort { push }).await;
    }

    assert_eq!(link.stage("two", world.sign(3, content(&two))).await, having);
    link.patch(30, &two.digest, Some(&one.digest), &fits).await;
    assert_eq!(link.outcome("two").await, "staged");
    assert_eq!(link.activate("two").await, "enforcing 3");
    let stored = world.path("state/artifacts").join(two.digest.trim_start_matches("sha256:"));
    assert_eq!(std::fs::read(&stored).expect("it is kept"), two.bytes);
}

#[tokio::test]
async fn an_artifact_may_come_compressed() {
    let world = World::new().await;
    let (_supervisor, mut link) = world.begin().await;
    let compiled = rules(&world.key);
    let content = || Content { chain: vec![binding("web", compiled)], ..Content::default() };
    let need = format!("need {}", compiled.digest);
    let frame = compress::compress(&compiled.bytes).expect("machine code repeats itself");
    assert!(frame.len() < compiled.bytes.len() / 2, "{} of {} bytes", frame.len(), compiled.bytes.len());
    let mut damaged = frame.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    // What is no such frame changes nothing, and is followed by the question for the artifact as it is.
    for (channel, bytes) in (20..).zip([&frame[..frame.len() / 2], &damaged, &compiled.bytes]) {
        let push = format!("push-{channel}");
        assert_eq!(link.stage(&push, world.sign(2, content())).await, need);
        link.compressed(channel, &compiled.digest, bytes).await;
        assert_eq!(link.outcome(&push).await, need);
        link.say(&ToSupervisor::Abort { push }).await;
    }

    assert_eq!(link.stage("good", world.sign(2, content())).await, need);
    link.compressed(30, &compiled.digest, &frame).await;
    assert_eq!(link.outcome("good").await, "staged");
    assert_eq!(link.activate("good").await, "enforcing 2");
    let stored = world.path("state/artifacts").join(compiled.digest.trim_start_matches("sha256:"));
    assert_eq!(std::fs::read(&stored).expect("it is kept"), compiled.bytes);
}

#[tokio::test]
async fn an_unfinished_artifact_ends_with_the_last_push_that_waits_for_it() {
    let world = World::new().await;
    let (_supervisor, mut link) = world.begin().await;
    let compiled = rules(&world.key);
    let content = || Content { chain: vec![binding("web", compiled)], ..Content::default() };
    let (need, size) = (format!("need {}", compiled.digest), compiled.bytes.len());
    let (most, last) = compiled.bytes.split_at(size - 1);
    // Where it is still on its way, this one frame is too much, and whoever waits is refused.
    let too_much = [last, b"more"].concat();

    for push in ["one", "two"] {
        assert_eq!(link.stage(push, world.sign(2, content())).await, need);
    }
    link.beginning(10, &compiled.digest, size, most).await;
    link.say(&ToSupervisor::Abort { push: "one".to_owned() }).await;
    link.bytes(10, &too_much).await;
    let reason = link.outcome("two").await;
    assert!(reason.contains("is longer than the announced"), "{reason}");

    assert_eq!(link.stage("three", world.sign(2, content())).await, need);
    link.beginning(11, &compiled.digest, size, most).await;
    link.say(&ToSupervisor::Abort { push: "three".to_owned() }).await;
    assert_eq!(link.stage("four", world.sign(2, content())).await, need);
    link.bytes(11, &too_much).await;
    link.artifact(12, &compiled.digest, &compiled.bytes).await;
    assert_eq!(link.outcome("four").await, "staged");
    assert_eq!(link.activate("four").await, "enforcing 2");
}
