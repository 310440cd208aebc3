//! Calls that are made again, at the same time as others, or page by page.

use crate::world::{Answer, Database, World};
use openshell_api::decision::DecisionRecord;
use openshell_api::link::FromSupervisor;
use reqwest::Method;
use serde_json::{Value, json};

/// Every page of a list, and what is done between two of them.
async fn pages(world: &World, path: &str, limit: usize, mut between: impl AsyncFnMut(usize)) -> Vec<Vec<Value>> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let sign = if path.contains('?') { '&' } else { '?' };
        let page = world.get(&format!("{path}{sign}limit={limit}{cursor}")).await.ok();
        pages.push(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { return pages };
        cursor = format!("&cursor={next}");
        between(pages.len()).await;
    }
}

fn names(pages: &[Vec<Value>], field: &str) -> Vec<String> {
    pages.iter().flatten().map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_that_inserts_do_not_shift() {
    let world = World::new(Database::Sqlite).await;
    for name in ["b", "d", "f", "h", "j"] {
        world.post("/v1/users", json!({ "name": name, "role": "viewer" })).await.ok();
        world.post("/v1/providers", json!({ "name": name, "type": "openai", "secret": "s" })).await.ok();
        let backend = json!({ "name": name, "kind": "openai", "base_url": "http://127.0.0.1:1/v1",
            "locality": "private", "clearance": "public" });
        world.post("/v1/inference/backends", backend).await.ok();
        world.sandbox(name).await;
    }
    // Between two pages one that was shown goes, and one comes before and one after.
    let look = async |path: &str, make: fn(&str) -> Value| {
        let found = pages(&world, path, 2, async |count| {
            if count == 1 {
                world.delete(&format!("{path}/b")).await.ok();
                world.post(path, make("a")).await.ok();
                world.post(path, make("z")).await.ok();
            }
        });
        names(&found.await, "name").into_iter().filter(|name| name != "admin").collect::<Vec<_>>().concat()
    };
    let provider = |name: &str| json!({ "name": name, "type": "openai", "secret": "s" });
    assert_eq!(look("/v1/providers", provider).await, "bdfhjz");
    let user = |name: &str| json!({ "name": name, "role": "viewer" });
    // The first administrator is on the first page as well.
    assert_eq!(look("/v1/users", user).await, "bdfhjz");
    let backend = |name: &str| json!({ "name": name, "kind": "openai", "base_url": "http://127.0.0.1:1/v1", "locality": "private", "clearance": "public" });
    assert_eq!(look("/v1/inference/backends", backend).await, "bdfhjaz", "in the operator's order");
    assert_eq!(look("/v1/sandboxes", |name| json!({ "name": name })).await, "bdfhjaz", "oldest first");

    let modules = pages(&world, "/v1/modules", 1, async |_| ()).await;
    let whole = world.items("/v1/modules").await;
    assert_eq!(modules.concat(), *whole.as_array().unwrap());
    let tokens = (0..5).map(|n| format!("t{n}")).collect::<Vec<_>>();
    for name in &tokens {
        world.post("/v1/users/d/tokens", json!({ "name": name })).await.ok();
    }
    assert_eq!(names(&pages(&world, "/v1/users/d/tokens", 2, async |_| ()).await, "name"), tokens);
    for host in ["a.test", "b.test", "c.test", "d.test"] {
        world.push(&["d"], host).await.ok();
    }
    let numbers = pages(&world, "/v1/sandboxes/d/generations", 2, async |_| ()).await;
    let numbers: Vec<u64> = numbers.iter().flatten().map(|shown| shown["number"].as_u64().unwrap()).collect();
    assert!(numbers.len() >= 5 && numbers.windows(2).all(|pair| pair[0] == pair[1] + 1), "{numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_lead_back_page_by_page_while_more_come() {
    let world = World::new(Database::Sqlite).await;
    let supervisor = world.sandbox("a").await;
    let record = |n: usize| -> DecisionRecord {
        serde_json::from_value(json!({
            "id": format!("d{n}"), "at": "2026-01-10T12:00:00Z", "sandbox": "a", "generation": 1, "stage": "connect",
            "process": { "pid": 1, "executable": "/usr/bin/curl", "digest": "" },
            "host": "api.test", "port": 443, "verdict": "deny", "decision_ns": 1, "memoized": false,
        }))
        .unwrap()
    };
    let send = async |from: usize, to: usize| {
        supervisor.say(FromSupervisor::Records { first: from as u64 + 1, records: (from..to).map(record).collect() });
        let newest = format!("d{}", to - 1);
        world.until("/v1/decisions?limit=1", |found| found["items"][0]["id"] == newest.as_str()).await;
    };
    send(0, 5).await;
    let found = pages(&world, "/v1/decisions", 2, async |count| {
        if count == 1 {
            send(5, 9).await;
        }
    });
    let found: Vec<Vec<String>> = found.await.iter().map(|page| names(std::slice::from_ref(page), "id")).collect();
    assert_eq!(found, [vec!["d3", "d4"], vec!["d1", "d2"], vec!["d0"]]);
    assert_eq!(world.items("/v1/decisions?limit=0").await, json!([]));

    let newest = pages(&world, "/v1/audit?newest=true", 2, async |_| ()).await;
    let oldest = pages(&world, "/v1/audit", 3, async |_| ()).await.concat();
    assert_eq!(newest.into_iter().rev().flatten().collect::<Vec<_>>(), oldest);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_lead_nowhere_are_refused() {
    let world = World::new(Database::Sqlite).await;
    for name in ["a", "b"] {
        world.sandbox(name).await;
    }
    let cursor = world.get("/v1/sandboxes?limit=1").await.ok()["next"].as_str().unwrap().to_owned();
    let check = async |query: String, code: &str| {
        world.get(&query).await.problem(400, code);
    };
    for list in ["sandboxes", "modules", "users", "providers", "decisions", "audit", "proposals", "inference/backends"]
    {
        check(format!("/v1/{list}?cursor=nonsense"), "bad_cursor").await;
        check(format!("/v1/{list}?limit=-1"), "bad_query").await;
        check(format!("/v1/{list}?limit=10001"), "bad_query").await;
        if list != "sandboxes" {
            check(format!("/v1/{list}?cursor={cursor}"), "bad_cursor").await;
        }
    }
    check("/v1/sandboxes?limit=0".into(), "bad_query").await;
    check("/v1/sandboxes?page=2".into(), "bad_query").await;
}

/// A PUT for the state that has this tag.
async fn put(world: &World, path: &str, tag: &str, body: Value) -> Answer {
    world.send(world.request(Method::PUT, path).header("if-match", tag).json(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_replace_the_same_one_is_refused() {
    let world = World::new(Database::Sqlite).await;
    world.sandbox("a").await;
    world.post("/v1/users", json!({ "name": "vera", "role": "viewer" })).await.ok();
    world.post("/v1/providers", json!({ "name": "key", "type": "openai", "secret": "s" })).await.ok();
    let backend = |clearance: &str| json!({ "name": "big", "kind": "openai", "base_url": "http://127.0.0.1:1/v1", "locality": "private", "clearance": clearance });
    world.post("/v1/inference/backends", backend("public")).await.ok();
    let rules = world.rules().await;
    let budget = |cost: u64| json!({ "budgets": [{ "period": "day", "cost": cost }] });
    let ceiling = |host: &str| json!({ "bindings": [{ "module": rules, "settings": crate::world::allow(host) }] });
    for (path, one, other) in [
        ("/v1/users/vera", json!({ "role": "operator" }), json!({ "role": "admin" })),
        ("/v1/providers/key", json!({ "hosts": ["one.test"] }), json!({ "hosts": ["two.test"] })),
        ("/v1/inference/backends/big", backend("internal"), backend("confidential")),
        ("/v1/sandboxes/a/inference", budget(1), budget(2)),
        ("/v1/ceiling", ceiling("one.test"), ceiling("two.test")),
    ] {
        let seen = world.get(path).await.etag;
        assert!(seen.starts_with('"') && seen.len() > 30, "{path}: {seen}");
        let first = put(&world, path, &seen, one.clone()).await;
        let now = world.get(path).await;
        assert!(first.status.is_success(), "{path}: {first:?}");
        assert_eq!(first.etag, now.etag, "{path}: the answer of a change bears the tag of what there is then");
        first.ok();
        assert_ne!(now.etag, seen, "{path}");
        let late = put(&world, path, &seen, other.clone()).await;
        assert_eq!(late.etag, now.etag, "{path}: {late:?}");
        assert_eq!(late.problem(412, "changed_meanwhile")["etag"], now.etag.as_str());
        assert_eq!(world.get(path).await.body, now.body, "{path}: nothing was done");
        put(&world, path, "nonsense", other.clone()).await.problem(412, "changed_meanwhile");
        put(&world, path, "", other.clone()).await.problem(400, "bad_if_match");
        // At once: one of them is first, whichever.
        let (left, right) = tokio::join!(put(&world, path, &now.etag, other), put(&world, path, &now.etag, one));
        let mut statuses = [left.status.as_u16(), right.status.as_u16()];
        statuses.sort_unstable();
        // The same again is the same state: it may pass.
        assert!(statuses == [200, 412] || statuses == [200, 200], "{path}: {statuses:?}");
        let unseen = world.send(world.request(Method::GET, path).header("if-none-match", &seen)).await;
        assert_eq!(unseen.status.as_u16(), 200, "{path}");
        let tag = unseen.etag;
        let again = world.send(world.request(Method::GET, path).header("if-none-match", format!("W/{tag}"))).await;
        assert_eq!((again.status.as_u16(), again.etag, again.body), (304, tag, Value::Null), "{path}");
    }
    let conditional = world.request(Method::DELETE, "/v1/users/vera").header("if-match", "*");
    world.send(conditional).await.problem(400, "no_condition");
    world.get("/v1/users/vera").await.ok();
}

fn keyed(world: &World, path: &str, key: &str, body: &Value) -> reqwest::RequestBuilder {
    world.request(Method::POST, path).header("idempotency-key", key).json(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_with_a_key_takes_effect_once() {
    let mut world = World::new(Database::Sqlite).await;
    world.post("/v1/users", json!({ "name": "vera", "role": "operator" })).await.ok();
    let token = json!({ "name": "laptop" });
    let first = world.send(keyed(&world, "/v1/users/vera/tokens", "k1", &token)).await;
    assert!(!first.replayed && first.status.as_u16() == 201, "{first:?}");
    let secret = first.body["secret"].as_str().unwrap().to_owned();
    let again = world.send(keyed(&world, "/v1/users/vera/tokens", "k1", &token)).await;
    assert!(again.replayed && again.status.as_u16() == 201, "{again:?}");
    assert_eq!(again.body, first.body);
    assert_eq!(world.items("/v1/users/vera/tokens").await.as_array().unwrap().len(), 1);

    // Another body, another path: another request.
    let other = world.send(keyed(&world, "/v1/users/vera/tokens", "k1", &json!({ "name": "other" }))).await;
    other.problem(422, "idempotency_key_reused");
    let other = world.send(keyed(&world, "/v1/users/admin/tokens", "k1", &token)).await;
    other.problem(422, "idempotency_key_reused");
    // Another user's key of the same name is another key.
    let hers = world.http.post(format!("{}/v1/users/vera/tokens", world.running.endpoint.url));
    let hers = hers.bearer_auth(&secret).header("idempotency-key", "k1").json(&json!({ "name": "hers" }));
    let hers = world.send(hers).await;
    assert!(!hers.replayed, "{hers:?}");
    hers.ok();

    // A refusal stands too; what was not tried is tried again.
    let taken = json!({ "name": "vera", "role": "viewer" });
    world.send(keyed(&world, "/v1/users", "k2", &taken)).await.problem(409, "user_exists");
    let again = world.send(keyed(&world, "/v1/users", "k2", &taken)).await;
    assert!(again.replayed, "{again:?}");
    again.problem(409, "user_exists");
    world
        .call(&secret, Method::PUT, "/v1/users/vera", Some(json!({ "role": "admin" })))
        .await
        .problem(403, "forbidden");
    let newcomer = json!({ "name": "newcomer", "role": "viewer" });
    let as_vera = |world: &World| {
        let request = world.http.post(format!("{}/v1/users", world.running.endpoint.url)).bearer_auth(&secret);
        request.header("idempotency-key", "k3").json(&newcomer)
    };
    world.send(as_vera(&world)).await.problem(403, "forbidden");
    world.send(world.request(Method::PUT, "/v1/users/vera").json(&json!({ "role": "admin" }))).await.ok();
    world.send(as_vera(&world)).await.ok();

    for bad in ["", "two words"] {
        world.send(keyed(&world, "/v1/users", bad, &newcomer)).await.problem(400, "bad_idempotency_key");
    }
    // Neither the database nor its log holds a token's value, and a restart forgets no answer.
    for file in ["gateway.db", "gateway.db-wal"] {
        let bytes = std::fs::read(world.dir.path().join("state").join(file)).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{file}");
    }
    let told = world.items("/v1/audit?action=token.create").await.as_array().unwrap().len();
    world = world.restart().await;
    let kept = world.send(keyed(&world, "/v1/users/vera/tokens", "k1", &token)).await;
    assert!(kept.replayed, "{kept:?}");
    assert_eq!(kept.ok()["secret"], secret.as_str());
    assert_eq!(world.items("/v1/audit?action=token.create").await.as_array().unwrap().len(), told, "told of once");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_while_it_runs_is_told_to_wait() {
    let world = World::new(Database::Sqlite).await;
    world.runtime.mute.store(true, std::sync::atomic::Ordering::Relaxed);
    let body = json!({ "name": "slow" });
    // The caller hangs up; what it began goes on without it, until the sandbox is given up.
    let hung_up =
        keyed(&world, "/v1/sandboxes", "k", &body).timeout(std::time::Duration::from_millis(500)).send().await;
    assert!(hung_up.is_err_and(|error| error.is_timeout()));
    let waiting = world.send(keyed(&world, "/v1/sandboxes", "k", &body)).await;
    assert_eq!(waiting.problem(409, "still_running")["retry_after_s"], 1);
    let answered = async {
        loop {
            let answer = world.send(keyed(&world, "/v1/sandboxes", "k", &body)).await;
            if answer.replayed {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let answer = tokio::time::timeout(std::time::Duration::from_secs(30), answered).await.unwrap();
    answer.problem(500, "sandbox_failed");
    assert_eq!(world.items("/v1/sandboxes").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_are_one() {
    let world = World::new(Database::Sqlite).await;
    let body = json!({ "name": "only", "role": "viewer" });
    let sent = (0..100).map(|_| world.send(keyed(&world, "/v1/users", "k", &body)));
    let answers = futures_util::future::join_all(sent).await;
    let first = answers.iter().filter(|answer| answer.status.as_u16() == 201 && !answer.replayed).count();
    assert_eq!(first, 1);
    for answer in answers {
        let code = answer.body["code"].as_str().unwrap_or_default();
        assert!(answer.status.as_u16() == 201 || code == "still_running", "{answer:?}");
    }
}
