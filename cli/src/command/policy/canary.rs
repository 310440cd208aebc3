//! `openshell policy status`, and `--canary` of `promote` and `rollback`: policies that a few sandboxes have first.

use openshell_api::rollout::{PromoteRollout, RolloutReport, RolloutState};

use crate::client::Client;
use crate::command::{Context, DONE};
use crate::error::Error;
use crate::output::{Table, age, list, word};

/// Shows rollouts and what their canaries' records say.
pub async fn status(cx: &Context) -> Result<u8, Error> {
    let reports = cx.client().await?.rollouts().await?;
    cx.out.data(&reports, || text(&reports))?;
    Ok(DONE)
}

fn text(reports: &[RolloutReport]) -> String {
    let now = jiff::Timestamp::now();
    let mut table = Table::new([
        "ROLLOUT",
        "POLICY",
        "STATE",
        "AGE",
        "LABELS",
        "CANARIES",
        "WAITING",
        "ASKED",
        "DENIED",
        "NO ANSWER",
    ]);
    let mut reasons = String::new();
    for report in reports {
        let rollout = &report.rollout;
        let labels: Vec<String> = rollout.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let canaries: Vec<String> = rollout.canaries.iter().map(|canary| canary.sandbox.to_string()).collect();
        table.row([
            rollout.id.clone(),
            format!("{}@{}", rollout.binding.name, rollout.binding.version),
            word(&rollout.state).replace('_', " "),
            age(rollout.created_at, now),
            list(&labels),
            list(&canaries),
            report.waiting.to_string(),
            report.asked.to_string(),
            report.denied.to_string(),
            report.failures.to_string(),
        ]);
        if let Some(reason) = &rollout.reason {
            reasons.push_str(&format!("{} was taken back: {}\n", rollout.id, crate::output::printable(reason)));
        }
    }
    table.render_or("no rollouts: begin one with `openshell policy push --canary`") + &reasons
}

/// What `policy list` says of rollouts that a sandbox takes part in.
pub async fn notes(client: &Client, sandbox: &str) -> Result<String, Error> {
    let reports = client.rollouts().await?;
    let running = reports.iter().map(|report| &report.rollout).filter(|rollout| {
        rollout.state == RolloutState::Running
            && rollout.canaries.iter().any(|canary| canary.sandbox.as_str() == sandbox)
    });
    Ok(running.map(|rollout| format!("{} is on trial here: rollout {}\n", rollout.binding.name, rollout.id)).collect())
}

/// The id of a rollout that is given by id, or as the name of a binding that is on its way.
async fn id(client: &Client, given: &str) -> Result<String, Error> {
    let reports = client.rollouts().await?;
    let running = |report: &&RolloutReport| {
        report.rollout.state == RolloutState::Running && report.rollout.binding.name.as_str() == given
    };
    let found = reports.iter().find(running);
    Ok(found.map_or_else(|| given.to_owned(), |report| report.rollout.id.clone()))
}

/// Goes on to every sandbox that the rollout's labels select.
pub async fn promote(cx: &Context, given: &str, min_decisions: u64) -> Result<u8, Error> {
    let client = cx.client().await?;
    let id = id(&client, given).await?;
    let progress = cx.out.progress("staging and activating on the other sandboxes");
    let report = client.promote_rollout(&id, &PromoteRollout { min_decisions }).await?;
    drop(progress);
    super::show_report(cx, &report)
}

/// Takes it back from the canaries.
pub async fn rollback(cx: &Context, given: &str) -> Result<u8, Error> {
    let client = cx.client().await?;
    let id = id(&client, given).await?;
    let progress = cx.out.progress("taking it back");
    let rollout = client.roll_back_rollout(&id).await?;
    drop(progress);
    cx.out.data(&rollout, || {
        let canaries: Vec<String> = rollout.canaries.iter().map(|canary| canary.sandbox.to_string()).collect();
        format!("{} was taken back from {}\n", rollout.binding.name, list(&canaries))
    })?;
    Ok(DONE)
}
