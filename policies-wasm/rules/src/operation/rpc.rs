//! JSON-RPC 2.0 messages, and MCP, which is spoken in them (Model Context Protocol, Streamable HTTP transport).

use super::Operation;
use super::json::Json;

/// The MCP method that calls a tool.
pub(super) const CALL: &str = "tools/call";

/// One message.
pub(super) fn of_message(message: &Json, mcp: bool) -> Result<Operation, String> {
    let Json::Object(_) = message else { return Err("it is not a JSON-RPC message".to_owned()) };
    if message.get("jsonrpc").and_then(Json::text) != Some("2.0") {
        return Err("it is not a JSON-RPC 2.0 message".to_owned());
    }
    let Some(method) = message.get("method") else {
        let answers = message.get("result").is_some() || message.get("error").is_some();
        return match mcp && answers && message.get("id").is_some() {
            true => Ok(Operation::Reply),
            false => Err("it names no method".to_owned()),
        };
    };
    let method = method.text().ok_or("its method is not text")?.to_owned();
    let params = message.get("params").cloned().unwrap_or(Json::Null);
    if !mcp || method != CALL {
        return Ok(Operation::Call { method, tool: None, params });
    }
    let tool = params.get("name").and_then(Json::text).ok_or("it calls a tool without a name")?.to_owned();
    let arguments = params.get("arguments").cloned().unwrap_or(Json::Null);
    Ok(Operation::Call { method, tool: Some(tool), params: arguments })
}

/// What every MCP session needs: it calls nothing.
pub(super) fn is_housekeeping(method: &str) -> bool {
    matches!(method, "initialize" | "ping" | "tools/list") || method.starts_with("notifications/")
}
