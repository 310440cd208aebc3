//! `openshell policy …`.

mod bench;
mod canary;
mod candidate;
mod create;
mod diff;
mod explain;
pub(super) mod inspect;
mod keys;
mod publish;
pub(super) mod push;
mod replay;
mod sdk;
mod shadow;
pub(super) mod source;
mod suggest;
mod test;
pub(super) mod workbench;

use std::io::Read as _;
use std::path::Path;

use openshell_api::generation::GenerationSummary;
use openshell_api::module::Binding;
use openshell_api::push::{Policies, Push, PushReport, Rollback};
use openshell_api::sandbox::FirstPolicy;
use openshell_api::signature::PublisherKey;
use serde::Serialize;

use super::{Context, DONE};
use crate::args::policy::{BuildArgs, PolicyCommand, RollbackArgs, SetArgs};
use crate::client::Client;
use crate::error::Error;
use crate::output::{Table, age, bytes, facts, list, short_digest};

/// The built-in module that judges YAML rules, and the name it is bound under.
const RULES: &str = "rules";
/// The setting of [`RULES`] that holds the YAML text.
const RULES_SETTING: &str = "yaml";

/// Does one of the commands.
pub async fn run(cx: &Context, command: PolicyCommand) -> Result<u8, Error> {
    match command {
        PolicyCommand::New(args) => create::run(cx, &args),
        PolicyCommand::Build(args) => build(cx, &args).await,
        PolicyCommand::Test(args) => test::run(cx, &args).await,
        PolicyCommand::Bench(args) => bench::run(cx, args).await,
        PolicyCommand::Inspect(args) => inspect::run(cx, &args.source).await,
        PolicyCommand::Keygen(args) => keys::keygen(cx, &args),
        PolicyCommand::Sign(args) => keys::sign(cx, args).await,
        PolicyCommand::Status => canary::status(cx).await,
        PolicyCommand::Push(args) => push::run(cx, args).await,
        PolicyCommand::List(args) => {
            let client = cx.client().await?;
            let policies = client.policies(&args.name).await?;
            let trials = canary::notes(&client, args.name.as_str()).await?;
            cx.out.data(&policies, || bindings(&policies).render_or("no policies: everything is denied") + &trials)?;
            Ok(DONE)
        }
        PolicyCommand::History(args) => {
            let generations = cx.client().await?.generations(&args.name).await?;
            cx.out.data(&generations, || history(&generations).render_or("no generations"))?;
            Ok(DONE)
        }
        PolicyCommand::Rollback(args) => rollback(cx, args).await,
        PolicyCommand::Replay(args) => replay::run(cx, args).await,
        PolicyCommand::Pull(args) => publish::pull(cx, args).await,
        PolicyCommand::Diff(args) => diff::run(cx, args).await,
        PolicyCommand::Explain(args) => explain::run(cx, &args).await,
        PolicyCommand::Suggest(args) => suggest::run(cx, args).await,
        PolicyCommand::ShadowReport(args) => shadow::report(cx, &args).await,
        PolicyCommand::Promote(args) => shadow::promote(cx, args).await,
        PolicyCommand::Set(args) => set(cx, args).await,
        PolicyCommand::Get(args) => {
            let policies = cx.client().await?.policies(&args.name).await?;
            cx.out.data(&policies, || with_rules(&policies))?;
            Ok(DONE)
        }
    }
}

#[derive(Debug, Serialize)]
struct BuiltView {
    name: String,
    version: String,
    digest: String,
    size: u64,
    exports: Vec<String>,
    imports: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

async fn build(cx: &Context, args: &BuildArgs) -> Result<u8, Error> {
    let built = source::build(cx.out, &args.directory).await?;
    if let Some(file) = &args.out {
        std::fs::write(file, &built.component).map_err(Error::io(format!("write {}", file.display())))?;
    }
    let view = BuiltView {
        digest: openshell_policy_host::digest(&built.component),
        size: built.component.len() as u64,
        name: built.name,
        version: built.version,
        exports: built.exports,
        imports: built.imports,
        file: args.out.as_ref().map(|file| file.display().to_string()),
    };
    cx.out.data(&view, || {
        let mut pairs = vec![
            ("policy", format!("{}@{}", view.name, view.version)),
            ("digest", view.digest.clone()),
            ("size", bytes(view.size)),
            ("exports", list(&view.exports)),
            ("imports", list(&view.imports)),
        ];
        pairs.extend(view.file.clone().map(|file| ("file", file)));
        facts(&pairs)
    })?;
    Ok(DONE)
}

async fn rollback(cx: &Context, args: RollbackArgs) -> Result<u8, Error> {
    let Some(name) = args.name else {
        return canary::rollback(cx, &args.canary.unwrap_or_default()).await;
    };
    let client = cx.client().await?;
    let progress = cx.out.progress(format!("rolling back {name}"));
    let report = client.rollback(&name, &Rollback { to: args.to }).await?;
    drop(progress);
    show_report(cx, &report)
}

async fn set(cx: &Context, args: SetArgs) -> Result<u8, Error> {
    let text = read_rules(&args.policy)?;
    let client = cx.client().await?;
    let push = Push {
        sandboxes: vec![args.name],
        selector: None,
        canary: None,
        module: rules_module(&client).await?,
        binding: None,
        settings: Some(serde_json::json!({ RULES_SETTING: text })),
        replace_all: true,
        shadow: false,
        reuse: 0,
        deadline_ms: None,
    };
    let report = push::enforce(cx, &client, &push).await?;
    show_report(cx, &report)
}

/// Rules as a policy that a sandbox is created with.
pub async fn first_rules(client: &Client, text: String) -> Result<FirstPolicy, Error> {
    let module = rules_module(client).await?;
    Ok(FirstPolicy { module, binding: None, settings: Some(serde_json::json!({ RULES_SETTING: text })) })
}

/// Reads a file of rules; `-` is standard input.
pub fn read_rules(file: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|contents| text = contents)
    };
    read.map_err(Error::io(format!("read {}", file.display())))?;
    Ok(text)
}

