//! `openshell runtime …`: where sandboxes run.

use std::collections::BTreeMap;
use std::path::Path;

use openshell_api::link::Sensitive;
use openshell_api::runtime::{AddRuntime, EngineTls, RegistryLogin, RuntimeState, SetRuntime};

use super::{Context, DONE};
use crate::args::runtime::{AddArgs, LoginArgs, RuntimeCommand, TlsArgs, UpdateArgs};
use crate::error::Error;
use crate::output::{Table, age, facts, list, word};

const MIB: u64 = 1024 * 1024;

/// Does one of the commands.
pub async fn run(cx: &Context, command: RuntimeCommand) -> Result<u8, Error> {
    match command {
        RuntimeCommand::Add(args) => {
            let adding = added(args)?;
            let client = cx.client().await?;
            let progress = cx.out.progress(format!("reaching {}", adding.url));
            let state = client.add_runtime(&adding).await?;
            drop(progress);
            cx.out.data(&state, || table(std::slice::from_ref(&state)).render())?;
        }
        RuntimeCommand::List => {
            let states = cx.client().await?.runtimes().await?;
            cx.out.data(&states, || table(&states).render())?;
        }
        RuntimeCommand::Get(args) => {
            let state = cx.client().await?.runtime(&args.name).await?;
            cx.out.data(&state, || details(&state))?;
        }
        RuntimeCommand::Update(args) => {
            let state = cx.client().await?.set_runtime(&args.name, &changed(&args)?).await?;
            cx.out.data(&state, || table(std::slice::from_ref(&state)).render())?;
        }
        RuntimeCommand::Remove(args) => {
            let client = cx.client().await?;
            for name in &args.names {
                client.remove_runtime(name).await?;
                cx.out.note(format!("removed runtime {name}"));
            }
        }
    }
    Ok(DONE)
}

fn added(args: AddArgs) -> Result<AddRuntime, Error> {
    Ok(AddRuntime {
        name: args.name,
        kind: args.kind,
        url: args.url,
        gateway_url: args.gateway_url,
        labels: args.label.into_iter().collect(),
        tls: tls(&args.tls)?,
        registry: args.registry,
        registry_login: login(&args.login)?,
    })
}

fn changed(args: &UpdateArgs) -> Result<SetRuntime, Error> {
    let labels = (args.no_labels || !args.label.is_empty()).then(|| args.label.iter().cloned().collect());
    let (gateway_url, registry) = (args.gateway_url.clone(), args.registry.clone());
    Ok(SetRuntime { labels, gateway_url, tls: tls(&args.tls)?, registry, registry_login: login(&args.login)? })
}

fn tls(args: &TlsArgs) -> Result<Option<EngineTls>, Error> {
    let (Some(ca), Some(certificate), Some(key)) = (&args.tls_ca, &args.tls_cert, &args.tls_key) else {
        return Ok(None);
    };
    Ok(Some(EngineTls { ca: read(ca)?, certificate: read(certificate)?, key: Sensitive(read(key)?) }))
}

fn login(args: &LoginArgs) -> Result<Option<RegistryLogin>, Error> {
    let (Some(user), Some(password)) = (&args.registry_user, &args.registry_password_file) else { return Ok(None) };
    let password = Sensitive(read(password)?.trim_end_matches(['\r', '\n']).to_owned());
    Ok(Some(RegistryLogin { user: user.clone(), password }))
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))
}

/// A part of a whole, such as `1.5/4`.
fn part(free: Option<String>, whole: Option<String>) -> String {
    free.zip(whole).map(|(free, whole)| format!("{free}/{whole}")).unwrap_or_default()
}

fn cpus(state: &RuntimeState) -> String {
    part(state.free_cpus.map(|cpus| cpus.to_string()), state.cpus.map(|cpus| cpus.to_string()))
}

fn memory(state: &RuntimeState) -> String {
    let mib = |bytes: Option<u64>| bytes.map(|bytes| (bytes / MIB).to_string());
    part(mib(state.free_memory), mib(state.memory))
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    list(&labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>())
}

fn health(state: &RuntimeState) -> String {
    match state.silent_since {
        None => word(&state.health),
        Some(since) => format!("{} ({})", word(&state.health), age(since, jiff::Timestamp::now())),
    }
}

fn table(states: &[RuntimeState]) -> Table {
    let mut table =
        Table::new(["NAME", "KIND", "STATE", "SANDBOXES", "CPUS FREE", "MIB FREE", "LABELS", "URL", "PROBLEM"]);
    for state in states {
        table.row([
            state.name.to_string(),
            word(&state.kind),
            health(state),
            state.sandboxes.to_string(),
            cpus(state),
            memory(state),
            labels(&state.labels),
            state.url.clone().unwrap_or_default(),
            // Of an engine that was never there on this machine nothing is amiss.
            state.problem.clone().filter(|_| !state.built_in || state.sandboxes > 0).unwrap_or_default(),
        ]);
    }
    table
}

fn details(state: &RuntimeState) -> String {
    let mut pairs = vec![
        ("name", state.name.to_string()),
        ("kind", word(&state.kind)),
        ("state", health(state)),
        ("sandboxes", state.sandboxes.to_string()),
        ("cpus free", cpus(state)),
        ("MiB free", memory(state)),
        ("labels", labels(&state.labels)),
    ];
    if let Some(url) = &state.url {
        pairs.push(("url", url.clone()));
    }
    if let Some(url) = &state.gateway_url {
        pairs.push(("gateway at", url.clone()));
    }
    if let Some(registry) = &state.registry {
        pairs.push((
            "registry",
            match &state.registry_user {
                Some(user) => format!("{registry} as {user}"),
                None => registry.clone(),
            },
        ));
    }
    if let Some(problem) = &state.problem {
        pairs.push(("problem", problem.clone()));
    }
    let mut text = facts(&pairs);
    if !state.nodes.is_empty() {
        let mut table = Table::new(["NODE", "STATE", "CPUS", "MIB", "LABELS", "PROBLEM"]);
        for node in &state.nodes {
            table.row([
                node.name.clone(),
                word(&node.health),
                node.cpus.to_string(),
                (node.memory / MIB).to_string(),
                labels(&node.labels),
                node.problem.clone().unwrap_or_default(),
            ]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    text
}
