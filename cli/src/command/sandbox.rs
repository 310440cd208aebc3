//! `openshell sandbox …`.

mod access;

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use openshell_api::Name;
use openshell_api::enforcement::Enforcement;
use openshell_api::page::MAX_RECORDS;
use openshell_api::sandbox::{CreateSandbox, LogLine, Phase, Sandbox};

use super::{Context, DONE, enforcement, exit_code};
use crate::args::sandbox::{CreateArgs, LogsArgs, SandboxCommand};
use crate::client::Client;
use crate::client::runtimes::Whereto;
use crate::error::Error;
use crate::output::{Table, age, facts, list, printable, warn, word};

/// How often a sandbox is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(50);
/// How long a workload is silent before its sandbox is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long the end of a log may take to arrive after the workload's own.
const LOG_LIMIT: Duration = Duration::from_secs(30);
/// How long a sandbox whose log has ended may count as one that runs.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);

/// Log lines shown unless the arguments say how many.
const LOG_LINES: usize = 1000;

const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";

/// Does one of the commands.
pub async fn run(cx: &Context, command: SandboxCommand) -> Result<u8, Error> {
    match command {
        SandboxCommand::Create(args) => create(cx, *args).await,
        SandboxCommand::List(args) => {
            let mut sandboxes = cx.client().await?.sandboxes().await?;
            let wanted =
                |sandbox: &Sandbox| args.selector.iter().all(|(key, value)| sandbox.labels.get(key) == Some(value));
            sandboxes.retain(wanted);
            cx.out.data(&sandboxes, || if sandboxes.is_empty() { "no sandboxes".into() } else { table(&sandboxes) })?;
            Ok(DONE)
        }
        SandboxCommand::Get(args) => {
            let sandbox = cx.client().await?.sandbox(&args.name).await?;
            cx.out.data(&sandbox, || details(&sandbox))?;
            Ok(DONE)
        }
        SandboxCommand::Verify(args) => enforcement::verify(cx, &args.name).await,
        SandboxCommand::Exec(args) => access::execute(cx, args).await,
        SandboxCommand::Connect(args) => access::connect(cx, args).await,
        SandboxCommand::Upload(args) => access::upload(cx, args).await,
        SandboxCommand::Download(args) => access::download(cx, args).await,
        SandboxCommand::Forward(args) => access::forward(cx, args).await,
        SandboxCommand::SshConfig(args) => super::ssh::configure(cx, args).await,
        SandboxCommand::Logs(args) => logs(cx, args).await,
        SandboxCommand::Stop(args) => {
            let client = cx.client().await?;
            for name in &args.names {
                let progress = cx.out.progress(format!("stopping sandbox {name}"));
                client.stop_sandbox(name).await?;
                drop(progress);
                cx.out.note(format!("stopped sandbox {name}"));
            }
            Ok(DONE)
        }
        SandboxCommand::Start(args) => {
            let client = cx.client().await?;
            let to = Whereto { runtime: args.runtime, elsewhere: args.elsewhere };
            let mut started = Vec::new();
            for name in &args.names {
                let _progress = cx.out.progress(format!("starting sandbox {name}"));
                started.push(client.start_sandbox(name, &to).await?);
            }
            cx.out.data(&started, || table(&started))?;
            Ok(DONE)
        }
        SandboxCommand::Delete(args) => {
            let client = cx.client().await?;
            for name in &args.names {
                let progress = cx.out.progress(format!("deleting sandbox {name}"));
                client.delete_sandbox(name).await?;
                drop(progress);
                cx.out.note(format!("deleted sandbox {name}"));
            }
            Ok(DONE)
        }
    }
}