/// Digest of the newest stored module named `rules`.
async fn rules_module(client: &Client) -> Result<String, Error> {
    let modules = client.modules().await?;
    let newest =
        modules.into_iter().filter(|module| module.name.as_str() == RULES).max_by_key(|module| module.created_at);
    newest.map(|module| module.digest).ok_or_else(|| Error::NoModule { name: RULES.into() })
}

/// A publisher's public key: a PEM file, or its text form.
pub fn read_public_key(given: &str) -> Result<PublisherKey, Error> {
    keys::read_public(given)
}

/// Shows how a change went.
pub fn show_report(cx: &Context, report: &PushReport) -> Result<u8, Error> {
    cx.out.data(report, || {
        let total = push::micro_span(report.timing.total_us);
        format!("{}push → enforcing took {total}\n", push::report_text(report))
    })?;
    Ok(DONE)
}

fn bindings(policies: &Policies) -> Table {
    let mut table = Table::new(["BINDING", "ROLE", "VERSION", "MODULE", "IMPORTS", "DEADLINE", "REUSE", "SIGNED BY"]);
    let mut add = |role: &str, binding: &Binding| {
        table.row([
            binding.name.to_string(),
            role.into(),
            binding.version.clone(),
            short_digest(&binding.module).into(),
            list(&binding.granted_imports),
            format!("{} ms", binding.deadline_ms),
            if binding.reuse > 1 { binding.reuse.to_string() } else { "fresh".into() },
            binding.publisher.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]);
    };
    policies.ceiling.iter().for_each(|binding| add("ceiling", binding));
    policies.chain.iter().for_each(|binding| add("chain", binding));
    policies.shadow.iter().for_each(|binding| add("shadow", binding));
    policies.router.iter().for_each(|binding| add("router", binding));
    table
}

/// The bindings, then the YAML of each one that was made from rules.
fn with_rules(policies: &Policies) -> String {
    let state = if policies.enforcing { "enforcing" } else { "not yet enforcing" };
    let mut pairs = vec![("generation", format!("{} ({state})", policies.generation))];
    if policies.observe {
        pairs.push(("observes", "what no policy allows is allowed and recorded, until one is set or pushed".into()));
    }
    let mut text = facts(&pairs);
    text.push_str(&bindings(policies).render_or("no policies: everything is denied\n"));
    for binding in policies.ceiling.iter().chain(&policies.chain) {
        if let Some(yaml) = rules_of(binding) {
            text.push_str(&format!("\n# binding {}, its rules\n{}", binding.name, yaml.trim_end()));
            text.push('\n');
        } else if !is_empty(&binding.settings) {
            text.push_str(&format!("\n# binding {}, its settings\n{}\n", binding.name, binding.settings));
        }
    }
    text
}

fn rules_of(binding: &Binding) -> Option<&str> {
    binding.settings.get(RULES_SETTING)?.as_str()
}

fn is_empty(settings: &serde_json::Value) -> bool {
    settings.is_null() || settings.as_object().is_some_and(serde_json::Map::is_empty)
}

fn history(generations: &[GenerationSummary]) -> Table {
    let now = jiff::Timestamp::now();
    let mut table = Table::new(["GENERATION", "STATE", "AGE", "CAUSE", "POLICIES", "ROUTER"]);
    for generation in generations {
        table.row([
            generation.number.to_string(),
            if generation.enforcing { "enforcing".into() } else { String::new() },
            age(generation.created_at, now),
            generation.cause.clone(),
            list(&generation.policies),
            generation.router.clone().unwrap_or_default(),
        ]);
    }
    table
}
