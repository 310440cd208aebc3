//! `openshell inference usage` and `openshell inference rules`: what was spent, and what may be.

use openshell_api::inference::{Budget, InferenceRules, Period, Usage};
use openshell_inference_format::price;

use super::{Context, DONE};
use crate::args::inference::{RulesArgs, UsageArgs, UsageBy};
use crate::command::decisions::since;
use crate::error::Error;
use crate::output::{Table, word};

/// Shows what was used.
pub async fn usage(cx: &Context, args: UsageArgs) -> Result<u8, Error> {
    let by: Vec<&str> = args.by.iter().map(|by| name(*by)).collect();
    let mut query = vec![("by", by.join(","))];
    query.extend(args.sandbox.map(|sandbox| ("sandbox", sandbox.to_string())));
    query.extend(args.since.map(|span| ("since", since(span).to_string())));
    let lines = cx.client()?.usage(&query).await?;
    cx.out.data(&lines, || table(&lines, &args.by).render_or("nothing was used"))?;
    Ok(DONE)
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
    let mut table = Table::new(heads.chain(["REQUESTS", "IN", "OUT", "COST"]));
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
            line.output_tokens.to_string(),
            format!("${}", price::dollars(u128::from(line.cost))),
        ];
        table.row(by.iter().map(part).chain(figures));
    }
    table
}

/// Shows a sandbox's rules, after changing those that the arguments name.
pub async fn rules(cx: &Context, args: RulesArgs) -> Result<u8, Error> {
    let client = cx.client()?;
    let name = args.sandbox.clone();
    let changes = args.clear
        || !(args.budgets.is_empty() && args.tokens.is_empty())
        || !(args.aliases.is_empty() && args.models.is_empty());
    let mut rules = client.inference_rules(&name).await?;
    if changes {
        rules = client.set_inference_rules(&name, &changed(rules, args)).await?;
    }
    cx.out.data(&rules, || shown(&rules))?;
    Ok(DONE)
}

/// A budget takes the place of one for the same period, backend and unit, an alias of one of its name; models replace all there
/// were.
fn changed(mut rules: InferenceRules, args: RulesArgs) -> InferenceRules {
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
    rules
}

fn shown(rules: &InferenceRules) -> String {
    if rules.is_empty() {
        return "no budgets, no aliases, every model\n".to_owned();
    }
    let mut table = Table::new(["RULE", "FOR", "VALUE"]);
    for budget in &rules.budgets {
        let whose = budget.backend.as_ref().map_or("all backends".to_owned(), ToString::to_string);
        let period = match budget.period {
            Period::Total => "in total".to_owned(),
            other => format!("a {}", word(&other)),
        };
        let cost = budget.cost.map(|cost| format!("${}", price::dollars(u128::from(cost) * 1_000_000)));
        let tokens = budget.tokens.map(|tokens| format!("{tokens} tokens"));
        let limits: Vec<String> = cost.into_iter().chain(tokens).collect();
        table.row(["budget".to_owned(), whose, format!("{} {period}", limits.join(", "))]);
    }
    for (alias, model) in &rules.aliases {
        table.row(["alias".to_owned(), alias.clone(), model.clone()]);
    }
    for model in &rules.models {
        table.row(["model".to_owned(), model.clone(), "allowed".to_owned()]);
    }
    table.render()
}
