//! Errors of both APIs.

use crate::document::Json;

/// What an error of either API says.
pub fn message(answer: &[u8]) -> Option<String> {
    let answer = Json::parse(answer)?;
    let error = answer.get("error")?;
    let message = error.get("message").and_then(Json::text).or_else(|| error.text())?;
    Some(message.chars().take(2000).collect())
}

/// An error as OpenAI's API says it.
pub fn openai(status: u16, message: &str) -> Json {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_denied",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let error =
        Json::object([("message", message.into()), ("type", kind.into()), ("param", Json::NULL), ("code", Json::NULL)]);
    Json::object([("error", error)])
}

/// An error as Anthropic's API says it.
pub fn anthropic(status: u16, message: &str) -> Json {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let error = Json::object([("type", kind.into()), ("message", message.into())]);
    Json::object([("type", "error".into()), ("error", error)])
}
