//! What a monitor is told, in Prometheus's text format: what supervisors' records said since the gateway started, and how things
//! stand. The number of series is bounded, whatever records say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use openshell_api::decision::{DecisionRecord, Stage, Verdict};
use openshell_api::export::ExportState;
use openshell_api::runtime::RuntimeHealth;
use openshell_api::sandbox::Phase;
use openshell_api::word;

use crate::error::ApiResult;
use crate::gateway::Gateway;

/// Label values that are told apart, per metric; what is beyond counts as `other`.
const MOST_VALUES: usize = 200;
/// Upper bounds of the buckets of decision times, in seconds.
const BOUNDS: [f64; 8] = [0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05];
/// Millionths of a millionth of a dollar in a dollar.
const COST_UNITS: f64 = 1e12;

type Metric<T> = (&'static str, &'static str, &'static str, fn(&T) -> u64);

/// What is said of every export.
const EXPORTS: [Metric<ExportState>; 5] = [
    ("openshell_export_delivered_total", "counter", "Decisions that an export's other side acknowledged.", |s| {
        s.delivered
    }),
    ("openshell_export_refused_total", "counter", "Decisions that an export's other side refused for good.", |s| {
        s.refused
    }),
    ("openshell_export_lost_total", "counter", "Decisions that were cut back before they could be delivered.", |s| {
        s.lost
    }),
    ("openshell_export_waiting", "gauge", "Decisions that wait to be delivered.", |s| s.waiting),
    ("openshell_export_failing", "gauge", "Whether the last attempt failed.", |s| u64::from(s.problem.is_some())),
];

#[derive(Default)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum_s: f64,
}

#[derive(Default)]
struct Counts {
    /// By stage, verdict and error; without a stage, those of errors that are too many.
    decisions: BTreeMap<(Option<Stage>, &'static str, String), u64>,
    /// By policy.
    latency: BTreeMap<String, Histogram>,
    /// By backend and sensitivity: requests and cost.
    routed: BTreeMap<(String, String), (u64, u64)>,
    refused: BTreeMap<&'static str, u64>,
}

impl Counts {
    fn decided(&mut self, record: &DecisionRecord) {
        let verdict = if record.verdict == Verdict::Allow { "allow" } else { "deny" };
        let key = (Some(record.stage), verdict, record.error.clone().unwrap_or_default());
        *bounded(&mut self.decisions, key, || (None, verdict, "other".to_owned())) += 1;
        if let Some(policy) = record.policy.as_ref().filter(|_| !record.memoized) {
            let seconds = record.decision_ns as f64 / 1e9;
            let histogram = bounded(&mut self.latency, policy.clone(), || "other".to_owned());
            histogram.count += 1;
            histogram.sum_s += seconds;
            for (bucket, bound) in histogram.buckets.iter_mut().zip(BOUNDS) {
                *bucket += u64::from(seconds <= bound);
            }
        }
        if let Some(route) = &record.route {
            let backend = route.backend.clone().unwrap_or_else(|| "none".to_owned());
            let cost = route.charged.map_or(0, |charge| charge.cost);
            let other = || ("other".to_owned(), "other".to_owned());
            let routed = bounded(&mut self.routed, (backend, word(&route.sensitivity)), other);
            routed.0 += 1;
            routed.1 = routed.1.saturating_add(cost);
        }
    }
}

/// Counts since the gateway started.
#[derive(Default)]
pub struct Metrics(Mutex<Counts>);

impl Metrics {
    /// Counts records that a supervisor delivered. One that is delivered twice counts twice.
    pub fn decided<'a>(&self, records: impl IntoIterator<Item = &'a DecisionRecord>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.into_iter().for_each(|record| counts.decided(record));
    }

    /// Counts a call that was refused at the door.
    pub fn refused(&self, why: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).refused.entry(why).or_default() += 1;
    }
}

fn bounded<K: Ord, V: Default>(map: &mut BTreeMap<K, V>, key: K, other: impl FnOnce() -> K) -> &mut V {
    let key = if map.len() < MOST_VALUES || map.contains_key(&key) { key } else { other() };
    map.entry(key).or_default()
}

/// Everything, as text.
pub async fn render(gateway: &Gateway) -> ApiResult<String> {
    let mut text = Text::default();
    counted(&gateway.metrics, &mut text);
    standing(gateway, &mut text).await?;
    Ok(text.0)
}

