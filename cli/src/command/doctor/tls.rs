//! `openshell doctor tls`: programs that refused the certificates they were shown, and those that seem to have.

use std::collections::BTreeMap;

use openshell_api::decision::{DecisionRecord, Stage};
use serde::Serialize;

use super::SICK;
use crate::args::doctor::TlsArgs;
use crate::command::decisions::since;
use crate::command::{Context, DONE};
use crate::error::Error;
use crate::output::printable;

/// Decisions looked through, the newest.
const LIMIT: usize = 10_000;
/// What the proxy calls it when a program says that it refuses.
const CLIENT_TLS: &str = "client_tls";
/// What the proxy calls it when one hangs up as soon as it has seen the certificate.
const SUSPECTED: &str = "client_tls_suspected";

/// How much is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Certainty {
    /// The program said that it refuses the certificate.
    Refused,
    /// It hung up without a word.
    Suspected,
}

/// One program that can't talk to one destination, or may not be able to.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Distrust {
    sandbox: String,
    executable: String,
    /// What it runs, where it is an interpreter.
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    destination: String,
    certainty: Certainty,
    /// How often, among the decisions looked at.
    times: u64,
    /// Requests it made there, among the same decisions: over connections whose certificate it accepted.
    requests: u64,
    reason: String,
    /// Why this may be.
    explanation: String,
    /// What to do, the best first.
    remedies: Vec<String>,
}

impl Distrust {
    /// Whether something is likely broken: hanging up may as well mean that a connection was not needed, and a program whose
    /// requests arrive is one for which it likely does.
    fn ails(&self) -> bool {
        self.certainty == Certainty::Refused || self.requests == 0
    }
}

/// Explains each program that refused a certificate, or seems to have; answers 1 if one likely did.
pub async fn run(cx: &Context, args: TlsArgs) -> Result<u8, Error> {
    let mut query = vec![("since", since(args.since).to_string())];
    query.extend(args.sandbox.map(|sandbox| ("sandbox", sandbox.to_string())));
    let found = distrusts(&cx.client().await?.decisions(&query, LIMIT).await?);
    cx.out.data(&found, || text(&found))?;
    Ok(if found.iter().any(Distrust::ails) { SICK } else { DONE })
}

fn distrusts(records: &[DecisionRecord]) -> Vec<Distrust> {
    let whose = |record: &DecisionRecord| {
        let destination = format!("{}:{}", record.host, record.port);
        (record.sandbox.clone(), record.process.executable.clone(), record.process.script.clone(), destination)
    };
    let mut requests = BTreeMap::<_, u64>::new();
    for record in records.iter().filter(|record| record.stage == Stage::Request) {
        *requests.entry(whose(record)).or_default() += 1;
    }
    let mut found = BTreeMap::<_, Distrust>::new();
    for record in records {
        let certainty = match record.error.as_deref() {
            Some(CLIENT_TLS) => Certainty::Refused,
            Some(SUSPECTED) => Certainty::Suspected,
            _ => continue,
        };
        let whose = whose(record);
        let requests = requests.get(&whose).copied().unwrap_or(0);
        let entry = found.entry((whose.clone(), certainty)).or_insert_with(|| {
            let (sandbox, executable, script, destination) = whose;
            let (mut explanation, first) = explain(&executable, certainty);
            if certainty == Certainty::Suspected && requests > 0 {
                explanation = format!(
                    "its requests arrive there as well, {requests} in the same time, so these are likely connections that it \
                     opened ahead and did not need; else: {explanation}"
                );
            }
            let skip = format!(
                "or let {destination} through unread: `tls: skip` at its endpoint in the rules file, or a policy's grant with \
                 opaque inspection; then only the connection is judged, not its requests"
            );
            let (reason, remedies) = (record.reason.clone().unwrap_or_default(), vec![first.to_owned(), skip]);
            Distrust { sandbox, executable, script, destination, certainty, times: 0, requests, reason, explanation, remedies }
        });
        entry.times += 1;
    }
    found.into_values().collect()
}

