//! What the audit trail is told of a push: which sandboxes, what they enforced and what they shall, and what else changes with it.

use openshell_api::generation::Content;
use openshell_api::module::Binding;
use serde_json::{Map, Value, json};

use super::plan::Target;
use crate::audit::Change;
use crate::error::ApiResult;
use crate::identity::{Permit, Right};
use crate::store::{Effect, Store};

/// Sandboxes whose policies are listed; of more, only their generations are.
const MOST_LISTED: usize = 50;

/// The change that a push makes.
pub(super) async fn change<R: Right>(
    permit: &Permit<R>,
    targets: &[Target],
    cause: &str,
    effect: &Effect,
    store: &Store,
) -> ApiResult<Change> {
    let (mut before, mut after) = (Map::new(), Map::new());
    if !targets.is_empty() {
        let whole = targets.len() <= MOST_LISTED;
        let all = |of: &dyn Fn(&Target) -> Value| {
            Value::Object(targets.iter().map(|target| (target.row.name.to_string(), of(target))).collect())
        };
        before.insert("sandboxes".to_owned(), all(&|t| shown(whole, t.current.number, &t.current.content)));
        after.insert("sandboxes".to_owned(), all(&|t| shown(whole, t.current.number + 1, &t.next)));
    }
    let mut object = match targets {
        [only] => only.row.name.to_string(),
        _ => String::new(),
    };
    let backend = async |name: &str| -> ApiResult<Value> {
        let catalogue = store.catalogue().await?;
        Ok(json!(catalogue.backends.iter().find(|backend| backend.name.as_str() == name)))
    };
    match effect {
        Effect::None => {}
        Effect::AddBackend(new) => {
            object = new.name.to_string();
            after.insert("backend".to_owned(), json!(new));
        }
        Effect::SetBackend(new) => {
            object = new.name.to_string();
            before.insert("backend".to_owned(), backend(new.name.as_str()).await?);
            after.insert("backend".to_owned(), json!(new));
        }
        Effect::RemoveBackend(name) => {
            object.clone_from(name);
            before.insert("backend".to_owned(), backend(name).await?);
        }
        Effect::SetProvider(provider, _) => object = provider.name.to_string(),
        Effect::SetCeiling(bindings) => {
            object = "ceiling".to_owned();
            let old: Vec<Binding> = store.setting("ceiling").await?.unwrap_or_default();
            before.insert("ceiling".to_owned(), json!(old.iter().map(label).collect::<Vec<_>>()));
            after.insert("ceiling".to_owned(), json!(bindings.iter().map(label).collect::<Vec<_>>()));
        }
        Effect::SetOwnerBudgets { owner, budgets } => {
            object.clone_from(owner);
            before.insert("budgets".to_owned(), json!(store.owner_budgets(owner).await?));
            after.insert("budgets".to_owned(), json!(budgets));
        }
        Effect::ApproveProposal { id, .. } => {
            after.insert("proposal".to_owned(), json!(id));
        }
        Effect::PutRollout(rollout) => {
            object.clone_from(&rollout.id);
            after.insert("rollout".to_owned(), json!({ "state": rollout.state, "policy": label(&rollout.binding) }));
        }
    }
    Ok(permit.change(object).detail(json!({ "cause": cause })).before(before).after(after))
}

fn shown(whole: bool, generation: u64, content: &Content) -> Value {
    if !whole {
        return json!(generation);
    }
    let labels = |bindings: &[Binding]| bindings.iter().map(label).collect::<Vec<_>>();
    let mut shown = json!({ "generation": generation, "policies": labels(&content.chain) });
    for (name, bindings) in [("shadows", &content.shadow[..]), ("router", content.router.as_slice())] {
        if !bindings.is_empty() {
            shown[name] = json!(labels(bindings));
        }
    }
    if content.observe {
        shown["observe"] = true.into();
    }
    if !content.inference.is_empty() {
        shown["inference"] = json!(content.inference);
    }
    shown
}

/// Name, version, and the artifact, whose digest covers module and settings.
fn label(binding: &Binding) -> String {
    format!("{}@{} {}", binding.name, binding.version, binding.artifact)
}
