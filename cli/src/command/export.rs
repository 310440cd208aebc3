//! `openshell export …`: where decisions are sent.

use openshell_api::decision::Verdict;
use openshell_api::export::{AddExport, Export, ExportState};

use super::{Context, DONE};
use crate::args::export::{AddArgs, ExportCommand, Only};
use crate::error::Error;
use crate::output::{Table, age, word};

/// Does one of the commands.
pub async fn run(cx: &Context, command: ExportCommand) -> Result<u8, Error> {
    let client = cx.client().await?;
    match command {
        ExportCommand::Add(args) => {
            let state = client.add_export(&added(args)).await?;
            cx.out.data(&state, || table(std::slice::from_ref(&state)).render())?;
        }
        ExportCommand::List => {
            let states = client.exports().await?;
            cx.out.data(&states, || table(&states).render_or("decisions are sent nowhere"))?;
        }
        ExportCommand::Remove(args) => {
            for name in &args.names {
                client.remove_export(name).await?;
                cx.out.note(format!("removed export {name}"));
            }
        }
    }
    Ok(DONE)
}

fn added(args: AddArgs) -> AddExport {
    let AddArgs { name, url, format, only, provider, from_beginning } = args;
    let only = only.map(|only| match only {
        Only::Allow => Verdict::Allow,
        Only::Deny => Verdict::Deny,
    });
    AddExport { export: Export { name, url, format: format.into(), only, provider }, from_beginning }
}

fn table(states: &[ExportState]) -> Table {
    let now = jiff::Timestamp::now();
    let mut table = Table::new(["NAME", "FORMAT", "ONLY", "DELIVERED", "WAITING", "LOST", "LAST", "URL", "PROBLEM"]);
    for state in states {
        table.row([
            state.export.name.to_string(),
            word(&state.export.format),
            state.export.only.as_ref().map(word).unwrap_or_default(),
            state.delivered.to_string(),
            state.waiting.to_string(),
            (state.lost + state.refused).to_string(),
            state.delivered_at.map(|at| age(at, now)).unwrap_or_default(),
            state.export.url.clone(),
            state.problem.clone().unwrap_or_default(),
        ]);
    }
    table
}
