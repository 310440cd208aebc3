//! Whose modules are taken: signatures that hold, that do not, and that are missing.

use crate::world::{Answer, Database, World, allow};
use ed25519_dalek::SigningKey;
use openshell_api::signature::{ModuleSignature, PublisherKey, SIGNATURE_HEADER};
use reqwest::Method;
use serde_json::{Value, json};

with_both!(with_a_trusted_publisher_only_what_it_signed_is_taken, publishers_come_and_go,);

/// The rules as a module of somebody's own: other bytes, so not the built-in ones.
fn component() -> Vec<u8> {
    let mut bytes = openshell_bundle::builtin("rules").unwrap().component.to_vec();
    // A custom section of a component: id, length, name.
    bytes.extend([0, 4, 3, b'o', b'w', b'n']);
    bytes
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

async fn upload(world: &World, version: &str, signature: Option<&ModuleSignature>) -> Answer {
    let request = world.request(Method::POST, &format!("/v1/modules?name=own&version={version}"));
    let mut request = request.header("content-type", "application/wasm").body(component());
    if let Some(signature) = signature {
        request = request.header(SIGNATURE_HEADER, json!(signature).to_string());
    }
    world.send(request).await
}

async fn trust(world: &World, name: &str, seed: u8) -> Value {
    world.post("/v1/publishers", json!({ "name": name, "key": PublisherKey::of(&key(seed)) })).await.ok()
}

async fn with_a_trusted_publisher_only_what_it_signed_is_taken(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let digest = openshell_policy_host::digest(&component());
    let signed = |seed: u8, version: &str| ModuleSignature::sign(&key(seed), "own", version, &digest);
    let push = async || {
        world
            .post(
                "/v1/pushes",
                json!({ "sandboxes": ["a"], "module": digest, "settings": allow("a.test"), "replace_all": true }),
            )
            .await
    };

    // Nobody is trusted: no signature is needed, and a wrong one is refused all the same.
    let forged = ModuleSignature { version: "1.0.1".into(), ..signed(1, "1.0.0") };
    upload(&world, "1.0.1", Some(&forged)).await.problem(422, "bad_signature");
    upload(&world, "1.0.0", Some(&signed(1, "2.0.0"))).await.problem(422, "bad_signature");
    let claimed = ModuleSignature { key: PublisherKey::of(&key(2)), ..signed(1, "1.0.0") };
    upload(&world, "1.0.0", Some(&claimed)).await.problem(422, "bad_signature");
    upload(&world, "1.0.0", None).await.ok();
    push().await.ok();
    assert_eq!(a.content().chain[0].publisher, None);

    let added = trust(&world, "acme", 1).await;
    assert_eq!(added["unsigned_in_force"], json!(["a: own@1.0.0"]));
    push().await.problem(422, "unsigned_module");
    upload(&world, "1.0.0", None).await.problem(422, "unsigned_module");
    upload(&world, "1.0.0", Some(&signed(2, "1.0.0"))).await.problem(422, "untrusted_publisher");
    assert_eq!(a.generation(), 2, "nothing was changed");
    world.push(&["a"], "built-in.test").await.ok();
    world.post("/v1/sandboxes/a/rollback", json!({ "to": 2 })).await.problem(422, "unsigned_module");

    let module = upload(&world, "1.0.0", Some(&signed(1, "1.0.0"))).await.ok();
    assert_eq!(module["signed_by"], json!([PublisherKey::of(&key(1))]));
    upload(&world, "1.0.0", None).await.ok();
    push().await.ok();
    assert_eq!(a.content().chain[0].publisher.as_ref().map(|name| name.as_str()), Some("acme"));
    let generations = world.items("/v1/sandboxes/a/generations").await;
    assert_eq!(generations[0]["policies"], json!(["own@1.0.0 (signed by acme)"]));
    world.post("/v1/sandboxes/a/rollback", json!({ "to": 2 })).await.ok();
    // The same bytes under another version are another statement.
    upload(&world, "3.0.0", None).await.problem(422, "unsigned_module");
}

async fn publishers_come_and_go(on: Database) {
    let world = World::new(on).await;
    assert_eq!(world.items("/v1/publishers").await, json!([]));
    trust(&world, "acme", 1).await;
    let again = json!({ "name": "acme", "key": PublisherKey::of(&key(2)) });
    world.post("/v1/publishers", again).await.problem(409, "publisher_exists");
    let alias = json!({ "name": "other", "key": PublisherKey::of(&key(1)) });
    world.post("/v1/publishers", alias).await.problem(409, "publisher_exists");
    for key in ["", "ed25519:00", &format!("ed25519:{}", "00".repeat(32)), "rsa:1"] {
        let wrong = json!({ "name": "wrong", "key": key });
        assert_eq!(world.post("/v1/publishers", wrong).await.status, 422, "{key}");
    }
    world.delete("/v1/publishers/nobody").await.problem(404, "publisher_not_found");
    world.delete("/v1/publishers/acme").await.problem(409, "last_publisher");
    trust(&world, "other", 2).await;
    world.delete("/v1/publishers/acme").await.ok();
    world.delete("/v1/publishers/other").await.problem(409, "last_publisher");
    world.delete("/v1/publishers/other?allow_unsigned=true").await.ok();
    upload(&world, "1.0.0", None).await.ok();

    let request = world.request(Method::POST, "/v1/modules?name=own&version=2");
    let request = request.header("content-type", "application/wasm").header(SIGNATURE_HEADER, "{}").body(component());
    world.send(request).await.problem(422, "bad_signature");
}
