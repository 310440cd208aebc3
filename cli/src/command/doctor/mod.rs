//! `openshell doctor`.

mod gateway;
mod kernel;
mod tls;

use openshell_policy_build::Toolchain;
use serde::Serialize;

use super::{Context, DONE};
use crate::args::doctor::{About, DoctorArgs};
use crate::error::Error;
use crate::output::Table;
use crate::paths;

/// Exit code when something that is needed is missing.
const SICK: u8 = 1;

/// Something looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    Ok,
    /// Works without; something is missing.
    Warn,
    /// Needed, and missing.
    Fail,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ok, detail: detail.into(), hint: None }
    }

    fn warn(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, state: State::Warn, detail: detail.into(), hint: Some(hint.into()) }
    }

    fn fail(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, state: State::Fail, detail: detail.into(), hint: Some(hint.into()) }
    }
}

/// Looks at everything, or at what it is asked about; answers 1 if anything needed is missing.
pub async fn run(cx: &Context, args: DoctorArgs) -> Result<u8, Error> {
    if let Some(About::Tls(args)) = args.about {
        return tls::run(cx, args).await;
    }
    let mut checks = kernel::checks();
    checks.push(toolchain(cx).await);
    checks.push(program("gateway program", "openshell-gateway", "install it beside openshell or in PATH"));
    checks.extend(gateway::checks(cx).await);
    cx.out.data(&checks, || table(&checks))?;
    Ok(if checks.iter().any(|check| check.state == State::Fail) { SICK } else { DONE })
}

async fn toolchain(cx: &Context) -> Check {
    const NAME: &str = "wasm toolchain";
    let progress = cx.out.progress("looking for a compiler of policies");
    let tell = progress.teller();
    let found = tokio::task::spawn_blocking(move || Toolchain::find(&tell)).await;
    match found {
        Ok(Ok(Toolchain { rustc, sysroot: None, .. })) => {
            Check::ok(NAME, format!("{} with its own target library", rustc.display()))
        }
        Ok(Ok(Toolchain { rustc, sysroot: Some(sysroot), .. })) => {
            Check::ok(NAME, format!("{} with the library in {}", rustc.display(), sysroot.display()))
        }
        // Everything but building policies works without.
        Ok(Err(error)) => Check::warn(NAME, error.to_string(), error.hint()),
        Err(error) => Check::warn(NAME, error.to_string(), "run `openshell doctor` again"),
    }
}

fn program(name: &'static str, program: &str, hint: &str) -> Check {
    match paths::program(program) {
        Some(path) => Check::ok(name, path.display().to_string()),
        None => Check::fail(name, format!("{program} is not there"), hint),
    }
}

fn table(checks: &[Check]) -> String {
    let mut table = Table::new(["STATE", "CHECK", "FOUND"]);
    for check in checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        table.row([state.into(), check.name.into(), check.detail.clone()]);
    }
    let mut text = table.render();
    for check in checks {
        if let Some(hint) = &check.hint {
            text.push_str(&format!("\n{}: {hint}", check.name));
        }
    }
    text
}
