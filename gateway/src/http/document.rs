//! The OpenAPI document. Handlers say what is their own; what holds for all calls of a kind is said here, once: names, who is refused,
//! entity tags, conditions and idempotency keys.

use openshell_api::page::IDEMPOTENCY_REPLAYED;
use serde_json::{Map, Value, json};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const PROBLEM_SCHEMA: &str = "#/components/schemas/Problem";

/// Completes what the handlers say of their calls.
pub(super) fn complete(mut document: Value) -> Value {
    let schemas = document["components"]["schemas"].clone();
    plain(&mut document, &schemas);
    let Some(paths) = document["paths"].as_object_mut() else { return document };
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let Some(operation) = operation.as_object_mut() else { continue };
            call(path, method, operation);
        }
    }
    document
}

/// Says in other words what many readers of documents do not know: an array of fixed length by its length, not by what may follow; an
/// object that is several at once as one with the properties of all.
fn plain(value: &mut Value, schemas: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(whole) = fields.get("allOf").and_then(Value::as_array).and_then(|parts| merged(parts, schemas))
            {
                fields.remove("allOf");
                fields.extend(whole);
            }
            if let Some(length) = fields.get("prefixItems").and_then(Value::as_array).map(Vec::len)
                && fields.get("items") == Some(&Value::Bool(false))
            {
                fields.remove("items");
                fields.insert("minItems".into(), length.into());
                fields.insert("maxItems".into(), length.into());
            }
            fields.values_mut().for_each(|value| plain(value, schemas));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| plain(value, schemas)),
        _ => {}
    }
}

/// Several objects as one; `None`: one of them is no plain object, or there is but one.
fn merged(parts: &[Value], schemas: &Value) -> Option<Map<String, Value>> {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in parts {
        let name =
            part.get("$ref").and_then(Value::as_str).map(|path| path.trim_start_matches("#/components/schemas/"));
        let part = name.map_or(Some(part), |name| schemas.get(name))?;
        properties.extend(part.get("properties")?.as_object()?.clone());
        required.extend(part.get("required").and_then(Value::as_array).into_iter().flatten().cloned());
    }
    let whole = json!({ "type": "object", "properties": properties, "required": required });
    whole.as_object().filter(|_| parts.len() > 1).cloned()
}

fn call(path: &str, method: &str, operation: &mut Map<String, Value>) {
    let mut parameters = match operation.remove("parameters") {
        Some(Value::Array(parameters)) => parameters,
        _ => Vec::new(),
    };
    parameters.iter_mut().for_each(never_null);
    let lists = parameters.iter().any(|parameter| parameter["name"] == "cursor");
    operation.insert("operationId".into(), json!(name(path, method, lists)));
    operation.insert("tags".into(), json!([tag(path)]));
    let secured = operation.get("security") != Some(&json!([{}]));
    let body = operation.get("requestBody").is_some_and(|body| body["content"].get(JSON).is_some());
    let responses = &mut operation["responses"];
    let mut also = |status: &str, why: &str| refusal(responses, status, why);

    if !parameters.is_empty() || body {
        also("400", "bad_request, bad_path, bad_query: it can't be read");
    }
    if body {
        also("413", "too_large: a JSON body may have 2 MiB");
        also("415", "not_json");
        also("422", "bad_request: it is not what the schema says");
    }
    if secured {
        also("401", "unauthorized, expired …: no credential that opens anything");
        also("403", "forbidden, not_yours; cross_origin: a browser asks for another site's page");
        also("429", "too_many_requests, too_many_attempts");
        also("500", "internal: the gateway failed, such as for want of disk");
        also("504", "timeout");
        headers(responses, "401", json!({ "WWW-Authenticate": header("Bearer") }));
        headers(responses, "429", json!({ "Retry-After": header("Seconds to wait") }));
    }
    match method {
        "get" if responses["200"]["content"].get(JSON).is_some() => {
            parameters.push(parameter("If-None-Match", "Answer 304 if this is what there is still: an `ETag`."));
            responses["304"] =
                json!({ "description": "It is what `If-None-Match` says", "headers": { "ETag": etag() } });
            headers(responses, "200", json!({ "ETag": etag() }));
        }
        "put" => {
            parameters.push(parameter(
                "If-Match",
                "Replace it only if this is what there is still: an `ETag` of its GET. Compared and replaced at once.",
            ));
            refusal(responses, "400", "bad_if_match");
            refusal(responses, "412", "changed_meanwhile: it is not what `If-Match` says; nothing was done");
            headers(responses, "412", json!({ "ETag": etag() }));
            headers(responses, "200", json!({ "ETag": etag() }));
        }
        "post" => {
            parameters.push(parameter(
                "Idempotency-Key",
                "Do it once, however often it is sent: for 24 hours, the same request with the same key is given the answer of the \
                 first. 1 to 255 visible ASCII characters, such as a UUID.",
            ));
            if let Some(added) = parameters.last_mut() {
                added["schema"] = json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" });
            }
            refusal(responses, "400", "bad_idempotency_key, no_condition");
            refusal(
                responses,
                "409",
                "still_running: the first with that idempotency key is not answered yet; answer_lost",
            );
            refusal(responses, "422", "idempotency_key_reused: another request had that key");
            for status in
                ["200", "201"].into_iter().filter(|status| responses.get(*status).is_some()).collect::<Vec<_>>()
            {
                headers(
                    responses,
                    status,
                    json!({ capitalized(IDEMPOTENCY_REPLAYED): header("`true`: given before") }),
                );
            }
        }
        "delete" => refusal(responses, "400", "no_condition: it takes no `If-Match`"),
        _ => {}
    }
    for (status, response) in responses.as_object_mut().into_iter().flatten() {
        as_problem(response);
        if response["description"].as_str().is_none_or(str::is_empty) {
            response["description"] = json!(if status == "201" { "It was made" } else { "What was asked for" });
        }
    }
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
}

