//! `openshell policy test`: native unit tests, then the component against `cases.yaml` in the real engine.

pub mod cases;
mod judge;
pub mod question;
pub mod seen;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use openshell_policy_build::Toolchain;
use openshell_policy_host::Policy;
use serde::Serialize;
use serde_saphyr::Spanned;

use self::cases::{Case, Cases};
use super::source;
use super::workbench::{Baked, Terms, Workbench};
use crate::args::policy::TestArgs;
use crate::command::{Context, DONE, exit_code};
use crate::error::Error;
use crate::output::span;

/// The file of cases in a policy's crate.
pub const CASES: &str = "cases.yaml";
/// Exit code when a case got another answer.
const FAILED: u8 = 1;

/// How a file of cases went.
#[derive(Debug, Serialize)]
struct Report {
    policy: String,
    digest: String,
    cases: Vec<Outcome>,
    passed: usize,
    failed: usize,
}

/// How one case went.
#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    /// `file:line:column`.
    at: String,
    answer: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
}

/// Runs both kinds of tests; a component that is built already has no native ones.
pub async fn run(cx: &Context, args: &TestArgs) -> Result<u8, Error> {
    let file = args.cases.clone().unwrap_or_else(|| args.source.join(CASES));
    let is_crate = args.source.is_dir();
    let native = if is_crate { native(cx, args).await? } else { DONE };
    if native != DONE {
        return Ok(native);
    }
    if is_crate && args.cases.is_none() && !file.exists() {
        cx.out.note(format!("no {}: the component itself was not asked", file.display()));
        return Ok(DONE);
    }
    if !is_crate && args.cases.is_none() {
        return Err(Error::NoCases { path: args.source.clone() });
    }
    let text = std::fs::read_to_string(&file).map_err(Error::io(format!("read {}", file.display())))?;
    let cases = cases::parse(&text).map_err(|reason| Error::Cases { path: file.clone(), reason })?;
    let component = source::component(cx.out, &args.source).await?;
    let digest = super::inspect::check(&args.source, &component.bytes)?.digest;
    let progress = cx.out.progress("asking the component");
    let began = Instant::now();
    let (name, bytes) = (component.name.clone(), component.bytes);
    let asked = tokio::task::spawn_blocking(move || ask_all(&name, &bytes, &cases, &file)).await;
    let outcomes = asked.map_err(|e| Error::Io { doing: "ask the component".into(), source: e.into() })??;
    drop(progress);
    let failed = outcomes.iter().filter(|outcome| !outcome.faults.is_empty()).count();
    let report = Report { policy: component.name, digest, passed: outcomes.len() - failed, failed, cases: outcomes };
    let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    cx.out.data(&report, || text_of(&report, took))?;
    Ok(if failed == 0 { DONE } else { FAILED })
}

/// `cargo test` with the compiler that builds policies; answers its exit code. Standard output stays free for data.
async fn native(cx: &Context, args: &TestArgs) -> Result<u8, Error> {
    let manifest = args.source.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Error::NoSource { path: args.source.clone() });
    }
    let progress = cx.out.progress("finding a Rust toolchain");
    let tell = progress.teller();
    let found = tokio::task::spawn_blocking(move || Toolchain::find(&tell)).await;
    let found = found.map_err(|e| Error::Io { doing: "find a Rust toolchain".into(), source: e.into() })?;
    let toolchain = found.map_err(openshell_policy_build::BuildError::from)?;
    drop(progress);
    let mut cargo = tokio::process::Command::new(&toolchain.cargo);
    // Doc tests are compiled by rustdoc: it must be the compiler's own.
    let rustdoc = toolchain.rustc.with_file_name("rustdoc");
    cargo.env("RUSTC", &toolchain.rustc).env("RUSTDOC", rustdoc).arg("test").arg("--manifest-path").arg(&manifest);
    if !args.arguments.is_empty() {
        cargo.arg("--").args(&args.arguments);
    }
    if !cx.out.is_table() {
        cargo.stdout(std::io::stderr());
    }
    let status = cargo.status().await.map_err(Error::io(format!("start {}", toolchain.cargo.display())))?;
    Ok(exit_code(status.code().unwrap_or(i32::from(u8::MAX))))
}

/// Asks every case. A case that can't be asked is the file's fault, and ends it.
fn ask_all(name: &str, component: &[u8], cases: &Cases, file: &Path) -> Result<Vec<Outcome>, Error> {
    let mut loader = Loader { name, component, workbench: Workbench::new()?, baked: HashMap::new() };
    let mut outcomes = Vec::with_capacity(cases.cases.len());
    for case in &cases.cases {
        let at = place(file, case);
        let malformed = |reason: String| Error::Cases { path: PathBuf::from(&at), reason };
        let settings = case.value.settings.as_ref().unwrap_or(&cases.settings);
        let policy = loader.fresh(settings)?;
        let said = judge::ask(&policy, &case.value).map_err(malformed)?;
        outcomes.push(Outcome {
            name: named(&case.value),
            faults: judge::compare(&case.value.expect.value.0, &said),
            answer: said.to_string(),
            at,
        });
    }
    Ok(outcomes)
}

/// Bakes once per settings, and loads anew for every case: what one case counted the next one does not see.
struct Loader<'a> {
    name: &'a str,
    component: &'a [u8],
    workbench: Workbench,
    baked: HashMap<String, Baked>,
}

impl Loader<'_> {
    fn fresh(&mut self, settings: &serde_json::Value) -> Result<Policy, Error> {
        let key = settings.to_string();
        if !self.baked.contains_key(&key) {
            let baked = self.workbench.bake(self.component, self.name, settings)?;
            self.baked.insert(key.clone(), baked);
        }
        self.workbench.load(&self.baked[&key], &Terms::default())
    }
}

fn named(case: &Case) -> String {
    let asked = case.ask.as_ref().map(|ask| ask.value.clone());
    case.name.clone().or(asked).unwrap_or_else(|| "an inference request".into())
}

fn place<T>(file: &Path, spanned: &Spanned<T>) -> String {
    let at = spanned.referenced;
    format!("{}:{}:{}", file.display(), at.line(), at.column())
}

fn text_of(report: &Report, took_ns: u64) -> String {
    let mut text = String::new();
    for outcome in &report.cases {
        let state = if outcome.faults.is_empty() { "ok" } else { "FAILED" };
        text.push_str(&format!("case {} ... {state}\n", outcome.name));
        for fault in &outcome.faults {
            text.push_str(&format!("  {}: {fault}\n", outcome.at));
        }
    }
    let Report { passed, failed, .. } = report;
    text.push_str(&format!("\ncases: {passed} passed, {failed} failed, in the engine in {}\n", span(took_ns)));
    text
}
