//! GraphQL requests: what a document would execute (GraphQL, October 2021; GraphQL over HTTP).

use std::collections::BTreeMap;

use apollo_parser::{Parser, cst};

use super::json::Json;
use super::{Kind, Operation};

/// Bounds of one document.
const MAX_TOKENS: usize = 20_000;
const MAX_DEPTH: usize = 200;
/// Names at the root of one operation, fragments expanded.
const MAX_FIELDS: usize = 2_000;

/// One request, from a body: `{"query": …, "operationName": …}`.
pub(super) fn of_body(request: &Json) -> Result<Operation, String> {
    let name = match request.get("operationName") {
        None | Some(Json::Null) => None,
        Some(Json::Text(name)) => Some(name.as_str()).filter(|name| !name.is_empty()),
        Some(_) => return Err("`operationName` is not text".to_owned()),
    };
    match request.get("query") {
        Some(Json::Text(query)) => of_document(query, name),
        Some(_) => Err("`query` is not text".to_owned()),
        None if request.get("extensions").is_some() => {
            Err("it names a persisted query, whose text only the server knows".to_owned())
        }
        None => Err("it has no `query`".to_owned()),
    }
}

/// What a document executes. Refuses a choice that is left to the server.
pub(super) fn of_document(text: &str, chosen: Option<&str>) -> Result<Operation, String> {
    let tree = Parser::new(text).token_limit(MAX_TOKENS).recursion_limit(MAX_DEPTH).parse();
    if let Some(error) = tree.errors().next() {
        return Err(format!("the GraphQL document does not parse: {}", error.message()));
    }
    let mut operations = Vec::new();
    let mut fragments = BTreeMap::new();
    for definition in tree.document().definitions() {
        match definition {
            cst::Definition::OperationDefinition(operation) => operations.push(operation),
            cst::Definition::FragmentDefinition(fragment) => {
                let name = fragment.fragment_name().and_then(|name| name.name()).ok_or("a fragment has no name")?;
                let set = fragment.selection_set().ok_or("a fragment selects nothing")?;
                if fragments.insert(name.text().to_string(), set).is_some() {
                    return Err(format!("fragment `{}` is defined twice", name.text()));
                }
            }
            _ => return Err("it defines a type, which no server executes".to_owned()),
        }
    }
    let name = |operation: &cst::OperationDefinition| operation.name().map(|name| name.text().to_string());
    let mut executed = match chosen {
        Some(chosen) => operations.into_iter().filter(|o| name(o).as_deref() == Some(chosen)).collect(),
        None => operations,
    };
    let (Some(operation), true) = (executed.pop(), executed.is_empty()) else {
        return Err("it does not say which one operation is to be executed".to_owned());
    };
    let kind = match operation.operation_type() {
        None => Kind::Query,
        Some(kind) if kind.query_token().is_some() => Kind::Query,
        Some(kind) if kind.mutation_token().is_some() => Kind::Mutation,
        Some(kind) if kind.subscription_token().is_some() => Kind::Subscription,
        Some(_) => return Err("its operation has no known type".to_owned()),
    };
    let mut fields = Vec::new();
    let mut open = Vec::new();
    let set = operation.selection_set().ok_or("its operation selects nothing")?;
    root_fields(&set, &fragments, &mut open, &mut fields)?;
    if fields.is_empty() {
        return Err("its operation selects nothing".to_owned());
    }
    Ok(Operation::GraphQl { kind, name: name(&operation), fields })
}

/// Fields at the root, by their own names (never their aliases), fragments expanded.
fn root_fields(
    set: &cst::SelectionSet,
    fragments: &BTreeMap<String, cst::SelectionSet>,
    open: &mut Vec<String>,
    fields: &mut Vec<String>,
) -> Result<(), String> {
    for selection in set.selections() {
        match selection {
            cst::Selection::Field(field) => {
                fields.push(field.name().ok_or("a field has no name")?.text().to_string());
            }
            cst::Selection::InlineFragment(inline) => {
                let inner = inline.selection_set().ok_or("a fragment selects nothing")?;
                root_fields(&inner, fragments, open, fields)?;
            }
            cst::Selection::FragmentSpread(spread) => {
                let name = spread.fragment_name().and_then(|name| name.name()).ok_or("a fragment has no name")?;
                let name = name.text().to_string();
                let inner = fragments.get(&name).ok_or_else(|| format!("fragment `{name}` is not defined"))?;
                if open.contains(&name) {
                    return Err(format!("fragment `{name}` contains itself"));
                }
                open.push(name);
                root_fields(inner, fragments, open, fields)?;
                open.pop();
            }
        }
        if fields.len() > MAX_FIELDS {
            return Err(format!("it selects more than {MAX_FIELDS} fields at its root"));
        }
    }
    Ok(())
}
