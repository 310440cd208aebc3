//! Credentials: a workload holds a placeholder, the proxy attaches the secret where it is bound, and nobody else ever sees it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::support::Stage;

const SECRET: &str = "tok-the-secret-that-nobody-may-see-5b1f";
const SECOND: &str = "tok-the-secret-that-took-its-place-9c2e";
const TYPED: &str = "tok-the-secret-that-somebody-typed-77d0";

/// Rules that let two programs do anything to the origin.
const RULES: &str = "version: 1
network_policies:
  api:
    endpoints:
      - {host: api.demo.test, port: PORT, protocol: rest, access: full, allowed_ips: [127.0.0.0/8]}
    binaries: [{path: /usr/bin/curl}, {path: /usr/bin/wget}]
";

struct Agent {
    stage: Stage,
}

impl Agent {
    /// A sandbox `agent` that may use a credential, bound to the origin, to paths below /v1 and to curl.
    async fn new() -> Result<Self> {
        let stage = Stage::new().await?;
        let file = stage.world.write("secret", SECRET)?;
        let create = [
            "provider",
            "create",
            "key",
            "--type",
            "generic",
            "--bearer",
            "--env",
            "API_TOKEN",
            "--host",
            "api.demo.test",
        ];
        let bound = ["--path", "/v1", "--binary", "/usr/bin/curl", "--from-file", &file.to_string_lossy()];
        stage.run(&[&create[..], &bound].concat()).await?.ok()?;
        std::fs::remove_file(file)?;
        let create =
            ["sandbox", "create", "--name", "agent", "--provider", "key", "--add-host", "api.demo.test:127.0.0.1"];
        stage.run(&create).await?.ok()?;
        let rules = RULES.replace("PORT", &stage.origin.address.port().to_string());
        let rules = stage.world.write("agent.yaml", &rules)?;
        stage.run(&["policy", "set", "agent", "--policy", &rules.to_string_lossy()]).await?.ok()?;
        Ok(Self { stage })
    }

    async fn inside(&self, script: &str) -> Result<String> {
        let script = format!("API={}; {script}", self.stage.api);
        let ran = self.stage.run(&["sandbox", "exec", "agent", "--", "sh", "-c", &script]).await?;
        Ok(format!("{}{}", ran.stdout, ran.stderr))
    }

