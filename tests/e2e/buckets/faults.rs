//! What goes wrong with a bucket: it is not let in, it is away, it holds something else.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_does_not_start_on_a_bucket_it_can_not_use() -> Result<()> {
    let authority = Authority::new()?;
    let bucket = Bucket::new(&authority)?;
    let front = bucket.front()?;
    let world = World::new()?;
    let (id, secret) = bucket.key()?;
    let ca = world.write("ca.pem", authority.pem())?.display().to_string();
    let keys = |name: &str, id: &str, secret: &str, mode: u32| -> Result<String> {
        let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        let path = world.write(name, &text)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        Ok(path.display().to_string())
    };
    let (right, open) = (keys("right", &id, &secret, 0o600)?, keys("open", &id, &secret, 0o644)?);
    let unknown = keys("unknown", "AKIA0000000000000000", &secret, 0o600)?;
    let wrong = keys("wrong", &id, "wrong/secret", 0o600)?;
    let url = bucket.url();
    let clear = url.replace("https://127.0.0.1", "http://192.0.2.1");
    let nobody = format!("https://127.0.0.1:{}", free_port()?);
    let start = async |place: &str, url: &str, keys: &str, ca: &str| {
        let words = ["gateway", "start", "--upstream-ca", ca, "--modules", place, "--modules-endpoint", url];
        finish(world.command(&[&words[..], &["--modules-keys", keys]].concat())).await
    };
    for (place, url, keys, expected) in [
        (PLACE, &url, &unknown, "InvalidAccessKeyId"),
        (PLACE, &url, &wrong, "SignatureDoesNotMatch"),
        (PLACE, &url, &open, "other users may use it (mode 0644)"),
        ("s3://elsewhere/prod", &url, &right, "refuses the gateway"),
        (PLACE, &clear, &right, "192.0.2.1 would be spoken to in the clear"),
        (PLACE, &nobody, &right, "does not answer"),
    ] {
        refused(start(place, url, keys, &ca).await, &[expected, "hint: "]).await?;
    }
    let other = world.write("other.pem", Authority::new()?.pem())?.display().to_string();
    refused(start(PLACE, &url, &right, &other).await, &["does not answer", "ertificate"]).await?;
    refused(start("https://modules", &url, &right, &ca).await, &["names no bucket"]).await?;
    // Without any key: it is not looked for where nobody said.
    let words = ["gateway", "start", "--upstream-ca", &ca, "--modules", PLACE, "--modules-endpoint", &url];
    refused(finish(world.command(&words)).await, &["no keys were given", "--modules-keys FILE"]).await?;
    ensure!(!bucket.owner(&["list"])?.contains("prod"), "something was written");

    let started = start(PLACE, &url, &right, &ca).await?.ok()?;
    ensure!(started.stdout.contains(&format!("new ones in {PLACE}")), "{}", started.stdout);
    drop(front);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_go_on_while_the_bucket_is_away() -> Result<()> {
    let authority = Authority::new()?;
    let bucket = Bucket::new(&authority)?;
    let front = bucket.front()?;
    let stage = stage_with_example(&bucket, &authority).await?;
    push(&stage, "built.wasm", "first", &[]).await?.ok()?;
    std::fs::write(stage.world.path("next.wasm"), changed(&stage.world.path("built.wasm"), "next")?)?;

    let before = gateway(&stage).await?["modules"].clone();
    drop(front);
    let begun = Instant::now();
    let hint = "sandboxes enforce what they have meanwhile";
    refused(push(&stage, "next.wasm", "next", &[]).await, &["does not answer", "onnection refused", hint]).await?;
    ensure!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    enforced(&stage, "first").await?;
    let status = gateway(&stage).await?;
    ensure!(status["modules"] == before, "half of it was stored: {status}");
    ensure!(status["bucket"]["problem"].as_str().is_some_and(|problem| problem.contains("refused")), "{status}");
    let ready = async || {
        let url = format!("{}/readyz", status["url"].as_str().context("a URL")?);
        let ran = tokio::process::Command::new("curl").args(["-sSk", "-w", " %{http_code}", &url]).output().await?;
        anyhow::Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    };
    let said = ready().await?;
    ensure!(said.contains("the bucket with modules is of no use") && said.ends_with("200"), "{said}");
    // Rules come with the gateway; they, what was compiled before and a new start need no bucket.
    stage.rules(FULL).await?.ok()?;
    push(&stage, "built.wasm", "first", &[]).await?.ok()?;
    stage.run(&["gateway", "stop"]).await?.ok()?;
    stage.run(&["gateway", "upgrade"]).await?.ok()?;
    connected(&stage).await?;
    enforced(&stage, "first").await?;

    let front = bucket.front()?;
    let mut said = ready().await?;
    for _ in 0..100 {
        if said.starts_with("ok\n") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        said = ready().await?;
    }
    ensure!(said == "ok\n 200", "{said}");
    push(&stage, "next.wasm", "next", &[]).await?.ok()?;
    enforced(&stage, "next").await?;
    drop(front);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_was_changed_or_removed_is_not_used_and_can_be_stored_anew() -> Result<()> {
    let authority = Authority::new()?;
    let bucket = Bucket::new(&authority)?;
    let front = bucket.front()?;
    let stage = stage_with_example(&bucket, &authority).await?;
    let pushed = push(&stage, "built.wasm", "first", &[]).await?.ok()?.json()?;
    let digest = pushed["module"]["digest"].as_str().context("a digest")?;
    let object = bucket.object(digest)?;
    let length = std::fs::metadata(stage.world.path("built.wasm"))?.len();
    let shorter = stage.world.write("shorter", "something else")?.display().to_string();
    let other = stage.world.write("other", &"x".repeat(length.try_into()?))?.display().to_string();
    let mut last = "first".to_owned();
    for (number, (done, expected)) in [
        (vec!["put", &object, &shorter], "it has 14 bytes, and not"),
        (vec!["put", &object, &other], "its digest is sha256:"),
        (vec!["delete", &object], "is not in the bucket s3://modules/prod any more"),
    ]
    .into_iter()
    .enumerate()
    {
        bucket.owner(&done)?;
        // Another name: the module is compiled anew, from what the bucket has.
        let name = format!("name-{number}");
        refused(push(&stage, "built.wasm", &name, &[]).await, &[expected, &object, "--replace-version"]).await?;
        enforced(&stage, &last).await?;
        push(&stage, "built.wasm", &name, &["--replace-version"]).await?.ok()?;
        enforced(&stage, &name).await?;
        last = name;
    }
    drop(front);
    Ok(())
}
