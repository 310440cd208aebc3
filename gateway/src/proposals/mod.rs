//! Proposals: an agent asks, the user sees what it would change, and approves or refuses.
//!
//! [`check`] refuses what is malformed and names what is dangerous; [`rules`] makes a change of the sandbox's rules of it.
//! Nothing an agent claims is believed: who asked is what the kernel said, and what was refused is what the records say.

mod check;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use openshell_api::decision::ProcessRecord;
use openshell_api::generation::Content;
use openshell_api::link::ToSupervisor;
use openshell_api::module::Binding;
use openshell_api::proposal::{Approve, Effect, Proposal, ProposalState, ProposalStatus, Propose, Reject};
use openshell_api::push::PushReport;

use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::{Operate, Permit};
use crate::push;
use crate::store::{ProposalQuery, ProposalRow};

/// The built-in module that judges rules, and its setting that holds them.
const RULES: &str = "rules";
const YAML: &str = "yaml";
/// Most proposals of a sandbox that nobody has decided.
const MAX_PENDING: usize = 10;
/// Decided proposals of a sandbox that are kept.
const KEPT: i64 = 200;
/// Longest reason of a rejection, in bytes.
const MAX_REASON: usize = 2000;

/// Keeps what a sandbox asks for. The same again is the same proposal. Refuses what is malformed, and more than a user
/// would read.
pub async fn propose(
    gateway: &Gateway,
    sandbox_id: &str,
    process: &ProcessRecord,
    mut asked: Propose,
) -> ApiResult<ProposalStatus> {
    for endpoint in &mut asked.endpoints {
        endpoint.host.make_ascii_lowercase();
    }
    check::shape(&asked)?;
    let _lock = gateway.locks.sandbox(sandbox_id).await?;
    let row = gateway.store.sandbox(sandbox_id).await?.ok_or_else(|| ApiError::not_found("sandbox", sandbox_id))?;
    if programs(&asked, process).is_empty() {
        return Err(refuse(422, "bad_proposal", "which program needs it is not known")
            .hint("name it: `\"binaries\": [\"/usr/bin/curl\"]`"));
    }
    let query = ProposalQuery { sandbox: Some(row.name.to_string()), state: Some(ProposalState::Pending) };
    let pending = gateway.store.proposals(&query).await?;
    let same = |other: &&ProposalRow| {
        let (theirs, ours) = (&other.proposal.asked, &asked);
        (&theirs.endpoints, programs(theirs, &other.proposal.asked_by)) == (&ours.endpoints, programs(ours, process))
    };
    if let Some(known) = pending.iter().find(same) {
        return Ok(status(&known.proposal));
    }
    if pending.len() >= MAX_PENDING {
        return Err(refuse(429, "too_many_proposals", format!("{MAX_PENDING} proposals wait to be decided already"))
            .hint("wait until some of them are decided"));
    }
    let id = ulid::Ulid::generate().to_string();
    gateway.store.insert_proposal(sandbox_id, &id, &asked, process).await?;
    gateway.store.forget_proposals(sandbox_id, KEPT).await?;
    tracing::info!(sandbox = row.name.as_str(), id, "an agent asks for more");
    Ok(ProposalStatus { id, state: ProposalState::Pending, reason: None, generation: None })
}

/// Where a proposal of a sandbox stands. Another sandbox's is not there.
pub async fn stands(gateway: &Gateway, sandbox_id: &str, id: &str) -> ApiResult<ProposalStatus> {
    let row = gateway.store.proposal(id).await?.filter(|row| row.sandbox_id == sandbox_id);
    row.map(|row| status(&row.proposal)).ok_or_else(|| ApiError::not_found("proposal", id))
}

fn status(proposal: &Proposal) -> ProposalStatus {
    ProposalStatus {
        id: proposal.id.clone(),
        state: proposal.state,
        reason: proposal.reason.clone(),
        generation: proposal.generation,
    }
}

/// Programs it is for: those it names, else the one that asked.
fn programs(asked: &Propose, process: &ProcessRecord) -> Vec<String> {
    match asked.binaries.is_empty() {
        false => asked.binaries.clone(),
        true => Some(process.executable.clone()).filter(|path| path.starts_with('/')).into_iter().collect(),
    }
}

/// Proposals that match and follow `after`, oldest first, without their effects; at most so many.
pub async fn list(
    gateway: &Gateway,
    query: &ProposalQuery,
    after: Option<&str>,
    limit: u32,
) -> ApiResult<Vec<Proposal>> {
    let found = gateway.store.proposals_after(query, after, limit).await?;
    Ok(found.into_iter().map(|row| row.proposal).collect())
}

