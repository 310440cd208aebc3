//! In which protocol's form a refusal is written: what the caller's client reads as an error of its own call.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

/// Server-defined error of JSON-RPC 2.0 (section 5.1: -32000 to -32099).
const REFUSED: i32 = -32001;

/// A protocol's form.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// Status and JSON.
    Json,
    /// gRPC's trailers-only answer.
    Grpc,
    /// GraphQL's `errors`.
    GraphQl,
    /// JSON-RPC 2.0, and so MCP.
    JsonRpc(Ids),
}

/// Whose answers a JSON-RPC client waits for. A notification has no id, and nobody waits.
#[derive(Debug, Clone, PartialEq)]
pub enum Ids {
    /// One message.
    One(Option<Value>),
    /// A batch; at least one of them is waited for.
    Batch(Vec<Value>),
}

impl Form {
    /// What the sender of these headers understands.
    pub fn of(request: &HeaderMap) -> Self {
        if starts_with(request, "application/grpc") { Self::Grpc } else { Self::Json }
    }

    /// What the sender of this message understands; `body` is what policies saw of it.
    pub fn of_message(request: &HeaderMap, body: Option<&[u8]>) -> Self {
        let Some(body) = body.filter(|body| !body.is_empty() && starts_with(request, "application/")) else {
            return Self::of(request);
        };
        match serde_json::from_slice::<Value>(body) {
            Ok(message) if is_rpc(&message) => Self::JsonRpc(Ids::One(id(&message))),
            Ok(Value::Array(batch)) if !batch.is_empty() && batch.iter().all(is_rpc) => {
                Self::JsonRpc(Ids::Batch(batch.iter().filter_map(id).collect()))
            }
            Ok(message) if message["query"].is_string() => Self::GraphQl,
            _ => Self::of(request),
        }
    }
}

/// JSON-RPC's answer to everyone who waits; `None`: nobody does.
pub(super) fn error_object(ids: &Ids, message: &str, data: &Value) -> Option<Value> {
    let error = |id: &Value| json!({ "jsonrpc": "2.0", "id": id, "error": { "code": REFUSED, "message": message, "data": data } });
    match ids {
        Ids::One(id) => id.as_ref().map(error),
        Ids::Batch(ids) if ids.is_empty() => None,
        Ids::Batch(ids) => Some(ids.iter().map(error).collect()),
    }
}

fn is_rpc(message: &Value) -> bool {
    message["jsonrpc"] == "2.0" && message["method"].is_string()
}

fn id(message: &Value) -> Option<Value> {
    message.get("id").filter(|id| id.is_string() || id.is_number()).cloned()
}

fn starts_with(headers: &HeaderMap, kind: &str) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        value.len() >= kind.len() && value[..kind.len()].eq_ignore_ascii_case(kind.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn forms() {
        let check = |kind: &'static str, body: &str, expected: Form| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(Form::of_message(&headers, Some(body.as_bytes())), expected, "{kind} {body}");
        };
        let json = "application/json";
        let rpc = |id: Value| Form::JsonRpc(Ids::One(Some(id)));
        check(json, r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#, rpc(json!(7)));
        check(json, r#"{"jsonrpc":"2.0","id":"a","method":"x"}"#, rpc(json!("a")));
        check(json, r#"{"jsonrpc":"2.0","method":"x"}"#, Form::JsonRpc(Ids::One(None)));
        check(
            json,
            r#"[{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","id":1,"method":"y"}]"#,
            Form::JsonRpc(Ids::Batch(vec![json!(1)])),
        );
        check(json, r#"{"query":"{ a }"}"#, Form::GraphQl);
        check(json, r#"{"a":1}"#, Form::Json);
        check(json, "not json", Form::Json);
        check("application/grpc+proto", "", Form::Grpc);
        check("text/plain", r#"{"query":"{ a }"}"#, Form::Json);
    }

    #[test]
    fn everyone_who_waits_is_answered() {
        let answer = |ids: Ids| error_object(&ids, "no", &json!({}));
        assert_eq!(answer(Ids::One(None)), None);
        assert_eq!(answer(Ids::Batch(vec![])), None);
        assert_eq!(answer(Ids::One(Some(json!(7)))).unwrap()["error"]["code"], REFUSED);
        assert_eq!(answer(Ids::Batch(vec![json!(1), json!(2)])).unwrap()[1]["id"], 2);
    }
}
