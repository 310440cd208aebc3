//! `gateway rotate-ca`.

use openshell_api::authority::AuthorityState;

use super::{Context, DONE};
use crate::args::gateway::RotateCaArgs;
use crate::error::Error;

/// Makes a new authority, or lets the one before go.
pub async fn rotate(cx: &Context, args: RotateCaArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    let state = match args.finish {
        true => client.finish_authority(args.force).await?,
        false => client.turn_authority().await?,
    };
    cx.out.data(&state, || said(&state))?;
    if state.previous.is_some() {
        cx.out.note(next(&state));
    }
    Ok(DONE)
}

fn said(state: &AuthorityState) -> String {
    match &state.previous {
        None => format!("the gateway's authority is {}, and no other is trusted", state.fingerprint),
        Some(previous) => {
            format!("the gateway's authority is {}, and the one before is trusted, too: {previous}", state.fingerprint)
        }
    }
}

fn next(state: &AuthorityState) -> String {
    let finish = "`openshell gateway rotate-ca --finish`";
    if !state.gateways.is_empty() {
        return super::lagging(&state.gateways, finish);
    }
    if state.awaits.is_empty() {
        return format!("every sandbox that runs trusts it; {finish} lets the one before go");
    }
    let names: Vec<&str> = state.awaits.iter().map(openshell_api::Name::as_str).collect();
    format!(
        "sandboxes that do not trust it yet: {}; once they are linked again, {finish} lets the one before go",
        names.join(", ")
    )
}
