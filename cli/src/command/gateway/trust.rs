//! `openshell gateway trust …`.

use openshell_api::signature::{AddPublisher, Publisher};

use super::{Context, DONE};
use crate::args::gateway::TrustCommand;
use crate::error::Error;
use crate::output::{Table, age};

/// Whose policies the gateway takes.
pub async fn run(cx: &Context, command: TrustCommand) -> Result<u8, Error> {
    let client = cx.client().await?;
    match command {
        TrustCommand::Add(args) => {
            let key = super::super::policy::read_public_key(&args.key)?;
            let added = client.add_publisher(&AddPublisher { name: args.name, key }).await?;
            for binding in &added.unsigned_in_force {
                cx.out.note(format!(
                    "note: no trusted publisher signed {binding}; it stays in force until it is replaced"
                ));
            }
            cx.out.data(&added, || publishers(std::slice::from_ref(&added.publisher)))?;
        }
        TrustCommand::List => {
            let known = client.publishers().await?;
            cx.out.data(&known, || publishers(&known))?;
        }
        TrustCommand::Remove(args) => {
            client.remove_publisher(&args.name, args.allow_unsigned).await?;
            cx.out.note(format!("publisher {} is trusted no longer", args.name));
        }
    }
    Ok(DONE)
}

fn publishers(publishers: &[Publisher]) -> String {
    let mut table = Table::new(["PUBLISHER", "AGE", "KEY"]);
    for publisher in publishers {
        let age = age(publisher.added_at, jiff::Timestamp::now());
        table.row([publisher.name.to_string(), age, publisher.key.to_string()]);
    }
    table.render_or("no publishers: policies need no signature")
}
