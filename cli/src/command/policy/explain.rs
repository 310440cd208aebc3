//! `openshell policy explain`: why a decision came out as it did, and how it would come out otherwise.

use openshell_api::decision::{AnswerKind, DecisionRecord, Stage, Verdict, VoteRecord};
use serde::Serialize;

use super::suggest::rules::{self, Style};
use super::suggest::seen::Seen;
use crate::args::policy::ExplainArgs;
use crate::command::{Context, DONE, decisions};
use crate::error::Error;
use crate::output::{Table, facts, list, short_digest, span, word};

/// A decision and what follows from it.
#[derive(Debug, Serialize)]
struct Explained {
    decision: DecisionRecord,
    /// Why it came out so, in a sentence.
    why: String,
    /// What would have it allowed; empty: it is.
    to_allow: Vec<String>,
    /// Rules that would allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<String>,
}

/// Shows the chain, each policy's answer, the rule, what was read, and how to allow it.
pub async fn run(cx: &Context, args: &ExplainArgs) -> Result<u8, Error> {
    let decision = cx.client().await?.decision(&args.id).await?;
    let explained = explain(decision);
    cx.out.data(&explained, || text(&explained))?;
    Ok(DONE)
}

fn explain(decision: DecisionRecord) -> Explained {
    let (why, to_allow, wants_rules) =
        if decision.verdict == Verdict::Allow { (allowed(&decision), Vec::new(), false) } else { denied(&decision) };
    let rules = wants_rules.then(|| suggested(&decision)).flatten();
    Explained { why, to_allow, rules, decision }
}

fn allowed(decision: &DecisionRecord) -> String {
    if let (Some(_), Some(seen)) = (&decision.error, &decision.reason) {
        return format!("nobody refused it, but {seen}");
    }
    match (&decision.audit, decision.votes.iter().find(|vote| vote.answer == AnswerKind::Allow)) {
        (Some(audit), _) if decision.rule.as_deref() == Some("observe") => {
            format!("the sandbox only observes: enforced, it would be denied ({audit})")
        }
        (Some(audit), _) => format!("its rule only audits: enforced, it would be denied ({audit})"),
        (None, Some(vote)) => format!("{} allows it, and nobody denies it", vote.binding),
        (None, None) => "nobody denies it".to_owned(),
    }
}