/// A proposal, and what approving it would change now.
pub async fn show(gateway: &Gateway, id: &str) -> ApiResult<Proposal> {
    let ProposalRow { sandbox_id, mut proposal } = found(gateway, id).await?;
    if proposal.state == ProposalState::Pending {
        let newest = gateway.store.newest_generation(&sandbox_id).await?;
        let newest = newest.ok_or_else(|| ApiError::not_found("generation", &proposal.sandbox))?;
        proposal.effect = Some(effect(gateway, &proposal, newest.number, &newest.content).await?);
    }
    Ok(proposal)
}

async fn found(gateway: &Gateway, id: &str) -> ApiResult<ProposalRow> {
    let row = gateway.store.proposal(id).await?;
    row.ok_or_else(|| ApiError::not_found("proposal", id).hint("`openshell proposal list` shows those there are"))
}

async fn effect(gateway: &Gateway, proposal: &Proposal, generation: u64, content: &Content) -> ApiResult<Effect> {
    let binaries = programs(&proposal.asked, &proposal.asked_by);
    let dangers = check::dangers(&proposal.asked, &binaries);
    let notes = notes(gateway, proposal, content).await?;
    let (diff, refusal) = match change(proposal, content) {
        Ok(change) => (change.edited.diff, None),
        Err(error) => (String::new(), Some(error.0)),
    };
    Ok(Effect { generation, diff, dangers, notes, refusal })
}

/// What else there is to know: what was refused, what the rules say already, what else has a say.
async fn notes(gateway: &Gateway, proposal: &Proposal, content: &Content) -> ApiResult<Vec<String>> {
    let mut notes = Vec::new();
    let listed = rules_of(content).and_then(|binding| Some(rules::listed(text_of(binding)?))).unwrap_or_default();
    let mut seen = HashSet::new();
    for endpoint in &proposal.asked.endpoints {
        let (host, port) = (endpoint.host.as_str(), endpoint.port);
        if !seen.insert((host, port)) {
            continue;
        }
        if !host.contains('*') {
            let refused = gateway.store.refused(proposal.sandbox.as_str(), host, port).await?;
            notes.push(match refused.newest {
                Some(newest) if refused.count == 1 => format!("{host}:{port} was refused once lately, by {newest}"),
                Some(newest) => format!("{host}:{port} was refused {} times lately, last by {newest}", refused.count),
                None => format!("{host}:{port} was not refused lately: nobody is known to have tried"),
            });
        }
        for (_, _, policy, opaque) in listed.iter().filter(|(h, p, ..)| h == host && *p == u64::from(port)) {
            let more = if *opaque { "; its bytes pass unjudged so far, and would be judged then" } else { "" };
            notes.push(format!("network_policies.{policy} lists {host}:{port} already{more}"));
        }
    }
    let others = content.chain.iter().filter(|binding| !is_rules(binding));
    notes.extend(others.map(|binding| format!("{} is bound as well, and may refuse it all the same", binding.name)));
    if !content.ceiling.is_empty() {
        notes.push("the gateway's ceiling may refuse it all the same".to_owned());
    }
    if content.observe {
        notes.push("the sandbox only observes; from then on its rules are enforced".to_owned());
    }
    Ok(notes)
}

/// A change of a sandbox's rules that is possible.
struct Change {
    edited: rules::Edited,
    /// The rules' settings as they will be.
    settings: serde_json::Value,
    /// What they take the place of.
    replaces: Option<Binding>,
}

fn change(proposal: &Proposal, content: &Content) -> ApiResult<Change> {
    let replaces = rules_of(content).cloned();
    if replaces.is_none() && !content.chain.is_empty() {
        let names: Vec<&str> = content.chain.iter().map(|binding| binding.name.as_str()).collect();
        let detail =
            format!("sandbox {} is judged by {}, not by the built-in rules", proposal.sandbox, names.join(", "));
        return Err(
            refuse(409, "not_rules", detail).hint("change that policy and push it, or reject the proposal and say why")
        );
    }
    let text = match &replaces {
        Some(binding) => Some(text_of(binding).ok_or_else(|| ApiError::internal("the rules hold no text"))?),
        None => None,
    };
    let tail = proposal.id.get(proposal.id.len().saturating_sub(8)..).unwrap_or(&proposal.id);
    let key = format!("proposal-{}", tail.to_ascii_lowercase());
    let binaries = programs(&proposal.asked, &proposal.asked_by);
    let edited = rules::add(text, &key, &proposal.asked, &binaries).map_err(|error| {
        refuse(409, "rules_not_editable", format!("{error}")).hint(format!(
            "set rules whose `network_policies` has a line for each policy, or add this by hand:\n{}",
            error.block
        ))
    })?;
    let mut settings = replaces.as_ref().map_or_else(|| serde_json::json!({}), |binding| binding.settings.clone());
    settings[YAML] = serde_json::Value::String(edited.text.clone());
    Ok(Change { edited, settings, replaces })
}

