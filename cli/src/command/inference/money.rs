//! `openshell inference usage` and `openshell inference rules`: what was spent, and what may be.

use openshell_api::inference::{Backend, Budget, Cascade, InferenceRules, Period, Usage};
use openshell_api::{Name, Problem};
use openshell_inference_format::price::{self, Prices, Tokens};

use super::{Context, DONE};
use crate::args::inference::{RulesArgs, UsageArgs, UsageBy};
use crate::client::pages::Tagged;
use crate::command::decisions::since;
use crate::error::Error;
use crate::output::{Table, word};

/// Shows what was used.
pub async fn usage(cx: &Context, args: UsageArgs) -> Result<u8, Error> {
    let by: Vec<&str> = args.by.iter().map(|by| name(*by)).collect();
    let mut query = vec![("by", by.join(","))];
    query.extend(args.sandbox.map(|sandbox| ("sandbox", sandbox.to_string())));
    query.extend(args.since.map(|span| ("since", since(span).to_string())));
    let client = cx.client().await?;
    let mut lines = client.usage(&query).await?;
    if !args.by.contains(&UsageBy::Day) {
        // What costs most comes last, where it is seen.
        lines.sort_by_key(|line| line.cost);
    }
    if !args.compare {
        cx.out.data(&lines, || table(&lines, &args.by).render_or("nothing was used"))?;
        return Ok(DONE);
    }
    let compared = Compared::of(&lines, &client.backends().await?);
    cx.out.data(&compared, || compared.table(&args.by))?;
    Ok(DONE)
}

/// What was used, and what the same tokens would have cost on one backend alone.
#[derive(Debug, serde::Serialize)]
struct Compared<'a> {
    usage: &'a [Usage],
    /// By backend, cheapest first.
    alone: Vec<Alone>,
}

#[derive(Debug, serde::Serialize)]
struct Alone {
    backend: String,
    /// Millionths of a millionth of a US dollar.
    cost: u128,
}

impl<'a> Compared<'a> {
    /// What a cache held on one backend it would have held on another.
    fn of(usage: &'a [Usage], backends: &[Backend]) -> Self {
        let cost = |backend: &Backend| {
            let prices = Prices::of(backend);
            let of = |line: &Usage| Tokens {
                input: line.input_tokens,
                cached: line.cached_tokens,
                written: 0,
                output: line.output_tokens,
            };
            usage.iter().map(|line| prices.cost(of(line))).sum()
        };
        let mut alone: Vec<Alone> =
            backends.iter().map(|b| Alone { backend: b.name.to_string(), cost: cost(b) }).collect();
        alone.sort_by_key(|alone| alone.cost);
        Self { usage, alone }
    }

    fn table(&self, by: &[UsageBy]) -> String {
        let spent: u128 = self.usage.iter().map(|line| u128::from(line.cost)).sum();
        let mut alone = Table::new(["ALL OF IT ON", "COST", "AGAINST WHAT WAS SPENT"]);
        for Alone { backend, cost } in &self.alone {
            let share = match spent {
                0 => "-".to_owned(),
                spent => format!("{:.0} %", *cost as f64 * 100.0 / spent as f64),
            };
            alone.row([backend.clone(), format!("${}", price::dollars(*cost)), share]);
        }
        format!("{}{}", table(self.usage, by).render_or("nothing was used"), alone.render_or("no backends"))
    }
}

fn name(by: UsageBy) -> &'static str {
    match by {
        UsageBy::Sandbox => "sandbox",
        UsageBy::Model => "model",
        UsageBy::Backend => "backend",
        UsageBy::Day => "day",
    }
}

fn table(lines: &[Usage], by: &[UsageBy]) -> Table {
    let heads = by.iter().map(|by| match by {
        UsageBy::Sandbox => "SANDBOX",
        UsageBy::Model => "MODEL",
        UsageBy::Backend => "BACKEND",
        UsageBy::Day => "DAY",
    });
    let mut table = Table::new(heads.chain(["REQUESTS", "IN", "CACHED", "OUT", "COST"]));
    for line in lines {
        let part = |by: &UsageBy| {
            let part = match by {
                UsageBy::Sandbox => &line.sandbox,
                UsageBy::Model => &line.model,
                UsageBy::Backend => &line.backend,
                UsageBy::Day => &line.day,
            };
            part.clone().unwrap_or_default()
        };
        let figures = [
            line.requests.to_string(),
            line.input_tokens.to_string(),
            line.cached_tokens.to_string(),
            line.output_tokens.to_string(),
            format!("${}", price::dollars(u128::from(line.cost))),
        ];
        table.row(by.iter().map(part).chain(figures));
    }
    table
}