/// Why it was denied, what would change that, and whether a rule would.
fn denied(decision: &DecisionRecord) -> (String, Vec<String>, bool) {
    let sandbox = &decision.sandbox;
    let reason = decision.reason.clone().unwrap_or_else(|| "no reason was recorded".into());
    let error = decision.error.as_deref().unwrap_or_default();
    if decision.asked.is_none() || decision.stage == Stage::Dial {
        let mut to_allow: Vec<String> = decision.hint.iter().cloned().collect();
        if let ("ssrf_denied", Some(address)) = (error, &decision.address) {
            to_allow = vec![format!(
                "grant the address to {0}: `allowed_ips: [{address}]` at its endpoint in the rules, or \
                 `.private_range(\"{address}/32\")` on a policy's allow",
                decision.host
            )];
        }
        return (format!("the host itself refuses it, whatever policies say: {reason}"), to_allow, false);
    }
    let of = |answer: AnswerKind| decision.votes.iter().filter(move |vote| vote.answer == answer);
    let denying: Vec<&VoteRecord> = of(AnswerKind::Deny).collect();
    let failing: Vec<&VoteRecord> = of(AnswerKind::Failed).collect();
    let mut to_allow = Vec::new();
    for vote in &denying {
        let rule = vote.rule.as_deref().unwrap_or("its rule");
        let whose = if vote.ceiling { "the gateway's ceiling" } else { "the sandbox's chain" };
        let hint = vote.hint.as_deref().map_or_else(String::new, |hint| format!(": {hint}"));
        to_allow.push(format!("change `{rule}` of {} ({}, in {whose}){hint}", vote.binding, vote.policy));
    }
    for vote in &failing {
        let reason = vote.reason.as_deref().unwrap_or("no reason");
        to_allow.push(format!("mend {} ({}), which gave no answer: {reason}", vote.binding, vote.policy));
    }
    if !denying.is_empty() || !failing.is_empty() {
        let names: Vec<&str> = denying.iter().chain(&failing).map(|vote| vote.binding.as_str()).collect();
        let why = if denying.is_empty() { "a policy that gives no answer denies" } else { "any denial wins" };
        let not_listed = |vote: &&VoteRecord| vote.rule.as_deref().is_some_and(|rule| rule.ends_with("-not-listed"));
        let wants_rules = failing.is_empty() && denying.iter().all(not_listed);
        return (format!("{why}: {} ({reason})", list(&names)), to_allow, wants_rules);
    }
    if error == "policy_failed" {
        return (reason, vec!["have two policies agree, or take one of them out of the chain".into()], false);
    }
    let abstaining = decision.votes.iter().filter(|vote| !vote.ceiling).count();
    let why = match abstaining {
        0 => "no policy is bound to the sandbox, so everything is denied".to_owned(),
        _ if of(AnswerKind::Allow).next().is_some() => {
            "the ceiling and the sandbox's own chain must both allow, and one of them has no opinion".to_owned()
        }
        count => format!("none of its {count} policies has an opinion, and what nobody allows is denied"),
    };
    to_allow.push(format!(
        "set these rules (`openshell policy set {sandbox} --policy FILE`), or add them to those it has \
         (`openshell policy get {sandbox}`)"
    ));
    (why, to_allow, true)
}

/// Rules that would allow just this.
fn suggested(decision: &DecisionRecord) -> Option<String> {
    let mut seen = Seen::default();
    seen.add(decision);
    let text = rules::write(&decision.sandbox, &seen, Style { exact: true, allow_private: false })?;
    Some(text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect())
}

fn text(explained: &Explained) -> String {
    let Explained { decision, why, to_allow, rules } = explained;
    let script = decision.process.script.as_deref().map_or_else(String::new, |script| format!(" running {script}"));
    let program = match decision.process.executable.as_str() {
        "" => "an unknown program".to_owned(),
        executable => format!("{executable}{script}, pid {}", decision.process.pid),
    };
    let outcome = match &decision.error {
        Some(error) => format!("{} ({error})", word(&decision.verdict)),
        None => word(&decision.verdict),
    };
    let memo = if decision.memoized { ", remembered" } else { "" };
    let mut pairs = vec![
        ("decision", decision.id.clone()),
        ("at", decision.at.strftime("%F %T%.3f UTC").to_string()),
        ("sandbox", format!("{}, generation {}", decision.sandbox, decision.generation)),
        ("asked", decisions::destination(decision)),
        ("by", program),
        ("outcome", outcome),
        ("why", why.clone()),
        ("took", format!("{}{memo}", span(decision.decision_ns))),
    ];
    pairs.extend(decision.status.map(|status| ("status", status.to_string())));
    pairs.extend(decision.credential.clone().map(|name| ("credential", name)));
    let mut text = facts(&pairs);
    if !decision.votes.is_empty() {
        text.push_str(&format!("\n{}", votes(decision)));
    }
    for shadow in &decision.shadows {
        let flips = if shadow.flips { ", which differs" } else { "" };
        text.push_str(&format!("shadow {}: would {}{flips}\n", shadow.vote.binding, word(&shadow.would)));
    }
    if !to_allow.is_empty() {
        text.push_str("\nto allow it:\n");
        to_allow.iter().for_each(|line| text.push_str(&format!("  - {line}\n")));
    }
    if let Some(rules) = rules {
        text.push_str(&rules.lines().map(|line| format!("    {line}\n")).collect::<String>());
    }
    text
}