async fn create(cx: &Context, args: CreateArgs) -> Result<u8, Error> {
    let rules = args.policy.as_deref().map(super::policy::read_rules).transpose()?;
    let client = super::gateway::ensure(cx).await?;

    let policies = match rules {
        Some(text) => vec![super::policy::first_rules(&client, text).await?],
        None => Vec::new(),
    };
    let waits = !args.command.is_empty() && !args.detach;
    let spec = CreateSandbox {
        name: args.name,
        command: args.command,
        env: args.env.into_iter().collect(),
        workdir: args.workdir,
        labels: args.label.into_iter().collect(),
        add_hosts: args.add_host.into_iter().collect(),
        providers: args.provider,
        policies,
        allow_degraded: args.allow_degraded,
        runtime: args.runtime,
        on: args.on.into_iter().collect(),
        image: args.container.from,
        volumes: args.container.volume,
        network: args.container.network,
        gpu: args.container.gpu,
        cpu: args.container.cpu,
        memory: args.container.memory,
        pids: args.container.pids,
        observe: args.observe,
    };
    let progress = cx.out.progress("creating the sandbox");
    let created = match (client.create_sandbox(&spec).await, &spec.name) {
        // A proxy in between stopped waiting; the gateway goes on.
        (Err(Error::Refused(problem)), Some(name)) if problem.is_impatience() => client.sandbox(name).await?,
        (created, _) => created?,
    };
    let sandbox = started(&client, created).await?;
    drop(progress);
    for missing in &sandbox.degraded {
        cx.out.note(format!("warning: sandbox {} runs without {missing}", sandbox.name));
    }
    if waits {
        cx.out.note(format!("sandbox {} runs", sandbox.name));
        return attend(&client, &sandbox.name).await;
    }
    cx.out.data(&sandbox, || table(std::slice::from_ref(&sandbox)))?;
    Ok(DONE)
}

/// Waits until a sandbox has started; refuses one that failed to.
async fn started(client: &Client, mut sandbox: Sandbox) -> Result<Sandbox, Error> {
    loop {
        match sandbox.phase {
            Phase::Running | Phase::Exited => return Ok(sandbox),
            Phase::Starting => {}
            Phase::Failed => return Err(failed(&sandbox)),
            Phase::Stopped | Phase::Lost | Phase::Deleting => {
                return Err(Error::SandboxGone { name: sandbox.name.to_string() });
            }
        }
        tokio::time::sleep(POLL).await;
        sandbox = client.sandbox(&sandbox.name).await?;
    }
}

/// Passes on what a workload writes until the line that ends its log; the exit code in it is the answer. What is missing is told.
async fn attend(client: &Client, name: &Name) -> Result<u8, Error> {
    let mut lines = client.follow_logs(name, &[("from_start", "true".to_owned())]).await?;
    let mut ended = None;
    loop {
        match tokio::time::timeout(LOOK, lines.next()).await {
            Ok(line) => {
                let Some(line) = line? else {
                    // Ended with the sandbox, or with the gateway.
                    client.sandbox(name).await?;
                    return Err(Error::ExecBroken { reason: "the gateway is stopping".into() });
                };
                if let Some(code) = line.exit_code {
                    settled(client, name).await;
                    return Ok(exit_code(code));
                }
                pass_on(&line)?;
                ended = None;
            }
            // Silence: does it still live? The end of the log of one that has ended is on its way.
            Err(_) => {
                let sandbox = client.sandbox(name).await?;
                match sandbox.phase {
                    Phase::Failed => return Err(failed(&sandbox)),
                    Phase::Deleting => return Err(Error::SandboxGone { name: name.to_string() }),
                    // Its machine may come back.
                    Phase::Starting | Phase::Running | Phase::Lost => {}
                    Phase::Exited | Phase::Stopped => {
                        if ended.get_or_insert_with(Instant::now).elapsed() > LOG_LIMIT {
                            return Err(Error::LogEnd { name: name.to_string(), code: sandbox.exit_code });
                        }
                    }
                }
            }
        }
    }
}

/// Waits until a sandbox counts as ended: that is stored right after the end of its log, and whoever asks next shall see it.
async fn settled(client: &Client, name: &Name) {
    let begun = Instant::now();
    while begun.elapsed() < SETTLE_LIMIT
        && let Ok(sandbox) = client.sandbox(name).await
        && matches!(sandbox.phase, Phase::Starting | Phase::Running)
    {
        tokio::time::sleep(POLL).await;
    }
}

fn pass_on(log_line: &LogLine) -> Result<(), Error> {
    match log_line.stream.as_str() {
        _ if log_line.lost.is_some() => {
            warn(&printable(&log_line.line));
            Ok(())
        }
        STDOUT => writeln!(std::io::stdout(), "{}", log_line.line).map_err(Error::io("write to standard output")),
        STDERR => writeln!(std::io::stderr(), "{}", log_line.line).map_err(Error::io("write to standard error")),
        _ => Ok(()),
    }
}

