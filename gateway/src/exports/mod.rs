//! Sends decisions to where operators want them, as they come: at least once, in the order in which they were stored.
//!
//! Each export remembers the last decision that it need not send any more, and moves on only when the other side has acknowledged what
//! follows. While that fails it tries again, ever more slowly, and what waits is kept. Of several gateways the one that does the
//! housekeeping exports.

mod format;
mod send;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openshell_api::Name;
use openshell_api::decision::DecisionRecord;
use openshell_api::export::{Export, ExportFormat};
use openshell_api::provider::Attach;
use tokio::task::JoinSet;

use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::store::{Exporting, Numbered, Progress};
use crate::upstream;
use send::{Failure, Sender};

/// Longest time until something is exported that another gateway stored.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two attempts after the first that fails; twice as long after each further one.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest time between two attempts.
const AGAIN_MOST: Duration = Duration::from_secs(60);

/// Refuses an export that can't work: an address that others can read along, a credential that can't be sent there.
pub async fn check(gateway: &Gateway, export: &Export) -> ApiResult<()> {
    upstream::check_private(&export.url, "decisions travel encrypted, or stay on the gateway's machine")?;
    if let Some(name) = &export.provider {
        let known = gateway.store.provider(name.as_str()).await?;
        let rule = known.ok_or_else(|| refuse(422, "provider_not_found", format!("there is no provider {name}")))?.rule;
        if matches!(rule.attach, Attach::Query { .. } | Attach::Sigv4 { .. }) {
            return Err(refuse(422, "bad_provider", format!("provider {name} is not attached to a header"))
                .hint("one that was created with `--bearer`, `--basic` or `--header` can be sent along"));
        }
        if !send::is_bound(&rule, &export.url) {
            return Err(refuse(422, "bad_provider", format!("provider {name} is not bound to {:?}", export.url))
                .hint("a credential goes nowhere else than to the hosts and paths it is bound to"));
        }
    }
    Ok(())
}

/// When an export that failed is tried again.
struct Pause {
    until: Instant,
    length: Duration,
}

/// Exports until the gateway stops.
pub async fn run(gateway: Arc<Gateway>) {
    let mut decided = gateway.changed.follow_decisions();
    let mut running: JoinSet<(Name, Result<(), Failure>)> = JoinSet::new();
    let mut busy: BTreeSet<Name> = BTreeSet::new();
    let mut paused: HashMap<Name, Pause> = HashMap::new();
    loop {
        tokio::select! {
            () = gateway.stopping.cancelled() => return,
            Ok(()) = decided.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            Some(ended) = running.join_next() => {
                // A task that panicked has no name to be freed under: nothing here panics.
                let Ok((name, ended)) = ended else { continue };
                busy.remove(&name);
                match ended {
                    Ok(()) => drop(paused.remove(&name)),
                    Err(failure) => {
                        let before = paused.get(&name).map_or(AGAIN / 2, |pause| pause.length);
                        let length = failure.again.unwrap_or(before * 2).min(AGAIN_MOST);
                        tracing::warn!(export = %name, problem = failure.problem, again_in = ?length, "decisions were not delivered");
                        paused.insert(name, Pause { until: Instant::now() + length, length });
                    }
                }
            }
        }
        if !gateway.leads() {
            continue;
        }
        let due = match gateway.store.due_exports().await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "exports could not be looked up");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        paused.retain(|name, _| busy.contains(name) || due.iter().any(|one| one.export.name == *name));
        for one in due {
            let name = one.export.name.clone();
            let waits = paused.get(&name).is_some_and(|pause| pause.until > Instant::now());
            if !waits && busy.insert(name.clone()) {
                let gateway = gateway.clone();
                running.spawn(async move { (name, drain(&gateway, one).await) });
            }
        }
    }
}

/// Delivers all that waits.
async fn drain(gateway: &Gateway, mut exporting: Exporting) -> Result<(), Failure> {
    let drained = deliver(gateway, &mut exporting).await;
    if let Err(failure) = &drained
        && exporting.problem.as_ref() != Some(&failure.problem)
        && let Err(error) = gateway.store.export_failed(&exporting.export.name, &failure.problem).await
    {
        tracing::warn!(%error, "that an export failed could not be noted");
    }
    drained
}

async fn deliver(gateway: &Gateway, exporting: &mut Exporting) -> Result<(), Failure> {
    let sender = Sender::new(gateway, &exporting.export).await?;
    loop {
        let batch = gateway.store.decisions_after(None, exporting.position).await.map_err(ApiError::from)?;
        let Some(last) = batch.last().map(|record| record.seq) else { return Ok(()) };
        let came = send_all(&sender, &exporting.export, &gateway.id, &batch).await?;
        if !gateway.store.move_export(exporting, last, came).await.map_err(ApiError::from)? {
            // Changed, removed, or moved on by another gateway.
            return Ok(());
        }
        (exporting.position, exporting.problem) = (last, None);
    }
}

/// Sends what the export is about. A message that is refused for what is in it is cut in halves, down to the record that it is.
async fn send_all(
    sender: &Sender,
    export: &Export,
    gateway: &str,
    batch: &[Numbered<DecisionRecord>],
) -> Result<Progress, Failure> {
    let meant = |record: &&DecisionRecord| {
        export.only.is_none_or(|verdict| record.verdict == verdict) && says(export.format, record)
    };
    let records: Vec<&DecisionRecord> = batch.iter().map(|record| &record.item).filter(meant).collect();
    let mut came = Progress::default();
    let mut waiting = vec![records.as_slice()];
    while let Some(part) = waiting.pop() {
        if part.is_empty() {
            continue;
        }
        let message = format::message(export.format, gateway, part);
        match sender.send(message).await {
            Ok(()) => came.delivered += part.len() as u64,
            Err(failure) if !failure.of_content => return Err(failure),
            Err(failure) if part.len() == 1 => {
                tracing::warn!(export = %export.name, decision = part[0].id, problem = failure.problem, "a decision was refused");
                came.refused += 1;
            }
            Err(_) => {
                let (first, second) = part.split_at(part.len() / 2);
                waiting.extend([second, first]);
            }
        }
    }
    Ok(came)
}

/// Whether a format has something to say of a record: a span is of a request.
fn says(format: ExportFormat, record: &DecisionRecord) -> bool {
    format != ExportFormat::OtlpTraces || record.method.is_some()
}
