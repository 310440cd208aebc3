//! `openshell policy push`, and showing how a push or a rollback went.

use std::path::Path;
use std::time::Instant;

use openshell_api::module::Module;
use openshell_api::push::{CanaryShare, Push, PushReport};
use openshell_api::signature::ModuleSignature;
use openshell_policy_host::digest;
use serde::Serialize;

use super::publish;
use super::source::{self, Component};
use crate::args::policy::PushArgs;
use crate::client::Client;
use crate::command::{Context, DONE};
use crate::error::{Error, TrustError};
use crate::output::{Table, facts, list, short_digest, span};

/// Version of a component whose author gave none.
pub const UNVERSIONED: &str = "0.0.0";

/// How a push went, from source to enforcing.
#[derive(Debug, Serialize)]
struct Pushed {
    module: Module,
    #[serde(flatten)]
    report: PushReport,
    /// Time building took, in microseconds; absent: nothing was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    build_us: Option<u64>,
    /// Time the upload took, in microseconds.
    upload_us: u64,
    /// From asking the gateway until it said that every sandbox enforces it, in microseconds, as seen here.
    push_to_enforcing_us: u64,
}

/// Builds if need be, uploads, and pushes: on all sandboxes or on none.
pub async fn run(cx: &Context, args: PushArgs) -> Result<u8, Error> {
    let settings = args.settings.as_deref().map(settings).transpose()?;
    let place = args.oci_out.as_deref().map(publish::place).transpose()?;
    let component = source::component(cx.out, &args.source.source).await?;
    let checked = super::inspect::check(&args.source.source, &component.bytes)?;
    let name = match args.name {
        Some(name) => name,
        None => source::name_from(&component.name)?,
    };
    let Component { bytes, version, build_time, signature, .. } = component;
    let version = args.version.or(version).unwrap_or_else(|| UNVERSIONED.into());
    let signature = match (&args.sign_key, &args.signature) {
        (Some(key), _) => {
            let key = super::keys::read_private(key)?;
            Some(ModuleSignature::sign(&key, name.as_str(), &version, &digest(&bytes)))
        }
        (None, Some(file)) => Some(super::keys::read_signature(file, &bytes)?),
        (None, None) => signature,
    };
    if let Some(signature) = &signature {
        let origin =
            args.signature.as_ref().map_or("the component's signature".into(), |file| file.display().to_string());
        signature
            .verify(name.as_str(), &version, &digest(&bytes))
            .map_err(|reason| Error::Trust(TrustError::Signature { origin, reason }))?;
    }
    if let Some(place) = place {
        let published =
            publish::push(cx, &place, &bytes, name.as_str(), &version, (&checked, signature.as_ref())).await?;
        if args.sandboxes.is_empty() && args.selector.is_empty() {
            return published.show(cx);
        }
        cx.out.note(format!("published as {}", published.reference));
    }
    let client = cx.client().await?;

    let progress = cx.out.progress(format!("uploading {name}@{version}"));
    let began = Instant::now();
    let module = client.upload_module(&name, &version, args.replace_version, signature.as_ref(), bytes).await?;
    let upload_us = micros(began);
    drop(progress);

    let push = Push {
        sandboxes: args.sandboxes,
        selector: (!args.selector.is_empty()).then(|| args.selector.into_iter().collect()),
        canary: args.canary.map(|percent| CanaryShare { percent, max_failures: args.max_failures }),
        module: module.digest.clone(),
        binding: args.binding,
        settings,
        replace_all: args.replace_all,
        shadow: args.shadow,
        reuse: args.reuse,
        deadline_ms: args.deadline_ms,
    };
    let began = Instant::now();
    let report = enforce(cx, &client, &push).await?;
    let push_to_enforcing_us = micros(began);
    let build_us = build_time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    let pushed = Pushed { module, report, build_us, upload_us, push_to_enforcing_us };
    cx.out.data(&pushed, || pushed_text(&pushed))?;
    Ok(DONE)
}

