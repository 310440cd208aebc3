//! The gateway as a service of the user's systemd: it comes back after a failure, a new login and, where the user
//! lingers, a reboot.
//!
//! Only its main process ends with the service (`KillMode=process`): supervisors live in the same control group, and
//! keep enforcing while the gateway is replaced.

use std::path::Path;

use openshell_api::status::Status;

use super::super::{endpoint, private};
use super::daemon::{PROGRAM, log_file, runs_gateway};
use super::{Plan, healthy, own_name, run};
use crate::client::Client;
use crate::error::{Error, GatewayError};
use crate::paths;

fn unit(state_dir: &Path) -> String {
    format!("{}.service", own_name(state_dir))
}

async fn systemctl(arguments: &[&str]) -> Result<String, Error> {
    run("systemctl", &[&["--user"], arguments].concat()).await
}

/// Whether a systemd of this user's answers.
pub(super) async fn answers() -> bool {
    paths::in_path("systemctl").is_some() && systemctl(&["show-environment"]).await.is_ok()
}

/// Whether the user's services run without a login, as `loginctl enable-linger` has it.
pub async fn lingers() -> bool {
    run("loginctl", &["show-user", &user(), "--property=Linger", "--value"]).await.is_ok_and(|said| said == "yes")
}

fn user() -> String {
    nix::unistd::geteuid().to_string()
}

/// Writes the unit, enables and starts it, and waits until the gateway answers.
pub(super) async fn start(state_dir: &Path, plan: &Plan) -> Result<(Client, Status), Error> {
    if !answers().await {
        return Err(GatewayError::NoSystemd.into());
    }
    let program = paths::program(PROGRAM).ok_or(Error::NoGatewayProgram)?;
    let units = paths::user_units()?;
    std::fs::create_dir_all(&units).map_err(Error::io(format!("create {}", units.display())))?;
    let text = text(&program, state_dir, plan)?;
    private::write(&units.join(unit(state_dir)), text.as_bytes())?;
    systemctl(&["daemon-reload"]).await?;
    systemctl(&["enable", "--quiet", &unit(state_dir)]).await?;
    // A leftover of a failure would refuse another start.
    let _ = systemctl(&["reset-failed", &unit(state_dir)]).await;
    systemctl(&["restart", &unit(state_dir)]).await?;
    healthy(state_dir, runs_gateway, async || {
        let state = systemctl(&["show", "--property=ActiveState", "--value", &unit(state_dir)]).await?;
        Ok(["failed", "inactive"].contains(&&*state).then(|| format!("its service is {state}")))
    })
    .await
}

async fn main_pid(state_dir: &Path) -> Option<u32> {
    let said = systemctl(&["show", "--property=MainPID", "--value", &unit(state_dir)]).await.ok()?;
    said.parse().ok().filter(|pid| *pid != 0)
}

/// Stops the service; at the next boot it starts again. Its sandboxes go on.
pub(super) async fn stop(state_dir: &Path) -> Result<String, Error> {
    if !is_running(state_dir).await {
        return Err(Error::NoGateway { endpoint: state_dir.join("endpoint.json") });
    }
    systemctl(&["stop", &unit(state_dir)]).await?;
    Ok(format!("service {}", unit(state_dir)))
}

pub(super) async fn is_running(state_dir: &Path) -> bool {
    match main_pid(state_dir).await {
        Some(pid) => endpoint::read(state_dir).is_ok_and(|endpoint| endpoint.pid == pid),
        None => false,
    }
}

/// Takes the unit away.
pub(super) async fn remove(state_dir: &Path) -> Result<(), Error> {
    let _ = systemctl(&["disable", "--quiet", "--now", &unit(state_dir)]).await;
    private::remove(&paths::user_units()?.join(unit(state_dir)))?;
    systemctl(&["daemon-reload"]).await.map(drop)
}

/// The unit's text.
fn text(program: &Path, state_dir: &Path, plan: &Plan) -> Result<String, Error> {
    let mut command = Vec::new();
    for word in std::iter::once(program.to_string_lossy().into_owned()).chain(Plan::words(state_dir, &plan.args)) {
        // In commands alone, a dollar begins a variable.
        command.push(quoted(&word)?.replace('$', "$$"));
    }
    let mut variables = String::new();
    for (name, value) in &plan.environment {
        variables.push_str(&format!("Environment={}\n", quoted(&format!("{name}={value}"))?));
    }
    // `append:` takes the rest of the line, without quotes.
    let log = log_file(state_dir).to_string_lossy().replace('%', "%%");
    let command = command.join(" ");
    Ok(format!(
        "[Unit]\n\
         Description=OpenShell gateway\n\
         StartLimitIntervalSec=60\n\
         StartLimitBurst=5\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart={command}\n\
         {variables}\
         KillMode=process\n\
         OOMPolicy=continue\n\
         Restart=on-failure\n\
         RestartSec=1\n\
         TimeoutStopSec=20\n\
         UMask=0077\n\
         StandardOutput=append:{log}\n\
         StandardError=inherit\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n"
    ))
}

/// A word as systemd.syntax(7) and systemd.service(5) quote it. Refuses what would end the line.
fn quoted(word: &str) -> Result<String, Error> {
    if word.contains(|c: char| c.is_control()) {
        return Err(GatewayError::Word { word: word.to_owned() }.into());
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' => text.push_str("%%"),
            c => text.push(c),
        }
    }
    text.push('"');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::gateway::StartArgs;
    use crate::gateways::entry::Form;

    #[test]
    fn any_path_survives_the_unit() {
        let arguments = StartArgs { upstream_ca: Some("/a b/100%/$HOME\"\\.pem".into()), ..StartArgs::default() };
        let environment = [("OPENSHELL_LOG".to_owned(), "info,a=\"$b\"".to_owned())].into();
        let plan = Plan { form: Form::Service, environment, args: arguments };
        let unit = text(Path::new("/usr/bin/openshell-gateway"), Path::new("/s t"), &plan).expect("a unit");
        for line in [
            r#"ExecStart="/usr/bin/openshell-gateway" "run" "--state-dir" "/s t" "--upstream-ca" "/a b/100%%/$$HOME\"\\.pem""#,
            r#"Environment="OPENSHELL_LOG=info,a=\"$b\"""#,
            "KillMode=process",
            "StandardOutput=append:/s t/gateway.log",
            "WantedBy=default.target",
        ] {
            assert!(unit.lines().any(|found| found == line), "no {line} in\n{unit}");
        }
        assert!(quoted("a\nExecStartPre=b").is_err());
    }
}