fn votes(decision: &DecisionRecord) -> String {
    let mut table = Table::new(["BINDING", "CHAIN", "POLICY", "DIGEST", "ANSWER", "RULE", "READ"]);
    for vote in &decision.votes {
        table.row([
            vote.binding.clone(),
            if vote.ceiling { "ceiling".into() } else { "own".into() },
            vote.policy.clone(),
            short_digest(&vote.digest).into(),
            match vote.answer {
                AnswerKind::Later => "asks each request".into(),
                AnswerKind::None => "has no hook for it".into(),
                AnswerKind::Failed => "no answer".into(),
                answer => word(&answer),
            },
            vote.rule.clone().unwrap_or_default(),
            list(&vote.read),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use openshell_api::decision::Subject;

    use super::*;

    fn decision(votes: serde_json::Value, error: &str) -> DecisionRecord {
        let process = serde_json::json!({ "executable": "/usr/bin/curl", "digest": "", "pid": 7 });
        let process = serde_json::from_value(process).expect("a process");
        let subject = Subject { sandbox: "demo", process, host: "api.test", port: 443 };
        let mut decision = DecisionRecord::unanswered(subject, Stage::Request, 3);
        decision.votes = serde_json::from_value(votes).expect("votes");
        decision.asked = serde_json::from_value(serde_json::json!({ "capture": "tunnel", "scheme": "https" })).ok();
        (decision.method, decision.path) = (Some("POST".into()), Some("/items".into()));
        (decision.error, decision.reason) = (Some(error.into()), Some("the reason".into()));
        decision
    }

    fn vote(binding: &str, answer: &str, ceiling: bool) -> serde_json::Value {
        serde_json::json!({
            "binding": binding, "policy": format!("{binding}@1.0.0"), "digest": "sha256:00", "answer": answer,
            "ceiling": ceiling, "rule": "r", "read": ["header content-type"],
        })
    }

    #[test]
    fn every_outcome_has_a_reason_and_a_way_out() {
        let check = |votes: serde_json::Value, error: &str, why: &str, way: &str, rules: bool| {
            let explained = explain(decision(votes, error));
            let text = text(&explained);
            assert!(explained.why.contains(why), "{text}");
            assert!(explained.to_allow.concat().contains(way), "{text}");
            assert_eq!(explained.rules.is_some(), rules, "{text}");
        };
        let json = |votes: &[serde_json::Value]| serde_json::Value::from(votes.to_vec());
        check(json(&[]), "policy_denied", "no policy is bound", "policy set demo", true);
        check(json(&[vote("a", "abstain", false)]), "policy_denied", "none of its 1 policies", "policy set demo", true);
        check(json(&[vote("a", "deny", false)]), "policy_denied", "any denial wins: a", "change `r` of a", false);
        check(json(&[vote("c", "deny", true)]), "policy_denied", "any denial wins: c", "the gateway's ceiling", false);
        check(json(&[vote("a", "failed", false)]), "policy_failed", "gives no answer", "mend a (a@1.0.0)", false);
        let (open, silent) = (vote("a", "allow", false), vote("c", "abstain", true));
        check(json(&[silent, open]), "policy_denied", "must both allow", "policy set demo", true);
        let mut own = decision(json(&[]), "ssrf_denied");
        (own.stage, own.asked, own.address) = (Stage::Dial, None, Some("10.0.0.7".into()));
        let explained = explain(own);
        assert!(explained.to_allow[0].contains("allowed_ips: [10.0.0.7]"), "{explained:?}");
    }

    #[test]
    fn the_rules_it_shows_allow_that_request() {
        let explained = explain(decision(serde_json::json!([]), "policy_denied"));
        let rules = explained.rules.expect("rules");
        for part in ["host: api.test", "port: 443", "method: POST, path: /items", "/usr/bin/curl"] {
            assert!(rules.contains(part), "{rules}");
        }
    }
}