/// Why a program may refuse the sandbox's authority although the system's bundle holds it, and what to try first.
fn explain(executable: &str, certainty: Certainty) -> (String, &'static str) {
    let name = executable.rsplit('/').next().unwrap_or(executable);
    let (why, first) = match name {
        "java" => (
            "Java reads a trust store of its own; those of $JAVA_HOME and in the usual places are extended, if the image or the \
             system holds them and they are JKS, or PKCS#12 without a password",
            "run java with -Djavax.net.ssl.trustStore pointing to a JKS store that holds the certificates of /run/openshell/ca.pem",
        ),
        "chrome" | "chromium" | "chromium-browser" | "firefox" | "firefox-esr" => (
            "browsers read a certificate database of their own (NSS)",
            "add the certificate: certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n openshell -i /run/openshell/ca.pem",
        ),
        _ => (
            "the program was told of other roots (an option or a variable of its own), carries its own, or pins the \
             origin's certificate or key, which no proxy that reads traffic can satisfy",
            "take away options that name other roots, or point them to /run/openshell/ca.pem",
        ),
    };
    match certainty {
        Certainty::Refused => (why.to_owned(), first),
        Certainty::Suspected => {
            (format!("this is known for sure only of who says so; if it is the certificate: {why}"), first)
        }
    }
}

fn text(found: &[Distrust]) -> String {
    if found.is_empty() {
        return "no program refused a certificate\n".to_owned();
    }
    let mut text = String::new();
    for one in found {
        let times = if one.times == 1 { "1 time".to_owned() } else { format!("{} times", one.times) };
        let may = if one.certainty == Certainty::Suspected { ", suspected" } else { "" };
        let script = one.script.as_deref().map_or_else(String::new, |script| format!(" {}", printable(script)));
        text.push_str(&format!(
            "{}{script} in {} → {} ({times}{may})\n  what: {}\n  why:  {}\n",
            printable(&one.executable),
            one.sandbox,
            printable(&one.destination),
            printable(&one.reason),
            one.explanation
        ));
        for remedy in &one.remedies {
            text.push_str(&format!("  do:   {}\n", printable(remedy)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use openshell_api::decision::Subject;

    use super::*;

    fn record(stage: Stage, error: &str, executable: &str) -> DecisionRecord {
        let process = serde_json::json!({ "executable": executable, "digest": "", "script": "/work/a.js", "pid": 7 });
        let process = serde_json::from_value(process).expect("a process");
        let subject = Subject { sandbox: "demo", process, host: "api.test", port: 443 };
        let mut record = DecisionRecord::unanswered(subject, stage, 3);
        record.error = Some(error.to_owned()).filter(|error| !error.is_empty());
        record.reason = Some("the reason".to_owned());
        record
    }

    #[test]
    fn what_is_said_and_what_is_suspected_are_told_apart() {
        use Stage::{Connect, Request};
        // Records; what each finding says; whether something is likely broken.
        let check = |records: &[(Stage, &str, &str)], says: &[&str], ails: bool| {
            let records: Vec<_> =
                records.iter().map(|(stage, error, program)| record(*stage, error, program)).collect();
            let found = distrusts(&records);
            assert_eq!(found.iter().any(Distrust::ails), ails, "{found:?}");
            let all = text(&found);
            assert_eq!(found.len(), says.len(), "{all}");
            for (one, says) in found.iter().zip(says) {
                let text = text(std::slice::from_ref(one));
                assert!(text.contains(says) && text.contains("tls: skip"), "no {says:?} in {text}");
            }
        };
        let (node, curl) = ("/usr/bin/node", "/usr/bin/curl");
        check(&[], &[], false);
        check(&[(Connect, "", curl), (Request, "policy_denied", curl)], &[], false);
        check(&[(Connect, CLIENT_TLS, curl)], &["/usr/bin/curl /work/a.js in demo → api.test:443 (1 time)\n"], true);
        let suspected = (Connect, SUSPECTED, node);
        check(&[suspected, suspected], &["(2 times, suspected)"], true);
        check(&[suspected], &["known for sure only of who says so"], true);
        check(&[suspected, (Request, "", curl)], &["known for sure"], true);
        check(&[suspected, (Request, "", node)], &["its requests arrive there as well, 1 in the same time"], false);
        check(
            &[suspected, (Connect, CLIENT_TLS, node), (Request, "", node)],
            &["(1 time)", "(1 time, suspected)"],
            true,
        );
        check(&[(Connect, SUSPECTED, "/opt/jdk/bin/java")], &["$JAVA_HOME"], true);
    }
}