fn rules_of(content: &Content) -> Option<&Binding> {
    content.chain.iter().find(|binding| is_rules(binding))
}

/// Whether it binds the module that comes with this gateway, byte for byte: another one may read the same text otherwise.
fn is_rules(binding: &Binding) -> bool {
    openshell_bundle::builtin(RULES).is_some_and(|builtin| builtin.digest() == binding.module)
        && text_of(binding).is_some()
}

fn text_of(binding: &Binding) -> Option<&str> {
    binding.settings.get(YAML)?.as_str()
}

/// Makes a generation whose rules have what was asked for. Refuses what was decided, rules that changed since the effect was
/// shown, and dangers that are not accepted.
pub async fn approve(
    gateway: Arc<Gateway>,
    permit: Permit<Operate>,
    id: String,
    approve: Approve,
) -> ApiResult<PushReport> {
    let ProposalRow { proposal, .. } = found(&gateway, &id).await?;
    let sandbox = proposal.sandbox.to_string();
    let plan = Box::pin(push::Plan::of(&gateway, &sandbox)).await?;
    // Under the sandbox's lock: what was decided meanwhile shows.
    let ProposalRow { sandbox_id, proposal } = found(&gateway, &id).await?;
    undecided(&proposal)?;
    if plan.generation() != approve.generation {
        let detail = format!(
            "the policy of {sandbox} changed: it was shown for generation {}, and {} is the newest",
            approve.generation,
            plan.generation()
        );
        return Err(refuse(409, "policy_changed", detail).hint(format!("look again: `openshell proposal show {id}`")));
    }
    let change = change(&proposal, plan.content())?;
    let dangers = check::dangers(&proposal.asked, &programs(&proposal.asked, &proposal.asked_by));
    if !dangers.is_empty() && !approve.accept_dangers {
        return Err(refuse(422, "dangerous", format!("the proposal is dangerous: {}", dangers.join("; ")))
            .hint("reject it, or accept that in so many words: --accept-dangers"));
    }
    let report = plan.approve(&permit, &id, change.settings, change.replaces).await?;
    tell(&gateway, &sandbox_id, &id).await;
    Ok(report)
}

/// Refuses a proposal. The waiting agent reads why.
pub async fn reject(gateway: &Gateway, permit: &Permit<Operate>, id: &str, reject: Reject) -> ApiResult<Proposal> {
    let reason = reject.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| reason.len() > MAX_REASON) {
        return Err(refuse(422, "bad_reason", format!("a reason has at most {MAX_REASON} bytes")));
    }
    let ProposalRow { sandbox_id, proposal } = found(gateway, id).await?;
    if let Some(row) = gateway.store.sandbox(&sandbox_id).await? {
        permit.owns(&row)?;
    }
    undecided(&proposal)?;
    let change = permit.change(&proposal.sandbox).after(serde_json::json!({ "proposal": id, "reason": reason }));
    if !gateway.store.reject_proposal(id, reason, &change).await? {
        undecided(&found(gateway, id).await?.proposal)?;
    }
    tell(gateway, &sandbox_id, id).await;
    Ok(found(gateway, id).await?.proposal)
}

fn undecided(proposal: &Proposal) -> ApiResult<()> {
    let word = match proposal.state {
        ProposalState::Pending => return Ok(()),
        ProposalState::Approved => "approved",
        ProposalState::Rejected => "rejected",
    };
    Err(refuse(409, "already_decided", format!("proposal {} was {word} already", proposal.id)))
}

/// Wakes those who wait in the sandbox. One that is away asks when it is back.
async fn tell(gateway: &Gateway, sandbox_id: &str, id: &str) {
    if let Ok(Some(link)) = gateway.link(sandbox_id).await {
        let _ = link.send(ToSupervisor::ProposalDecided { id: id.to_owned() }).await;
    }
}
