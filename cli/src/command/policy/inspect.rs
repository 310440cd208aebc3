//! `openshell policy inspect`: what a policy is, read on this machine with the gateway's own checks.

use std::path::Path;

use openshell_api::signature::PublisherKey;
use openshell_policy_host::{Checked, digest};
use serde::Serialize;

use super::source;
use super::workbench::compiler;
use crate::command::{Context, DONE};
use crate::error::Error;
use crate::output::{bytes, facts, list};

#[derive(Debug, Serialize)]
struct Inspected {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    digest: String,
    size: u64,
    contract: String,
    hooks: Vec<&'static str>,
    imports: Vec<String>,
    pure_verdicts: bool,
    /// Whose signature it carries. It holds; whether its key is to be trusted is for a gateway to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<PublisherKey>,
    settings_schema: serde_json::Value,
}

/// Reads from a component what it is. Refuses what the gateway would refuse, in the same words.
pub fn check(path: &Path, component: &[u8]) -> Result<Checked, Error> {
    openshell_policy_host::check(component).map_err(|reason| Error::NotAPolicy { path: path.to_owned(), reason })
}

/// Shows hooks, imports, size, digest and settings.
pub async fn run(cx: &Context, path: &Path) -> Result<u8, Error> {
    let component = source::component(cx.out, path).await?;
    let checked = check(path, &component.bytes)?;
    let progress = cx.out.progress("asking the policy for the schema of its settings");
    let component_bytes = component.bytes.clone();
    let asked = tokio::task::spawn_blocking(move || compiler()?.schema(&component_bytes)).await;
    let asked = asked.map_err(|e| Error::Io { doing: "ask the policy".into(), source: e.into() })?;
    let settings_schema =
        asked.map_err(|reason| Error::NoSchema { path: path.to_owned(), reason: reason.to_string() })?;
    drop(progress);
    let inspected = Inspected {
        digest: digest(&component.bytes),
        size: component.bytes.len() as u64,
        name: component.name,
        version: component.version,
        contract: checked.contract,
        hooks: checked.hooks.iter().map(|hook| hook.name()).collect(),
        imports: checked.imports,
        pure_verdicts: checked.pure_verdicts,
        signed_by: component.signature.map(|signature| signature.key),
        settings_schema,
    };
    cx.out.data(&inspected, || text(&inspected))?;
    Ok(DONE)
}

fn text(inspected: &Inspected) -> String {
    let version = inspected.version.as_deref().map(|version| format!("@{version}")).unwrap_or_default();
    let verdicts = if inspected.pure_verdicts {
        "pure: a function of what it is asked and views"
    } else {
        "may depend on time or on earlier decisions"
    };
    let head = facts(&[
        ("policy", format!("{}{version}", inspected.name)),
        ("digest", inspected.digest.clone()),
        ("size", bytes(inspected.size)),
        ("contract", inspected.contract.clone()),
        ("hooks", list(&inspected.hooks)),
        ("imports", list(&inspected.imports)),
        ("verdicts", verdicts.into()),
        ("signed by", inspected.signed_by.map(|key| key.to_string()).unwrap_or_default()),
    ]);
    let schema = serde_json::to_string_pretty(&inspected.settings_schema).unwrap_or_default();
    format!("{head}settings:\n{}\n", schema.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"))
}
