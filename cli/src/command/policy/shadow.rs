//! `openshell policy shadow-report` and `promote`: policies that are asked and not obeyed.

use openshell_api::shadow::{Promote, ShadowReport};

use super::replay::tally::flip_table;
use crate::args::policy::PromoteArgs;
use crate::args::sandbox::NameArg;
use crate::command::{Context, DONE};
use crate::error::Error;
use crate::output::{age, facts, short_digest, span};

/// Most groups of flips that are shown.
const SHOWN: usize = 50;

/// What each shadow of a sandbox would have changed.
pub async fn report(cx: &Context, args: &NameArg) -> Result<u8, Error> {
    let reports = cx.client().await?.shadows(&args.name).await?;
    cx.out.data(&reports, || {
        if reports.is_empty() {
            return "no shadows: bind one with `openshell policy push --shadow`".into();
        }
        reports.iter().map(text).collect::<Vec<_>>().join("\n")
    })?;
    Ok(DONE)
}

/// Obeys a shadow from now on, if it would have changed little enough; or throws it away.
pub async fn promote(cx: &Context, args: PromoteArgs) -> Result<u8, Error> {
    let Some(name) = args.name else {
        return super::canary::promote(cx, &args.canary.unwrap_or_default(), args.min_decisions).await;
    };
    let client = cx.client().await?;
    let body = Promote {
        binding: args.binding,
        max_flips: args.max_flips,
        min_decisions: args.min_decisions,
        discard: args.discard,
    };
    let progress = cx.out.progress(format!("staging and activating on {name}"));
    let report = client.promote(&name, &body).await?;
    drop(progress);
    super::show_report(cx, &report)
}

fn text(report: &ShadowReport) -> String {
    let mut text = facts(&[
        ("shadow", format!("{} ({} {})", report.binding, report.policy, short_digest(&report.digest))),
        ("bound", format!("{} ago", age(report.since, jiff::Timestamp::now()))),
        ("asked", report.asked.to_string()),
        ("flips", report.flips.to_string()),
        ("no answer", report.failures.to_string()),
        ("took", format!("{} (p99 {})", span(report.p50_ns), span(report.p99_ns))),
    ]);
    for (reason, count) in &report.reasons {
        text.push_str(&format!("no answer: {count} × {reason}\n"));
    }
    if !report.groups.is_empty() {
        text.push_str(&flip_table(&report.groups, SHOWN));
    }
    text
}