    /// The header that the origin saw in the last request for this path.
    fn seen(&self, path: &str, header: &str) -> Option<String> {
        let seen = self.stage.origin.seen();
        seen.iter()
            .rev()
            .find(|request| request.target == path)
            .and_then(|request| request.headers.get(header).cloned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_becomes_the_secret_where_it_is_bound_and_is_refused_elsewhere() -> Result<()> {
    let agent = Agent::new().await?;
    let placeholder = agent.inside("printenv API_TOKEN").await?.trim().to_owned();
    ensure!(placeholder.contains("openshell-placeholder-"), "{placeholder}");
    // Each row: a script, what it prints, and what the origin saw as authorization.
    for (script, expected, path, seen) in [
        (
            r#"curl -s -H "Authorization: Bearer $API_TOKEN" $API/v1/a"#,
            "hello",
            "/v1/a",
            Some(format!("Bearer {SECRET}")),
        ),
        ("curl -s -H 'Authorization: Bearer mine' $API/v1/b", "hello", "/v1/b", Some("Bearer mine".to_owned())),
        ("curl -s $API/v1/c", "hello", "/v1/c", None),
        (r#"curl -s -H "Authorization: Bearer $API_TOKEN" $API/v2"#, "is not bound to the path", "/v2", None),
        (r#"curl -s -H "Authorization: Bearer $API_TOKEN" $API/v1/../v3"#, "is not bound to the path", "/v3", None),
        (r#"curl -s -H "X-Other: $API_TOKEN" $API/v1/d"#, "a placeholder stands in the header x-other", "/v1/d", None),
        (r#"curl -s "$API/v1/e?token=$API_TOKEN""#, "a placeholder stands in the request's target", "/v1/e", None),
        (
            r#"wget -q -O - --content-on-error --header "Authorization: Bearer $API_TOKEN" $API/v1/f"#,
            "is not bound to /usr/bin/wget",
            "/v1/f",
            None,
        ),
    ] {
        let shown = agent.inside(script).await?;
        ensure!(shown.contains(expected), "{script}: {shown}");
        ensure!(agent.seen(path, "authorization") == seen, "{script}: {:?}", agent.seen(path, "authorization"));
    }
    let reached: Vec<String> = agent.stage.origin.seen().into_iter().map(|request| request.target).collect();
    ensure!(!reached.iter().any(|path| ["/v2", "/v3", "/v1/d", "/v1/f"].contains(&path.as_str())), "{reached:?}");

    // Refusals are records.
    let began = Instant::now();
    let records = loop {
        let records =
            agent.stage.run(&["decisions", "--sandbox", "agent", "--limit", "1000", "-o", "json"]).await?.ok()?.stdout;
        if records.matches("credential_refused").count() >= 5 {
            break records;
        }
        ensure!(began.elapsed() < Duration::from_secs(20), "{records}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };

    // A new secret, while the sandbox lives.
    let file = agent.stage.world.write("second", SECOND)?;
    agent.stage.run(&["provider", "update", "key", "--from-file", &file.to_string_lossy()]).await?.ok()?;
    std::fs::remove_file(file)?;
    let began = Instant::now();
    agent.inside(r#"curl -s -H "Authorization: Bearer $API_TOKEN" $API/v1/g"#).await?;
    ensure!(
        agent.seen("/v1/g", "authorization").as_deref() == Some(&format!("Bearer {SECOND}")),
        "the new secret is used"
    );
    ensure!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    agent.stage.run(&["gateway", "rotate-keys"]).await?.ok()?;
    agent.inside(r#"curl -s -H "Authorization: Bearer $API_TOKEN" $API/v1/h"#).await?;
    ensure!(
        agent.seen("/v1/h", "authorization").as_deref() == Some(&format!("Bearer {SECOND}")),
        "it outlives its key"
    );

    // One that is typed at a prompt, which does not show it.
    let shown = typed(&agent.stage.world.command(&["provider", "update", "key", "--prompt"])).await?;
    ensure!(shown.contains("Secret for provider key") && !shown.contains(TYPED), "{shown}");
    agent.inside(r#"curl -s -H "Authorization: Bearer $API_TOKEN" $API/v1/i"#).await?;
    ensure!(
        agent.seen("/v1/i", "authorization").as_deref() == Some(&format!("Bearer {TYPED}")),
        "what was typed is used"
    );

    nowhere(&agent, &records).await
}

/// Runs a command in a terminal, where somebody types the secret when asked for it. Answers what the terminal showed.
async fn typed(command: &std::process::Command) -> Result<String> {
    use tokio::io::AsyncWriteExt as _;
    let mut terminal = tokio::process::Command::new("python3");
    terminal.args(["-c", include_str!("prompt.py"), "Secret for provider"]);
    terminal.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    child.stdin.take().context("its input")?.write_all(TYPED.as_bytes()).await?;
    let ended = child.wait_with_output().await?;
    ensure!(ended.status.success(), "{ended:?}");
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

/// None of the secrets is anywhere but in the memory of gateway and supervisor.
async fn nowhere(agent: &Agent, records: &str) -> Result<()> {
    let clean = |what: &str, bytes: &[u8]| -> Result<()> {
        for secret in [SECRET, SECOND, TYPED] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            ensure!(!found, "{what} holds a secret");
        }
        Ok(())
    };
    clean("a decision record", records.as_bytes())?;
    for command in [
        &["decisions", "--limit", "1000", "-o", "json"][..],
        &["audit", "export"],
        &["provider", "list", "-o", "json"],
        &["provider", "get", "key", "-o", "json"],
        &["sandbox", "get", "agent", "-o", "json"],
        &["sandbox", "logs", "agent"],
        &["policy", "history", "agent", "-o", "json"],
        &["policy", "get", "agent"],
        &["gateway", "status", "-o", "json"],
    ] {
        let ran = agent.stage.run(command).await?;
        clean(&command.join(" "), format!("{}{}", ran.stdout, ran.stderr).as_bytes())?;
    }
    // Everything on disk: databases, logs, launch files, spools, generations, workspaces.
    let mut pending = vec![agent.stage.world.root().to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory)?.flatten() {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() {
                clean(&entry.path().display().to_string(), &std::fs::read(entry.path()).unwrap_or_default())?;
            }
        }
    }
    // Processes: arguments and environments of all of them, as `ps` shows, and the limits on what a crash leaves.
    let mut supervisors = 0;
    for process in std::fs::read_dir("/proc")?.flatten() {
        if !process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(process.path().join(file)).unwrap_or_default();
            clean(&process.path().join(file).display().to_string(), &bytes)?;
        }
        let text = |file: &str| std::fs::read_to_string(process.path().join(file)).unwrap_or_default();
        let ours = text("cmdline").contains(&*agent.stage.world.root().to_string_lossy());
        if ours && matches!(text("comm").trim(), "openshell-super" | "openshell-gatew") {
            supervisors += 1;
            let limits = text("limits");
            let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("a limit")?;
            ensure!(core.split_whitespace().nth(4) == Some("0"), "a crash would leave a dump: {core}");
        }
    }
    ensure!(supervisors >= 3, "a gateway and two supervisors: {supervisors}");
    // From inside.
    let inside = agent.inside("env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null; cat ~/* 2>/dev/null").await?;
    clean("the sandbox", inside.as_bytes())?;
    Ok(())
}
