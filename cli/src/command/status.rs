//! `openshell status`.

use openshell_api::sandbox::Sandbox;
use openshell_api::status::Status;
use serde::Serialize;

use super::{Context, DONE, gateway, sandbox};
use crate::client::Client;
use crate::error::Error;
use crate::output::{facts, list};

#[derive(Debug, Serialize)]
struct Overview {
    /// Absent: it failed.
    #[serde(flatten)]
    current: Option<Current>,
    /// All that are known, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateways: Vec<gateway::Asked>,
}

#[derive(Debug, Serialize)]
struct Current {
    url: String,
    gateway: Status,
    sandboxes: Vec<Sandbox>,
}

/// Shows the gateway that is meant and its sandboxes, and how the other gateways are. One that fails hides no other.
pub async fn run(cx: &Context) -> Result<u8, Error> {
    // One that does not exist is a mistake, and no gateway that fails.
    cx.place()?;
    let several = !cx.book.names()?.is_empty();
    let others = async { if several { gateway::ask_all(cx).await } else { Ok(Vec::new()) } };
    let (current, gateways) = tokio::join!(current(cx), others);
    let gateways = gateways?;
    let (current, failure) = match current {
        Ok(current) => (Some(current), None),
        Err(error) => (None, Some(error)),
    };
    if current.is_some() || several {
        let overview = Overview { current, gateways };
        cx.out.data(&overview, || text(&overview))?;
    }
    failure.map_or(Ok(DONE), Err)
}

async fn current(cx: &Context) -> Result<Current, Error> {
    let client: Client = cx.client().await?;
    let (gateway, sandboxes) = tokio::try_join!(client.status(), client.sandboxes())?;
    Ok(Current { url: client.access().url.clone(), gateway, sandboxes })
}

fn text(overview: &Overview) -> String {
    let mut text = String::new();
    if let Some(Current { url, gateway, sandboxes }) = &overview.current {
        let runtimes: Vec<String> = gateway.runtimes.iter().map(ToString::to_string).collect();
        text.push_str(&facts(&[
            ("gateway", url.clone()),
            ("version", gateway.version.clone()),
            ("runtimes", list(&runtimes)),
            ("modules", gateway::modules(gateway)),
            ("decisions", gateway.decisions.to_string()),
            ("sandboxes", format!("{} ({} connected)", gateway.sandboxes, gateway.connected)),
        ]));
        if !sandboxes.is_empty() {
            text.push_str(&format!("\n{}", sandbox::table(sandboxes)));
        }
    }
    if !overview.gateways.is_empty() {
        let gap = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{gap}{}", gateway::table(&overview.gateways)));
    }
    text
}