fn failed(sandbox: &Sandbox) -> Error {
    let reason = sandbox.failure.clone().unwrap_or_else(|| "it gave no reason".into());
    Error::SandboxFailed { name: sandbox.name.to_string(), reason }
}

async fn logs(cx: &Context, args: LogsArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    let wanted = args.tail.unwrap_or(LOG_LINES);
    if args.follow {
        let query = [("limit", wanted.min(MAX_RECORDS as usize).to_string())];
        let mut lines = client.follow_logs(&args.name, &query).await?;
        while let Some(log_line) = lines.next().await? {
            cx.out.record(&log_line, || log_text(&log_line))?;
            tell_missing(&log_line);
        }
    } else {
        let lines = client.logs(&args.name, wanted).await?;
        cx.out.data(&lines, || lines.iter().map(|log_line| log_text(log_line) + "\n").collect())?;
        lines.iter().for_each(tell_missing);
    }
    Ok(DONE)
}

/// Tells whoever does not see the lines themselves that some are missing.
fn tell_missing(log_line: &LogLine) {
    if log_line.lost.is_some() && !std::io::stdout().is_terminal() {
        warn(&printable(&log_line.line));
    }
}

/// A line as the workload wrote it; a supervisor's line says when and that it is one.
fn log_text(log_line: &LogLine) -> String {
    match log_line.stream.as_str() {
        STDOUT | STDERR => log_line.line.clone(),
        stream => format!("[{} {stream}] {}", log_line.at.strftime("%H:%M:%S"), printable(&log_line.line)),
    }
}

/// A table of sandboxes.
pub fn table(sandboxes: &[Sandbox]) -> String {
    let now = jiff::Timestamp::now();
    let mut table = Table::new([
        "NAME",
        "OWNER",
        "PHASE",
        "LINK",
        "GENERATION",
        "MODE",
        "RUNTIME",
        "WALLS",
        "AGE",
        "COMMAND",
        "WITHOUT",
    ]);
    for sandbox in sandboxes {
        table.row([
            sandbox.name.to_string(),
            sandbox.owner.clone(),
            phase(sandbox),
            (if sandbox.connected { "up" } else { "down" }).into(),
            sandbox.generation.to_string(),
            mode(sandbox).into(),
            place(sandbox),
            sandbox.enforcement.as_ref().map(Enforcement::summary).unwrap_or_default(),
            age(sandbox.created_at, now),
            command_line(&sandbox.command),
            list(&sandbox.degraded),
        ]);
    }
    table.render()
}

/// Its runtime, and its node where that has several.
fn place(sandbox: &Sandbox) -> String {
    match &sandbox.node {
        Some(node) => format!("{}/{node}", sandbox.runtime),
        None => sandbox.runtime.to_string(),
    }
}

fn phase(sandbox: &Sandbox) -> String {
    match sandbox.exit_code {
        Some(code) => format!("{} ({code})", word(&sandbox.phase)),
        None => word(&sandbox.phase),
    }
}

/// Whether what no policy allows is refused.
fn mode(sandbox: &Sandbox) -> &'static str {
    if sandbox.observing { "observing" } else { "enforcing" }
}

fn details(sandbox: &Sandbox) -> String {
    let labels: Vec<String> = sandbox.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut pairs = vec![
        ("name", sandbox.name.to_string()),
        ("id", sandbox.id.clone()),
        ("phase", phase(sandbox)),
        ("runtime", place(sandbox)),
        ("link", (if sandbox.connected { "up" } else { "down" }).into()),
        ("generation", sandbox.generation.to_string()),
        ("mode", mode(sandbox).into()),
        ("command", command_line(&sandbox.command)),
        ("labels", list(&labels)),
        ("created", sandbox.created_at.to_string()),
        ("runs without", list(&sandbox.degraded)),
    ];
    if let Some(image) = &sandbox.image {
        pairs.push(("image", image.clone()));
    }
    if let Some(failure) = &sandbox.failure {
        pairs.push(("failure", failure.clone()));
    }
    let mut text = facts(&pairs);
    match &sandbox.enforcement {
        Some(enforcement) => text.push_str(&enforcement::text(enforcement)),
        None => text.push_str("enforcement: not proven yet\n"),
    }
    text
}

fn command_line(command: &[String]) -> String {
    command.join(" ")
}
