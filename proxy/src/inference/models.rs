//! The list of models, in both dialects.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use openshell_api::inference::{Backend, Catalogue, InferenceRules};
use openshell_inference_format::endpoint::Dialect;
use serde_json::json;

use super::refusal::{Cause, Refusal, json_response};
use super::service::Body;

/// The models that backends name and the aliases, once each and as far as they may be asked for; or the one whose path this is.
pub fn models(catalogue: &Catalogue, rules: &InferenceRules, dialect: Dialect, path: &str) -> Response<Body> {
    let mut named: BTreeMap<&str, &Backend> = BTreeMap::new();
    for backend in &catalogue.backends {
        if let Some(model) = &backend.model {
            named.entry(model).or_insert(backend);
        }
    }
    if let Some(any) = catalogue.backends.first() {
        for (alias, model) in &rules.aliases {
            let backend = catalogue.backends.iter().find(|b| b.model.as_ref() == Some(model)).unwrap_or(any);
            named.insert(alias, backend);
        }
    }
    named.retain(|model, _| rules.allows(rules.resolve(model)));
    let entry = |(model, backend): (&&str, &&Backend)| match dialect {
        Dialect::Openai => json!({"id": model, "object": "model", "created": 0, "owned_by": backend.name}),
        Dialect::Anthropic => {
            json!({"type": "model", "id": model, "display_name": model, "created_at": "1970-01-01T00:00:00Z"})
        }
    };
    if let Some(wanted) = path.strip_prefix("/v1/models/").filter(|w| !w.is_empty()) {
        return match named.get_key_value(wanted) {
            Some(found) => json_response(StatusCode::OK, &entry(found)),
            None => Refusal::new(Cause::UnknownEndpoint, "no backend names this model").answer(dialect, None, 0, None),
        };
    }
    let list: Vec<_> = named.iter().map(entry).collect();
    let document = match dialect {
        Dialect::Openai => json!({"object": "list", "data": list}),
        Dialect::Anthropic => json!({
            "data": list, "has_more": false,
            "first_id": named.keys().next(), "last_id": named.keys().next_back(),
        }),
    };
    json_response(StatusCode::OK, &document)
}
