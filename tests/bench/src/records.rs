//! What keeping decision records costs the proxy.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::resource::{UsageWho, getrusage};
use openshell_api::decision::{Asked, DecisionRecord, ProcessRecord, Stage, Subject, Verdict, VoteRecord};
use openshell_proxy::record::{Record as _, Spool, SpoolOptions};

/// Records per tick.
const BURST: u32 = 100;
/// Records that are made before they are recorded: few, as a decision finds its own in the processor's cache.
const MADE: usize = 10;

/// Records `rate` decisions a second for `seconds`, has them delivered as the link does, and prints the processor time.
pub async fn run(rate: u32, seconds: u64) -> Result<()> {
    // As the supervisor does.
    openshell_proxy::allocator::map_what_is_large();
    let directory = tempfile::tempdir()?;
    let spool: Spool<DecisionRecord> = Spool::open(directory.path(), SpoolOptions::default())?;
    let (mut reader, gateway) = (spool.reader(), spool.clone());
    let delivery = tokio::spawn(async move {
        let mut bytes = 0;
        loop {
            reader.wait().await;
            let mut batch = Ok(reader.fresh());
            if let Ok(None) = batch {
                let read = tokio::task::spawn_blocking(move || {
                    let batch = reader.read();
                    (reader, batch)
                });
                (reader, batch) = read.await?;
            }
            if let Some(batch) = batch? {
                bytes += batch.json.len();
                gateway.stored(batch.first + batch.count - 1);
                if batch.first + batch.count > u64::from(rate) * seconds {
                    return Ok::<_, anyhow::Error>(bytes);
                }
            }
        }
    });
    let records: Vec<DecisionRecord> = (0..BURST).map(record).collect();
    let (before, began) = (spent(UsageWho::RUSAGE_SELF)?, Instant::now());
    let mut making = Duration::ZERO;
    let ticks = rate / BURST * u32::try_from(seconds)?;
    for tick in 1..=ticks {
        // Making the record is the decision's own work, and not counted here; freeing it is.
        for records in records.chunks(MADE) {
            let start = spent(UsageWho::RUSAGE_THREAD)?;
            let made = records.to_vec();
            making += spent(UsageWho::RUSAGE_THREAD)?.saturating_sub(start);
            for record in made {
                spool.record(record);
            }
        }
        let due = Duration::from_secs(seconds) * tick / ticks;
        // Not the runtime's timer: what asks is not counted.
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    let bytes = delivery.await??;
    let used = spent(UsageWho::RUSAGE_SELF)?.saturating_sub(before).saturating_sub(making);
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    println!("## Decision records\n");
    println!(
        "{rate} a second for {seconds} s, {} bytes each: written to disk and handed to the link. **{share:.1} %** of one \
         core; {} lost.\n",
        bytes as u64 / (u64::from(rate) * seconds),
        spool.stats().lost
    );
    Ok(())
}

/// Processor time of this process (all threads together) or of this thread so far.
fn spent(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who)?;
    let of = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default())
    };
    Ok(of(usage.user_time()) + of(usage.system_time()))
}

fn record(number: u32) -> DecisionRecord {
    let process =
        ProcessRecord { executable: "/usr/bin/curl".into(), digest: "0".repeat(64), script: None, pid: number };
    let subject = Subject { sandbox: "bench", process, host: "api.github.com", port: 443 };
    let vote = VoteRecord {
        binding: "rules".into(),
        ceiling: false,
        policy: "rules@0.1.0".into(),
        digest: format!("sha256:{}", "0".repeat(64)),
        answer: openshell_api::decision::AnswerKind::Allow,
        rule: Some("github".into()),
        reason: None,
        hint: None,
        credential: None,
        audit: None,
        read: vec!["header content-type".into()],
    };
    DecisionRecord {
        verdict: Verdict::Allow,
        method: Some("GET".into()),
        path: Some(format!("/repos/a/b/issues/{number}")),
        status: Some(200),
        policy: Some("rules@0.1.0".into()),
        digest: Some(vote.digest.clone()),
        rule: Some("github".into()),
        asked: Some(Asked {
            capture: "transparent".into(),
            scheme: Some("https".into()),
            query: Some("page=2".into()),
            headers: vec![("accept".into(), "*/*".into()), ("user-agent".into(), "curl/8.5.0".into())],
            body_bytes: Some(0),
            ancestors: None,
            withheld: vec![],
        }),
        votes: vec![vote],
        ..DecisionRecord::unanswered(subject, Stage::Request, 3)
    }
}
