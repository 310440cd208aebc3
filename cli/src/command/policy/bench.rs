//! `openshell policy bench`: what one decision of this policy costs, three ways, in the real engine.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use openshell_policy_host::{Hook, Policy, View};
use serde::Serialize;

use super::push::settings;
use super::source;
use super::test::question::Question;
use super::test::seen::Seen;
use super::test::{CASES, cases};
use super::workbench::{Terms, Workbench};
use crate::args::policy::BenchArgs;
use crate::command::{Context, DONE};
use crate::error::Error;
use crate::output::{Table, facts, span};

/// Memory for remembered verdicts, as in a sandbox.
const MEMO_BYTES: u64 = 4 << 20;
/// Questions that one instance answers where it is reused.
const REUSE: u32 = 1_000_000;

/// One way of asking.
#[derive(Debug, Serialize)]
struct Row {
    instance: &'static str,
    p50_ns: u64,
    p99_ns: u64,
    decisions: u32,
}

#[derive(Debug, Serialize)]
struct Bench {
    policy: String,
    question: String,
    answer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    rows: Vec<Row>,
}

/// Asks one question thousands of times: by a fresh instance each, by a reused one, and remembered.
pub async fn run(cx: &Context, args: BenchArgs) -> Result<u8, Error> {
    let given = args.settings.as_deref().map(settings).transpose()?;
    let (line, from_file) = question(&args)?;
    let settings = given.or(from_file).unwrap_or_default();
    let asked = Question::parse(&line).map_err(|reason| Error::Cases { path: args.source.clone(), reason })?;
    let component = source::component(cx.out, &args.source).await?;
    super::inspect::check(&args.source, &component.bytes)?;
    let _progress = cx.out.progress("measuring");
    let task = tokio::task::spawn_blocking(move || {
        measure(&component.name, &component.bytes, &settings, &asked, line, args.decisions)
    });
    let bench = task.await.map_err(|e| Error::Io { doing: "measure".into(), source: e.into() })??;
    cx.out.data(&bench, || text(&bench))?;
    Ok(DONE)
}

/// The question asked for, else the first one of the crate's cases, and the settings it is asked with.
fn question(args: &BenchArgs) -> Result<(String, Option<serde_json::Value>), Error> {
    if let Some(line) = &args.ask {
        return Ok((line.clone(), None));
    }
    let file = if args.source.is_dir() { args.source.join(CASES) } else { Path::new(CASES).to_owned() };
    let text = std::fs::read_to_string(&file).map_err(|_| Error::NoCases { path: args.source.clone() })?;
    let parsed = cases::parse(&text).map_err(|reason| Error::Cases { path: file.clone(), reason })?;
    for case in parsed.cases {
        if let Some(ask) = case.value.ask {
            return Ok((ask.value, Some(case.value.settings.unwrap_or(parsed.settings))));
        }
    }
    Err(Error::NoCases { path: args.source.clone() })
}

fn measure(
    name: &str,
    component: &[u8],
    settings: &serde_json::Value,
    asked: &Question,
    line: String,
    decisions: u32,
) -> Result<Bench, Error> {
    let workbench = Workbench::new()?;
    let baked = workbench.bake(component, name, settings)?;
    let load = |reuse, memo_bytes| workbench.load(&baked, &Terms { reuse, memo_bytes, ..Terms::default() });
    let fresh = load(0, 0)?;
    let answer = match ask(&fresh, asked) {
        Some(Ok(verdict)) => verdict,
        Some(Err(failure)) => return Err(Error::Workbench { reason: failure }),
        None => return Err(Error::NoHookFor { question: line }),
    };
    let mut rows = vec![
        Row::of("fresh", decisions, 1, || ask(&fresh, asked)),
        Row::of("reused", decisions, 10, {
            let reused = load(REUSE, 0)?;
            move || ask(&reused, asked)
        }),
    ];
    let pure = baked.manifest().pure_verdicts;
    if pure {
        let memoized = load(0, MEMO_BYTES)?;
        rows.push(Row::of("memoized", decisions, 100, || ask(&memoized, asked)));
    }
    let note = (!pure).then_some("it counts or tells the time, so its verdicts are never remembered");
    Ok(Bench { policy: name.to_owned(), question: line, answer, note, rows })
}

/// The answer; `None`: the policy has no hook for the question.
fn ask(policy: &Policy, question: &Question) -> Option<Result<String, String>> {
    let view: Arc<dyn View> = Arc::new(Seen { body: Some(Bytes::new()), ..Seen::default() });
    let answer = match &question.request {
        Some(request) if policy.has(Hook::Request) => policy.request(&question.connection, request, &view),
        _ if policy.has(Hook::Connect) => policy.connect(&question.connection, &view),
        _ => return None,
    };
    let shown = |verdict| match verdict {
        openshell_policy_host::Verdict::Abstain => "abstain".to_owned(),
        openshell_policy_host::Verdict::Allow(grant) => format!("allow {}", grant.rule),
        openshell_policy_host::Verdict::Deny(denial) => format!("deny {}", denial.rule),
    };
    Some(answer.result.map(shown).map_err(|failure| failure.to_string()))
}

impl Row {
    /// Times `decisions` calls in batches of `batch`; each sample is a batch's mean per call.
    fn of<T>(instance: &'static str, decisions: u32, batch: u32, call: impl Fn() -> T) -> Self {
        for _ in 0..batch {
            std::hint::black_box(call());
        }
        let mut samples: Vec<u64> = (0..decisions.div_ceil(batch))
            .map(|_| {
                let start = Instant::now();
                for _ in 0..batch {
                    std::hint::black_box(call());
                }
                u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX) / u64::from(batch)
            })
            .collect();
        samples.sort_unstable();
        let at = |share: usize| samples.get(samples.len() * share / 100).copied().unwrap_or_default();
        Self { instance, p50_ns: at(50), p99_ns: at(99), decisions }
    }
}

fn text(bench: &Bench) -> String {
    let mut pairs =
        vec![("policy", bench.policy.clone()), ("question", bench.question.clone()), ("answer", bench.answer.clone())];
    pairs.extend(bench.note.map(|note| ("note", note.to_owned())));
    let mut table = Table::new(["INSTANCE", "P50", "P99", "DECISIONS"]);
    for row in &bench.rows {
        table.row([row.instance.into(), span(row.p50_ns), span(row.p99_ns), row.decisions.to_string()]);
    }
    format!("{}{}", facts(&pairs), table.render())
}
