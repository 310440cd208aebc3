//! A Messages request as a Chat Completions request.

use super::fields::{Fields, empty};
use super::{Target, Untranslatable};
use crate::document::{Document, Json};

/// Stop sequences that Chat Completions takes at most.
const STOPS: usize = 4;
/// First line of the result of a tool that failed: Chat Completions has no mark for it.
const FAILED: &str = "[the tool failed]\n";

/// Translates; `model` takes the place of the one asked for.
pub fn to_chat(document: &Document, model: &str, target: Target) -> Result<Json, Untranslatable> {
    let mut from = Fields::new(document.entries(), "");
    let mut out = Json::object([("model", model.into())]);
    from.take("model");

    let mut messages = Vec::new();
    if let Some(system) = from.take("system") {
        let content = match system {
            Json::Text(text) => Json::from(text.as_str()),
            blocks => Json::Array(blocks_of(blocks, "system", &|kind, block| match kind {
                "text" => text_part(block),
                _ => block.refuse(kind),
            })?),
        };
        messages.push(Json::object([("role", "system".into()), ("content", content)]));
    }
    let Some(Json::Array(turns)) = from.take("messages") else { return from.refuse("messages") };
    for (index, turn) in turns.iter().enumerate() {
        let mut turn = Fields::of(turn, format!("messages[{index}]"))?;
        match turn.need("role")? {
            "user" => user(&mut turn, &mut messages)?,
            "assistant" => assistant(&mut turn, &mut messages)?,
            _ => return turn.refuse("role"),
        }
        turn.end()?;
    }
    out.set("messages", messages);

    from.copy("max_tokens", &mut out, if target.completion_limit { "max_completion_tokens" } else { "max_tokens" });
    from.copy("temperature", &mut out, "temperature");
    from.copy("top_p", &mut out, "top_p");
    match from.take("stop_sequences") {
        Some(stops) if stops.items().len() > STOPS => return Err(Untranslatable::new("more than four stop_sequences")),
        Some(stops) if !empty(stops) => out.set("stop", stops.clone()),
        _ => {}
    }
    if let Some(stream) = from.take("stream") {
        out.set("stream", stream.clone());
        if stream.is_true() {
            // Messages always says what was used.
            out.set("stream_options", Json::object([("include_usage", true.into())]));
        }
    }
    if let Some(metadata) = from.take("metadata") {
        let mut metadata = Fields::of(metadata, "metadata")?;
        metadata.copy("user_id", &mut out, "user");
        metadata.end()?;
    }
    tools(&mut from, &mut out)?;
    format(&mut from, &mut out)?;
    from.default("thinking", |t| t.get("type").and_then(Json::text) == Some("disabled"))?;
    from.default("service_tier", |t| t.text() == Some("auto"))?;
    from.default("mcp_servers", empty)?;
    from.take("cache_control");
    from.end()?;
    Ok(out)
}

fn blocks_of<'a>(
    value: &'a Json,
    path: &str,
    each: &dyn Fn(&str, &mut Fields<'a>) -> Result<Json, Untranslatable>,
) -> Result<Vec<Json>, Untranslatable> {
    let Json::Array(blocks) = value else { return Err(Untranslatable::new(path)) };
    let mut made = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let mut block = Fields::of(block, format!("{path}[{index}]"))?;
        block.take("cache_control");
        let kind = block.need("type")?;
        made.push(each(kind, &mut block)?);
        block.end()?;
    }
    Ok(made)
}

fn text_part(block: &mut Fields<'_>) -> Result<Json, Untranslatable> {
    block.default("citations", empty)?;
    Ok(Json::object([("type", "text".into()), ("text", block.need("text")?.into())]))
}

/// Results of tools first, each a message of its own: they must follow the calls. Then whatever else the user says.
fn user(turn: &mut Fields<'_>, messages: &mut Vec<Json>) -> Result<(), Untranslatable> {
    let content = match turn.take("content") {
        Some(Json::Text(text)) => {
            messages.push(Json::object([("role", "user".into()), ("content", text.as_str().into())]));
            return Ok(());
        }
        Some(content) => content,
        None => return turn.refuse("content"),
    };
    let parts = blocks_of(content, &turn.place("content"), &|kind, block| match kind {
        "text" => text_part(block),
        "image" => {
            let url = source(block)?;
            Ok(Json::object([("type", "image_url".into()), ("image_url", Json::object([("url", url.into())]))]))
        }
        "document" => {
            let data = source(block)?;
            if !data.starts_with("data:application/pdf;") {
                return block.refuse("source");
            }
            let name = block.text("title")?.unwrap_or("document.pdf");
            block.default("citations", |c| c.get("enabled").is_none_or(|e| !e.is_true()))?;
            let file = Json::object([("filename", name.into()), ("file_data", data.into())]);
            Ok(Json::object([("type", "file".into()), ("file", file)]))
        }
        "tool_result" => tool_result(block),
        _ => block.refuse(kind),
    })?;
    let is_result = |part: &Json| part.get("role").is_some();
    let (results, said): (Vec<Json>, Vec<Json>) = parts.into_iter().partition(is_result);
    messages.extend(results);
    if !said.is_empty() {
        messages.push(Json::object([("role", "user".into()), ("content", said.into())]));
    }
    Ok(())
}

