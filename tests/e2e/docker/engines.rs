//! Engines of a test's own: one that is restarted, and those whose hosts forbid user namespaces, from the beginning or at some time.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{BUSYBOX, USER, Yard, engine, proven, yard};

/// An engine of a test's own, which ends with it. It has a network of its own without a bridge, so it does not get in the way of another
/// one.
pub struct Private {
    pub directory: PathBuf,
    flags: String,
    /// What its machine is called, if it is to be a node of a Swarm.
    node: Option<String>,
}

impl Private {
    /// `None`, said aloud: an engine that someone else runs is no proof that we may run one.
    pub fn new(name: &str, more: &str) -> Option<(Self, String)> {
        Self::with(name, format!("--bridge=none --iptables=false {more}"), None)
    }

    /// The same for a node of a Swarm, whose tasks have the engine's own bridge.
    pub fn node(name: &str, more: &str) -> Option<(Self, String)> {
        Self::with(name, format!("--iptables=false {more}"), Some(name.to_owned()))
    }

    fn with(name: &str, flags: String, node: Option<String>) -> Option<(Self, String)> {
        let directory = std::env::temp_dir().join(format!("openshell-engine-{name}-{}", std::process::id()));
        let private = Self { directory, flags, node };
        match private.start() {
            Ok(host) => Some((private, host)),
            Err(why) => {
                eprintln!("SKIPPED: no engine of our own can be started: {why:#}");
                None
            }
        }
    }

    fn start(&self) -> Result<String> {
        let directory = self.directory.to_string_lossy();
        let mut environment = vec![
            ("ENGINE_DIR", directory.as_ref()),
            ("ENGINE_OWN", "1"),
            ("ENGINE_APART", "1"),
            ("ENGINE_FLAGS", &self.flags),
        ];
        if let Some(node) = &self.node {
            environment.extend([("ENGINE_SWARM", "1"), ("ENGINE_HOSTNAME", node)]);
        }
        engine(&environment)
    }

    fn stop(&self) -> Result<()> {
        let pid: u32 = std::fs::read_to_string(self.directory.join("pid"))?.trim().parse()?;
        ensure!(Command::new("kill").arg(pid.to_string()).status()?.success());
        while PathBuf::from(format!("/proc/{pid}")).exists() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_engine_is_found_again_and_a_sandbox_needs_no_network() -> Result<()> {
    if yard().await?.is_none() {
        return Ok(());
    }
    let Some((private, host)) = Private::new("restart", "") else { return Ok(()) };
    let yard = Yard::new(host).await?;
    let alone = |name| ["sandbox", "create", "--name", name, "--from", BUSYBOX, "--network", "none"];
    yard.run(&alone("before")).await?.ok()?;
    yard.check("before", &[("wget -q -O- http://1.1.1.1/ || echo refused", "refused"), ("echo kept > note", "")])
        .await?;
    private.stop()?;
    private.start()?;
    let sandbox = yard.until("before", "failed").await?;
    ensure!(sandbox["failure"].as_str().is_some_and(|why| why.contains("its container")), "{sandbox}");
    yard.run(&["sandbox", "start", "before"]).await?.ok()?;
    yard.check("before", &[("cat note", "kept")]).await?;
    yard.run(&alone("after")).await?.ok()?;
    yard.check("after", &[("echo alive", "alive")]).await?;
    drop(yard);
    Ok(())
}

/// Stands between the engine and runc, and takes `unshare` away from containers without CAP_SYS_ADMIN: to them the
/// kernel says what it says on a host that forbids user namespaces.
const WITHOUT_USER_NAMESPACES: &str = r#"#!/bin/sh
bundle= last=
for word; do [ "$last" = --bundle ] && bundle=$word; last=$word; done
[ -z "$bundle" ] || grep -q CAP_SYS_ADMIN "$bundle/config.json" ||
  sed -i 's/"unshare"/"no_such_call"/' "$bundle/config.json"
exec runc "$@"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn without_user_namespaces_capabilities_raise_the_walls_and_every_listing_says_so() -> Result<()> {
    if yard().await?.is_none() {
        return Ok(());
    }
    let tools = tempfile::tempdir()?;
    let runc = tools.path().join("runc-without-user-namespaces");
    std::fs::write(&runc, WITHOUT_USER_NAMESPACES)?;
    std::fs::set_permissions(&runc, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let flags = format!("--add-runtime=strict={} --default-runtime=strict", runc.display());
    let Some((_private, host)) = Private::new("strict", &flags) else { return Ok(()) };
    let yard = Yard::new(host).await?;
    let created =
        yard.run(&["sandbox", "create", "--name", "weak", "--from", USER, "--network", "none"]).await?.ok()?;
    ensure!(created.stderr.contains("runs without user-namespace"), "{created:?}");
    let listed = yard.run(&["sandbox", "list"]).await?.ok()?;
    ensure!(listed.stdout.contains("user-namespace"), "{}", listed.stdout);
    proven(&yard.sandbox("weak").await?["enforcement"], &["capabilities-bnd", "mount"])?;
    let found = yard.container("weak").await?;
    ensure!(found["HostConfig"]["CapDrop"] == serde_json::json!(["ALL"]), "{}", found["HostConfig"]);
    ensure!(found["HostConfig"]["CapAdd"].to_string().contains("SYS_ADMIN"), "{}", found["HostConfig"]);
    yard.check(
        "weak",
        &[
            ("id -u", "1234"),
            ("grep CapEff /proc/self/status", "0000000000000000"),
            ("grep CapBnd /proc/self/status", "0000000000000000"),
            ("grep -vc -e lo: -e '|' /proc/net/dev || true", "0"),
            ("wget -O- http://1.1.1.1/ 2>&1 || true", "403"),
            ("touch ~/x && ls ~", "x"),
            ("cat /.openshell/launch.json 2>&1 || true", "No such file"),
        ],
    )
    .await?;
    drop(yard);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_holds_files_is_not_made_anew_where_user_namespaces_were_forbidden_meanwhile() -> Result<()> {
    if yard().await?.is_none() {
        return Ok(());
    }
    let tools = tempfile::tempdir()?;
    let (runc, forbidden) = (tools.path().join("runc-that-turns-strict"), tools.path().join("forbidden"));
    let wrapper = format!("#!/bin/sh\n[ -e {} ] || exec runc \"$@\"\n{WITHOUT_USER_NAMESPACES}", forbidden.display());
    std::fs::write(&runc, wrapper)?;
    std::fs::set_permissions(&runc, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let flags = format!("--add-runtime=turning={} --default-runtime=turning", runc.display());
    let Some((_private, host)) = Private::new("turning", &flags) else { return Ok(()) };
    let yard = Yard::new(host).await?;
    yard.run(&["sandbox", "create", "--name", "full", "--from", USER, "--network", "none"]).await?.ok()?;
    yard.check("full", &[("echo kept > ~/note", "")]).await?;
    yard.run(&["sandbox", "stop", "full"]).await?.ok()?;
    let container = yard.container("full").await?;

    std::fs::write(&forbidden, "")?;
    let refused = yard.run(&["sandbox", "start", "full"]).await?;
    ensure!(refused.code != 0 && refused.stderr.contains("the walls can't be raised"), "{refused:?}");
    ensure!(yard.container("full").await?["Id"] == container["Id"], "it was made anew");
    std::fs::remove_file(&forbidden)?;
    yard.run(&["sandbox", "start", "full"]).await?.ok()?;
    yard.check("full", &[("cat ~/note", "kept")]).await?;
    drop(yard);
    Ok(())
}
