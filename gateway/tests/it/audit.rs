//! The audit trail: what it says, that it says it of everything, and that nobody changes it unnoticed.

use std::path::Path;

use crate::world::{Database, World};
use openshell_api::Page;
use openshell_api::audit::{AuditEntry, AuditHead, AuditLink, Broken, Outcome, Verifier};
use reqwest::Method;
use serde_json::{Value, json};

with_both!(
    every_change_and_every_refused_one_is_told_and_no_secret_is,
    a_flood_of_refused_attempts_does_not_fill_the_disk,
    tampering_is_found_row_by_row,
    a_trail_that_was_cut_rewritten_or_lost_its_head_says_so_for_ever,
    a_gateway_notices_while_it_runs,
);

/// The whole trail, page by page.
async fn trail(world: &World) -> (AuditHead, Vec<AuditLink>) {
    let head = world.request(Method::GET, "/v1/audit/head").send().await.unwrap().json().await.unwrap();
    let (mut links, mut next) = (Vec::new(), Some(String::new()));
    while let Some(cursor) = next {
        let cursor = if cursor.is_empty() { cursor } else { format!("&cursor={cursor}") };
        // As text: the bytes are what is hashed.
        let page = world.request(Method::GET, &format!("/v1/audit?limit=3{cursor}")).send().await.unwrap();
        let page: Page<AuditLink> = serde_json::from_str(&page.text().await.unwrap()).unwrap();
        links.extend(page.items);
        next = page.next;
    }
    (head, links)
}

async fn verified(world: &World) -> Result<(u64, Vec<AuditEntry>), Broken> {
    let (head, links) = trail(world).await;
    let mut verifier = Verifier::new(head, None)?;
    for link in &links {
        verifier.take(link)?;
    }
    verifier.finish()
}

async fn entries(world: &World) -> Vec<AuditEntry> {
    trail(world).await.1.iter().map(|link| serde_json::from_str(link.entry.get()).unwrap()).collect()
}

async fn every_change_and_every_refused_one_is_told_and_no_secret_is(on: Database) {
    let world = World::new(on).await;
    let otto = world.user("otto", "operator").await;
    let env = json!({ "name": "his", "env": { "KEY": "hidden-value" }, "command": ["run", "--password=hidden-value"] });
    world.call(&otto, Method::POST, "/v1/sandboxes", Some(env)).await.ok();
    world.push(&["his"], "a.test").await.ok();
    world.post("/v1/sandboxes/his/rollback", json!({ "to": 1 })).await.ok();
    world.post("/v1/sandboxes/his/stop", json!({})).await.ok();
    world.post("/v1/sandboxes/his/start", json!({})).await.ok();
    let provider = json!({ "name": "key", "type": "openai", "secret": "hidden-value" });
    world.post("/v1/providers", provider.clone()).await.ok();
    world.post("/v1/providers", provider).await.problem(409, "provider_exists");
    world.call(&otto, Method::PUT, "/v1/ceiling", Some(json!({ "bindings": [] }))).await.problem(403, "forbidden");
    world.send(world.request(Method::PUT, "/v1/ceiling").json(&json!({ "bindings": [] }))).await.ok();
    let wrong =
        world.http.delete(format!("{}/v1/sandboxes/his", world.running.endpoint.url)).bearer_auth("hidden-value");
    world.send(wrong).await.problem(401, "unauthorized");
    world.delete("/v1/providers/key").await.ok();
    world.delete("/v1/sandboxes/his").await.ok();
    world.delete("/v1/users/otto").await.ok();

    let told = entries(&world).await;
    let rows: Vec<String> = told
        .iter()
        .filter(|entry| entry.source.is_some())
        .map(|entry| {
            let outcome = if entry.outcome == Outcome::Refused { " refused" } else { "" };
            let who = entry.user.as_deref().unwrap_or("nobody");
            format!("{who} {} {}{outcome}", entry.action, entry.object)
        })
        .collect();
    assert_eq!(
        rows,
        [
            "admin user.create otto",
            "admin token.create otto",
            "otto sandbox.create his",
            "admin policy.push his",
            "admin policy.rollback his",
            "admin sandbox.stop his",
            "admin sandbox.start his",
            "admin provider.create key",
            "admin provider.create  refused",
            "otto ceiling.set  refused",
            "admin ceiling.set ceiling",
            "nobody sandbox.delete his refused",
            "admin provider.delete key",
            "admin sandbox.delete his",
            "admin user.delete otto",
        ]
    );
    let of = |action: &str| told.iter().find(|entry| entry.action == action).unwrap();
    let push = of("policy.push");
    assert_eq!(push.before["sandboxes"]["his"], json!({ "generation": 1, "policies": [] }));
    assert_eq!(push.after["sandboxes"]["his"]["generation"], 2);
    assert!(push.after["sandboxes"]["his"]["policies"][0].as_str().unwrap().starts_with("rules@"), "{push:?}");
    assert_eq!((push.source.as_deref(), push.via), (Some("127.0.0.1"), Some(openshell_api::user::Via::Token)));
    assert!(of("sandbox.create").token.is_some(), "which of a user's tokens it was");
    assert_eq!(of("sandbox.create").after["env"], json!(["KEY"]));
    assert_eq!(of("user.delete").before["role"], "operator");
    assert_eq!(of("provider.create").after["rule"]["hosts"], json!(["api.openai.com"]));
    let refused = told.iter().find(|entry| entry.user.is_none() && entry.source.is_some()).unwrap();
    assert_eq!(refused.detail, json!({ "status": 401, "code": "unauthorized" }));
    let text = serde_json::to_string(&told).unwrap();
    assert!(!text.contains("hidden-value") && !text.contains(&otto) && !text.contains(&world.token));
    assert_eq!(verified(&world).await.map(|(count, notices)| (count, notices.len())), Ok((told.len() as u64, 0)));

    // Filters, and who may read.
    let count = async |query: &str| world.items(&format!("/v1/audit?{query}")).await.as_array().unwrap().len();
    assert_eq!(count("action=sandbox").await, 5);
    assert_eq!(count("action=sandbox.create").await, 1);
    assert_eq!(count("action=sand").await, 0);
    assert_eq!(count("user=otto").await, 2);
    assert_eq!(count("object=his&user=admin").await, 5);
    assert_eq!(count("since=2100-01-01T00:00:00Z").await, 0);
    assert_eq!(count("since=2020-01-01T00:00:00Z&limit=2").await, 2);
    world.get("/v1/audit?nonsense=1").await.problem(400, "bad_query");
}

