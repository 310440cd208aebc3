//! What to do about what the gateway or a transfer refused.

pub(super) const POLICY_HINT: &str =
    "`openshell policy build` makes components of crates that `openshell policy new` wrote";

pub(super) fn files_hint(error: &openshell_transfer::TransferError) -> Option<&'static str> {
    use openshell_transfer::TransferError as E;
    match error {
        E::Read { .. } => Some("check the path, and who may read it"),
        E::Write { .. } => Some("check who may write there, and how much room is left; what came before stays"),
        E::Changed { .. } => Some("repeat it when nothing writes to the file"),
        E::Outside { .. } | E::Kind { .. } => Some("the sandbox may be hostile: what came before stays"),
        E::Short | E::Stream(_) => Some("repeat it; no half-written file was left"),
        E::Nameless { .. } => None,
    }
}

/// Hints that name commands and flags, where the gateway can only name parts of its API.
pub(super) fn hint_for(code: &str) -> Option<&'static str> {
    Some(match code {
        "sandbox_not_found" => "list what exists with `openshell sandbox list`",
        "provider_not_found" => "list what exists with `openshell provider list`",
        "backend_not_found" => "list what exists with `openshell inference backend list`",
        "proposal_not_found" => "list what is asked for with `openshell proposal list`",
        "rollout_not_found" => "list rollouts with `openshell policy status`",
        "version_exists" => {
            "raise `version` in the policy's Cargo.toml, or replace it on purpose with --replace-version"
        }
        "unauthorized" => "the token is not this gateway's, or has ended: see `openshell gateway list`",
        _ => return None,
    })
}
