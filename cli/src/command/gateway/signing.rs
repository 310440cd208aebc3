//! `gateway rotate-signing-key`.

use openshell_api::Name;
use openshell_api::signing::SigningState;

use super::{Context, DONE};
use crate::args::gateway::RotateSigningKeyArgs;
use crate::error::Error;

/// Makes a new signing key, or lets the one before go.
pub async fn rotate(cx: &Context, args: RotateSigningKeyArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    let state = match args.finish {
        true => client.finish_signing_key(args.force).await?,
        false => client.turn_signing_key().await?,
    };
    cx.out.data(&state, || said(&state))?;
    if let Some(next) = next(&state) {
        cx.out.note(next);
    }
    Ok(DONE)
}

fn said(state: &SigningState) -> String {
    let SigningState { key, next, previous, .. } = state;
    match (next, previous) {
        (Some(next), _) => {
            format!("the gateway signs with {key}, and with {next} as soon as every sandbox that is linked trusts it")
        }
        (None, Some(previous)) => {
            format!("the gateway signs with {key}, and the key before is trusted, too: {previous}")
        }
        (None, None) => format!("the gateway signs with {key}, and no other key is trusted"),
    }
}

fn next(state: &SigningState) -> Option<String> {
    let finish = "`openshell gateway rotate-signing-key --finish`";
    let names = state.awaits.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    if !state.gateways.is_empty() {
        return Some(super::lagging(&state.gateways, finish));
    }
    Some(match (&state.next, &state.previous) {
        (Some(_), _) => format!(
            "sandboxes that do not trust it yet: {names}; one that can't be told is waited for until it is stopped, then {finish} ends the turn"
        ),
        (None, Some(_)) if names.is_empty() => {
            format!("every sandbox that runs enforces what it has signed; {finish} lets the one before go")
        }
        (None, Some(_)) => format!(
            "sandboxes that do not enforce yet what it has signed: {names}; once they are linked again, {finish} lets the one before go"
        ),
        (None, None) if names.is_empty() => return None,
        (None, None) => format!(
            "sandboxes that do not know of it yet: {names}; they learn of it when they are linked or started again"
        ),
    })
}
