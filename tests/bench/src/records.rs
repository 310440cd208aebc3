//! What keeping decision records costs the proxy.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::resource::{UsageWho, getrusage};
use openshell_api::decision::{Asked, DecisionRecord, ProcessRecord, Stage, Subject, Verdict, VoteRecord};
use openshell_proxy::record::{Record as _, Spool, SpoolOptions};

/// Records per tick.
const BURST: u32 = 100;

/// Records `rate` decisions a second for `seconds`, has them delivered as the link does, and prints the processor time.
pub async fn run(rate: u32, seconds: u64) -> Result<()> {
    // As the supervisor does.
    openshell_policy_host::allocator::map_what_is_large();
    let directory = tempfile::tempdir()?;
    let spool: Spool<DecisionRecord> = Spool::open(directory.path(), SpoolOptions::default())?;
    let (mut reader, gateway) = (spool.reader(), spool.clone());
    let delivery = tokio::spawn(async move {
        let mut bytes = 0;
        loop {
            reader.wait().await;
            let batch;
            (reader, batch) = reader.next().await?;
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
    // Making a record and freeing it is the decision's own work.
    let idle = decide(&records, rate, seconds, drop)?;
    let (before, began) = (spent()?, Instant::now());
    decide(&records, rate, seconds, |record| spool.record(&record))?;
    let bytes = delivery.await??;
    let (used, took) = (spent()?.saturating_sub(before), began.elapsed());
    let share = used.saturating_sub(idle).as_secs_f64() / took.as_secs_f64() * 100.0;
    println!("## Decision records\n");
    println!(
        "{rate} a second for {seconds} s, {} bytes each: written to disk and handed to the link. **{share:.1} %** of one \
         core more than making them; {} lost.\n",
        bytes as u64 / (u64::from(rate) * seconds),
        spool.stats().lost
    );
    Ok(())
}

/// Makes `rate` records a second for `seconds`, and does something with each. The processor time that it took.
fn decide(
    records: &[DecisionRecord],
    rate: u32,
    seconds: u64,
    mut each: impl FnMut(DecisionRecord),
) -> Result<Duration> {
    let (before, began) = (spent()?, Instant::now());
    let ticks = rate / BURST * u32::try_from(seconds)?;
    for tick in 1..=ticks {
        for record in records {
            each(record.clone());
        }
        let due = Duration::from_secs(seconds) * tick / ticks;
        // Not the runtime's timer: what asks is not counted.
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    Ok(spent()?.saturating_sub(before))
}

/// Processor time of this process so far, all threads together.
fn spent() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
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