fn counted(metrics: &Metrics, text: &mut Text) {
    let counts = metrics.0.lock().unwrap_or_else(PoisonError::into_inner);
    text.head("openshell_decisions_total", "counter", "Decisions that supervisors reported.");
    for ((stage, verdict, error), count) in &counts.decisions {
        let stage = stage.as_ref().map(word).unwrap_or_default();
        text.line("openshell_decisions_total", &[("stage", &stage), ("verdict", verdict), ("error", error)], *count);
    }
    let name = "openshell_policy_decision_seconds";
    text.head(name, "histogram", "Time of decisions that were not remembered ones, by the policy that answered.");
    for (policy, histogram) in &counts.latency {
        for (bucket, bound) in histogram.buckets.iter().zip(BOUNDS) {
            text.line(&format!("{name}_bucket"), &[("policy", policy), ("le", &bound.to_string())], *bucket);
        }
        text.line(&format!("{name}_bucket"), &[("policy", policy), ("le", "+Inf")], histogram.count);
        text.line(&format!("{name}_sum"), &[("policy", policy)], histogram.sum_s);
        text.line(&format!("{name}_count"), &[("policy", policy)], histogram.count);
    }
    text.head(
        "openshell_inference_requests_total",
        "counter",
        "Inference requests, by where they went and what they held.",
    );
    for ((backend, sensitivity), (count, _)) in &counts.routed {
        let labels = [("backend", backend.as_str()), ("sensitivity", sensitivity)];
        text.line("openshell_inference_requests_total", &labels, *count);
    }
    text.head("openshell_inference_cost_dollars_total", "counter", "What inference cost.");
    for ((backend, sensitivity), (_, cost)) in &counts.routed {
        let labels = [("backend", backend.as_str()), ("sensitivity", sensitivity)];
        text.line("openshell_inference_cost_dollars_total", &labels, *cost as f64 / COST_UNITS);
    }
    text.head("openshell_calls_refused_total", "counter", "Calls that were refused before anything was done.");
    for (why, count) in &counts.refused {
        text.line("openshell_calls_refused_total", &[("why", why)], *count);
    }
}

async fn exporting(gateway: &Gateway, text: &mut Text) -> ApiResult<()> {
    let exports = gateway.store.exports().await?;
    for (name, kind, help, value) in EXPORTS {
        text.head(name, kind, help);
        for state in &exports {
            text.line(name, &[("export", state.export.name.as_str())], value(state));
        }
    }
    Ok(())
}