async fn a_flood_of_refused_attempts_does_not_fill_the_disk(on: Database) {
    let world = World::new(on).await;
    let before = entries(&world).await.len();
    for n in 0..200 {
        let url = format!("{}/v1/sandboxes/x{n}", world.running.endpoint.url);
        world.http.delete(url).bearer_auth("wrong").send().await.unwrap();
    }
    let told = entries(&world).await.len() - before;
    assert!((1..40).contains(&told), "{told}");
}

async fn tampering_is_found_row_by_row(on: Database) {
    let mut world = World::new(on).await;
    for name in ["u1", "u2", "u3", "u4"] {
        world.post("/v1/users", json!({ "name": name, "role": "viewer" })).await.ok();
    }
    let length = entries(&world).await.len() as u64;
    assert!(length >= 6, "the built-in modules and the users: {length}");
    let state = world.dir.path().join("state");
    let database = world.database.clone();
    let copy = |from: &str, to: &str| {
        std::fs::copy(state.join(format!("audit.head{from}")), state.join(format!("audit.head{to}"))).unwrap();
        for table in ["audit", "audit_head"] {
            let statement = match to {
                "" => format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM {table}_kept"),
                _ => format!("CREATE TABLE {table}_kept AS SELECT * FROM {table}"),
            };
            database.tamper(&state, &statement);
        }
    };
    world = world.changed_while_stopped(|_| copy("", ".kept")).await;
    for seq in 1..=length {
        for (what, sql) in [
            (
                "a word of an entry",
                format!("UPDATE audit SET entry = replace(entry, 'done', 'Done') WHERE seq = {seq}"),
            ),
            ("its time", format!("UPDATE audit SET entry = replace(entry, '20', '19') WHERE seq = {seq}")),
            (
                "its hash",
                format!(
                    "UPDATE audit SET hash = (SELECT hash FROM audit WHERE seq <> {seq} LIMIT 1) WHERE seq = {seq}"
                ),
            ),
            ("no JSON", format!("UPDATE audit SET entry = 'x' WHERE seq = {seq}")),
            (
                "away with it",
                format!(
                    "DELETE FROM audit WHERE seq = {seq}; UPDATE audit SET seq = -seq WHERE seq > {seq}; \
                     UPDATE audit SET seq = -seq - 1 WHERE seq < 0"
                ),
            ),
            ("away, with a gap", format!("DELETE FROM audit WHERE seq = {seq}")),
        ] {
            world = world.changed_while_stopped(|state| database.tamper(state, &sql)).await;
            let found = verified(&world).await;
            let first = match &found {
                Err(
                    Broken::Link { seq }
                    | Broken::Missing { seq, .. }
                    | Broken::Unreadable { seq, .. }
                    | Broken::Rewritten { seq },
                ) => *seq,
                // The last one is gone: the gateway noticed that its head is missing, and said so in its place.
                Ok((_, notices)) if seq == length && notices.len() == 1 => seq,
                other => panic!("{what} of {seq}: {other:?}"),
            };
            assert_eq!(first, seq, "{what}: {found:?}");
            world = world.changed_while_stopped(|_| copy(".kept", "")).await;
        }
    }
    assert_eq!(verified(&world).await, Ok((length, Vec::new())), "as it was");
}

