//! `openshell inference …`.

mod explain;
mod money;
mod session;

use openshell_api::inference::Backend;

use super::{Context, DONE};
use crate::args::inference::{AddArgs, BackendCommand, InferenceCommand, Provided, SetArgs, TestArgs};
use crate::error::Error;
use crate::output::{Table, word};

/// Does one of the commands.
pub async fn run(cx: &Context, command: InferenceCommand) -> Result<u8, Error> {
    let command = match command {
        InferenceCommand::Backend(command) => command,
        InferenceCommand::Explain(args) => return explain::run(cx, *args).await,
        InferenceCommand::Usage(args) => return money::usage(cx, args).await,
        InferenceCommand::Rules(args) => return money::rules(cx, args).await,
        InferenceCommand::Session(command) => return session::run(cx, command).await,
    };
    let client = cx.client().await?;
    match command {
        BackendCommand::Add(args) => {
            let backend = client.add_backend(&backend(*args)).await?;
            cx.out.data(&backend, || table(std::slice::from_ref(&backend)).render())?;
        }
        BackendCommand::Set(args) => {
            let known = client.backend(&args.name).await?;
            let backend = client.set_backend(&changed(known.value, *args), known.etag.as_deref()).await?;
            cx.out.data(&backend, || table(std::slice::from_ref(&backend)).render())?;
        }
        BackendCommand::Test(args) => return test(cx, args).await,
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
        apis: args.apis.into_iter().map(Into::into).collect(),
        base_url: args.url,
        model: args.model,
        locality: args.locality.into(),
        clearance: args.clearance.into(),
        input_price: args.input_price,
        output_price: args.output_price,
        cached_input_price: args.cached_input_price,
        cache_write_price: args.cache_write_price,
        redact: args.redact,
        context: args.context,
        features: args.features,
        provider: args.provider,
        idle_timeout_ms: args.idle_timeout_ms,
    }
}

/// The backend with what the arguments name in place of what it had.
fn changed(mut backend: Backend, args: SetArgs) -> Backend {
    let or_none = |given: String| (given != "-").then_some(given);
    backend.base_url = args.url.unwrap_or(backend.base_url);
    backend.kind = args.kind.map_or(backend.kind, Into::into);
    backend.model = args.model.map_or(backend.model, or_none);
    backend.locality = args.locality.map_or(backend.locality, Into::into);
    backend.clearance = args.clearance.map_or(backend.clearance, Into::into);
    backend.input_price = args.input_price.unwrap_or(backend.input_price);
    backend.output_price = args.output_price.unwrap_or(backend.output_price);
    backend.cached_input_price = args.cached_input_price.or(backend.cached_input_price);
    backend.cache_write_price = args.cache_write_price.or(backend.cache_write_price);
    backend.redact = args.redact.unwrap_or(backend.redact);
    if !args.apis.is_empty() {
        backend.apis = args.apis.into_iter().map(Into::into).collect();
    }
    backend.context = args.context.unwrap_or(backend.context);
    if !args.features.is_empty() {
        backend.features = args.features;
    }
    if let Some(Provided(provider)) = args.provider {
        backend.provider = provider;
    }
    backend.idle_timeout_ms = args.idle_timeout_ms.unwrap_or(backend.idle_timeout_ms);
    backend
}

/// Fails if one of the backends does.
async fn test(cx: &Context, args: TestArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    let names = match args.names.is_empty() {
        true => client.backends().await?.into_iter().map(|backend| backend.name).collect(),
        false => args.names,
    };
    let mut results = std::collections::BTreeMap::new();
    for name in names {
        let test = client.test_backend(&name).await?;
        results.insert(name.to_string(), test);
    }
    cx.out.data(&results, || {
        let mut table = Table::new(["NAME", "OK", "STATUS", "TOOK", "MODELS", "PROBLEM"]);
        for (name, test) in &results {
            table.row([
                name.clone(),
                if test.ok { "yes" } else { "no" }.to_owned(),
                test.status.map(|status| status.to_string()).unwrap_or_default(),
                format!("{} ms", test.took_ms),
                test.models.len().to_string(),
                test.problem.clone().unwrap_or_default(),
            ]);
        }
        table.render_or("no backends")
    })?;
    Ok(if results.values().all(|test| test.ok) { DONE } else { 1 })
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

    #[test]
    fn budgets_read_as_they_were_typed() {
        for (typed, expected) in [
            ("day=5", Ok((None, 5_000_000))),
            ("month@cloud=0.50", Ok((Some("cloud"), 500_000))),
            ("week=5", Err("\"week\" is no period")),
            ("day=much", Err("such as day=5")),
            ("day", Err("write it as PERIOD=DOLLARS")),
            ("total@No Name=1", Err("")),
        ] {
            let read = parse::budget(typed);
            match (read, expected) {
                (Ok(budget), Ok((backend, cost))) => {
                    let found = (budget.backend.as_ref().map(|name| name.as_str()), budget.cost, budget.tokens);
                    assert_eq!(found, (backend, Some(cost), None), "{typed}");
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{typed}: {error}"),
                (read, _) => panic!("{typed}: {read:?}"),
            }
        }
        assert_eq!(parse::token_budget("day=200").map(|budget| budget.tokens), Ok(Some(200)));
        assert!(parse::token_budget("day=0.5").is_err() && parse::alias("=x").is_err());
    }
}