/// Pushes, with progress.
pub async fn enforce(cx: &Context, client: &Client, push: &Push) -> Result<PushReport, Error> {
    let labels = push.selector.iter().flatten().map(|(key, value)| format!("sandboxes with {key}={value}"));
    let sandboxes = list(&push.sandboxes.iter().map(ToString::to_string).chain(labels).collect::<Vec<_>>());
    let _progress = cx.out.progress(format!("compiling, staging and activating on {sandboxes}"));
    client.push(push).await
}

/// `--settings`: JSON, or the path of a file that holds it.
pub fn settings(given: &str) -> Result<serde_json::Value, Error> {
    let not_json = |origin: String| move |e: serde_json::Error| Error::Settings { origin, reason: e.to_string() };
    let looks_like_json = given.trim_start().starts_with(['{', '[', '"']);
    if looks_like_json || (!Path::new(given).exists() && serde_json::from_str::<serde_json::Value>(given).is_ok()) {
        return serde_json::from_str(given).map_err(not_json("--settings".into()));
    }
    let text = std::fs::read(given).map_err(Error::io(format!("read {given}")))?;
    serde_json::from_slice(&text).map_err(not_json(given.to_owned()))
}

fn pushed_text(pushed: &Pushed) -> String {
    let Module { name, version, digest, hooks, imports, signed_by, .. } = &pushed.module;
    let mut text = facts(&[
        ("policy", format!("{name}@{version} {}", short_digest(digest))),
        ("hooks", list(hooks)),
        ("imports", list(imports)),
        ("signed by", list(&signed_by.iter().map(ToString::to_string).collect::<Vec<_>>())),
    ]);
    text.push_str(&report_text(&pushed.report));
    let mut before = format!("upload {}", micro_span(pushed.upload_us));
    if let Some(build) = pushed.build_us {
        before = format!("build {}, {before}", micro_span(build));
    }
    text.push_str(&format!(
        "push → enforcing took {} (before that: {before})\n",
        micro_span(pushed.push_to_enforcing_us)
    ));
    text
}

/// Capability difference, stages, and what each sandbox enforces now.
pub fn report_text(report: &PushReport) -> String {
    let timing = &report.timing;
    let compile = if timing.compile_us == 0 { "compiled before".into() } else { micro_span(timing.compile_us) };
    let mut text = facts(&[
        ("newly imports", list(&report.newly_imports)),
        ("no longer imports", list(&report.no_longer_imports)),
        ("compile", compile),
        ("stage", micro_span(timing.stage_us)),
        ("activate", micro_span(timing.activate_us)),
    ]);
    let mut table = Table::new(["SANDBOX", "ENFORCING", "CONNECTIONS CUT"]);
    for sandbox in &report.enforcing {
        table.row([
            sandbox.sandbox.to_string(),
            format!("generation {}", sandbox.generation),
            sandbox.connections_cut.to_string(),
        ]);
    }
    text.push_str(&table.render());
    if let Some(rollout) = &report.rollout {
        text.push_str(&format!("rollout {rollout}: see `openshell policy status`\n"));
    }
    text
}

/// Microseconds as people read them.
pub fn micro_span(microseconds: u64) -> String {
    span(microseconds.saturating_mul(1000))
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_json_or_a_file_of_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("settings.json");
        std::fs::write(&file, r#"{"from": "file"}"#).expect("written");
        let file = file.display().to_string();
        let broken = directory.path().join("broken.json");
        std::fs::write(&broken, "{").expect("written");
        let broken = broken.display().to_string();
        for (given, expected) in [
            (r#"{"host": "a.test"}"#, r#"{"host":"a.test"}"#),
            ("[1]", "[1]"),
            ("null", "null"),
            (file.as_str(), r#"{"from":"file"}"#),
            (r#"{"host": }"#, "refused: the settings in --settings are not JSON"),
            (broken.as_str(), "refused: the settings in "),
            ("/nowhere/settings.json", "refused: can't read /nowhere/settings.json"),
        ] {
            let found = settings(given).map_or_else(|e| format!("refused: {e}"), |v| v.to_string());
            assert!(found.starts_with(expected), "{given}: {found}");
        }
    }
}