/// Shows a sandbox's rules, after changing those that the arguments name.
pub async fn rules(cx: &Context, args: RulesArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    let name = args.sandbox.clone();
    let changes = args.clear
        || !(args.budgets.is_empty() && args.tokens.is_empty())
        || !(args.aliases.is_empty() && args.models.is_empty())
        || !(args.first.is_none() && args.checks.is_empty());
    let Tagged { value: mut rules, etag } = client.inference_rules(&name).await?;
    if changes {
        rules = client.set_inference_rules(&name, &changed(rules, args)?, etag.as_deref()).await?;
    }
    cx.out.data(&rules, || shown(&rules))?;
    Ok(DONE)
}

/// A budget takes the place of one for the same period, backend and unit, an alias of one of its name; models replace all there
/// were.
fn changed(mut rules: InferenceRules, args: RulesArgs) -> Result<InferenceRules, Error> {
    if args.clear {
        rules = InferenceRules::default();
    }
    for budget in args.budgets.into_iter().chain(args.tokens) {
        let same = |other: &Budget| {
            other.period == budget.period
                && other.backend == budget.backend
                && other.cost.is_some() == budget.cost.is_some()
        };
        rules.budgets.retain(|other| !same(other));
        rules.budgets.push(budget);
    }
    rules.aliases.extend(args.aliases);
    if !args.models.is_empty() {
        rules.models = args.models;
    }
    if args.first.as_deref() == Some("-") {
        rules.cascade = None;
        return Ok(rules);
    }
    let bad = |detail: String, hint: &str| Error::from(Problem::new(422, "bad_cascade", detail).hint(hint));
    let known = rules.cascade.take();
    let first = match args.first {
        Some(name) => Some(Name::parse(&name).map_err(|error| bad(error.to_string(), "name a backend"))?),
        None => known.as_ref().map(|cascade| cascade.first.clone()),
    };
    let checks = if args.checks.is_empty() { known.map_or_else(Vec::new, |known| known.checks) } else { args.checks };
    rules.cascade = match (first, checks.is_empty()) {
        (Some(first), false) => Some(Cascade { first, checks }),
        (None, true) => None,
        (Some(first), true) => {
            return Err(bad(
                format!("nothing checks what {first} answers"),
                "name what it must pass, such as `--check refusal`",
            ));
        }
        (None, false) => {
            return Err(bad("nothing is tried first".to_owned(), "name the small model's backend with `--first`"));
        }
    };
    Ok(rules)
}

fn shown(rules: &InferenceRules) -> String {
    if rules.is_empty() {
        return "no budgets, no aliases, no cascade, every model\n".to_owned();
    }
    let mut table = Table::new(["RULE", "FOR", "VALUE"]);
    for budget in &rules.budgets {
        let whose = budget.backend.as_ref().map_or("all backends".to_owned(), ToString::to_string);
        let period = match budget.period {
            Period::Total => "in total".to_owned(),
            other => format!("a {}", word(&other)),
        };
        let cost = budget.fine_cost().map(|cost| format!("${}", price::dollars(cost)));
        let tokens = budget.tokens.map(|tokens| format!("{tokens} tokens"));
        let limits: Vec<String> = cost.into_iter().chain(tokens).collect();
        table.row(["budget".to_owned(), whose, format!("{} {period}", limits.join(", "))]);
    }
    for (alias, model) in &rules.aliases {
        table.row(["alias".to_owned(), alias.clone(), model.clone()]);
    }
    if let Some(cascade) = &rules.cascade {
        let checks: Vec<String> = cascade.checks.iter().map(ToString::to_string).collect();
        table.row(["first".to_owned(), cascade.first.to_string(), format!("if it passes {}", checks.join(", "))]);
    }
    for model in &rules.models {
        table.row(["model".to_owned(), model.clone(), "allowed".to_owned()]);
    }
    table.render()
}