/// Name of a call, for clients that are generated: `list_sandboxes`, `get_sandbox`, `stop_sandbox` …
fn name(path: &str, method: &str, lists: bool) -> String {
    let segments: Vec<&str> = path.trim_start_matches("/v1").split('/').filter(|part| !part.is_empty()).collect();
    let is_open = |part: &&str| part.starts_with('{');
    let one = segments.last().is_some_and(is_open);
    let mut words: Vec<String> = Vec::new();
    for (at, part) in segments.iter().enumerate().filter(|(_, part)| !is_open(part)) {
        let of_one = segments.get(at + 1).is_some_and(is_open);
        words.push(if of_one { singular(part) } else { part.replace(['.', '-'], "_").trim_matches('_').to_owned() });
    }
    let verb = match (method, one) {
        ("get", _) if lists => "list".to_owned(),
        ("get", _) => "get".to_owned(),
        ("put", _) => "replace".to_owned(),
        ("delete", _) => "delete".to_owned(),
        // What is done to one, or to all: `/sandboxes/{name}/stop`, `/keys/rotate`.
        _ if words.len() > 1
            && words[0] != "inference"
            && !matches!(words.last().map(String::as_str), Some("tokens")) =>
        {
            words.pop().unwrap_or_default()
        }
        _ if words.last().is_some_and(|word| word == "test") => words.pop().unwrap_or_default(),
        _ => {
            if let Some(last) = words.last_mut() {
                *last = singular(last);
            }
            "create".to_owned()
        }
    };
    format!("{verb}_{}", words.join("_"))
}

fn singular(plural: &str) -> String {
    let stem = match plural.strip_suffix("es") {
        Some(stem) if stem.ends_with(['x', 'h']) => stem,
        _ => plural.strip_suffix('s').unwrap_or(plural),
    };
    stem.to_owned()
}

/// What a call is about: the first word of its path.
fn tag(path: &str) -> String {
    match path.strip_prefix("/v1/") {
        Some(rest) => rest.split('/').next().unwrap_or_default().to_owned(),
        None => "gateway".to_owned(),
    }
}

/// What is left out of a query is not null.
fn never_null(parameter: &mut Value) {
    let Some(schema) = parameter.get_mut("schema") else { return };
    if let Some(types) = schema.get("type").and_then(Value::as_array) {
        let mut types = types.iter().filter(|word| *word != "null");
        if let (Some(only), None) = (types.next().cloned(), types.next()) {
            schema["type"] = only;
        }
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let choice = choices.iter().find(|choice| choice["type"] != "null").cloned();
        *schema = choice.unwrap_or_else(|| schema.take());
    }
}