async fn standing(gateway: &Gateway, text: &mut Text) -> ApiResult<()> {
    let rows = gateway.store.sandboxes().await?;
    let mut phases: BTreeMap<String, u64> = BTreeMap::new();
    let mut generations: BTreeMap<&str, u64> = BTreeMap::from([("enforced", 0), ("behind", 0)]);
    let mut budgets = Vec::new();
    let now = jiff::Timestamp::now();
    for row in &rows {
        let phase = if gateway.is_lost(row) { Phase::Lost } else { row.phase };
        *phases.entry(word(&phase)).or_default() += 1;
        let Some(newest) = gateway.store.newest_generation(&row.id).await? else { continue };
        *generations.entry(if newest.number == row.generation { "enforced" } else { "behind" }).or_default() += 1;
        if newest.content.inference.budgets.is_empty() {
            continue;
        }
        let spent = gateway.store.spent(&row.id, now).await?;
        for budget in &newest.content.inference.budgets {
            let Some(limit) = budget.cost else { continue };
            let backend = budget.backend.as_ref().map(|name| name.as_str());
            let used = spent.iter().find(|spent| spent.period == budget.period && spent.backend.as_deref() == backend);
            let used = used.map_or(0, |spent| spent.cost);
            budgets.push((
                row.name.to_string(),
                word(&budget.period),
                backend.unwrap_or_default().to_owned(),
                used,
                limit,
            ));
        }
    }
    exporting(gateway, text).await?;
    if let Some(bucket) = gateway.modules.homes().bucket() {
        text.head(
            "openshell_modules_bucket_failing",
            "gauge",
            "Whether the bucket with modules was of no use when asked last.",
        );
        text.line("openshell_modules_bucket_failing", &[], u64::from(bucket.trouble().is_some()));
        text.head(
            "openshell_modules_bucket_left",
            "gauge",
            "Objects that no module names, and that are still to be removed.",
        );
        text.line("openshell_modules_bucket_left", &[], gateway.store.count_left(&bucket.place()).await?);
    }
    text.head("openshell_sandboxes", "gauge", "Sandboxes, by what they are doing.");
    for (phase, count) in &phases {
        text.line("openshell_sandboxes", &[("phase", phase)], *count);
    }
    text.head("openshell_runtime_answers", "gauge", "Whether a runtime answers.");
    for runtime in gateway.runtime.states(&rows) {
        let answers = u64::from(runtime.health == RuntimeHealth::Answers);
        text.line("openshell_runtime_answers", &[("runtime", runtime.name.as_str())], answers);
    }
    text.head("openshell_sandboxes_connected", "gauge", "Sandboxes whose supervisor is connected.");
    text.line("openshell_sandboxes_connected", &[], gateway.count_links().await?);
    text.head(
        "openshell_generations",
        "gauge",
        "Newest generations of sandboxes, by whether they are known to be enforced.",
    );
    for (state, count) in &generations {
        text.line("openshell_generations", &[("state", state)], *count);
    }
    text.head("openshell_budget_spent_dollars", "gauge", "What is spent of a sandbox's budget in the window of now.");
    for (sandbox, period, backend, used, _) in &budgets {
        let labels = [("sandbox", sandbox.as_str()), ("period", period), ("backend", backend)];
        text.line("openshell_budget_spent_dollars", &labels, *used as f64 / COST_UNITS);
    }
    text.head("openshell_budget_limit_dollars", "gauge", "A sandbox's budget.");
    for (sandbox, period, backend, _, limit) in &budgets {
        let labels = [("sandbox", sandbox.as_str()), ("period", period), ("backend", backend)];
        text.line("openshell_budget_limit_dollars", &labels, *limit as f64 / 1e6);
    }
    text.head("openshell_audit_entries", "gauge", "Entries of the audit trail.");
    text.line("openshell_audit_entries", &[], gateway.store.audit_head().await?.seq);
    text.head("openshell_uptime_seconds", "gauge", "Time since the gateway started.");
    text.line("openshell_uptime_seconds", &[], gateway.started.elapsed().as_secs());
    Ok(())
}

/// Lines of the text format, version 0.0.4.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(policy: &str, error: Option<&str>, decision_ns: u64) -> DecisionRecord {
        let verdict = if error.is_some() { "deny" } else { "allow" };
        serde_json::from_value(serde_json::json!({
            "id": "1", "at": "2026-01-01T00:00:00Z", "sandbox": "a", "generation": 1, "stage": "request",
            "process": { "executable": "/bin/x", "digest": "", "pid": 1 }, "host": "h", "port": 1,
            "verdict": verdict, "error": error, "policy": policy, "decision_ns": decision_ns, "memoized": false
        }))
        .unwrap()
    }

    #[test]
    fn records_are_counted_and_series_bounded() {
        let metrics = Metrics::default();
        metrics.decided([&record("rules@1", None, 20_000)]);
        metrics.decided([&record("rules@1", Some("policy_denied"), 2_000_000)]);
        for n in 0..1000 {
            metrics.decided([&record(&format!("p\"{n}"), Some(&format!("e{n}")), 1)]);
        }
        let mut text = Text::default();
        counted(&metrics, &mut text);
        for line in [
            r#"openshell_decisions_total{stage="request",verdict="allow",error=""} 1"#,
            r#"openshell_decisions_total{stage="request",verdict="deny",error="policy_denied"} 1"#,
            r#"openshell_policy_decision_seconds_bucket{policy="rules@1",le="0.00001"} 0"#,
            r#"openshell_policy_decision_seconds_bucket{policy="rules@1",le="0.00005"} 1"#,
            r#"openshell_policy_decision_seconds_bucket{policy="rules@1",le="0.005"} 2"#,
            r#"openshell_policy_decision_seconds_count{policy="rules@1"} 2"#,
            r#"openshell_policy_decision_seconds_count{policy="p\"0"} 1"#,
        ] {
            assert!(text.0.lines().any(|found| found == line), "{line} in\n{}", text.0);
        }
        assert!(text.0.lines().count() < MOST_VALUES * (BOUNDS.len() + 5), "{}", text.0.lines().count());
    }
}
