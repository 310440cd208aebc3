//! `openshell policy suggest`: rules that cover what a sandbox was seen doing.

pub mod rules;
pub mod seen;
#[cfg(test)]
mod tests;

use serde::Serialize;

use self::rules::Style;
use self::seen::Seen;
use crate::args::policy::SuggestArgs;
use crate::client::export::{self, Lines};
use crate::command::{Context, DONE, decisions};
use crate::error::Error;

#[derive(Debug, Serialize)]
struct Suggestion {
    decisions: u64,
    yaml: String,
}

/// Reads every decision of the sandbox and writes the rules, to standard output or a file.
pub async fn run(cx: &Context, args: SuggestArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    // A sandbox that does not exist is refused, rather than one that did nothing.
    client.sandbox(&args.name).await?;
    let mut query = vec![("sandbox", args.name.to_string())];
    query.extend(args.since.map(|span| ("since", decisions::since(span).to_string())));
    let progress = cx.out.progress("reading decisions");
    let mut seen = Seen::default();
    let mut lines = Lines::of(client.export_decisions(&query).await?);
    while let Some(block) = lines.next().await? {
        for line in export::lines(&block) {
            seen.add(&export::parse(line)?);
        }
    }
    drop(progress);
    let style = Style { exact: args.exact, allow_private: args.allow_private };
    let yaml = rules::write(args.name.as_str(), &seen, style);
    let yaml = yaml.ok_or_else(|| Error::NothingSeen { sandbox: args.name.to_string() })?;
    let suggestion = Suggestion { decisions: seen.decisions, yaml };
    if let Some(file) = &args.out {
        std::fs::write(file, &suggestion.yaml).map_err(Error::io(format!("write {}", file.display())))?;
        cx.out.note(format!("read {0}, then: openshell policy set {1} --policy {0}", file.display(), args.name));
        return Ok(DONE);
    }
    cx.out.data(&suggestion, || suggestion.yaml.clone())?;
    Ok(DONE)
}
