//! `openshell inference …`.

mod explain;

use openshell_api::inference::Backend;

use super::{Context, DONE};
use crate::args::inference::{AddArgs, BackendCommand, InferenceCommand};
use crate::error::Error;
use crate::output::{Table, word};

/// Does one of the commands.
pub async fn run(cx: &Context, command: InferenceCommand) -> Result<u8, Error> {
    let command = match command {
        InferenceCommand::Backend(command) => command,
        InferenceCommand::Explain(args) => return explain::run(cx, *args).await,
    };
    let client = cx.client()?;
    match command {
        BackendCommand::Add(args) => {
            let backend = client.add_backend(&backend(*args)).await?;
            cx.out.data(&backend, || table(std::slice::from_ref(&backend)).render())?;
        }
        BackendCommand::List => {
            let backends = client.backends().await?;
            cx.out.data(&backends, || table(&backends).render_or("no backends"))?;
        }
        BackendCommand::Remove(args) => {
            for name in &args.names {
                client.remove_backend(name).await?;
                cx.out.note(format!("removed backend {name}"));
            }
        }
    }
    Ok(DONE)
}

fn backend(args: AddArgs) -> Backend {
    Backend {
        name: args.name,
        kind: args.kind.into(),
        base_url: args.url,
        model: args.model,
        locality: args.locality.into(),
        clearance: args.clearance.into(),
        input_price: args.input_price,
        output_price: args.output_price,
        context: args.context,
        features: args.features,
        provider: args.provider,
        idle_timeout_ms: args.idle_timeout_ms,
    }
}

fn table(backends: &[Backend]) -> Table {
    let mut table =
        Table::new(["NAME", "KIND", "LOCALITY", "CLEARANCE", "MODEL", "$/M IN", "$/M OUT", "PROVIDER", "URL"]);
    for backend in backends {
        table.row([
            backend.name.to_string(),
            word(&backend.kind),
            word(&backend.locality),
            word(&backend.clearance),
            backend.model.clone().unwrap_or_default(),
            dollars(backend.input_price),
            dollars(backend.output_price),
            backend.provider.as_ref().map(ToString::to_string).unwrap_or_default(),
            backend.base_url.clone(),
        ]);
    }
    table
}

/// Millionths of a dollar as dollars, with no more digits than it needs and at least two.
fn dollars(millionths: u64) -> String {
    let fraction = format!("{:06}", millionths % 1_000_000);
    let trimmed = fraction.trim_end_matches('0');
    format!("{}.{trimmed:0<2}", millionths / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse;

    #[test]
    fn prices_read_as_they_were_typed() {
        for (typed, millionths, shown) in
            [("0", 0, "0.00"), ("0.15", 150_000, "0.15"), ("2.5", 2_500_000, "2.50"), (".000001", 1, "0.000001")]
        {
            assert_eq!(parse::price(typed), Ok(millionths), "{typed}");
            assert_eq!(dollars(millionths), shown, "{typed}");
        }
    }
}