type Tamper<'a> = &'a dyn Fn(&Database, &Path);

async fn a_trail_that_was_cut_rewritten_or_lost_its_head_says_so_for_ever(on: Database) {
    let cut: Tamper<'_> = &|on, state| on.tamper(state, "DELETE FROM audit WHERE seq > 3");
    let emptied: Tamper<'_> = &|on, state| on.tamper(state, "DELETE FROM audit");
    let headless: Tamper<'_> = &|on, state| {
        on.tamper(state, "DELETE FROM audit_head");
        std::fs::remove_file(state.join("audit.head")).unwrap();
    };
    let forged: Tamper<'_> = &|_, state| {
        let mut head: Value = serde_json::from_slice(&std::fs::read(state.join("audit.head")).unwrap()).unwrap();
        head["seq"] = 3.into();
        std::fs::write(state.join("audit.head"), head.to_string()).unwrap();
    };
    // Everything made anew from a link on, hashes and all, as only somebody with the database and no key could.
    let rewritten: Tamper<'_> = &|on, state| on.rehash(state, "replace(entry, 'u2', 'u9')");
    // A link that follows from the one before it, and is nobody's.
    let appended: Tamper<'_> = &|on, state| {
        on.tamper(state, "INSERT INTO audit SELECT seq + 1, replace(entry, '\"seq\":' || seq || ',', '\"seq\":' || (seq + 1) || ','), hash
             FROM audit ORDER BY seq DESC LIMIT 1");
        on.rehash(state, "entry");
    };
    for (what, tamper, reason) in [
        ("cut", cut, "its end was cut off"),
        ("emptied", emptied, "its end was cut off"),
        ("headless", headless, "the signed head is missing"),
        ("forged", forged, "does not bear this gateway's signature"),
        ("rewritten", rewritten, "is not the one that was signed"),
        ("appended", appended, "were not written by a gateway"),
    ] {
        let world = World::new(on.another()).await;
        let database = world.database.clone();
        for name in ["u1", "u2", "u3"] {
            world.post("/v1/users", json!({ "name": name, "role": "viewer" })).await.ok();
        }
        let world = world.changed_while_stopped(|state| tamper(&database, state)).await;
        // Life goes on, and what was noticed is not forgotten.
        world.post("/v1/users", json!({ "name": "later", "role": "viewer" })).await.ok();
        let world = world.restart().await;
        let (_, notices) = verified(&world).await.unwrap_or_else(|broken| panic!("{what}: {broken}"));
        let [notice] = notices.as_slice() else { panic!("{what}: {notices:?}") };
        assert!(notice.detail["reason"].as_str().unwrap().contains(reason), "{what}: {notice:?}");
    }
}

async fn a_gateway_notices_while_it_runs(on: Database) {
    let world = World::new(on).await;
    world.post("/v1/users", json!({ "name": "u1", "role": "viewer" })).await.ok();
    world
        .database
        .tamper(&world.dir.path().join("state"), "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)");
    let (_, links) = trail(&world).await;
    assert_eq!(
        verified(&world).await,
        Err(Broken::Truncated { found: links.len() as u64, head: links.len() as u64 + 1 })
    );
    world.post("/v1/users", json!({ "name": "u2", "role": "viewer" })).await.ok();
    let (_, notices) = verified(&world).await.unwrap();
    assert_eq!(notices.len(), 1, "{notices:?}");
}