/// A data URL, or the URL that the backend is to fetch.
fn source(block: &mut Fields<'_>) -> Result<String, Untranslatable> {
    let Some(source) = block.take("source") else { return block.refuse("source") };
    let mut source = Fields::of(source, block.place("source"))?;
    let url = match source.need("type")? {
        "base64" => format!("data:{};base64,{}", source.need("media_type")?, source.need("data")?),
        "url" => source.need("url")?.to_owned(),
        other => return source.refuse(other),
    };
    source.end()?;
    Ok(url)
}

fn tool_result(block: &mut Fields<'_>) -> Result<Json, Untranslatable> {
    let id = block.need("tool_use_id")?;
    let failed = block.take("is_error").is_some_and(Json::is_true);
    let mut text = String::new();
    match block.take("content") {
        None => {}
        Some(Json::Text(content)) => text.push_str(content),
        Some(content) => {
            let parts = blocks_of(content, &block.place("content"), &|kind, part| match kind {
                "text" => text_part(part),
                _ => part.refuse(kind),
            })?;
            let texts: Vec<&str> = parts.iter().filter_map(|p| p.get("text").and_then(Json::text)).collect();
            text = texts.join("\n");
        }
    }
    if failed {
        text.insert_str(0, FAILED);
    }
    Ok(Json::object([("role", "tool".into()), ("tool_call_id", id.into()), ("content", text.into())]))
}

fn assistant(turn: &mut Fields<'_>, messages: &mut Vec<Json>) -> Result<(), Untranslatable> {
    let (mut text, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
    match turn.take("content") {
        None => return turn.refuse("content"),
        Some(Json::Text(content)) => text.push_str(content),
        Some(content) => {
            let parts = blocks_of(content, &turn.place("content"), &|kind, block| match kind {
                "text" => text_part(block),
                // Without a signature it came from a backend like this one, and goes back as it came.
                "thinking" => {
                    let thinking = block.need("thinking")?;
                    block.default("signature", empty)?;
                    Ok(Json::object([("thinking", thinking.into())]))
                }
                "tool_use" => {
                    let (id, name) = (block.need("id")?, block.need("name")?);
                    let input = block.take("input").map_or_else(|| "{}".to_owned(), Json::to_string);
                    let function = Json::object([("name", name.into()), ("arguments", input.into())]);
                    Ok(Json::object([("id", id.into()), ("type", "function".into()), ("function", function)]))
                }
                _ => block.refuse(kind),
            })?;
            for part in parts {
                let field = |key| part.get(key).and_then(Json::text).map(str::to_owned);
                if let Some(more) = field("thinking") {
                    thought.push_str(&more);
                } else if let Some(more) = field("text") {
                    text.push_str(&more);
                } else {
                    calls.push(part);
                }
            }
        }
    }
    let content = if text.is_empty() && !calls.is_empty() { Json::NULL } else { text.into() };
    let mut message = Json::object([("role", "assistant".into()), ("content", content)]);
    if !thought.is_empty() {
        message.set("reasoning_content", thought);
    }
    if !calls.is_empty() {
        message.set("tool_calls", calls);
    }
    messages.push(message);
    Ok(())
}

fn tools(from: &mut Fields<'_>, out: &mut Json) -> Result<(), Untranslatable> {
    let mut tools = Vec::new();
    for (index, tool) in from.take("tools").map_or(&[][..], Json::items).iter().enumerate() {
        let mut tool = Fields::of(tool, format!("tools[{index}]"))?;
        // Others are run by Anthropic itself.
        match tool.text("type")? {
            None | Some("custom") => {}
            Some(other) => return tool.refuse(other),
        }
        tool.take("cache_control");
        let mut function = Json::object([("name", tool.need("name")?.into())]);
        tool.copy("description", &mut function, "description");
        tool.copy("input_schema", &mut function, "parameters");
        if tool.take("strict").is_some_and(Json::is_true) {
            function.set("strict", true);
        }
        tool.end()?;
        tools.push(Json::object([("type", "function".into()), ("function", function)]));
    }
    let (mut choice, mut alone) = (None, false);
    if let Some(given) = from.take("tool_choice") {
        let mut given = Fields::of(given, "tool_choice")?;
        choice = Some(match given.need("type")? {
            "auto" => "auto".into(),
            "none" => "none".into(),
            "any" => "required".into(),
            "tool" => {
                let function = Json::object([("name", given.need("name")?.into())]);
                Json::object([("type", "function".into()), ("function", function)])
            }
            other => return given.refuse(other),
        });
        alone = given.take("disable_parallel_tool_use").is_some_and(Json::is_true);
        given.end()?;
    }
    if !tools.is_empty() {
        out.set("tools", tools);
        if let Some(choice) = choice {
            out.set("tool_choice", choice);
        }
        if alone {
            out.set("parallel_tool_calls", false);
        }
    }
    Ok(())
}

fn format(from: &mut Fields<'_>, out: &mut Json) -> Result<(), Untranslatable> {
    let Some(config) = from.take("output_config") else { return Ok(()) };
    let mut config = Fields::of(config, "output_config")?;
    if let Some(format) = config.take("format") {
        let mut format = Fields::of(format, "output_config.format")?;
        match format.need("type")? {
            "json_schema" => {}
            other => return format.refuse(other),
        }
        let Some(schema) = format.take("schema") else { return format.refuse("schema") };
        let named = Json::object([("name", "answer".into()), ("strict", true.into()), ("schema", schema.clone())]);
        out.set("response_format", Json::object([("type", "json_schema".into()), ("json_schema", named)]));
        format.end()?;
    }
    config.end()
}
