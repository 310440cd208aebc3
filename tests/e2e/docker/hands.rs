//! What people do to containers, images and networks by hand, beside the gateway.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{BUSYBOX, Yard, yard};
use crate::support::{eventually, kill_gateway};

/// What the engine calls a sandbox's container.
async fn called(yard: &Yard, name: &str) -> Result<String> {
    let container = yard.container(name).await?;
    Ok(container["Name"].as_str().context("it has a name")?.trim_start_matches('/').to_owned())
}

/// Gives a tag to a new image: busybox with another `ENV`, `WORKDIR` and `USER`.
fn tag(yard: &Yard, tag: &str, greeting: &str, directory: &str, user: &str) -> Result<()> {
    let changes = [format!("ENV GREETING={greeting}"), format!("WORKDIR {directory}"), format!("USER {user}")];
    let container = yard.docker(&["create", BUSYBOX, "true"])?;
    let changes = changes.iter().flat_map(|change| ["--change", change]);
    let words: Vec<&str> = ["commit"].into_iter().chain(changes).chain([container.as_str(), tag]).collect();
    let made = yard.docker(&words);
    yard.docker(&["rm", &container])?;
    made.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moved_changes_nothing_of_a_container_that_starts_again() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    let image = format!("openshell-test/moved-{}", std::process::id());
    let told = "echo $GREETING in $(pwd) as $(id -u)";
    tag(&yard, &image, "old", "/bin", "1234:1234")?;
    yard.create("before", &image, &[]).await?.ok()?;
    yard.check("before", &[(told, "old in /bin as 1234"), ("echo kept > ~/note; cat ~/note", "kept")]).await?;
    let made_from = yard.container("before").await?["Image"].as_str().context("it has an image")?.to_owned();

    yard.run(&["sandbox", "stop", "before"]).await?.ok()?;
    tag(&yard, &image, "new", "/etc", "4321:4321")?;
    yard.run(&["sandbox", "start", "before"]).await?.ok()?;
    yard.check("before", &[(told, "old in /bin as 1234"), ("cat ~/note", "kept")]).await?;
    yard.create("after", &image, &[]).await?.ok()?;
    yard.check("after", &[(told, "new in /etc as 4321")]).await?;

    yard.run(&["sandbox", "delete", "before", "after"]).await?.ok()?;
    yard.docker(&["rmi", &image, &made_from])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_removed_while_it_runs_is_told_at_once() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    yard.create("gone", BUSYBOX, &[]).await?.ok()?;
    let container = called(&yard, "gone").await?;
    yard.docker(&["rm", "-f", &container])?;
    let began = Instant::now();
    let sandbox = yard.until("gone", "failed").await?;
    ensure!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    let told = sandbox["failure"].as_str().is_some_and(|why| why.contains("its container was removed, and its files"));
    ensure!(told && sandbox["connected"] == false, "{sandbox}");
    let refused = yard.exec("gone", &["true"]).await?;
    ensure!(refused.code != 0 && refused.stderr.starts_with("error: "), "{refused:?}");
    yard.run(&["sandbox", "stop", "gone"]).await?.ok()?;
    yard.run(&["sandbox", "delete", "gone"]).await?.ok()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_container_was_removed_is_not_started_as_if_nothing_were_missing() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    let volume = format!("openshell-kept-{}", std::process::id());
    yard.create("bare", BUSYBOX, &["--volume", &format!("{volume}:/cache")]).await?.ok()?;
    yard.check("bare", &[("echo lost > note; echo kept > /cache/note; cat note", "lost")]).await?;
    yard.run(&["sandbox", "stop", "bare"]).await?.ok()?;
    yard.docker(&["rm", &called(&yard, "bare").await?])?;
    for gateway in ["the same", "another"] {
        let refused = yard.run(&["sandbox", "start", "bare"]).await?;
        for told in ["its container was removed, and its files with it", "--runtime docker", "sandbox delete bare"] {
            ensure!(refused.code != 0 && refused.stderr.contains(told), "{gateway} gateway: {told:?}: {refused:?}");
        }
        let label = "label=dev.openshell.name=bare";
        ensure!(
            yard.docker(&["ps", "-a", "-q", "--filter", label])?.is_empty(),
            "{gateway} gateway: a container was made"
        );
        ensure!(yard.sandbox("bare").await?["phase"] == "stopped", "{}", yard.sandbox("bare").await?);
        kill_gateway(&yard.world)?;
        yard.run(&["gateway", "start"]).await?.ok()?;
    }
    // Whoever says so gets it without its files; volumes are not its own.
    yard.run(&["sandbox", "start", "bare", "--runtime", "docker"]).await?.ok()?;
    yard.check("bare", &[("cat note 2>&1 || true", "No such file"), ("cat /cache/note", "kept")]).await?;
    ensure!(yard.sandbox("bare").await?["generation"] == 1, "{}", yard.sandbox("bare").await?);

    // The same where it was removed while it ran; wherever there is room, this time.
    yard.docker(&["rm", "-f", &called(&yard, "bare").await?])?;
    yard.until("bare", "failed").await?;
    let refused = yard.run(&["sandbox", "start", "bare"]).await?;
    ensure!(refused.code != 0 && refused.stderr.contains("its container was removed"), "{refused:?}");
    yard.run(&["sandbox", "start", "bare", "--elsewhere"]).await?.ok()?;
    yard.check("bare", &[("cat /cache/note", "kept")]).await?;
    yard.run(&["sandbox", "delete", "bare"]).await?.ok()?;
    yard.docker(&["volume", "rm", &volume])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_container_is_shown_as_out_of_reach_and_goes_on_afterwards() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    yard.create("frozen", BUSYBOX, &[]).await?.ok()?;
    yard.check("frozen", &[("echo kept > note; cat note", "kept")]).await?;
    let container = called(&yard, "frozen").await?;
    yard.docker(&["pause", &container])?;
    // A link is given up after 45 s without a sign of life.
    eventually("its link is down", 900, async || Ok(yard.sandbox("frozen").await?["connected"] == false)).await?;
    let sandbox = yard.sandbox("frozen").await?;
    ensure!(sandbox["phase"] == "running" && sandbox["failure"].is_null(), "a paused one has not ended: {sandbox}");
    let listed = yard.run(&["sandbox", "list"]).await?.ok()?.stdout;
    ensure!(listed.lines().any(|line| line.starts_with("frozen ") && line.contains(" down ")), "{listed}");
    let refused = yard.exec("frozen", &["true"]).await?;
    ensure!(refused.code != 0 && refused.stderr.contains("is not connected"), "{refused:?}");

    yard.docker(&["unpause", &container])?;
    eventually("it links again", 300, async || Ok(yard.sandbox("frozen").await?["connected"] == true)).await?;
    yard.check("frozen", &[("cat note", "kept")]).await?;
    ensure!(yard.sandbox("frozen").await?["phase"] == "running", "{}", yard.sandbox("frozen").await?);

    // It can be ended without being resumed by hand.
    yard.docker(&["pause", &container])?;
    yard.run(&["sandbox", "stop", "frozen"]).await?.ok()?;
    ensure!(yard.container("frozen").await?["State"]["Running"] == false, "its container still runs");
    yard.run(&["sandbox", "start", "frozen"]).await?.ok()?;
    yard.check("frozen", &[("cat note", "kept")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_joins_its_network_again_once_that_is_made_anew() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    let network = format!("openshell-test-{}", std::process::id());
    yard.docker(&["network", "create", &network])?;
    yard.create("member", BUSYBOX, &["--network", &network]).await?.ok()?;
    yard.allow("member", "/bin/busybox").await?;
    let fetch = "wget -q -O- $PLAIN/status";
    yard.check("member", &[("echo kept > note", ""), (fetch, "hello from the origin")]).await?;
    yard.run(&["sandbox", "stop", "member"]).await?.ok()?;
    let container = yard.container("member").await?;

    // As `docker network prune` does while nothing runs in it.
    yard.docker(&["network", "rm", &network])?;
    let refused = yard.run(&["sandbox", "start", "member"]).await?;
    ensure!(refused.code != 0 && refused.stderr.contains(&network), "{refused:?}");
    yard.docker(&["network", "create", &network])?;
    yard.run(&["sandbox", "start", "member"]).await?.ok()?;
    yard.check("member", &[("cat note", "kept"), (fetch, "hello from the origin")]).await?;
    ensure!(yard.container("member").await?["Id"] == container["Id"], "it is another container");

    yard.run(&["sandbox", "delete", "member"]).await?.ok()?;
    yard.docker(&["network", "rm", &network])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_started_by_hand_is_watched_like_any_other() -> Result<()> {
    let Some(yard) = yard().await? else { return Ok(()) };
    yard.create("again", BUSYBOX, &[]).await?.ok()?;
    yard.check("again", &[("echo kept > note; cat note", "kept")]).await?;
    let container = called(&yard, "again").await?;
    for by_hand in [&["restart"][..], &["stop", "start"]] {
        let before = yard.sandbox("again").await?["enforcement"]["at"].clone();
        for word in by_hand {
            yard.docker(&[word, &container])?;
        }
        eventually("it runs again", 300, async || {
            let sandbox = yard.sandbox("again").await?;
            let anew = sandbox["enforcement"]["at"] != before;
            Ok(anew && sandbox["phase"] == "running" && sandbox["connected"] == true)
        })
        .await?;
        yard.check("again", &[("cat note", "kept")]).await?;
        // Whoever was told of its end has looked again by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        yard.docker(&["kill", &container])?;
        let sandbox = yard.until("again", "failed").await?;
        ensure!(sandbox["failure"].as_str().is_some_and(|why| why.contains("its container was killed")), "{sandbox}");
        yard.run(&["sandbox", "start", "again"]).await?.ok()?;
    }
    yard.check("again", &[("cat note", "kept")]).await
}
