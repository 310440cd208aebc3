//! What a supervisor reports and waits to have stored: kept in order, then acknowledged.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use openshell_api::decision::DecisionRecord;
use openshell_api::inference::Sensitivity;
use openshell_api::link::{RecordsText, ToSupervisor};
use openshell_api::sandbox::{LogLine, Phase};
use tokio::sync::mpsc;

use super::{Link, reset};
use crate::gateway::Gateway;
use crate::store::{DecisionText, StoreError};

/// Longest name of a session that is kept.
const MAX_SESSION_NAME: usize = 512;

/// What is to be stored. A queue of its own: a push is not held up by the disk.
pub(super) enum Report {
    /// Whole messages, [`RecordsText`].
    Records(Vec<Utf8Bytes>),
    Logs {
        first: u64,
        lines: Vec<LogLine>,
    },
    Session {
        session: String,
        sensitivity: Sensitivity,
    },
    /// Its workload has ended or did not start: after every line of its log that precedes that.
    Ended {
        phase: Phase,
        exit_code: Option<i32>,
        failure: Option<String>,
    },
    /// Sessions are forgotten there, as this question asked.
    Reset {
        id: String,
    },
}

/// Most reports that are taken at once: messages of records among them share a transaction. A supervisor sends five of those at once where
/// it has thousands of records a second.
const AT_ONCE: usize = 8;

/// Why a report was not stored.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("it does not parse: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Between two attempts to store a report that the database did not take.
const AGAIN: Duration = Duration::from_secs(1);

/// Stores what is reported, in order. A database that takes nothing (a full disk) is asked again: the link goes on meanwhile,
/// for it carries commands too, and the supervisor sends no more than a window ahead. What does not parse ends the link.
pub(super) async fn keep(gateway: Arc<Gateway>, link: Arc<Link>, mut queue: mpsc::Receiver<Report>) {
    let mut waiting = Vec::with_capacity(AT_ONCE);
    while queue.recv_many(&mut waiting, AT_ONCE).await > 0 {
        for report in joined(waiting.drain(..)) {
            while let Err(error) = keep_one(&gateway, &link, &report).await {
                tracing::error!(sandbox = link.sandbox_id(), %error, "a supervisor's report could not be stored");
                if matches!(error, ReportError::Malformed(_)) {
                    link.close();
                    return;
                }
                tokio::select! {
                    () = link.closed.cancelled() => return,
                    () = tokio::time::sleep(AGAIN) => {}
                }
            }
        }
    }
}

/// Reports in their order, records that follow one another as one.
fn joined(reports: impl Iterator<Item = Report>) -> Vec<Report> {
    let mut joined = Vec::new();
    for report in reports {
        match (joined.last_mut(), report) {
            (Some(Report::Records(texts)), Report::Records(more)) => texts.extend(more),
            (_, report) => joined.push(report),
        }
    }
    joined
}

async fn keep_one(gateway: &Gateway, link: &Link, report: &Report) -> Result<(), ReportError> {
    match report {
        Report::Records(texts) => records(gateway, link, texts).await,
        Report::Logs { first, lines } => logs(gateway, link, *first, lines).await,
        Report::Session { session, sensitivity } if session.len() <= MAX_SESSION_NAME => {
            Ok(gateway.store.raise_session(link.sandbox_id(), session, *sensitivity).await?)
        }
        Report::Session { .. } => Ok(()),
        // Whoever ended the link says what the sandbox is now; a supervisor that lives says it again.
        Report::Ended { .. } if link.is_closed() => Ok(()),
        Report::Ended { phase, exit_code, failure } => {
            gateway.store.set_phase(link.sandbox_id(), *phase, *exit_code, failure.as_deref()).await?;
            gateway.changed.sandboxes();
            Ok(())
        }
        Report::Reset { id } => Ok(reset::done(gateway, link, id).await?),
    }
}