/// Adds a refusal, or one more reason to it.
fn refusal(responses: &mut Value, status: &str, why: &str) {
    match responses[status]["description"].as_str().map(str::to_owned) {
        Some(known) => responses[status]["description"] = json!(format!("{known}; {why}")),
        None => {
            responses[status] =
                json!({ "description": why, "content": { PROBLEM: { "schema": { "$ref": PROBLEM_SCHEMA } } } });
        }
    }
}

fn headers(responses: &mut Value, status: &str, headers: Value) {
    let (Some(response), Value::Object(headers)) = (responses.get_mut(status), headers) else { return };
    let known = response.as_object_mut().map(|response| response.entry("headers").or_insert_with(|| json!({})));
    if let Some(known) = known.and_then(Value::as_object_mut) {
        known.extend(headers);
    }
}

fn header(description: &str) -> Value {
    json!({ "description": description, "schema": { "type": "string" } })
}

fn etag() -> Value {
    header("Changes with what is there, and with nothing else")
}

fn parameter(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "header", "required": false, "description": description, "schema": { "type": "string" } })
}

/// Problems have a content type of their own (RFC 9457).
fn as_problem(response: &mut Value) {
    let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) else { return };
    if content.get(JSON).is_some_and(|body| body["schema"]["$ref"] == PROBLEM_SCHEMA)
        && let Some(body) = content.remove(JSON)
    {
        content.insert(PROBLEM.into(), body);
    }
}

/// `idempotency-replayed` as it is written in documents.
fn capitalized(header: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    header.split('-').map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn calls_have_names_of_their_own() {
        let document = super::super::document();
        let mut names = BTreeMap::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap().to_owned();
                let other = names.insert(name.clone(), format!("{method} {path}"));
                assert_eq!(other, None, "{name}: {method} {path}");
            }
        }
        let check = |name: &str, call: &str| assert_eq!(names.get(name).map(String::as_str), Some(call), "{names:#?}");
        check("list_sandboxes", "get /v1/sandboxes");
        check("create_sandbox", "post /v1/sandboxes");
        check("get_sandbox", "get /v1/sandboxes/{name}");
        check("stop_sandbox", "post /v1/sandboxes/{name}/stop");
        check("list_sandbox_generations", "get /v1/sandboxes/{name}/generations");
        check("create_push", "post /v1/pushes");
        check("create_user_token", "post /v1/users/{name}/tokens");
        check("rotate_keys", "post /v1/keys/rotate");
        check("replace_inference_backend", "put /v1/inference/backends/{name}");
        check("test_inference_backend", "post /v1/inference/backends/{name}/test");
        check("replace_sandbox_inference", "put /v1/sandboxes/{name}/inference");
        check("replace_ceiling", "put /v1/ceiling");
        check("delete_token", "delete /v1/tokens/{id}");
        check("get_well_known_openshell", "get /.well-known/openshell");
    }

    /// Documents that are replaced whole, though they are arrays.
    const WHOLE: [&str; 2] = ["/v1/ceiling", "/v1/users/{name}/budgets"];

    #[test]
    fn every_call_says_how_it_is_refused() {
        let document = super::super::document();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    assert!(!response.to_string().contains(":null"), "{method} {path} {status}: {response}");
                    let wanted = if status.as_str() < "400" { JSON } else { PROBLEM };
                    let other = if wanted == JSON { PROBLEM } else { JSON };
                    assert!(response["content"].get(other).is_none(), "{method} {path} {status}");
                    if wanted == PROBLEM {
                        assert!(response["content"].get(PROBLEM).is_some(), "{method} {path} {status}");
                    }
                }
                let named = |name: &str| {
                    let parameters = operation["parameters"].as_array();
                    parameters.is_some_and(|parameters| parameters.iter().any(|parameter| parameter["name"] == name))
                };
                assert_eq!(named("Idempotency-Key"), method == "post", "{method} {path}");
                assert_eq!(named("If-Match"), method == "put", "{method} {path}");
                assert_eq!(named("cursor"), named("limit"), "{method} {path}");
                let items = &operation["responses"]["200"]["content"][JSON]["schema"]["type"];
                assert!(items != "array" || WHOLE.contains(&path.as_str()), "{method} {path} is a list without pages");
            }
        }
    }
}
