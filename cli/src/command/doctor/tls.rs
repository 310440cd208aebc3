//! `openshell doctor tls`: programs that refused the certificates they were shown.

use std::collections::BTreeMap;

use openshell_api::decision::DecisionRecord;
use serde::Serialize;

use super::SICK;
use crate::args::doctor::TlsArgs;
use crate::command::decisions::since;
use crate::command::{Context, DONE};
use crate::error::Error;
use crate::output::printable;

/// Decisions looked through, the newest.
const LIMIT: usize = 10_000;
/// What the proxy calls such a refusal.
const CLIENT_TLS: &str = "client_tls";

/// One program that can't talk to one destination.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Distrust {
    sandbox: String,
    executable: String,
    destination: String,
    /// How often, among the decisions looked at.
    times: u64,
    reason: String,
    /// Why this may be.
    explanation: &'static str,
    /// What to do, the best first.
    remedies: Vec<String>,
}

/// Explains each program that refused a certificate; answers 1 if there is one.
pub async fn run(cx: &Context, args: TlsArgs) -> Result<u8, Error> {
    let mut query = vec![("since", since(args.since).to_string())];
    query.extend(args.sandbox.map(|sandbox| ("sandbox", sandbox.to_string())));
    let found = distrusts(&cx.client().await?.decisions(&query, LIMIT).await?);
    cx.out.data(&found, || text(&found))?;
    Ok(if found.is_empty() { DONE } else { SICK })
}

fn distrusts(records: &[DecisionRecord]) -> Vec<Distrust> {
    let mut found = BTreeMap::<_, Distrust>::new();
    for record in records.iter().filter(|record| record.error.as_deref() == Some(CLIENT_TLS)) {
        let destination = format!("{}:{}", record.host, record.port);
        let key = (record.sandbox.clone(), record.process.executable.clone(), destination.clone());
        let entry = found.entry(key).or_insert_with(|| {
            let (explanation, first) = explain(&record.process.executable);
            let skip = format!(
                "or let {destination} through unread: `tls: skip` at its endpoint in the rules file, or a policy's grant with \
                 opaque inspection; then only the connection is judged, not its requests"
            );
            Distrust {
                sandbox: record.sandbox.clone(),
                executable: record.process.executable.clone(),
                destination,
                times: 0,
                reason: record.reason.clone().unwrap_or_default(),
                explanation,
                remedies: vec![first.to_owned(), skip],
            }
        });
        entry.times += 1;
    }
    found.into_values().collect()
}

/// Why a program may refuse the sandbox's authority although the system's bundle holds it, and what to try first.
fn explain(executable: &str) -> (&'static str, &'static str) {
    let name = executable.rsplit('/').next().unwrap_or(executable);
    match name {
        "java" => (
            "Java reads a trust store of its own; those in the usual places can be extended, if they are JKS, or PKCS#12 without a password",
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
    }
}

fn text(found: &[Distrust]) -> String {
    if found.is_empty() {
        return "no program refused a certificate\n".to_owned();
    }
    let mut text = String::new();
    for one in found {
        let times = if one.times == 1 { "1 time".to_owned() } else { format!("{} times", one.times) };
        text.push_str(&format!(
            "{} in {} → {} ({times})\n  what: {}\n  why:  {}\n",
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