/// Keeps records as the text they came as: there may be thousands a second, and writing each anew would cost more than
/// all else. What precedes a message that does not parse is kept.
async fn records(gateway: &Gateway, link: &Link, texts: &[Utf8Bytes]) -> Result<(), ReportError> {
    let id = link.sandbox_id();
    let Some(row) = gateway.store.sandbox(id).await? else { return Ok(()) };
    let (mut kept, mut through, mut malformed) = (Vec::new(), None, None);
    for text in texts {
        match read(text, row.name.as_ref()) {
            Ok((records, last)) => {
                kept.extend(records);
                through = through.max(last);
            }
            Err(error) => {
                malformed = Some(error);
                break;
            }
        }
    }
    if let Some(through) = through {
        let used = gateway.store.put_decisions(id, &kept).await?;
        gateway.metrics.decided(kept.iter().map(|one| &one.record));
        gateway.changed.decisions();
        let _ = link.send(ToSupervisor::RecordsStored { through }).await;
        if used {
            // A supervisor that began anew learns so what its predecessor spent and had not delivered.
            let spent = gateway.store.spent(id, jiff::Timestamp::now()).await?;
            let _ = link.send(ToSupervisor::Spent { spent }).await;
        }
    }
    malformed.map_or(Ok(()), |error| Err(error.into()))
}

/// A message's records, and the number of the last one.
fn read<'a>(text: &'a str, sandbox: &str) -> Result<(Vec<DecisionText<'a>>, Option<u64>), serde_json::Error> {
    let RecordsText { first, records } = RecordsText::parse(text)?;
    let through = last(first, records.len());
    let kept = records.iter().map(|raw| own(raw.get(), sandbox).map(|(record, text)| DecisionText { record, text }));
    Ok((kept.collect::<Result<_, _>>()?, through))
}

/// A record and the line to keep. A supervisor speaks for its own sandbox alone, and a record is one line.
fn own<'a>(text: &'a str, sandbox: &str) -> Result<(DecisionRecord, Cow<'a, str>), serde_json::Error> {
    let mut record: DecisionRecord = serde_json::from_str(text)?;
    if record.sandbox == sandbox && memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_none() {
        return Ok((record, Cow::Borrowed(text)));
    }
    sandbox.clone_into(&mut record.sandbox);
    let text = serde_json::to_string(&record)?;
    Ok((record, Cow::Owned(text)))
}

async fn logs(gateway: &Gateway, link: &Link, first: u64, lines: &[LogLine]) -> Result<(), ReportError> {
    let Some(through) = last(first, lines.len()) else { return Ok(()) };
    gateway.store.put_logs(link.sandbox_id(), first, lines).await?;
    gateway.changed.logs();
    let _ = link.send(ToSupervisor::LogsStored { through }).await;
    Ok(())
}

/// Sequence number of the last of `count` items; none of them: none.
fn last(first: u64, count: usize) -> Option<u64> {
    first.checked_add((count as u64).checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use openshell_api::decision::{ProcessRecord, Stage, Subject};

    use super::*;

    #[test]
    fn a_record_is_kept_as_it_came_unless_it_speaks_for_another_or_is_no_line() {
        let subject = Subject { sandbox: "mine", process: ProcessRecord::default(), host: "a.test", port: 443 };
        let record = DecisionRecord::unanswered(subject, Stage::Connect, 1);
        let line = serde_json::to_string(&record).unwrap();
        let spread = serde_json::to_string_pretty(&record).unwrap();
        for (text, sandbox, same) in [(&line, "mine", true), (&line, "other", false), (&spread, "mine", false)] {
            let (parsed, kept) = own(text, sandbox).unwrap();
            assert_eq!(parsed.sandbox, sandbox);
            assert_eq!(kept == *text, same, "{kept}");
            assert!(!kept.contains('\n'));
            let read: DecisionRecord = serde_json::from_str(&kept).unwrap();
            assert_eq!((read.sandbox.as_str(), read.id), (sandbox, parsed.id));
        }
        assert!(own("{}", "mine").is_err());
        assert!(own(&line.replacen('{', r#"{"sandbox":"other","#, 1), "mine").is_err(), "a name said twice");
    }
}
