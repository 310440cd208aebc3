//! `openshell status`.

use openshell_api::sandbox::Sandbox;
use openshell_api::status::Status;
use serde::Serialize;

use super::{Context, DONE, sandbox};
use crate::error::Error;
use crate::output::{facts, list, word};

#[derive(Debug, Serialize)]
struct Overview {
    url: String,
    gateway: Status,
    sandboxes: Vec<Sandbox>,
}

/// Shows the gateway and its sandboxes.
pub async fn run(cx: &Context) -> Result<u8, Error> {
    let client = cx.client()?;
    let (gateway, sandboxes) = tokio::try_join!(client.status(), client.sandboxes())?;
    let overview = Overview { url: client.access().url.clone(), gateway, sandboxes };
    cx.out.data(&overview, || {
        let Overview { url, gateway, sandboxes } = &overview;
        let runtimes: Vec<String> = gateway.runtimes.iter().map(word).collect();
        let head = facts(&[
            ("gateway", url.clone()),
            ("version", gateway.version.clone()),
            ("runtimes", list(&runtimes)),
            ("modules", gateway.modules.to_string()),
            ("decisions", gateway.decisions.to_string()),
            ("sandboxes", format!("{} ({} connected)", gateway.sandboxes, gateway.connected)),
        ]);
        if sandboxes.is_empty() { head } else { format!("{head}\n{}", sandbox::table(sandboxes)) }
    })?;
    Ok(DONE)
}
